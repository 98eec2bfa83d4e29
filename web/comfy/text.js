// The text that a DC-Solver node puts out, such as which ratios ran, inside the node.

import { app } from "../../scripts/app.js";
import { Box } from "./box.js";
import { letScroll } from "./scroll.js";
import { keyOf, kindOf, lastRun } from "./source.js";

const WITH_TEXT = [
  "DCSolverKSampler", "DCSolverSampler", "DCSolverCalibrate", "DCSolverCalibrateGrid",
  "DCSolverPlotRatios", "DCSolverSaveRatios",
];
const NAME = "dc_solver_text";
const MOST = 230; // pixels, from where it scrolls
const AROUND = 20; // the space that the canvas leaves around an element
const boxes = new WeakMap();

class TextBox extends Box {
  constructor(node) {
    const element = Object.assign(document.createElement("div"), { className: "dc-text" });
    super(node, NAME, element, true);
    letScroll(element);
    // In Vue nodes the text could not be selected: the node would move.
    element.addEventListener("pointerdown", (event) => event.button || event.stopPropagation());
    this.show("");
    const { onConfigure } = node;
    const box = this;
    node.onConfigure = function (...args) {
      box.loaded = true;
      return onConfigure?.apply(this, args);
    };
  }

  needs() {
    return this.height ?? 0;
  }

  // Another tab, an undo or a reload of the page makes the node anew, of what was saved of it.
  update() {
    super.update();
    if (this.told || !this.loaded) return;
    const kept = app.nodeOutputs?.[keyOf(this.node)]?.text?.join("\n");
    const text = lastRun(this.node)?.text ?? kept;
    if (text) this.show(text);
  }

  show(text) {
    this.told ||= Boolean(text);
    this.element.textContent = text;
    this.element.hidden = !text;
    this.height = text ? heightOf(text, this.node.size[0]) : 0;
    if (text) growToFit(this.node);
  }
}

// Enough for the text, wrapped to the node's width, whether or not the styles are loaded.
function heightOf(text, width) {
  const probe = Object.assign(document.createElement("div"), { textContent: text });
  Object.assign(probe.style, {
    position: "absolute", visibility: "hidden", width: `${width - AROUND}px`,
    boxSizing: "border-box", padding: "6px 9px", font: "11px/15px Inter, system-ui, sans-serif",
    whiteSpace: "pre-wrap", overflowWrap: "break-word",
  });
  document.body.append(probe);
  const height = probe.offsetHeight;
  probe.remove();
  return Math.min(MOST, height) + AROUND;
}

// ComfyUI draws a node's picture from where its widget begins down to the end of the node.
function pictureLast({ widgets = [] }) {
  const at = widgets.findIndex((widget) => widget.name === "$$canvas-image-preview");
  if (at >= 0 && at < widgets.length - 1) widgets.push(...widgets.splice(at, 1));
}

// Vue nodes fit themselves; a size of ours would look like a change to undo.
export function growToFit(node) {
  pictureLast(node);
  if (LiteGraph.vueNodesMode) return;
  const [width, least] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], least)]);
  app.canvas.setDirty(true, true);
}

// Made with the node: Vue nodes show no widget that is newer than the last change of a value.
export function addText(node) {
  if (!boxes.has(node)) boxes.set(node, new TextBox(node));
  return boxes.get(node);
}

export const showsText = (node) => WITH_TEXT.includes(kindOf(node));
export const showText = (node, text) => addText(node).show(text);
