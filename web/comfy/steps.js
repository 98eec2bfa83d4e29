// Draws where learned steps are, beside those of the schedule that was given: sigma after each step.

import { say } from "./words.js";

const FAINTEST = 1e-6;

export const showsSteps = ({ learned, ratios, sigmas, given }) =>
  Boolean(learned && sigmas && given && ratios.every((ratio) => ratio === 1));

// How many steps lie between two labels, so that their numbers have room.
export const labelEvery = (steps, room) => Math.max(1, Math.ceil((16 * steps) / room));

// Powers of ten with 2 and 5 between, those that lie in the range.
function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
    for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
  }
  return found.filter((value) => value >= low && value <= high);
}

// The parts of the plot; the last sigma, 0, has no place on a scale of powers.
export function stepsParts({ sigmas, given, steps }, { width, height, margin, svg, text }) {
  const above = (values) => values.filter((value) => value > FAINTEST);
  const all = [...above(sigmas), ...above(given)];
  const [low, high] = [Math.min(...all) / 1.25, Math.max(...all) * 1.25];
  const [left, right] = [margin.left, width - margin.right];
  const room = Math.max(height - margin.top - margin.bottom, 1);
  const x = (k) => left + 10 + (k / Math.max(steps, 1)) * (right - left - 20);
  const y = (value) => margin.top + (Math.log(high / value) / Math.log(high / low)) * room;
  const line = (values) => above(values).map((v, k) => `${x(k)},${y(v)}`).join(" ");
  const parts = [];
  const ticks = decades(low, high);
  const every = Math.ceil(ticks.length / Math.max(2, Math.floor(room / 22)));
  for (const value of ticks.filter((_, k) => k % every === 0)) {
    const at = y(value);
    parts.push(svg("line", { class: "dc-grid", x1: left, x2: right, y1: at, y2: at }));
    parts.push(text("dc-tick", left - 6, at + 3.5, Number(value.toPrecision(1)).toString()));
  }
  const skip = labelEvery(steps, right - left);
  for (let k = 0; k <= steps; k += skip) parts.push(text("dc-step", x(k), height - 4, String(k)));
  parts.push(svg("polyline", { class: "dc-given", points: line(given) }));
  parts.push(svg("polyline", { class: "dc-line", points: line(sigmas) }));
  above(sigmas).forEach((value, k) => {
    parts.push(svg("circle", { class: "dc-point", cx: x(k), cy: y(value), r: 3.5 }));
  });
  parts.push(text("dc-key", right, margin.top + 9, say("sigma after each step; dashed: as given")));
  return parts;
}
