// The picture of the swarm: a scale of layers, how many hosts each layer has, and a row for each peer. It is a table, drawn
// as a grid; rows are kept from one picture to the next, so that nobody loses their place in it.
import { colourOf, make, nameOf } from "./frame.js";
import { language, t } from "./i18n.js";

// span reads "A:B".
export function span(text) {
  const [start, end] = text.split(":").map(Number);
  return { start, end };
}

// number writes a number in the page's language, with as many digits as a reader wants.
export function number(n) {
  const digits = Math.abs(n) < 10 ? 1 : 0;
  const compact = Math.abs(n) >= 100000 ? { notation: "compact", maximumFractionDigits: 0 } : {};
  return new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en", { maximumFractionDigits: digits, ...compact }).format(n);
}

// put changes an element's text if it is another one: else a reader of the screen would hear it again.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// isolated is somebody else's text: what direction it is written in is its own matter.
export const isolated = (text, attributes = {}) => make("bdi", attributes, text);

// lay puts an element over layers A:B of a track.
function lay(element, layers) {
  element.style.gridColumn = `${layers.start + 1} / ${layers.end + 1}`;
  return element;
}

// block draws layers A:B of a track, with their name: within, or beside where that would not fit on a phone either.
function block(kind, text, layers) {
  const at = span(text);
  const name = make("span", { "aria-hidden": "true" }, text);
  if ((at.end - at.start) / layers >= 0.13) return [lay(make("div", { class: `span ${kind}` }, name), at)];
  const before = at.start > layers / 2;
  name.className = before ? "beside before" : "beside";
  return [lay(make("div", { class: `span ${kind}` }), at), lay(name, before ? { start: 0, end: at.start } : { start: at.end, end: layers })];
}

// drawScale writes numbers over the layers, few enough that they don't touch each other; the lines below stand where they do.
export function drawScale(table, element, layers) {
  const step = [1, 2, 4, 5, 8, 10, 20, 50, 100, 200].find((s) => layers / s <= 8) ?? layers;
  table.style.setProperty("--layers", layers);
  table.style.setProperty("--step", step);
  const marks = [];
  for (let i = 0; i < layers; i += step) {
    if (layers - i < step / 2) break;
    marks.push(lay(make("span", { "aria-hidden": "true" }, String(i)), { start: i, end: Math.min(i + step, layers) }));
  }
  marks.push(lay(make("span", { class: "last", "aria-hidden": "true" }, String(layers)), { start: layers - 1, end: layers }));
  element.replaceChildren(...marks);
}

// runsOf joins neighbouring layers with the same number of hosts.
export function runsOf(counts) {
  const runs = [];
  counts.forEach((hosts, i) => {
    const last = runs.at(-1);
    if (last && last.hosts === hosts) last.end = i + 1;
    else runs.push({ start: i, end: i + 1, hosts });
  });
  return runs;
}

// drawCoverage draws a column for each run of layers: as high as it has hosts. A layer without any is a gap.
export function drawCoverage(body, picture) {
  const counts = picture.coverage;
  const most = Math.max(1, ...counts);
  const track = make("div", { class: "track" });
  for (const run of runsOf(counts)) {
    const layers = `${run.start}:${run.end}`;
    const words = run.hosts === 0 ? t("map.gap", { layers }) : t("map.run", { layers, n: run.hosts });
    const kind = run.hosts === 0 ? "gap" : run.hosts === 1 ? "thin" : "";
    const column = make("div", { class: `column ${kind}`, title: words },
      make("span", { class: roomFor(run, picture.layers), "aria-hidden": "true" }, String(run.hosts)), make("span", { class: "unseen" }, `${words}; `));
    column.style.setProperty("--high", run.hosts === 0 ? 1 : Math.sqrt(run.hosts / most));
    track.append(lay(column, run));
  }
  const row = make("tr", { role: "row", class: "row coverage" },
    make("th", { role: "rowheader", class: "name" }, t("map.hosts")), make("td", { role: "cell", class: "layers" }, track));
  body.replaceChildren(row);
}

