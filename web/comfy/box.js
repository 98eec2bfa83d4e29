// A part of a node that is an element of ours, on the canvas and in Vue nodes, kept up to date.

import { app } from "../../scripts/app.js";
import { rootGraph } from "./source.js";

const STYLES = new URL("./dc_solver.css", import.meta.url).href;
const AWAY = 60; // frames after which a node that is in no open graph is gone
const live = new Set();

export class Box {
  // On the canvas it is `needs()` high; with `fixed` no higher.
  constructor(node, name, element, fixed = false) {
    loadStyles();
    this.node = node;
    this.element = element;
    const height = () => this.needs();
    this.widget = node.addDOMWidget(name, name, element, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: height,
      ...(fixed ? { getMaxHeight: height } : {}),
    });
    this.widget.serialize = false;
    if (node.graph) live.add(this); // else with the node: copies are made that never enter a graph
    const { onAdded, onRemoved } = node;
    const box = this;
    node.onAdded = function (...args) {
      live.add(box);
      return onAdded?.apply(this, args);
    };
    node.onRemoved = function (...args) {
      live.delete(box);
      element.remove();
      return onRemoved?.apply(this, args);
    };
  }

  needs() {
    return 0;
  }

  // Vue nodes leave out the element of a widget of ours where they are too early a version, where
  // the widget is newer than the last change of a value, or where they go on from another node with
  // the same id, as after an undo.
  update() {
    const { element, node } = this;
    if (element.isConnected || !LiteGraph.vueNodesMode) return;
    if (node.graph !== app.canvas.graph) return;
    const body = document.querySelector(`[data-testid="node-body-${node.id}"]`);
    (body?.querySelector(".lg-node-widgets [node-type]:empty") ?? body)?.append(element);
  }
}

function loadStyles() {
  if (document.querySelector(`link[href="${STYLES}"]`)) return;
  const link = document.createElement("link");
  document.head.append(Object.assign(link, { rel: "stylesheet", href: STYLES }));
}

// Whether a node is part of the open workflow.  ComfyUI does not tell the nodes inside a subgraph
// when their workflow is closed.
function isOpen({ graph, id }, root) {
  const known = graph === root || [...(root.subgraphs?.values() ?? [])].includes(graph);
  return known && Boolean(graph.getNodeById(id));
}

export function keepBoxesUpToDate() {
  const told = new Set();
  const frame = () => {
    const root = rootGraph();
    for (const box of live) {
      try {
        if (!box.node.graph) continue;
        if (isOpen(box.node, root)) {
          box.away = 0;
          box.update();
        } else if ((box.away = (box.away ?? 0) + 1) > AWAY) live.delete(box);
      } catch (error) {
        if (!told.has(error.message)) console.error("DC-Solver: a node cannot be drawn", error);
        told.add(error.message);
      }
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
