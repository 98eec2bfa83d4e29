// The text that a DC-Solver node puts out, such as which ratios ran, inside the node.

import { app } from "../../scripts/app.js";
import { ComfyWidgets } from "../../scripts/widgets.js";

const NAME = "dc_solver_text";

// Enough for the text, wrapped to the node's width, up to a limit from where it scrolls.
function heightOf(text, width) {
  const columns = Math.max(20, Math.floor(width / 6.5));
  const rows = text
    .split("\n")
    .reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
  return Math.min(220, 14 * rows + 14);
}

function textWidget(node) {
  const known = node.widgets?.find((widget) => widget.name === NAME);
  if (known) return known;
  const { widget } = ComfyWidgets.STRING(node, NAME, ["STRING", { multiline: true }], app);
  const element = widget.element ?? widget.inputEl;
  element.readOnly = true;
  element.style.opacity = "0.75";
  // Shown only: neither sent with the prompt nor saved with the workflow.
  widget.options.serialize = false;
  widget.serialize = false;
  return widget;
}

// Vue nodes fit themselves; a size of ours would look like a change to undo.
// ComfyUI draws a node's picture from where its widget begins down to the end of the node.
function pictureLast({ widgets = [] }) {
  const at = widgets.findIndex((widget) => widget.name === "$$canvas-image-preview");
  if (at >= 0 && at < widgets.length - 1) widgets.push(...widgets.splice(at, 1));
}

export function growToFit(node) {
  pictureLast(node);
  if (LiteGraph.vueNodesMode) return;
  const [width, least] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], least)]);
  app.canvas.setDirty(true, true);
}

export function showText(node, text) {
  const widget = textWidget(node);
  widget.value = text;
  const height = heightOf(text, node.size[0]);
  widget.options.getMinHeight = () => height;
  growToFit(node);
}
