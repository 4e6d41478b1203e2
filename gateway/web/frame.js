// What all pages have: the switches for language and theme, icons, and small helpers for making elements. Text gets into
// a page as text alone: textContent, never innerHTML.
import { addWords, label, language, onLanguage, setLanguage, t } from "./i18n.js";

addWords({
  "frame.chat": ["Chat", "对话"],
  "frame.swarm": ["Swarm", "节点群"],
  "frame.dark": ["Dark colours", "深色"],
  "frame.light": ["Light colours", "浅色"],
  "frame.skip": ["Skip to the content", "跳到正文"],
  "frame.close": ["Close", "关闭"],
});

const svg = "http://www.w3.org/2000/svg";

// icon gives a picture out of icons.svg; whoever uses it names what it is on.
export function icon(name) {
  const picture = document.createElementNS(svg, "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(svg, "use");
  use.setAttribute("href", `/web/icons.svg#${name}`);
  picture.append(use);
  return picture;
}

// make makes an element: make("p", {class: "note"}, "text", other elements ...). Functions become listeners.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

// iconButton makes a button that shows an icon and is called by the words of a key.
export function iconButton(name, key, click, more = {}) {
  const button = make("button", { type: "button", class: "icon-button", "data-t-label": key, click, ...more }, icon(name));
  label(button, t(key));
  return button;
}

const colours = new Map(); // peer -> the number of its colour

// colourOf gives the number of a peer's colour: the same each time, and as long as there are few peers nobody else's. It
// follows from the peer's id where it can, so that other pages mostly give the same.
export function colourOf(peer) {
  if (!colours.has(peer)) {
    let sum = 0;
    for (const c of peer) sum = (sum * 31 + c.codePointAt(0)) >>> 0;
    const taken = new Set(colours.values());
    const free = [...Array(8).keys()].map((i) => (sum + i) % 8).find((n) => !taken.has(n));
    colours.set(peer, free ?? sum % 8);
  }
  return colours.get(peer);
}

// nameOf gives what a peer is called: as it calls itself, else the end of its id.
export function nameOf(peer) {
  return peer.nick || `…${peer.peer.slice(-6)}`;
}

// mountSwitches adds the buttons for language and theme to an element.
export function mountSwitches(element) {
  const languageButton = make("button", { type: "button", class: "icon-button words", click: () => setLanguage(language === "zh" ? "en" : "zh") });
  const themeButton = make("button", { type: "button", class: "icon-button" });
  const show = () => {
    languageButton.textContent = language === "zh" ? "EN" : "中";
    languageButton.lang = language === "zh" ? "en" : "zh-CN";
    label(languageButton, language === "zh" ? "EN English" : "中文"); // as one reads it and as one says it
    const dark = window.baichuanTheme.isDark;
    themeButton.replaceChildren(icon(dark ? "sun" : "moon"));
    label(themeButton, t(dark ? "frame.light" : "frame.dark"));
  };
  themeButton.addEventListener("click", () => {
    window.baichuanTheme.turn();
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  onLanguage(show);
  show();
  element.append(languageButton, themeButton);
}

// say tells those who hear the page what has happened. A page has an element #said for it.
export function say(text) {
  const said = document.getElementById("said");
  if (said) said.textContent = text;
}