// roomFor says whether a number fits into a column: on a desk, on a phone.
function roomFor(run, layers) {
  const each = (run.end - run.start) / layers / String(run.hosts).length;
  return each < 0.016 ? "nowhere" : each < 0.03 ? "on-desk" : "";
}

// stateOf is how a peer is shown: as it says, unless more is known.
export function stateOf(peer, killed) {
  if (killed.has(peer.peer) && peer.state === "unreachable") return "killed";
  if (peer.state === "online" && peer.target) return "moving";
  return peer.state;
}

// reachOf says how a peer is reached, in a word or two.
function reachOf(peer) {
  if (peer.state === "unreachable") return t("reach.no");
  const way = peer.reached ?? "";
  const ip6 = way.endsWith("ip6") ? ` ${t("reach.ip6")}` : "";
  if (way.startsWith("relay") || !peer.direct) return t("reach.relay");
  return t(way.startsWith("punched") ? "reach.punched" : "reach.direct") + ip6;
}

// Rows are those of the peers. kill, if it is not null, is called with a peer that is to be killed.
export class Rows {
  #body;
  #rows = new Map(); // peer id -> row

  constructor(body) {
    this.#body = body;
  }

  // show draws a picture, and a chain in it: of the answer that is made (now), or the one that the next would take. mine are
  // the peers that may be killed, null outside of a demo.
  show(picture, { killed, mine, kill, now }) {
    const chain = new Map((now ?? picture.answer?.chain ?? []).map((hop) => [hop.peer, hop.layers]));
    const names = new Map(picture.peers.map((p) => [p.peer, nameOf(p)]));
    const there = new Set(picture.peers.map((p) => p.peer));
    for (const [id, row] of this.#rows) {
      if (!there.has(id)) this.#remove(id, row);
    }
    let at = this.#body.firstElementChild;
    for (const peer of picture.peers) {
      let row = this.#rows.get(peer.peer);
      if (!row) this.#rows.set(peer.peer, (row = new Row(peer)));
      row.show(peer, { layers: picture.layers, chain: chain.get(peer.peer), names, now: Boolean(now), state: stateOf(peer, killed), mine, kill });
      if (row.element === at) at = at.nextElementSibling;
      else this.#body.insertBefore(row.element, at);
    }
  }

  #remove(id, row) {
    this.#rows.delete(id);
    const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
    const held = row.element.contains(document.activeElement);
    row.element.remove();
    if (held) (next?.querySelector("button") ?? document.getElementById("main")).focus();
  }
}

// Row is a peer's.
class Row {
  constructor(peer) {
    this.open = false;
    this.id = peer.peer;
    this.nick = isolated("");
    this.state = make("span", { class: "state" });
    this.toggle = make("button", { type: "button", class: "who", "aria-expanded": "false", click: () => this.#turn() },
      make("span", { class: `dot peer-${colourOf(peer.peer)}`, "aria-hidden": "true" }), this.nick);
    this.track = make("div", { class: "track" });
    this.cells = Object.fromEntries(["speed", "cache", "reach", "rtt", "version"].map((name) => [name, make("span")]));
    this.act = make("td", { role: "cell", class: "do" });
    this.more = make("td", { role: "cell", class: "more", hidden: true });
    const what = (name) => make("span", { class: "what", "aria-hidden": "true", "data-t": `short.${name}` }, t(`short.${name}`));
    const cell = (name, kind) => make("td", { role: "cell", class: kind ?? name }, name === "speed" || name === "cache" ? what(name) : "", this.cells[name]);
    this.element = make("tr", { role: "row", class: "row peer" },
      make("th", { role: "rowheader", class: "name" }, this.toggle, this.state), make("td", { role: "cell", class: "layers" }, this.track),
      cell("speed", "number"), cell("cache", "number"), cell("reach"), cell("rtt", "number rtt"), cell("version"), this.act, this.more);
  }

  #turn() {
    this.open = !this.open;
    this.toggle.setAttribute("aria-expanded", String(this.open));
    this.more.hidden = !this.open;
    if (this.open) this.#tellMore();
  }

