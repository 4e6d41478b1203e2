// One answer, from the request to its end. What becomes of it is put into its message:
//
//   state      "asking", "streaming", "retrying" (until retryAt), "done"
//   content    as far as it has come
//   finish     "stop", "length", "stopped" (by the reader), "failed"
//   error      {kind, message}: why it failed; kind is one of chat-words.js's "error."
//   chain      [{peer, nick, layers, device}], pace in tokens a second, failovers, waiting, hops: where its tokens' time goes
//   tokens     of the answer, heard: when the chain last gave a sign of life
import { ask, events, Refused } from "./api.js";
import { toAsk, way } from "./talk.js";

// How often an answer that was refused for want of room is asked for again, without the reader's doing.
const mostRetries = 3;

const asked = ["temperature", "top_p", "top_k", "repetition_penalty", "max_tokens", "seed"];

// answer has a message of a talk answered; changed is called whenever it is another. It throws a Refused of status 401
// alone: then a key is needed first. control.signal ends it, control.hurry ends a wait.
export async function answer(talk, message, control, changed) {
  for (let tries = 1; ; tries++) {
    Object.assign(message, { state: "asking", content: "", finish: null, error: null, waiting: null, failovers: [], hops: null, heard: Date.now() });
    changed();
    try {
      await stream(talk, message, control.signal, changed);
      break;
    } catch (e) {
      message.waiting = null;
      if (e instanceof Refused && e.status === 401) throw e;
      if (await again(talk, message, control, changed, e, tries)) continue;
      break;
    }
  }
  message.state = "done";
  changed();
}

// again says whether to ask once more after an error, having waited as long as it takes; else the message tells the error.
async function again(talk, message, control, changed, e, tries) {
  if (control.signal.aborted) {
    message.finish = "stopped";
    return false;
  }
  const refused = e instanceof Refused ? e : new Refused(0, { message: String(e) });
  message.finish = "failed";
  message.error = { kind: kindOf(refused, message), message: refused.message };
  if (message.error.kind === "long" && control.drop && way(talk).length - talk.dropped > 2) {
    talk.dropped += 2 - (talk.dropped % 2); // a question and its answer
    return true;
  }
  if (refused.retryAfter === 0 || tries > mostRetries || message.content !== "") return false;
  message.state = "retrying";
  message.retryAt = Date.now() + refused.retryAfter * 1000;
  changed();
  await wait(refused.retryAfter * 1000, control);
  if (control.signal.aborted) message.finish = "stopped";
  return !control.signal.aborted;
}

function wait(ms, control) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    control.hurry = () => {
      clearTimeout(timer);
      done();
    };
    control.signal.addEventListener("abort", control.hurry, { once: true });
  });
}

function kindOf(refused, message) {
  if (refused.code === "context_length_exceeded") return "long";
  if (message.content !== "") return refused.status === 0 ? "lost" : "broke";
  switch (refused.status) {
    case 0:
      return "unreachable";
    case 401:
      return "key";
    case 404:
      return "model";
    case 413:
      return "tooLarge";
    case 429:
      return "rate";
    case 503:
      return "busy";
  }
  return "refused";
}

// stream asks and takes what comes.
async function stream(talk, message, signal, changed) {
  const body = {
    model: talk.model,
    messages: toAsk(talk, way(talk).slice(0, -1)),
    stream: true,
    stream_options: { include_usage: true, include_chain: true },
  };
  for (const name of asked) {
    if (talk.settings[name] !== undefined) body[name] = talk.settings[name];
  }
  const reply = await ask("/v1/chat/completions", { method: "POST", body, signal });
  message.state = "streaming";
  message.heard = Date.now();
  for await (const data of events(reply, signal)) {
    if (data === "[DONE]") continue; // the end comes at once, and is a better one than leaving
    take(message, JSON.parse(data));
    changed();
  }
  if (!message.finish) throw new Refused(0);
}

// take puts a chunk of the stream into the message.
function take(message, chunk) {
  if (chunk.error) throw new Refused(503, chunk.error);
  const choice = chunk.choices?.[0];
  if (choice?.delta?.content) {
    message.content += choice.delta.content;
    message.waiting = null;
    message.heard = Date.now();
  }
  if (choice?.finish_reason) message.finish = choice.finish_reason;
  if (chunk.usage) message.tokens = chunk.usage.completion_tokens;
  const news = chunk.baichuan;
  if (!news) return;
  if (news.failover) message.failovers.push(named(news.failover, message.chain ?? []));
  if (news.chain) message.chain = news.chain;
  if (news.waiting) message.waiting = news.waiting;
  if (news.tokens_per_s) message.pace = news.tokens_per_s;
  if (news.hops && message.content !== "") message.hops = smoothed(message.hops, news.hops); // the first are the prompt's
}

// smoothed takes down where the time of the newest tokens went, on the average of some, or nobody could read it.
function smoothed(before, hops) {
  if (before?.length !== hops.length || hops.some((hop, i) => hop.layers !== before[i].layers)) return hops;
  const mean = (old, now) => old + (now - old) / 8;
  return hops.map((hop, i) => ({
    layers: hop.layers,
    queue_ms: mean(before[i].queue_ms, hop.queue_ms),
    compute_ms: mean(before[i].compute_ms, hop.compute_ms),
    network_ms: mean(before[i].network_ms, hop.network_ms),
  }));
}

// named keeps what a peer that is gone was called: the chain will not tell any more.
function named(failover, chain) {
  return { ...failover, nick: chain.find((hop) => hop.peer === failover.peer)?.nick ?? "" };
}
