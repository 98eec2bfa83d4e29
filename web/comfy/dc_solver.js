// Shows the text that a DC-Solver node puts out, such as which ratios ran, inside the node.

import { app } from "../../scripts/app.js";
import { ComfyWidgets } from "../../scripts/widgets.js";

const NAME = "dc_solver_text";

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

app.registerExtension({
  name: "DCSolver.Text",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DCSolver")) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (message) {
      onExecuted?.apply(this, arguments);
      if (!message?.text?.length) return;
      const isNew = !this.widgets?.some((widget) => widget.name === NAME);
      textWidget(this).value = message.text.join("\n");
      if (isNew) {
        const [width, height] = this.computeSize();
        this.setSize([Math.max(this.size[0], width), Math.max(this.size[1], height)]);
      }
      app.graph.setDirtyCanvas(true, true);
    };
  },
});