  show(peer, seen) {
    this.peer = peer;
    this.seen = seen;
    this.element.dataset.state = seen.state;
    put(this.nick, nameOf(peer));
    this.toggle.title = peer.peer;
    put(this.state, t(`state.${seen.state}`));
    this.#drawTrack();
    const unknown = t("map.unknown");
    put(this.cells.speed, peer.decode_tokens_per_s > 0 ? number(peer.decode_tokens_per_s) : unknown);
    put(this.cells.cache, number(peer.cache_tokens_free));
    put(this.cells.reach, reachOf(peer));
    put(this.cells.rtt, peer.rtt_ms === undefined ? unknown : t("map.ms", { n: number(peer.rtt_ms) }));
    this.cells.version.title = peer.version ?? "";
    this.cells.version.replaceChildren(isolated(peer.version || unknown));
    this.#offerKill();
    if (this.open) this.#tellMore();
  }

  // drawTrack draws what the peer serves, where it goes, and which of its layers the next answer would use.
  #drawTrack() {
    const { layers, chain, state, now } = this.seen;
    const key = [layers, this.peer.layers, this.peer.target, chain, now, state, language].join(" ");
    if (key === this.drawn) return;
    this.drawn = key;
    const colour = `peer-${colourOf(this.peer.peer)}`;
    const words = [t("map.serves", { layers: this.peer.layers })];
    const parts = [];
    if (this.peer.target) {
      words.push(t("map.target", { layers: this.peer.target }));
      parts.push(...block(`target ${colour}`, this.peer.target, layers));
    }
    parts.push(...block(colour, this.peer.layers, layers));
    if (chain) {
      words.push(t(now ? "legend.answers" : "legend.chain"));
      parts.push(lay(make("div", { class: `used ${colour}` }), span(chain)));
    }
    this.track.title = words.join("; ");
    this.track.replaceChildren(...parts, make("span", { class: "unseen" }, words.join("; ")));
  }

  // offerKill shows the button that kills the peer's process, where there is such.
  #offerKill() {
    const { mine, kill } = this.seen;
    this.act.hidden = !mine;
    if (!mine?.has(this.id)) {
      if (this.act.contains(document.activeElement)) this.toggle.focus();
      this.act.replaceChildren();
      return;
    }
    const name = t("demo.killPeer", { peer: nameOf(this.peer) });
    let button = this.act.firstElementChild;
    if (!button) {
      button = make("button", { type: "button", class: "button danger small", click: () => kill(this.peer, button) });
      this.act.replaceChildren(button);
    }
    put(button, t("demo.kill"));
    if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
  }

  // tellMore tells what has no column.
  #tellMore() {
    const { peer } = this;
    const { names } = this.seen;
    const list = make("dl");
    const add = (key, ...values) => list.append(make("div", {}, make("dt", {}, t(key)), make("dd", {}, ...values)));
    add("more.id", isolated(peer.peer, { class: "code" }));
    if (peer.error) add("more.error", isolated(peer.error));
    if (peer.device) add("more.device", isolated(peer.device));
    if (peer.prefill_tokens_per_s > 0) add("more.prefill", t("map.perSecond", { n: number(peer.prefill_tokens_per_s) }));
    if (peer.sessions !== undefined) add("more.sessions", number(peer.sessions));
    add("more.queue", number(peer.queue));
    if (peer.reached) add("more.way", isolated(peer.reached));
    if (peer.relay) add("more.relay", t("more.isRelay"));
    add("more.heard", t("more.ago", { n: number(Math.round(peer.age_s)) }));
    if (peer.near?.length) {
      add("more.near", make("ul", {}, ...peer.near.map((n) =>
        make("li", {}, isolated(names.get(n.peer) ?? n.peer), ` ${t("map.ms", { n: number(n.rtt_ms) })}`))));
    }
    if (peer.addrs.length > 0) add("more.addrs", make("ul", {}, ...peer.addrs.map((a) => make("li", {}, isolated(a, { class: "code" })))));
    this.more.replaceChildren(list);
  }
}
