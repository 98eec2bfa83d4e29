// What a running node tells before it is done: how far a calibration is, which ratios were chosen.

import { api } from "../../scripts/api.js";
import { lastRun, rememberRun, rootGraph } from "./source.js";
import { showText, showsText } from "./text.js";
import { say } from "./words.js";

const underWay = new Set(); // nodes of which what they tell is only for now

// The node of an id such as "12", or "12:3" inside a subgraph.
function nodeOf(id) {
  let graph = rootGraph();
  let node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part)) ?? graph?.getNodeById(part);
    graph = node?.subgraph;
  }
  return node;
}

// Only on a node of the workflow that was queued: another one may be open by now.
function tell({ detail: { node: id, text, passing, graph } }) {
  const node = nodeOf(id);
  if (!node || !showsText(node) || (graph && graph !== rootGraph().id)) return;
  if (passing) underWay.add(node);
  else {
    underWay.delete(node);
    rememberRun(node, { text });
  }
  showText(node, text);
}

// A run that ends early must not leave "2 min left" behind.
function stop(sentence) {
  for (const node of underWay) {
    const before = sentence && lastRun(node)?.curve;
    showText(node, before ? `${sentence} ${say("The rest is of the run before.")}` : sentence);
  }
  underWay.clear();
}

export const finished = (node) => underWay.delete(node);

export function followRuns() {
  api.addEventListener("dc_solver.text", tell);
  api.addEventListener("execution_interrupted", () => stop(say("Cancelled.")));
  api.addEventListener("execution_error", () => stop(""));
  api.addEventListener("reconnected", () => stop("")); // what ran is gone, or its end was not told
}
