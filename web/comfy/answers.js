// Asks the server for curves: the regression is evaluated there and nowhere else.

import { api } from "../../scripts/api.js";
import { say } from "./words.js";

const MOST_KEPT = 500;
const kept = new Map();
let generation = 0;

// Files may have changed: what was answered so far is no longer to be trusted.
export function forgetAnswers() {
  kept.clear();
  generation += 1;
}

export const answersSince = () => generation;

export const addressOf = (question) => `/dc_solver/curve?${new URLSearchParams(question)}`;

export const knownAnswer = (address) => kept.get(address);

export async function answerTo(address) {
  const before = generation;
  let answer;
  try {
    const response = await api.fetchApi(address, { cache: "no-store" });
    answer = await response.json();
  } catch {
    return { error: say("ComfyUI does not answer.") };
  }
  if (before === generation) {
    kept.set(address, answer);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return answer;
}
