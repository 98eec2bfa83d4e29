// What DC-Solver nodes show of themselves: text, and the curve of their ratios.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { forgetAnswers } from "./answers.js";
import { keepBoxesUpToDate } from "./box.js";
import { addCurve } from "./curve.js";
import { finished, followRuns, isOurs, told } from "./running.js";
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
      if (!isOurs()) {
        // ComfyUI gives it to the node of the same number in whatever workflow is open by now.
        delete app.nodeOutputs?.[keyOf(this)];
        return;
      }
      if (shown?.images?.length) dropPreview(this);
      const found = told(shown);
      if (Object.keys(found).length) rememberRun(this, found);
      if (!showsText(this)) return;
      finished(this);
      if (found.text !== undefined) showText(this, found.text);
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
