// The gateway's HTTP API as the pages use it: with the key that is kept in the browser, errors as one kind.
const kept = "baichuan.key";

export function key() {
  try {
    return localStorage.getItem(kept) || forThisPage;
  } catch {
    return forThisPage;
  }
}

let forThisPage = ""; // where a browser keeps nothing

export function keepKey(secret) {
  forThisPage = secret;
  try {
    localStorage.setItem(kept, secret);
  } catch {
    // then it holds until the page is left
  }
}

// Refused is an answer that says why there is none. status 0: the gateway could not be reached, or the line broke.
export class Refused extends Error {
  constructor(status, { message = "", code = "", param = "" } = {}, retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfter = retryAfter; // seconds; 0: not said
  }
}

// ask sends a request. It throws a Refused, or what an AbortSignal throws.
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch (e) {
    throw signal?.aborted ? e : new Refused(0);
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  let said = {};
  try {
    said = (await answer.json()).error ?? {};
  } catch {
    // no JSON: something between us and the gateway has answered
  }
  if (typeof said === "string") said = { message: said };
  const wait = Number(answer.headers.get("Retry-After"));
  return new Refused(answer.status, said, Number.isFinite(wait) ? Math.max(0, wait) : 0);
}

// events gives the data of a stream's server-sent events, as text, as they come.
export async function* events(answer, signal) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch (e) {
        throw signal?.aborted ? e : new Refused(0);
      }
      if (piece.done) return;
      rest += piece.value;
      const whole = rest.split("\n\n");
      rest = whole.pop();
      for (const event of whole) {
        const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (data.length > 0) yield data.join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever leaves ends the request
  }
}
