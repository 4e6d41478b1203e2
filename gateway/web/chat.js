// The chat page: what is shown, and what happens when something is clicked. The modules beside this one each know one thing.
import "./chat-words.js";
import { answer } from "./answer.js";
import { ask, keepKey, key, Refused } from "./api.js";
import { ChainLine } from "./chain.js";
import { Composer } from "./composer.js";
import { askKey, question } from "./dialogs.js";
import { make, mountSwitches, say } from "./frame.js";
import { drawHistory } from "./history.js";
import { label, onLanguage, speak, t } from "./i18n.js";
import { lastSettings, Settings } from "./settings.js";
import * as store from "./store.js";
import { add, choose, newTalk, titleOf, toMarkdown, way } from "./talk.js";
import { Thread } from "./thread.js";
import { Scroller } from "./scroller.js";

const at = (id) => document.getElementById(id);

const talks = new Map(); // by id: those that are kept
const running = new Map(); // id of a talk -> {message, control}
let models = []; // that the gateway has
let swarm = null; // what the gateway tells of it
let current = null; // the talk that is shown; kept from its first message on
let editing = null; // the message that is being edited

const thread = new Thread(at("thread"), { edit, regenerate, choose: turnTo, retry, hurry: () => running.get(current.id)?.control.hurry?.() });
const chain = new ChainLine(at("chain"));
const scroller = new Scroller(at("scroller"), at("thread"), at("to-end"));
const composer = new Composer({ send, stop, cancel: () => edit(null) });
const settings = new Settings();

// ---- what is shown

function draw() {
  const run = running.get(current.id);
  thread.show(current, run?.message ?? null);
  thread.mark(current, editing);
  composer.busy(run !== undefined);
  const list = way(current);
  at("welcome").hidden = list.length > 0;
  const title = titleOf(current);
  at("title").textContent = title || t("chat.new");
  document.title = title ? `${title} · baichuan-node` : "baichuan-node";
  drawChain();
  drawList();
  drawModels();
}

// drawChain shows how the answer that runs is made, or how the newest was.
function drawChain() {
  const run = running.get(current.id);
  chain.show(run?.message ?? way(current).findLast((m) => m.role !== "user") ?? null);
}

function drawList() {
  drawHistory(at("history"), [...talks.values()], current, { rename, download, remove }, (talk) => running.has(talk.id));
}

function drawModels() {
  const select = at("model");
  const names = models.map((m) => m.id);
  if (current.model && names.length && !names.includes(current.model)) names.push(current.model);
  select.hidden = names.length < 2;
  select.replaceChildren(...(select.hidden ? [] : names.map((name) => make("option", { value: name, selected: name === current.model }, name))));
  at("model-name").hidden = names.length !== 1;
  at("model-name").textContent = names[0] ?? "";
}

// ---- which conversation

// show goes to a conversation; null: to a new one.
function show(talk) {
  if (editing) edit(null);
  current = talk ?? newTalk(models[0]?.id ?? "", lastSettings());
  closeSide();
  draw();
  scroller.toEnd();
}

function fromAddress() {
  const talk = talks.get(location.hash.slice(1)) ?? null;
  if (talk !== current && (talk || talks.has(current?.id) || !current)) show(talk);
}

function newChat() {
  if (location.hash) history.pushState(null, "", location.pathname);
  show(null);
  composer.focus();
}

function keep(talk) {
  talks.set(talk.id, talk);
  return store.save(talk);
}

async function rename(talk) {
  const said = await question({ title: t("history.renameTitle"), value: titleOf(talk), agree: t("history.keep") });
  if (!said) return;
  talk.title = said.value;
  await keep(talk);
  draw();
}

async function remove(talk) {
  const sure = await question({
    title: t("history.deleteTitle"), text: t("history.deleteText", { title: titleOf(talk) }), agree: t("history.delete"), danger: true,
  });
  if (!sure) return;
  running.get(talk.id)?.control.abort.abort();
  talks.delete(talk.id);
  await store.remove(talk.id);
  if (talk === current) newChat();
  else draw();
}

