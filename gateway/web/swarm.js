// The page of the swarm: it follows /api/swarm/events and draws what it is told.
import { ask, events, keepKey, Refused } from "./api.js";
import { make, mountSwitches, nameOf, colourOf } from "./frame.js";
import { language, onLanguage, speak, t } from "./i18n.js";
import { chainNow, kill, killed, mountDemo, showDemo } from "./swarm-demo.js";
import { drawCoverage, drawScale, isolated, number, Rows, runsOf, put } from "./swarm-map.js";
import "./swarm-words.js";

const part = (id) => document.getElementById(id);
const rows = new Rows(part("peers"));
let picture = null; // the newest; null: none yet
let model = new URLSearchParams(location.search).get("model") ?? "";
let line = "wait"; // on, wait, off, full, key: how the newest picture came
let following = null; // ends the stream that is followed

// follow keeps the page in touch with the gateway, as long as it is seen.
async function follow() {
  const mine = (following = new AbortController());
  const { signal } = mine;
  let wait = 1000;
  while (!signal.aborted) {
    try {
      for await (const data of events(await ask(path("/api/swarm/events"), { signal }), signal)) {
        wait = 1000;
        online("on", JSON.parse(data));
      }
      online("wait");
    } catch (e) {
      if (signal.aborted) return;
      if (!(e instanceof Refused)) throw e;
      if (await lost(e, signal)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(2 * wait, 15000);
  }
}

const path = (at) => (model ? `${at}?model=${encodeURIComponent(model)}` : at);

// lost says why there is no stream. Where there are too many, the page asks now and then. True: it waits for the user.
async function lost(e, signal) {
  if (e.status === 401) {
    online("key");
    return true;
  }
  if (e.status === 404 && model) {
    model = ""; // another gateway's, in an old address
    return false;
  }
  if (e.status !== 503) {
    online("off");
    return false;
  }
  try {
    online("full", await (await ask(path("/api/swarm"), { signal })).json());
  } catch (again) {
    if (!(again instanceof Refused)) throw again;
    online("off");
  }
  return false;
}

// online notes how the line is, and shows what came over it.
function online(how, newest) {
  line = how;
  if (newest) picture = newest;
  show();
}

// show draws the page anew.
function show() {
  put(part("live"), line === "key" ? "" : t(`live.${line}`));
  part("live").dataset.line = line;
  part("ask-key").hidden = line !== "key";
  if (line === "key") verdict("bad", t("verdict.key"));
  else if (!picture) verdict("wait", t("verdict.wait"));
  if (!picture) return;
  showDemo(picture);
  put(part("model"), picture.model);
  showModels();
  if (line !== "key") judge();
  facts();
  drawScale(part("map"), part("scale"), picture.layers);
  drawCoverage(part("coverage"), picture);
  rows.show(picture, { killed, mine: picture.demo ? new Set(picture.demo.peers) : null, kill, now: chainNow() });
  drawLegend();
  part("map").classList.toggle("kills", Boolean(picture.demo));
  part("empty").hidden = picture.peers.length > 0;
  put(part("empty"), t("map.empty"));
  showWay();
  showJoin();
}

function showModels() {
  const several = picture.models.length > 1;
  part("models").hidden = !several;
  part("model").parentElement.hidden = several;
  if (several && part("models").children.length !== picture.models.length) {
    part("models").replaceChildren(...picture.models.map((name) => make("option", { value: name }, name)));
  }
  part("models").value = picture.model;
}

function verdict(kind, text, speed = "") {
  part("verdict").dataset.kind = kind;
  put(part("verdict"), text);
  put(part("speed"), speed);
}

// judge says in a sentence or two how the swarm is.
function judge() {
  const fewest = Math.min(...picture.coverage);
  const of = (hosts) => listed(runsOf(picture.coverage.map((n) => (n === hosts ? 1 : 0))).filter((run) => run.hosts === 1));
  const speed = picture.answer ? t("verdict.speed", { speed: about(picture.answer.tokens_per_s) }) : "";
  if (picture.peers.length === 0 || fewest === 0 && Math.max(...picture.coverage) === 0) verdict("bad", t("verdict.none"));
  else if (fewest === 0) verdict("bad", t("verdict.gap", { layers: of(0) }));
  else if (fewest === 1) verdict("thin", t("verdict.thin", { layers: of(1) }), speed);
  else verdict("good", t("verdict.good", { hosts: fewest }), speed);
}

// about rounds a number to two digits: it is a prediction.
const about = (n) => number(Number(n.toPrecision(2)));

// listed names the first few of some spans.
function listed(spans) {
  const names = spans.map((s) => `${s.start}:${s.end}`);
  const first = names.slice(0, 4).join(", ");
  return names.length > 4 ? t("verdict.more", { spans: first, n: names.length - 4 }) : first;
}

function facts() {
  const count = (f) => picture.peers.filter(f).length;
  const all = [
    picture.peers.length === 1 ? t("facts.peer") : t("facts.peers", { n: picture.peers.length }),
    t("facts.layers", { n: picture.layers }),
  ];
  const some = {
    "facts.relayed": count((p) => !p.direct && p.state !== "unreachable"),
    "facts.moving": count((p) => p.state === "joining" || p.target),
    "facts.unreachable": count((p) => p.state === "unreachable"),
  };
  for (const [key, n] of Object.entries(some)) if (n > 0) all.push(t(key, { n }));
  if (picture.version) all.push(t("facts.version", { version: picture.version }));
  put(part("facts"), all.join(" · "));
}

// showWay draws the chain that the next answer would take.
function showWay() {
  const chain = picture.answer?.chain ?? [];
  part("way").hidden = chain.length === 0;
  if (chain.length === 0) return;
  const known = new Map(picture.peers.map((p) => [p.peer, p]));
  const ms = number(picture.answer.token_ms);
  put(part("way-what"), t(chain.length > 1 ? "way.what" : "way.one", { ms, n: chain.length }));
  const gateway = () => make("li", { class: "hop end" }, t("way.you"));
  const items = [gateway()];
  let before = null;
  for (const hop of chain) {
    const peer = known.get(hop.peer) ?? { peer: hop.peer };
    items.push(link(between(before, peer)), make("li", { class: `hop peer-${colourOf(hop.peer)}` },
      isolated(nameOf(peer)), make("span", { class: "muted" }, hop.layers)));
    before = peer;
  }
  part("hops").replaceChildren(...items, link(before.rtt_ms), gateway());
}

// between is the round trip from a hop to the next, as either has measured it; from the gateway if there is none before.
function between(from, to) {
  if (!from) return to.rtt_ms;
  return from.near?.find((n) => n.peer === to.peer)?.rtt_ms ?? to.near?.find((n) => n.peer === from.peer)?.rtt_ms;
}

function link(ms) {
  return make("li", { class: "link small muted" }, ms === undefined ? "" : t("map.ms", { n: number(ms) }));
}

// showJoin tells how to take part. The command is made of digits and addresses alone: nothing that a peer calls itself gets in.
function showJoin() {
  part("join").hidden = !picture.join;
  if (!picture.join) return;
  const key = picture.private ? " --swarm-key FILE" : "";
  put(part("command"), `baichuan-node serve ${picture.model_id.slice(0, 16)} --join ${picture.join}${key}`);
  const notes = [];
  if (picture.private) notes.push(t("join.key"));
  if (/^\/ip4\/127\.|^\/ip6\/::1\//.test(picture.join)) notes.push(t("join.loopback"));
  else if (/^\/ip4\/(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)|^\/ip6\/f[cd]/.test(picture.join)) notes.push(t("join.private"));
  else if (picture.join.includes("/p2p-circuit")) notes.push(t("join.relayed"));
  put(part("join-where"), notes.join(" "));
}

async function copy() {
  const range = document.createRange();
  range.selectNodeContents(part("command"));
  getSelection().removeAllRanges();
  getSelection().addRange(range); // where nothing may be written to the clipboard, a key copies it
  try {
    await navigator.clipboard.writeText(part("command").textContent);
    part("copy").textContent = t("join.copied");
    setTimeout(() => (part("copy").textContent = t("join.copy")), 2000);
  } catch {
    part("command").focus();
  }
}

function drawLegend() {
  const marks = ["online", chainNow() ? "answers" : "chain", "coming", "draining", "lost", "gap"];
  if (part("legend").dataset.marks === marks.join() + language) return;
  part("legend").dataset.marks = marks.join() + language;
  part("legend").replaceChildren(...marks.map((mark) =>
    make("li", {}, make("span", { class: `swatch ${mark}`, "aria-hidden": "true" }), t(`legend.${mark}`))));
}

mountSwitches(part("switches"));
mountDemo(show);
part("copy").addEventListener("click", copy);
part("models").addEventListener("change", () => {
  model = part("models").value;
  history.replaceState(null, "", path("/swarm"));
  following.abort();
  follow();
});
part("ask-key").addEventListener("submit", (e) => {
  e.preventDefault();
  keepKey(part("key").value.trim());
  part("key").value = "";
  online("wait");
  follow();
});
document.addEventListener("visibilitychange", () => {
  following?.abort();
  if (!document.hidden && line !== "key") follow();
});
onLanguage(() => {
  document.title = `baichuan-node: ${t("swarm.page")}`;
  show();
});
speak();
follow();
