// The thin line that shows who computes an answer: a piece for each peer, as wide as its layers, and the pace; it tells when
// a peer is gone and who has taken its place. Opened, it lists the peers and the way of the newest token.
import { colourOf, icon, make, nameOf, say } from "./frame.js";
import { t } from "./i18n.js";

// After this long without a word something is amiss: a token takes less, and a peer that is gone is noticed sooner.
const stallMs = 1200;

export class ChainLine {
  #element;
  #message = null;
  #told = 0; // failovers that have been announced
  #peers = new Map(); // layers -> peer, as shown
  #open = false;
  #detailed = 0; // when the details were last drawn
  #ticking = null;

  constructor(element) {
    this.#element = element;
    this.bar = make("span", { class: "chain-bar", "aria-hidden": "true" });
    this.names = make("span", { class: "chain-names" });
    this.pace = make("span", { class: "chain-pace numbers" });
    this.heading = make("span", { class: "unseen" });
    this.button = make("button", { type: "button", class: "chain-line", "aria-expanded": "false", click: () => this.#turn() }, this.heading, this.bar,
      make("span", { class: "chain-words small" }, this.names, this.pace, icon("up")));
    this.note = make("p", { class: "chain-note small", hidden: true });
    this.details = make("div", { class: "chain-details", id: "chain-details", hidden: true });
    this.button.setAttribute("aria-controls", "chain-details");
    element.append(this.details, this.note, this.button);
  }

  // show shows the making of an answer; null: of none.
  show(message) {
    if (message !== this.#message) {
      this.#message = message;
      this.#told = message?.state === "done" ? (message.failovers?.length ?? 0) : 0;
      this.#peers.clear();
    }
    const running = message !== null && message.state !== "done";
    this.#tick(running);
    this.#element.hidden = !message || (!message.chain && !running);
    if (this.#element.hidden) return;
    this.#element.classList.toggle("running", running);
    this.#draw();
  }

  #turn() {
    this.#open = !this.#open;
    this.#detailed = 0;
    this.button.setAttribute("aria-expanded", String(this.#open));
    this.#draw();
  }

  // #tick looks at the clock while an answer runs: nothing comes from a chain that has stalled.
  #tick(running) {
    if (running && !this.#ticking) this.#ticking = setInterval(() => this.#draw(), 500);
    if (!running && this.#ticking) {
      clearInterval(this.#ticking);
      this.#ticking = null;
    }
  }

  #draw() {
    const m = this.#message;
    const chain = m.chain ?? [];
    const running = m.state !== "done";
    const silent = running ? Date.now() - (m.heard ?? Date.now()) : 0;
    const stalled = m.state === "streaming" && silent > stallMs;
    this.#element.classList.toggle("stalled", stalled || Boolean(m.waiting));
    this.#drawBar(chain);
    this.names.replaceChildren(...chain.flatMap((hop, i) => {
      const name = make("span", { class: `chain-name peer-${colourOf(hop.peer)}` }, make("i", { class: "dot" }), called(hop), make("span", { class: "layers" }, hop.layers));
      return i ? [make("span", { class: "arrow", "aria-hidden": "true" }, "→"), name] : [name];
    }));
    if (chain.length === 0) this.names.textContent = t("chain.finding");
    const pace = m.pace ? paceText(m.pace) : running ? t("chain.noPace") : "";
    this.pace.textContent = chain.length ? pace : "";
    this.heading.textContent = t("chain.line");
    this.#drawNote(m, running, stalled, silent);
    this.details.hidden = !this.#open || chain.length === 0;
    if (!this.details.hidden && (!running || Date.now() - this.#detailed > 200)) {
      this.#detailed = Date.now();
      this.details.replaceChildren(...details(m));
    }
  }

  // #drawBar changes only what has changed: a newcomer's piece lights up.
  #drawBar(chain) {
    const now = new Map(chain.map((hop) => [hop.layers, hop.peer]));
    const same = now.size === this.#peers.size && [...now].every(([layers, peer]) => this.#peers.get(layers) === peer);
    if (same) return;
    const first = this.#peers.size === 0;
    this.bar.replaceChildren(...chain.map((hop) => {
      const fresh = !first && this.#peers.get(hop.layers) !== hop.peer;
      const piece = make("i", { class: `piece peer-${colourOf(hop.peer)}${fresh ? " fresh" : ""}` });
      piece.style.flexGrow = String(count(hop.layers));
      return piece;
    }));
    this.#peers = now;
  }

  #drawNote(m, running, stalled, silent) {
    const failovers = m.failovers ?? [];
    let text = "";
    if (m.waiting) {
      text = t(m.waiting.busy ? "chain.busy" : "chain.waiting", { layers: m.waiting.missing.join(", "), time: timeText(m.waiting.for_ms) });
    } else if (stalled) {
      text = t("chain.stalled", { time: timeText(silent) });
    } else if (running && failovers.length > 0 && !this.#open) { // the details tell of all
      text = failoverText(failovers.at(-1), m.chain ?? []);
    }
    this.note.textContent = text;
    this.note.hidden = text === "";
    for (; this.#told < failovers.length; this.#told++) say(failoverText(failovers[this.#told], m.chain ?? []));
  }
}

// failoverText tells of a peer that was replaced.
export function failoverText(failover, chain) {
  const peer = called(failover);
  const time = timeText(failover.stall_ms);
  if (failover.successors.length === 1 && failover.successors[0] === failover.peer) return t("chain.back", { peer, layers: failover.layers, time });
  const next = failover.successors.map((id) => called(chain.find((hop) => hop.peer === id) ?? { peer: id })).join(", ");
  return t("chain.failover", { peer, layers: failover.layers, next, time });
}

// paceText tells tokens a second, with as many digits as mean something.
export function paceText(pace) {
  return t("chain.pace", { pace: pace.toFixed(pace < 20 ? 1 : 0) });
}

function called(hop) {
  return hop.peer ? nameOf(hop) : t("chain.here");
}

function timeText(ms) {
  return ms < 1000 ? t("chain.ms", { ms: Math.round(ms) }) : t("chain.s", { s: (ms / 1000).toFixed(ms < 9950 ? 1 : 0) });
}

// count is the number of layers in a span.
function count(layers) {
  const [start, end] = layers.split(":").map(Number);
  return Math.max(1, end - start) || 1;
}

// details lists the peers, with the way of a token through them: each one's bar begins where the one before ends.
function details(m) {
  const spent = m.chain.map((hop) => m.hops?.find((h) => h.layers === hop.layers) ?? { queue_ms: 0, compute_ms: 0, network_ms: 0 });
  const sum = (h) => h.queue_ms + h.compute_ms + h.network_ms;
  const whole = spent.reduce((all, h) => all + sum(h), 0);
  let before = 0;
  const rows = m.chain.map((hop, i) => {
    const row = make("li", { class: `hop peer-${colourOf(hop.peer)}` }, make("i", { class: "dot" }), make("b", {}, called(hop)),
      make("span", { class: "muted" }, t("chain.layers", { layers: hop.layers })), make("span", { class: "muted device" }, hop.device));
    if (whole > 0) {
      const bar = make("span", { class: "way", "aria-hidden": "true" });
      bar.append(...[["", before], ["network", spent[i].network_ms], ["queue", spent[i].queue_ms], ["compute", spent[i].compute_ms]].map(([kind, ms]) => {
        const part = make("i", { class: kind });
        part.style.width = `${(100 * ms) / whole}%`;
        return part;
      }));
      row.append(bar, make("span", { class: "numbers ms" }, t("chain.ms", { ms: digits(sum(spent[i])) })));
      before += sum(spent[i]);
    }
    return row;
  });
  const parts = [make("ol", { class: "hops small" }, ...rows)];
  if (whole > 0) parts.push(make("p", { class: "legend" }, ...["network", "queue", "compute"].flatMap((kind) => [make("i", { class: kind }), t(`chain.${kind}`)])));
  const gone = (m.failovers ?? []).map((f) =>
    make("li", { class: "gone" }, icon("again"), make("span", {}, `${failoverText(f, m.chain)} ${t("chain.replayed", { n: f.replayed_tokens })}`)));
  if (gone.length > 0) parts.push(make("ul", { class: "hops small" }, ...gone));
  return parts;
}

function digits(ms) {
  return ms.toFixed(ms < 9.95 ? 2 : ms < 99.5 ? 1 : 0);
}
