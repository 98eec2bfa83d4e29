// Where the values of a node come from, without queueing: its widgets, primitives and Load Ratios,
// through reroutes, into subgraphs and out of them.

import { app } from "../../scripts/app.js";
import { say } from "./words.js";

const FROM_SUBGRAPH_INPUT = -10; // what a link says that starts at the subgraph's own input
const BYPASSED = 4;
const STORED = "dc_solver.runs";
const MOST_RUNS = 64;

// What nodes told when they last ran, the newest last.  Undo and reload make new nodes, so it is kept
// by their workflow and their place in it.
let runs = stored();

// The instance through which each subgraph was last entered: two of them may differ in values.
const entered = new WeakMap();

export const rootGraph = () => app.rootGraph ?? app.graph;

const workflows = () => app.extensionManager?.workflow;

// The workflow that is open.  Some ids have only zeros.
export function workflow() {
  const { id } = rootGraph();
  return { id: /[1-9a-f]/.test(id ?? "") ? id : null, path: workflows()?.activeWorkflow?.path };
}

// Whether what was one workflow is another now.  Its id stays when it is saved or renamed, which leaves
// nothing under its path; a copy, and a file of it that is opened anew, have the id as well.
function became({ id, path }, now) {
  if (path === now.path) return true;
  return Boolean(id) && id === now.id && workflows()?.getWorkflowByPath?.(path)?.path !== path;
}

export const isOpen = (known) => became(known, workflow());

// Where a node is in a workflow: its graph, its number there and its kind.
export const placeOf = (graph, id, kind) => [graph, id, kind].join(":");
const placeOfNode = (node) => placeOf(node.graph?.id, node.id, kindOf(node));

// What ComfyUI keeps of a node under keys of its own: its id, within a subgraph after that one's.
export const keyOf = ({ graph, id }) => (!graph || graph === rootGraph() ? id : `${graph.id}:${id}`);

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED)).filter(({ place }) => place);
  } catch {
    return []; // none, or not ours
  }
}

// Adds to what is known of the last run of a node in some workflow.
export function rememberRunAt(from, place, shown) {
  const known = runAt(from, place);
  const run = { id: from.id, path: from.path, place, shown: { ...known?.shown, ...shown } };
  runs = [...runs.filter((other) => other !== known), run].slice(-MOST_RUNS);
  try {
    sessionStorage.setItem(STORED, JSON.stringify(runs));
  } catch {
    // The browser's store is full: only a reload of the page forgets it then.
  }
}

const runAt = (from, place) => runs.findLast((run) => run.place === place && became(run, from));

export const rememberRun = (node, shown) => rememberRunAt(workflow(), placeOfNode(node), shown);
export const lastRun = (node) => runAt(workflow(), placeOfNode(node))?.shown;

export function followSubgraphs() {
  app.canvas.canvas.addEventListener("subgraph-opened", ({ detail }) => {
    if (detail.fromNode) entered.set(detail.subgraph, detail.fromNode);
  });
}

export const kindOf = (node) => node?.comfyClass ?? node?.type;

function hostOf(subgraph) {
  const last = entered.get(subgraph);
  if (last && last.graph?.getNodeById(last.id) === last) return last;
  const root = subgraph.rootGraph;
  for (const graph of [root, ...root.subgraphs.values()]) {
    const host = graph.nodes.find((node) => node.subgraph === subgraph);
    if (host) return host;
  }
}

// The subgraph nodes that a graph lies in, the innermost first.
function hostsOf(graph) {
  const hosts = [];
  while (graph && graph.rootGraph && graph !== graph.rootGraph) {
    const host = hostOf(graph);
    if (!host || hosts.includes(host)) break;
    hosts.push(host);
    graph = host.graph;
  }
  return hosts;
}

const linkIn = (graph, id) => (id == null ? undefined : graph.getLink(id));

// What an input is fed by: the widget that holds its value, or the node that makes it.
function feedOf(node, input, hosts) {
  const link = linkIn(node.graph, input.link);
  if (!link) {
    const name = input.widget?.name ?? input.name;
    return { widget: input._widget ?? node.widgets?.find((widget) => widget.name === name) };
  }
  if (link.origin_id !== FROM_SUBGRAPH_INPUT) {
    return makerOf(node.graph.getNodeById(link.origin_id), link.origin_slot, hosts);
  }
  const [host, ...outer] = hosts;
  return host ? feedOfHost(host, link.origin_slot, outer) : {};
}

function feedOfHost(host, slot, outer) {
  const { name } = host.subgraph.inputNode.slots[slot];
  const input = host.inputs.find((other) => other.name === name);
  return input ? feedOf(host, input, outer) : {};
}

function makerOf(node, slot, hosts) {
  if (!node) return {};
  if (node.isSubgraphNode?.()) {
    const inside = node.subgraph;
    const link = linkIn(inside, inside.outputNode.slots[slot]?.linkIds[0]);
    if (!link) return {};
    if (link.origin_id === FROM_SUBGRAPH_INPUT) return feedOfHost(node, link.origin_slot, hosts);
    return makerOf(inside.getNodeById(link.origin_id), link.origin_slot, [node, ...hosts]);
  }
  const type = node.outputs?.[slot]?.type;
  if (kindOf(node) === "Reroute") return feedOf(node, node.inputs[0], hosts);
  if (node.mode === BYPASSED) {
    const input = node.inputs.find((other) => other.type === type);
    return input ? feedOf(node, input, hosts) : {};
  }
  return { node, hosts };
}

// A widget's value, or that of the primitive which feeds it; undefined where only a run can tell.
export function valueOf(node, name, hosts = hostsOf(node.graph)) {
  const input = node.inputs?.find((other) => other.name === name);
  if (!input) return node.widgets?.find((widget) => widget.name === name)?.value;
  const feed = feedOf(node, input, hosts);
  if (feed.widget) return feed.widget.value;
  if (!kindOf(feed.node)?.startsWith("Primitive")) return undefined;
  const first = feed.node.widgets?.[0];
  return first && valueOf(feed.node, first.name, feed.hosts);
}

// The regression that a Predict Ratios node gets: { file } or { cpr }, or what it waits for.
export function regressionOf(node) {
  const input = node.inputs.find((other) => other.name === "cpr");
  const { node: maker, hosts } = feedOf(node, input, hostsOf(node.graph));
  if (!maker) {
    return { wait: say("Choose a CPR file in Load Ratios, or run Calibrate Ratios Grid once.") };
  }
  if (kindOf(maker) === "DCSolverLoadRatios") {
    const file = valueOf(maker, "file", hosts);
    return file ? { file } : { wait: say("Choose a CPR file in Load Ratios.") };
  }
  // A grid node tells itself what it made; of others only the last run of this node knows.
  const teller = kindOf(maker) === "DCSolverCalibrateGrid" ? maker : node;
  const cpr = lastRun(teller)?.cpr;
  return cpr ? { cpr } : { wait: say("Run {title} once to see its curve.", maker) };
}
