// What the front end says, in the language of ComfyUI's settings.  English is in the code; the other
// languages are in locales/*/main.json, which ComfyUI serves.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

let translations = {};

export async function loadWords() {
  try {
    translations = await api.getCustomNodesI18n();
  } catch {
    translations = {}; // English, then
  }
}

// The sentence in the user's language, with {name} replaced by values.name.
export function say(sentence, values = {}) {
  const language = app.extensionManager?.setting?.get("Comfy.Locale");
  const said = translations[language]?.dcSolver?.[sentence] ?? sentence;
  return said.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

// A number as people write it, without digits that say nothing.
export const short = (number) => String(+number.toFixed(2));
