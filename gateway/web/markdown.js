// Markdown to elements. What a model says is a stranger's text: markdown-it is told to take HTML for plain text, DOMPurify
// then lets through nothing but the elements and attributes below, pictures become links, and the page's policy would let
// nothing be loaded or executed even so.
import MarkdownIt from "./lib/markdown-it/markdown-it.esm.min.mjs";
import DOMPurify from "./lib/dompurify/purify.es.mjs";
import highlighter from "./lib/highlight.js/highlight.min.js";
import { iconButton, make } from "./frame.js";
import { t } from "./i18n.js";
import { copy } from "./copy.js";

const parser = new MarkdownIt("default", { html: false, linkify: true, breaks: true, highlight });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
parser.validateLink = (url) => /^(https?:\/\/|mailto:)/i.test(url.trim());

const allowed = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "span", "em", "strong", "s", "a",
    "table", "thead", "tbody", "tr", "th", "td", "div",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "rel", "target"],
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["rel", "start", "target"], // which hold no address
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// Beyond this a block stays in one colour: the highlighter would take longer than a frame.
const mostHighlighted = 20000;

function highlight(code, language) {
  if (!language || !highlighter.getLanguage(language) || code.length > mostHighlighted) return "";
  return highlighter.highlight(code, { language, ignoreIllegals: true }).value;
}

const rules = parser.renderer.rules;

rules.link_open = (tokens, i, options, env, self) => {
  tokens[i].attrSet("rel", "noopener noreferrer nofollow");
  tokens[i].attrSet("target", "_blank");
  tokens[i].attrSet("title", tokens[i].attrGet("href")); // where it leads, whatever it says
  return self.renderToken(tokens, i, options);
};

// A picture would be fetched from somewhere, by everybody who reads this: it is a link.
rules.image = (tokens, i) => {
  const url = tokens[i].attrGet("src");
  const name = parser.utils.escapeHtml(t("chat.image", { name: tokens[i].content || url }));
  if (!parser.validateLink(url)) return name;
  const safe = parser.utils.escapeHtml(url);
  return `<a href="${safe}" title="${safe}" rel="noopener noreferrer nofollow" target="_blank">${name}</a>`;
};

// The policy allows no style attributes: columns are aligned by classes.
for (const cell of ["th_open", "td_open"]) {
  rules[cell] = (tokens, i, options, env, self) => {
    const side = /text-align:(center|right)/.exec(tokens[i].attrGet("style") ?? "");
    tokens[i].attrs = side ? [["class", side[1]]] : null;
    return self.renderToken(tokens, i, options);
  };
}

const shown = new WeakMap(); // element -> HTML of its blocks

// render shows a text in an element. Blocks that are as before stay the same elements: what is selected stays selected
// while an answer grows.
export function render(element, text) {
  const before = shown.get(element) ?? [];
  const blocks = blocksOf(text);
  shown.set(element, blocks);
  blocks.forEach((html, i) => {
    if (html === before[i]) return;
    const block = blockOf(html);
    if (element.children[i]) element.children[i].replaceWith(block);
    else element.append(block);
  });
  while (element.children.length > blocks.length) element.lastElementChild.remove();
}

// blocksOf gives the HTML of each of a text's outermost blocks.
function blocksOf(text) {
  const env = {};
  const blocks = [];
  let block = [];
  for (const token of parser.parse(text, env)) {
    block.push(token);
    if (token.level === 0 && token.nesting !== 1) {
      blocks.push(parser.renderer.render(block, parser.options, env));
      block = [];
    }
  }
  return blocks;
}

function blockOf(html) {
  const clean = DOMPurify.sanitize(html, allowed);
  let block = clean.firstElementChild;
  if (clean.children.length !== 1) {
    block = make("div");
    block.append(clean);
  }
  if (block.matches("table")) return make("div", { class: "table", tabindex: "0", role: "region", "aria-label": t("chat.answer") }, block);
  if (block.matches("pre")) return codeBlock(block);
  for (const pre of block.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre));
  return block;
}

// codeBlock gives code a head, with its language and a button that copies it.
function codeBlock(pre) {
  const code = pre.querySelector("code");
  const language = /(?:^|\s)language-(\S+)/.exec(code?.className ?? "")?.[1] ?? "";
  const button = iconButton("copy", "chat.copyCode", () => copy(button, code?.textContent ?? pre.textContent));
  const body = pre.cloneNode(true); // pre keeps its place until this takes it
  body.tabIndex = 0; // so that the arrow keys scroll it
  return make("div", { class: "code" }, make("div", { class: "code-head" }, make("span", {}, language), button), body);
}
