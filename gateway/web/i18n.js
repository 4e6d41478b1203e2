// The pages' words in English and Chinese. Elements name theirs by attributes:
//
//   data-t="key"         the element's text
//   data-t-label="key"   its accessible name, and the tip that a mouse sees
//   data-t-hint="key"    the placeholder of a field
const kept = "baichuan.language";
const words = new Map(); // key -> [English, Chinese]
const listeners = new Set();

// addWords takes {key: [English, Chinese]}.
export function addWords(more) {
  for (const [key, pair] of Object.entries(more)) words.set(key, pair);
}

export let language = firstLanguage();

function firstLanguage() {
  try {
    const chosen = localStorage.getItem(kept);
    if (chosen === "en" || chosen === "zh") return chosen;
  } catch {
    // a browser may keep nothing
  }
  return (navigator.language || "").toLowerCase().startsWith("zh") ? "zh" : "en";
}

// t gives a text in the language of the page; {name} in it stands for values.name.
export function t(key, values = {}) {
  const pair = words.get(key);
  if (!pair) throw new Error(`no words for ${key}`);
  return pair[language === "zh" ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

// translate gives the elements under root their words.
export function translate(root = document) {
  for (const e of root.querySelectorAll("[data-t]")) e.textContent = t(e.dataset.t);
  for (const e of root.querySelectorAll("[data-t-label]")) label(e, t(e.dataset.tLabel));
  for (const e of root.querySelectorAll("[data-t-hint]")) e.placeholder = t(e.dataset.tHint);
}

// label gives an element its accessible name. Buttons without words show it as a tip, too.
export function label(element, text) {
  element.setAttribute("aria-label", text);
  if (element.matches("button, a")) element.title = text;
}

// onLanguage has f called whenever the language has changed.
export function onLanguage(f) {
  listeners.add(f);
}

export function setLanguage(to) {
  language = to;
  try {
    localStorage.setItem(kept, to);
  } catch {
    // then it holds until the page is left
  }
  show();
}

function show() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  translate();
  for (const f of listeners) f();
}

// speak shows the page in its language for the first time.
export function speak() {
  show();
}
