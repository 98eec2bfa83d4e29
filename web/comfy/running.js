// What a running node tells before it is done: how far a calibration is, which ratios were chosen.

import { api } from "../../scripts/api.js";
import {
  isOpen, lastRun, placeOf, rememberRun, rememberRunAt, rootGraph, workflow,
} from "./source.js";
import { showText, showsText } from "./text.js";
import { say } from "./words.js";

const underWay = new Set(); // nodes of which what they tell is only for now
const queued = new Map(); // what was queued on this page, by the run's id: the workflow and its nodes
const MOST_QUEUED = 500;
let current; // the id of the run whose results arrive

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

function followQueue() {
  const { queuePrompt } = api;
  api.queuePrompt = async function (number, prompt, ...more) {
    const from = { ...workflow(), graph: prompt?.workflow, nodes: prompt?.output };
    const answer = await queuePrompt.call(this, number, prompt, ...more);
    if (answer?.prompt_id) queued.set(answer.prompt_id, from);
    if (queued.size > MOST_QUEUED) queued.delete(queued.keys().next().value);
    return answer;
  };
}

// Whether what arrives is of the open workflow; another one may have been queued.  Of a run that was
// queued before the page was loaded only the server knows the graph.
export function isOurs(graph) {
  const run = queued.get(current);
  return run ? isOpen(run) : !graph || graph === rootGraph().id;
}

// What a node put out, of what is kept of its last run.
export function told(output) {
  const { text, dc_cpr: cpr, dc_curve: curve, dc_run: run } = output ?? {};
  const found = { ...run?.[0] };
  if (cpr) found.cpr = cpr[0];
  if (curve) found.curve = curve[0];
  if (text) found.text = text.join("\n");
  return found;
}

// What a node tells of a workflow that is not open is kept for when it is opened again.
function keep(run, id, shown) {
  const kind = run?.nodes?.[id]?.class_type;
  if (!kind?.startsWith("DCSolver") || isOpen(run)) return;
  const hosts = String(id).split(":");
  const last = hosts.pop();
  let graph = run.graph;
  for (const host of hosts) {
    const { type } = graph?.nodes?.find((node) => String(node.id) === host) ?? {};
    graph = run.graph.definitions?.subgraphs?.find((other) => other.id === type);
  }
  if (graph) rememberRunAt(run, placeOf(graph.id, last, kind), shown);
}

function tell({ detail: { node: id, text, passing, graph } }) {
  if (!isOurs(graph)) {
    if (!passing) keep(queued.get(current), id, { text });
    return;
  }
  const node = nodeOf(id);
  if (!node || !showsText(node)) return;
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
  followQueue();
  api.addEventListener("execution_start", ({ detail }) => (current = detail?.prompt_id));
  api.addEventListener("executed", ({ detail }) => {
    keep(queued.get(detail.prompt_id), detail.node, told(detail.output));
  });
  for (const end of ["execution_success", "execution_interrupted", "execution_error"]) {
    api.addEventListener(end, ({ detail }) => queued.delete(detail?.prompt_id));
  }
  api.addEventListener("dc_solver.text", tell);
  api.addEventListener("execution_interrupted", () => stop(say("Cancelled.")));
  api.addEventListener("execution_error", () => stop(""));
  api.addEventListener("reconnected", () => stop("")); // what ran is gone, or its end was not told
}