async function removeAll() {
  settings.close();
  const sure = await question({ title: t("settings.deleteAllTitle"), text: t("settings.deleteAllText"), agree: t("history.delete"), danger: true });
  if (!sure) return;
  for (const run of running.values()) run.control.abort.abort();
  talks.clear();
  await store.removeAll();
  newChat();
}

function download(talk) {
  save(`${titleOf(talk).replace(/[^\p{L}\p{N}]+/gu, " ").trim().slice(0, 40) || "chat"}.md`, toMarkdown(talk, t("chat.you"), t("chat.answer")), "text/markdown");
}

function save(name, text, kind) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// ---- asking

function send(text) {
  const parent = editing ? editing.parent : current.leaf;
  if (editing) edit(null);
  add(current, parent, "user", text);
  keep(current);
  if (location.hash.slice(1) !== current.id) history.pushState(null, "", `#${current.id}`);
  scroller.follow();
  makeAnswer(current, add(current, current.leaf, "assistant", ""));
}

function regenerate(message) {
  scroller.follow();
  makeAnswer(current, add(current, message.parent, "assistant", ""));
}

// retry has a failed answer made anew: in its place, if nothing had come.
function retry(message, drop) {
  scroller.follow();
  makeAnswer(current, message.content === "" ? message : add(current, message.parent, "assistant", ""), drop);
}

function stop() {
  running.get(current.id)?.control.abort.abort();
}

function edit(message) {
  editing = message;
  composer.edit(message ? message.content : null);
  thread.mark(current, message);
}

function turnTo(message) {
  choose(current, message);
  keep(current);
  draw();
}

// makeAnswer has an answer made, and asks for a key if the gateway does.
async function makeAnswer(talk, message, drop = false) {
  if (running.has(talk.id)) return;
  const abort = new AbortController();
  const control = { abort, signal: abort.signal, drop, hurry: null };
  running.set(talk.id, { message, control });
  const keeping = setInterval(() => keep(talk), 2000); // whoever leaves in mid-answer finds what had come
  if (talk === current) {
    draw();
    say(t("chat.answering"));
  } else drawList();
  try {
    if (models.length === 0) await loadModels(); // the gateway could not be reached when the page was opened
    talk.model ||= models[0]?.id ?? "";
    await withKey(() => answer(talk, message, control, () => changed(talk, message)));
  } catch (e) {
    Object.assign(message, { state: "done", finish: "failed", error: { kind: e instanceof Refused && e.status === 401 ? "key" : "refused", message: e.message } });
  }
  clearInterval(keeping);
  running.delete(talk.id);
  talk.updated = Date.now();
  if (talks.has(talk.id)) await keep(talk);
  if (talk === current) {
    draw();
    if (message.finish !== "failed") say(t("answer.done")); // an error says so itself
  } else drawList();
}

let painting = false;
let behind = false; // something has come since what is being painted

// changed shows what has come, once a frame at most; less often where drawing takes longer, so that a page is never busy
// with that alone.
function changed(talk, message) {
  if (talk !== current) return;
  behind = painting;
  if (!painting) paint(message);
}

function paint(message) {
  painting = true;
  requestAnimationFrame(() => {
    const began = performance.now();
    if (running.get(current.id)?.message === message) {
      thread.update(current, message, message);
      chain.show(message);
      scroller.grown();
    }
    setTimeout(() => {
      painting = false;
      if (behind) {
        behind = false;
        paint(message);
      }
    }, 2 * (performance.now() - began));
  });
}

// withKey does something that may need the gateway's key, and asks for that as often as needed.
async function withKey(f) {
  for (;;) {
    const used = key();
    try {
      return await f();
    } catch (e) {
      if (!(e instanceof Refused) || e.status !== 401) throw e;
      if (key() !== used) continue; // somebody has given another meanwhile
      const secret = await askKey(used !== "");
      if (!secret) throw e;
      keepKey(secret);
      at("change-key").hidden = false;
    }
  }
}

// ---- the gateway

async function loadModels() {
  try {
    const list = await withKey(async () => (await ask("/v1/models")).json());
    models = list.data;
  } catch {
    models = []; // whoever asks something hears why
  }
  if (current && !current.model) current.model = models[0]?.id ?? "";
  drawModels();
}

