// A menu entry that opens the panel, a page of its own, where it runs, and else says how to start it.

import { app } from "../../scripts/app.js";
import { say } from "./words.js";

const ADDRESS = "DCSolver.PanelAddress";
const DEFAULT = "http://127.0.0.1:7871";
const COMMAND = "DCSolver.OpenPanel";
const PATIENCE = 3000; // milliseconds

export const panelSettings = [
  {
    id: ADDRESS,
    category: ["DC-Solver", "Panel", "Address"],
    name: "Address of the ratio panel",
    type: "text",
    defaultValue: DEFAULT,
  },
];

export const panelCommands = [
  {
    id: COMMAND,
    label: "DC-Solver: Ratio Panel",
    icon: "pi pi-chart-line",
    function: openPanel,
  },
];

export const panelMenu = [{ path: ["Extensions"], commands: [COMMAND] }];

async function openPanel() {
  const address = app.extensionManager.setting.get(ADDRESS) || DEFAULT;
  if (!/^https?:\/\//.test(address)) {
    tell("warn", say("The address of the panel must begin with http:// or https://."));
  } else if (await mayRun(address)) {
    window.open(address, "_blank", "noopener");
  } else {
    tell("info", say("The panel is not running. To start it, in the folder of this pack: python -m pip install gradio, then python . panel"));
  }
}

// Its answer cannot be read from here, but that there is one can be seen; not where this page may
// ask nobody else, as with ComfyUI's --disable-api-nodes.
async function mayRun(address) {
  let forbidden = false;
  const forbid = ({ blockedURI }) => (forbidden ||= blockedURI.startsWith(new URL(address).origin));
  document.addEventListener("securitypolicyviolation", forbid);
  try {
    await fetch(address, { mode: "no-cors", signal: AbortSignal.timeout(PATIENCE) });
    return true;
  } catch {
    await new Promise((done) => setTimeout(done)); // what is forbidden is told after that
    return forbidden;
  } finally {
    document.removeEventListener("securitypolicyviolation", forbid);
  }
}

function tell(severity, detail) {
  app.extensionManager.toast.add({ severity, summary: "DC-Solver", detail, life: 20000 });
}
