// The settings of a conversation: what is left empty, the model decides.
import { make } from "./frame.js";
import { t } from "./i18n.js";

const kept = "baichuan.settings";

const fields = [
  { name: "temperature", low: 0, high: 2, step: 0.05 },
  { name: "top_p", low: 0, high: 1, step: 0.05 },
  { name: "top_k", low: 0, high: 1000000, step: 1 },
  { name: "repetition_penalty", low: 0.01, high: 10, step: 0.01 },
  { name: "max_tokens", low: 1, high: 1000000, step: 1 },
  { name: "seed", low: 0, high: Number.MAX_SAFE_INTEGER, step: 1 },
];

// lastSettings are those that a new conversation begins with.
export function lastSettings() {
  try {
    return JSON.parse(localStorage.getItem(kept)) ?? {};
  } catch {
    return {};
  }
}

export class Settings {
  #dialog = document.getElementById("settings");
  #form = document.getElementById("settings-form");
  #box = document.getElementById("samplings");
  #done = null; // is given the settings when the window closes

  constructor() {
    document.getElementById("close-settings").addEventListener("click", () => this.#dialog.close());
    document.getElementById("reset").addEventListener("click", () => this.#fill({ system: this.#form.elements.system.value }));
    this.#dialog.addEventListener("close", () => this.#keep());
  }

  // open shows settings, and as hints what the model does without. done is given what they have become.
  open(settings, defaults, done) {
    this.#done = done;
    this.#box.replaceChildren(...fields.map((f) => fieldOf(f, defaults)));
    this.#fill(settings);
    this.#dialog.showModal();
  }

  close() {
    this.#dialog.close();
  }

  #fill(settings) {
    for (const f of fields) this.#form.elements[f.name].value = settings[f.name] ?? "";
    this.#form.elements.system.value = settings.system ?? "";
  }

  // #keep reads the fields. A number that is out of range counts as none.
  #keep() {
    const settings = {};
    for (const f of fields) {
      const input = this.#form.elements[f.name];
      if (input.value !== "" && input.checkValidity()) settings[f.name] = Number(input.value);
    }
    const system = this.#form.elements.system.value.trim();
    if (system) settings.system = system;
    try {
      localStorage.setItem(kept, JSON.stringify(settings));
    } catch {
      // then they hold for this conversation
    }
    this.#done?.(settings);
  }
}

function fieldOf(f, defaults) {
  const id = `setting-${f.name}`;
  const hint = f.name === "seed" ? t("settings.random") : defaults?.[f.name] === undefined ? "" : String(defaults[f.name]);
  return make("div", { class: "field" },
    make("label", { for: id }, t(`settings.${f.name}`)),
    make("input", {
      class: "input numbers", id, name: f.name, type: "number", inputmode: "decimal", min: String(f.low), max: String(f.high),
      step: f.step < 1 ? "any" : "1", placeholder: hint, "aria-describedby": `${id}-tip`, autocomplete: "off",
    }),
    make("span", { class: "tip muted", id: `${id}-tip` }, t(`settings.${f.name}Tip`)));
}
