// The curve widget: keeps a chart at what its node would give out now.

import { app } from "../../scripts/app.js";
import { addressOf, answersSince, answerTo, knownAnswer } from "./answers.js";
import { Box } from "./box.js";
import { Chart } from "./chart.js";
import { makeEditable } from "./edit.js";
import { kindOf, lastRun, regressionOf, valueOf } from "./source.js";
import { growToFit } from "./text.js";
import { say, short } from "./words.js";

const NAME = "dc_solver_curve";
const HEIGHT = 196;
const SENTENCE_HEIGHT = 88;
// Edits of less than this go to the server whole, so that any mistake in them is told.
const ALL_OF_IT = 1500;

// What a node's curve shows now: a sentence, something to ask the server, or a finished answer.
const WANTED = {
  DCSolverPredictRatios(node) {
    const { wait, ...source } = regressionOf(node);
    if (wait) return { wait };
    const run = lastRun(node);
    const steps = valueOf(node, "steps") ?? run?.steps;
    const cfg = valueOf(node, "cfg") ?? run?.cfg;
    if (steps === undefined || cfg === undefined) {
      return { wait: say("Another node makes steps or cfg: run once to see the curve.") };
    }
    const key = String(Math.round(steps));
    return { ask: { ...source, steps: key, cfg: String(cfg) }, key, kind: "cpr" };
  },
  DCSolverLoadRatios(node) {
    const file = valueOf(node, "file");
    if (!file) {
      return { wait: say("No calibrations yet: run Calibrate Ratios and save its result.") };
    }
    return { ask: { file }, key: file, kind: "ratios" };
  },
  DCSolverCalibrate(node) {
    const found = lastRun(node)?.curve;
    return found ? { show: { before: found.ratios, steps: found.ratios.length, ...found } } : {};
  },
};

const noCpr = ({ file }) =>
  say("{file} holds ratios for one setting, not a CPR: connect its ratios output.", { file });

function onlyCpr({ steps_range: [a, b], cfg_range: range }) {
  const [c, d] = range.map(short);
  return say(
    "A CPR for {a} to {b} steps and CFG {c} to {d}. Connect cpr to Predict Ratios to see its curves.",
    { a, b, c, d },
  );
}

// Learned steps with the reason why their ratios cannot be dragged.
function locked(answer) {
  if (!answer.learned) return answer;
  const why = say("Learned steps: their ratios hold only as they were found, so none can be dragged.");
  return { ...answer, warnings: [why, ...answer.warnings] };
}

class Curve extends Box {
  constructor(node) {
    const chart = new Chart();
    super(node, NAME, chart.element);
    this.chart = chart;
    this.edits = node.widgets?.find((widget) => widget.name === "edits");
    this.predicts = kindOf(node) === "DCSolverPredictRatios";
    this.held = false;
    this.unrecorded = false;
    makeEditable(this.chart, this);
    if (this.edits) hide(this.edits);
  }

  needs() {
    const { answer, said } = this.chart ?? {};
    if (answer || this.predicts) return HEIGHT;
    return said ? SENTENCE_HEIGHT : 0;
  }

  // Cheap enough for every frame: asks nothing unless something has changed.
  update() {
    if (this.held) return;
    super.update();
    const wanted = WANTED[kindOf(this.node)](this.node);
    if (wanted.ask) wanted.ask.edits = this.editsOf(wanted.key);
    const state = JSON.stringify([wanted, answersSince()]);
    if (state === this.state) return;
    this.state = state;
    this.key = wanted.key;
    if (wanted.wait) this.say(wanted.wait);
    else if (wanted.show) this.draw(wanted.show, false);
    else if (wanted.ask) this.ask(wanted);
  }

  // At most one question is on its way; when it is answered, the newest is asked.
  async ask(wanted) {
    const address = addressOf(wanted.ask);
    const known = knownAnswer(address);
    this.next = known ? null : { address, wanted, state: this.state };
    if (known) this.show(known, wanted);
    if (known || this.asking) return;
    this.asking = true;
    try {
      while (this.next) {
        const asked = this.next;
        this.next = null;
        const answer = await answerTo(asked.address);
        if (asked.state !== this.state) continue;
        if (this.held) this.state = null; // to be asked again after the drag
        else this.show(answer, asked.wanted);
      }
    } finally {
      this.asking = false;
    }
  }

  show(answer, { kind, ask }) {
    if (answer.error) this.say(answer.error, answer.error.startsWith("edits"));
    else if (kind === answer.kind) this.draw(locked(answer), Boolean(this.edits) && !answer.learned);
    else this.say(kind === "cpr" ? noCpr(ask) : onlyCpr(answer));
  }

  say(sentence, badEdits = false) {
    const grows = !this.chart.answer && !this.chart.said;
    this.badEdits = badEdits;
    this.chart.say(sentence, badEdits);
    if (grows) growToFit(this.node);
  }

  draw(answer, editable) {
    const grows = !this.chart.answer;
    this.badEdits = false;
    this.chart.show(answer, editable);
    if (grows) growToFit(this.node);
  }

  // What the server needs of the edits: all of a short text, so that any mistake in it is told, else
  // those of this number of steps or this file.
  editsOf(key) {
    const text = this.edits?.value || "";
    if (text.length < ALL_OF_IT) return text;
    const points = readEdits(text)?.[key];
    return points ? JSON.stringify({ [key]: points }) : "";
  }

  change(points) {
    const text = this.edits.value || "";
    const mistakeElsewhere = this.badEdits && text.length < ALL_OF_IT; // as all of it was sent
    const all = (!mistakeElsewhere && readEdits(text)) || {};
    all[this.key] = points(all[this.key] ?? {});
    if (!Object.keys(all[this.key]).length) delete all[this.key];
    const after = Object.keys(all).length ? JSON.stringify(all) : "";
    if (after === text) return;
    this.edits.value = after;
    this.edits.callback?.(after);
    this.unrecorded = true;
    this.update();
  }

  set(index, value) {
    this.change(({ [index]: old, ...others }) =>
      value === null ? others : { ...others, [index]: value },
    );
  }

  clear() {
    this.change(() => ({}));
  }

  hold(on) {
    this.held = on;
  }

  // Makes what has changed one step of ComfyUI's undo.
  done() {
    if (!this.unrecorded) return;
    this.unrecorded = false;
    app.canvas.emitBeforeChange();
    app.canvas.emitAfterChange();
  }

  pan(event) {
    const canvas = app.canvas;
    if (event.type === "wheel") canvas.processMouseWheel(event);
    else if (event.type === "pointerdown") canvas.processMouseDown(event);
    else if (event.type === "pointermove") canvas.processMouseMove(event);
    else if (event.type === "pointerup") canvas.processMouseUp(event);
  }
}

function hide(widget) {
  widget.hidden = true; // on the canvas
  widget.options.hidden = true; // in Vue nodes
  widget.computeSize = () => [0, -4]; // the canvas keeps room for it otherwise
}

function readEdits(text) {
  if (!text) return {};
  try {
    const found = JSON.parse(text);
    return found && typeof found === "object" && !Array.isArray(found) ? found : null;
  } catch {
    return null;
  }
}

export function addCurve(node) {
  if (node.widgets?.some((widget) => widget.name === NAME)) return;
  new Curve(node);
  growToFit(node);
}
