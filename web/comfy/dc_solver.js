// What DC-Solver nodes show of themselves: text, and the curve of their ratios.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { forgetAnswers } from "./answers.js";
import { keepBoxesUpToDate } from "./box.js";
import { addCurve } from "./curve.js";
import { finished, followRuns } from "./running.js";
import { panelCommands, panelMenu, panelSettings } from "./panel.js";
import { keepQualityLast, showQuality } from "./quality.js";
import { followSubgraphs, keyOf, kindOf, rememberRun } from "./source.js";
import { addText, showText, showsText } from "./text.js";
import { loadWords } from "./words.js";

const WITH_QUALITY = ["DCSolverCalibrate", "DCSolverCalibrateGrid"];
const WITH_CURVE = ["DCSolverPredictRatios", "DCSolverLoadRatios", "DCSolverCalibrate"];

// ComfyUI keeps showing the last preview of a run in place of the pictures that came of it.
function dropPreview(node) {
  delete app.nodePreviewImages?.[keyOf(node)];
}

app.registerExtension({
  name: "DCSolver",
  commands: panelCommands,
  menuCommands: panelMenu,
  settings: panelSettings,
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DCSolver")) return;
    if (WITH_QUALITY.includes(nodeData.name)) keepQualityLast(nodeType);
    const { onExecuted } = nodeType.prototype;
    nodeType.prototype.onExecuted = function (shown) {
      onExecuted?.apply(this, arguments);
      if (shown?.images?.length) dropPreview(this);
      if (shown?.dc_cpr) rememberRun(this, { cpr: shown.dc_cpr[0] });
      if (shown?.dc_run) rememberRun(this, shown.dc_run[0]);
      if (shown?.dc_curve) rememberRun(this, { curve: shown.dc_curve[0] });
      if (!showsText(this)) return;
      finished(this);
      if (!shown?.text) return;
      const text = shown.text.join("\n");
      rememberRun(this, { text });
      showText(this, text);
    };
  },
  nodeCreated(node) {
    if (WITH_QUALITY.includes(kindOf(node))) showQuality(node);
    if (WITH_CURVE.includes(kindOf(node))) addCurve(node);
    if (showsText(node)) addText(node);
  },
  refreshComboInNodes: forgetAnswers,
  init: loadWords,
  setup() {
    followSubgraphs();
    keepBoxesUpToDate();
    followRuns();
    api.addEventListener("execution_success", forgetAnswers);
    api.addEventListener("reconnected", forgetAnswers);
  },
});
