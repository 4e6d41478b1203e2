// What a demo's page has beside the picture: a question that is asked again and again, and buttons that kill and start peers
// meanwhile. Each answer is drawn with the same seed, so each must be the same.
import { ask, events, Refused } from "./api.js";
import { nameOf } from "./frame.js";
import { onLanguage, t } from "./i18n.js";
import { number, put } from "./swarm-map.js";

const part = (id) => document.getElementById(id);

// killed are the peers that this page has killed and that have not come back: whether a picture has been without them.
export const killed = new Map();

let picture = null; // the newest
let asking = null; // ends the asking; null: nobody asks
let starting = 0;
let started = ""; // the last peer that was started, until it is seen
let chain = null; // of the answer that is made; null: none is, or it is not known yet
let redraw; // has the picture drawn anew
let own = false; // the question is the user's own
const tally = { answers: 0, same: 0, over: 0, longest: 0, first: null };

// showDemo shows what a demo has, if this is one.
export function showDemo(newest) {
  picture = newest;
  part("demo").hidden = !picture.demo;
  part("do").hidden = !picture.demo;
  const arrived = picture.peers.find((p) => p.peer === started);
  if (arrived) {
    started = "";
    put(part("done"), t("demo.serves", { peer: nameOf(arrived), layers: arrived.layers }));
  }
  const alive = new Set(picture.demo?.peers);
  for (const [id, gone] of killed) {
    if (!alive.has(id)) killed.set(id, true);
    else if (gone) killed.delete(id); // a new process has its identity
  }
}

// chainNow is the chain of the answer that is made; null: none is.
export const chainNow = () => chain;

// kill has a peer's process ended.
export async function kill(peer, button) {
  button.disabled = true;
  killed.set(peer.peer, false);
  await act("/api/demo/kill", { peer: peer.peer }, () => t("demo.killed", { peer: nameOf(peer), layers: peer.layers }), () => killed.delete(peer.peer));
  button.disabled = false;
}

async function start() {
  starting++;
  showStart();
  await act("/api/demo/start", {}, (said) => {
    started = said.peer;
    return t("demo.started", { peer: nameOf(said) });
  });
  starting--;
  showStart();
}

function showStart() {
  put(part("start"), t(starting > 0 ? "demo.starting" : "demo.start"));
}

// act asks for something to be done, and tells what came of it.
async function act(path, body, done, failed = () => {}) {
  try {
    const said = await (await ask(path, { method: "POST", body })).json();
    put(part("done"), done(said));
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    failed();
    put(part("done"), t("demo.failed", { why: e.message || t("live.off") }));
  }
}

// askAgain asks the question until it is stopped.
async function askAgain() {
  asking = new AbortController();
  showAsking();
  Object.assign(tally, { answers: 0, same: 0, over: 0, longest: 0, first: null });
  part("told").hidden = part("news").hidden = part("tally").hidden = false;
  put(part("news"), "");
  showTally();
  const { signal } = asking;
  while (!signal.aborted) {
    try {
      await answerOnce(signal);
      await pause(300, signal); // a person wants to see where one answer ends
    } catch (e) {
      if (signal.aborted) break;
      if (!(e instanceof Refused)) throw e;
      put(part("news"), t("demo.failed", { why: e.message || t("live.off") }));
      await pause(1000, signal);
    }
  }
  asking = chain = null;
  showAsking();
  redraw();
}

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  }, { once: true });
});

// answerOnce streams one answer, and counts it when it has come to its end.
async function answerOnce(signal) {
  const body = {
    model: picture.model, stream: true, stream_options: { include_chain: true }, seed: 7, max_tokens: 200,
    messages: [{ role: "user", content: part("question").value }],
  };
  const answer = await ask("/v1/chat/completions", { method: "POST", body, signal });
  let text = "";
  let last = performance.now();
  for await (const data of events(answer, signal)) {
    if (data === "[DONE]") break;
    const event = JSON.parse(data);
    if (event.error) throw new Refused(0, event.error);
    tally.longest = Math.max(tally.longest, performance.now() - last);
    last = performance.now();
    tell(event.baichuan);
    text += event.choices?.[0]?.delta?.content ?? "";
    part("told").textContent = text;
    part("told").scrollTop = part("told").scrollHeight;
  }
  tally.first ??= text;
  tally.answers++;
  if (text === tally.first) tally.same++;
  showTally();
}

// tell tells of who answers, of a failover, or of what an answer waits for.
function tell(news) {
  if (news?.chain) {
    chain = news.chain;
    redraw();
  }
  if (news?.failover) {
    tally.over++;
    const name = (id) => nameOf(picture.peers.find((p) => p.peer === id) ?? { peer: id });
    put(part("news"), t("demo.tookOver", { who: news.failover.successors.map(name).join(", "), layers: news.failover.layers }));
    showTally();
  }
  if (news?.waiting) put(part("news"), t("demo.waiting", { layers: news.waiting.missing.join(", ") }));
}

function showTally() {
  const words = t("demo.tally", { n: number(tally.answers), same: number(tally.same), over: number(tally.over) });
  put(part("tally"), tally.over > 0 ? `${words}; ${t("demo.longest", { ms: number(Math.round(tally.longest)) })}` : words);
}

function showAsking() {
  put(part("ask"), t(asking ? "demo.stop" : "demo.ask"));
  part("question").readOnly = asking !== null;
}

// mountDemo connects the buttons. show has the picture drawn anew.
export function mountDemo(show) {
  redraw = show;
  part("question").addEventListener("input", () => {
    own = true;
  });
  part("start").addEventListener("click", start);
  part("asking").addEventListener("submit", (e) => {
    e.preventDefault();
    if (asking) asking.abort();
    else if (part("question").value.trim()) askAgain();
  });
  onLanguage(() => {
    if (!own && !asking) part("question").value = t("demo.first");
    showAsking();
    showStart();
    showTally();
  });
}
