// Draws a ratio curve.  Knows nothing of nodes: it is given an answer of the server.

import { letScroll } from "./scroll.js";
import { labelEvery, showsSteps, stepsParts } from "./steps.js";
import { say, short } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 34, right: 10, top: 8, bottom: 17 };

function svg(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function html(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

// Round values between low and high, a few of them.
function ticks(low, high, most) {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const sizes = [0.5, 1, 2, 5, 10].map((k) => k * power);
  const within = (step) => Math.floor(high / step) - Math.ceil(low / step) + 1;
  const least = sizes.findIndex((size) => size >= raw);
  const step = within(sizes[least]) > 1 ? sizes[least] : sizes[least - 1];
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) found.push(k * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// The ends of the vertical axis: the fitted range and all ratios, with room to drag.
function heights({ ratios, before, ratio_range: fitted }) {
  const shown = [...ratios, ...before, ...(fitted ?? []), 0.9, 1.1];
  const low = Math.min(...shown);
  const high = Math.max(...shown);
  const room = Math.max(0.18 * (high - low), 0.05);
  return [low - room, high + room];
}

export class Chart {
  constructor() {
    this.element = html("div", "dc-curve");
    this.element.dataset.state = "empty";
    this.title = html("span", "dc-title");
    this.reset = Object.assign(html("button", "dc-reset", say("Reset")), { type: "button" });
    this.plot = svg("svg", { class: "dc-plot", role: "group", "aria-label": say("Ratios by step") });
    this.back = svg("g");
    this.points = svg("g");
    this.value = svg("text", { class: "dc-value", "text-anchor": "middle" });
    this.plot.append(this.back, this.points, this.value);
    this.ranges = html("div", "dc-ranges");
    this.notes = html("div", "dc-notes");
    letScroll(this.notes);
    this.message = html("div", "dc-message");
    const head = html("div", "dc-head");
    head.append(this.title, this.reset);
    this.element.append(head, this.plot, this.ranges, this.notes, this.message);
    this.answer = null;
    this.said = "";
    this.marked = null;
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // One sentence in place of a curve.
  say(sentence, canReset = false) {
    this.answer = null;
    this.said = sentence;
    this.element.dataset.state = "message";
    this.message.textContent = sentence;
    this.reset.hidden = !canReset;
    this.title.textContent = "";
  }

  show(answer, editable) {
    this.answer = answer;
    this.editable = editable;
    this.element.dataset.state = "curve";
    this.heights = heights(answer);
    this.message.textContent = "";
    const steps = answer.steps === 1 ? say("1 step") : say("{n} steps", { n: answer.steps });
    const title = answer.cfg == null ? steps : `${steps} · CFG ${short(answer.cfg)}`;
    this.title.textContent = answer.learned ? `${say("Learned")} · ${title}` : title;
    this.reset.hidden = !answer.edited?.length;
    this.notes.replaceChildren(...(answer.warnings ?? []).map((note) => html("div", "", note)));
    this.notes.hidden = !answer.warnings?.length;
    this.drawRanges();
    this.draw();
  }

  // Whether the setting is clamped, so that what is drawn is another setting's curve.
  get outside() {
    const { inside } = this.answer;
    return Boolean(inside && !(inside.steps && inside.cfg));
  }

  x(index) {
    const width = this.width - MARGIN.left - MARGIN.right;
    return MARGIN.left + ((index + 0.5) / this.answer.steps) * width;
  }

  y(value) {
    const [low, high] = this.heights;
    return MARGIN.top + ((high - value) / (high - low)) * this.room;
  }

  valueAt(y) {
    const [low, high] = this.heights;
    const value = high - ((y - MARGIN.top) / this.room) * (high - low);
    return Math.min(high, Math.max(low, value));
  }

  get room() {
    return Math.max(this.height - MARGIN.top - MARGIN.bottom, 1);
  }

  draw() {
    this.width = this.plot.clientWidth;
    this.height = this.plot.clientHeight;
    if (!this.answer || !this.width) return;
    this.plot.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.element.classList.toggle("dc-outside", this.outside);
    if (showsSteps(this.answer)) this.drawSteps();
    else {
      this.drawBack();
      this.drawPoints();
    }
  }

  // Ratios of 1 say nothing of what was learned.
  drawSteps() {
    const text = (name, x, y, words) => svg("text", { class: name, x, y }, words);
    const { width, height } = this;
    this.back.replaceChildren(
      ...stepsParts(this.answer, { width, height, margin: MARGIN, svg, text }),
    );
    this.points.replaceChildren();
    this.value.textContent = "";
  }

  drawBack() {
    const { answer, width } = this;
    const { steps, ratios, before, ratio_range: fitted } = answer;
    const [left, right] = [MARGIN.left, width - MARGIN.right];
    const line = (values) => values.map((v, k) => `${this.x(k)},${this.y(v)}`).join(" ");
    const parts = [];
    if (fitted) {
      const [top, bottom] = [this.y(fitted[1]), this.y(fitted[0])];
      const height = Math.max(bottom - top, 1);
      const band = { class: "dc-band", x: left, y: top, width: right - left, height };
      parts.push(svg("rect", band));
    }
    const axis = ticks(...this.heights, Math.max(3, Math.floor(this.room / 24)));
    for (const value of axis.values) {
      const y = this.y(value);
      const label = { class: "dc-tick", x: left - 6, y: y + 3.5, "data-tick": value };
      parts.push(svg("line", { class: "dc-grid", x1: left, x2: right, y1: y, y2: y }));
      parts.push(svg("text", label, value.toFixed(axis.digits)));
    }
    const one = this.y(1);
    parts.push(svg("line", { class: "dc-one", x1: left, x2: right, y1: one, y2: one }));
    const every = labelEvery(steps, right - left);
    for (let k = 0; k < steps; k += every) {
      const label = { class: "dc-step", x: this.x(k), y: this.height - 4 };
      parts.push(svg("text", label, String(k + 1)));
    }
    if (answer.edited?.length) parts.push(svg("polyline", { class: "dc-before", points: line(before) }));
    parts.push(svg("polyline", { class: "dc-line", points: line(ratios) }));
    this.back.replaceChildren(...parts);
  }

  // The points stay the same elements, so that one keeps the focus while it moves.
  drawPoints() {
    const { steps, ratios, dc_order: locked, edited = [], limited = [] } = this.answer;
    while (this.points.childElementCount > steps) this.points.lastChild.remove();
    while (this.points.childElementCount < steps) this.points.append(svg("circle"));
    const radius = Math.max(1.5, Math.min(4.5, (0.35 * this.width) / steps));
    const reachable = this.marked >= locked && this.marked < steps ? this.marked : locked;
    ratios.forEach((ratio, k) => {
      const point = this.points.children[k];
      const free = this.editable && k >= locked;
      const byHand = edited.includes(k);
      const [step, told] = [say("Step {k}", { k: k + 1 }), ratio.toFixed(3)];
      const classes = ["dc-point"];
      if (k < locked) classes.push("dc-locked");
      if (byHand) classes.push("dc-edited");
      if (limited.includes(k)) classes.push("dc-limited");
      const attributes = {
        class: classes.join(" "), cx: this.x(k), cy: this.y(ratio),
        r: k < locked ? 0.7 * radius : radius, "data-index": k, "data-value": ratio,
        role: free ? "slider" : "img", tabindex: free && k === reachable ? 0 : -1,
        "aria-label": step, "aria-valuenow": ratio, "aria-valuemin": -10,
        "aria-valuemax": 10, "aria-orientation": "vertical",
        "aria-valuetext": byHand ? say("{ratio}, set by hand", { ratio: told }) : told,
      };
      for (const [key, value] of Object.entries(attributes)) point.setAttribute(key, value);
      if (!free) {
        point.removeAttribute("tabindex");
        point.setAttribute("aria-label", `${step}: ${told}`);
      }
    });
    this.mark(this.marked);
  }

  // Says the value of one point beside it.
  mark(index) {
    this.marked = index;
    if (this.answer && showsSteps(this.answer)) return;
    const ratio = this.answer?.ratios[index];
    this.value.textContent = ratio === undefined ? "" : ratio.toFixed(3);
    if (ratio === undefined) return;
    const y = this.y(ratio);
    const x = Math.min(Math.max(this.x(index), MARGIN.left + 16), this.width - 20);
    this.value.setAttribute("x", x);
    this.value.setAttribute("y", y > MARGIN.top + 14 ? y - 9 : y + 18);
  }

  // Where the number of steps and the CFG stand within what was calibrated.
  drawRanges() {
    const { answer } = this;
    const rows = [
      ["steps", say("steps"), answer.steps, answer.steps_range, answer.inside?.steps],
      ["CFG", "CFG", answer.cfg, answer.cfg_range, answer.inside?.cfg],
    ].filter(([, , , range]) => range);
    this.ranges.hidden = !rows.length;
    this.ranges.replaceChildren(...rows.map(([id, name, value, [low, high], inside]) => {
      const row = html("div", `dc-range${inside ? "" : " dc-out"}`);
      const track = html("div", "dc-track");
      const dot = html("div", "dc-dot");
      const at = high > low ? (value - low) / (high - low) : value < low ? 0 : value > high ? 1 : 0.5;
      dot.style.left = `${100 * Math.min(1, Math.max(0, at))}%`;
      Object.assign(row.dataset, { name: id, value, inside });
      const words = { name, low: short(low), high: short(high) };
      row.title = say("Calibrated for {name} {low} to {high}", words);
      track.append(dot);
      row.append(html("span", "dc-name", name), html("span", "", words.low), track,
        html("span", "", words.high));
      return row;
    }));
  }
}