async function lookAtSwarm() {
  try {
    swarm = await (await ask("/api/swarm")).json();
  } catch {
    swarm = null;
  }
  drawSwarm();
}

function drawSwarm() {
  at("welcome-swarm").textContent = !swarm ? ""
    : swarm.missing.length ? t("welcome.gaps", { missing: swarm.missing.join(", ") })
      : t("welcome.whole", { peers: swarm.peers.filter((p) => p.state === "online").length, layers: swarm.layers });
}

// ---- the frame

function openSide() {
  at("side").classList.add("open");
  at("veil").hidden = false;
  at("open-side").setAttribute("aria-expanded", "true");
  at("close-side").focus();
}

function closeSide() {
  if (!at("side").classList.contains("open")) return;
  at("side").classList.remove("open");
  at("veil").hidden = true;
  at("open-side").setAttribute("aria-expanded", "false");
}

function drawSuggestions() {
  at("suggestions").replaceChildren(...["welcome.1", "welcome.2", "welcome.3", "welcome.4"].map((k) =>
    make("button", { type: "button", class: "button", click: () => send(t(k)) }, t(k))));
}

function listen() {
  at("new-chat").addEventListener("click", newChat);
  at("open-side").addEventListener("click", openSide);
  for (const id of ["close-side", "veil"]) {
    at(id).addEventListener("click", () => {
      closeSide();
      at("open-side").focus();
    });
  }
  at("side").addEventListener("keydown", (e) => {
    if (e.key === "Escape") closeSide();
  });
  at("model").addEventListener("change", (e) => {
    current.model = e.target.value;
    if (talks.has(current.id)) keep(current);
  });
  at("open-settings").addEventListener("click", () => {
    const talk = current;
    settings.open(talk.settings, models.find((m) => m.id === talk.model)?.defaults, (changed) => {
      talk.settings = changed;
      if (talks.has(talk.id)) keep(talk);
    });
  });
  at("export").addEventListener("click", () => save("conversations.json", JSON.stringify([...talks.values()], null, 2), "application/json"));
  at("delete-all").addEventListener("click", removeAll);
  at("change-key").addEventListener("click", async () => {
    settings.close();
    const secret = await askKey(false);
    if (secret === null) return;
    keepKey(secret);
    await loadModels();
    lookAtSwarm();
  });
  addEventListener("pagehide", () => {
    for (const id of running.keys()) if (talks.has(id)) keep(talks.get(id));
  });
  addEventListener("popstate", fromAddress);
  addEventListener("hashchange", fromAddress);
  addEventListener("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && e.shiftKey && e.key.toLowerCase() === "o") {
      e.preventDefault();
      newChat();
    }
  });
  setInterval(() => { // the countdown of an answer that waits
    const run = running.get(current.id);
    if (run?.message.state === "retrying") thread.update(current, run.message, run.message);
  }, 500);
}

// fromOthers takes what another tab has kept, but for what is being answered here.
function fromOthers(list) {
  const kept = new Map(list.map((talk) => [talk.id, talk]));
  for (const [id, talk] of talks) if (running.has(id)) kept.set(id, talk);
  talks.clear();
  for (const [id, talk] of kept) talks.set(id, talk);
  if (talks.has(current.id)) current = talks.get(current.id);
  draw();
}

async function start() {
  mountSwitches(at("switches"));
  onLanguage(() => {
    drawSuggestions();
    thread.clear();
    if (current) draw();
    drawSwarm();
  });
  const opened = await store.open();
  for (const talk of opened.talks) {
    for (const m of Object.values(talk.messages)) if (m.state && m.state !== "done") Object.assign(m, { state: "done", finish: "stopped" });
    talks.set(talk.id, talk);
  }
  current = newTalk("", lastSettings());
  speak();
  if (!opened.kept) say(t("error.store"));
  at("change-key").hidden = key() === "";
  listen();
  store.onOthers(fromOthers);
  show(talks.get(location.hash.slice(1)) ?? null);
  composer.focus();
  await loadModels();
  await lookAtSwarm();
}

start();
