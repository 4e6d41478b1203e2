// Drives a gateway with OpenAI's own client for Node. GATEWAY_URL and GATEWAY_MODEL say which one.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const model = process.env.GATEWAY_MODEL;
const client = new OpenAI({ baseURL: process.env.GATEWAY_URL + "/v1", apiKey: "none", maxRetries: 0 });
const chat = (content, more) => ({ model, messages: [{ role: "user", content }], ...more });

// put together what a stream's chunks say of its first choice
async function gather(stream) {
  let text = "", finish = null, usage = null;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    const choice = chunk.choices[0];
    if (!choice) continue;
    assert.ok(!(choice.delta.content ?? "").includes("\uFFFD"), "a character is split");
    text += choice.delta.content ?? "";
    finish = choice.finish_reason ?? finish;
  }
  return { text, finish, usage };
}

test("models", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.deepEqual(ids, [model]);
  assert.equal((await client.models.retrieve(model)).object, "model");
});

test("chat, in Chinese", async () => {
  const a = await client.chat.completions.create(chat("你好", { temperature: 0 }));
  assert.equal(a.object, "chat.completion");
  assert.match(a.id, /^chatcmpl-/);
  assert.match(a.choices[0].message.content, /你好/);
  assert.equal(a.choices[0].message.role, "assistant");
  assert.equal(a.choices[0].finish_reason, "stop");
  assert.equal(a.usage.total_tokens, a.usage.prompt_tokens + a.usage.completion_tokens);
});

test("a stream says the same", async () => {
  const ask = chat("讲个故事 😀", { seed: 3, temperature: 1.2, max_tokens: 40 });
  const whole = await client.chat.completions.create(ask);
  const again = await client.chat.completions.create(ask);
  const got = await gather(await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } }));
  assert.equal(again.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(got.text, whole.choices[0].message.content);
  assert.equal(got.finish, whole.choices[0].finish_reason);
  assert.equal(got.usage.completion_tokens, whole.usage.completion_tokens);
});

test("the client's own helper for streams", async () => {
  const runner = client.chat.completions.stream(chat("你好", { temperature: 0 }));
  assert.match(await runner.finalContent(), /你好/);
});

test("stop", async () => {
  const ask = chat("讲个故事", { temperature: 0, max_tokens: 40 });
  const plain = (await client.chat.completions.create(ask)).choices[0].message.content;
  const stop = [...plain].slice(6, 9).join("");
  const want = plain.slice(0, plain.indexOf(stop));
  const a = await client.chat.completions.create({ ...ask, stop: ["never", stop] });
  assert.equal(a.choices[0].message.content, want);
  assert.equal(a.choices[0].finish_reason, "stop");
  const got = await gather(await client.chat.completions.create({ ...ask, stop, stream: true }));
  assert.equal(got.text, want);
});

test("seed and n", async () => {
  const ask = { seed: 11, temperature: 1.5, max_tokens: 20 };
  const many = await client.chat.completions.create(chat("讲个故事", { ...ask, n: 3 }));
  const third = await client.chat.completions.create(chat("讲个故事", { ...ask, seed: 13 }));
  assert.equal(many.choices.length, 3);
  assert.equal(many.choices[2].message.content, third.choices[0].message.content);
});

test("logprobs", async () => {
  const a = await client.chat.completions.create(chat("你好", { temperature: 0, logprobs: true, top_logprobs: 4, max_tokens: 5 }));
  const tokens = a.choices[0].logprobs.content;
  const bytes = tokens.flatMap((t) => t.bytes ?? []);
  assert.equal(new TextDecoder().decode(new Uint8Array(bytes)), a.choices[0].message.content);
  for (const t of tokens) {
    assert.equal(t.top_logprobs.length, 4);
    assert.equal(t.logprob, t.top_logprobs[0].logprob); // greedy
  }
});

test("completions", async () => {
  const a = await client.completions.create({ model, prompt: ["今天", "明天"], max_tokens: 4, echo: true, temperature: 0 });
  assert.ok(a.choices[1].text.startsWith("明天"));
  let text = "";
  for await (const chunk of await client.completions.create({ model, prompt: "今天", max_tokens: 4, echo: true, temperature: 0, stream: true })) {
    text += chunk.choices[0].text;
  }
  assert.equal(text, a.choices[0].text);
});

test("errors", async () => {
  const fails = async (ask, check) => {
    await assert.rejects(client.chat.completions.create(ask), check);
    await assert.rejects(client.chat.completions.create({ ...ask, stream: true }), check);
  };
  await fails({ ...chat("hi"), model: "gpt-4o" }, (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  await fails(chat("hi", { temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
  await fails(chat("你好 hello ".repeat(2000)), (e) => e.status === 400 && e.code === "context_length_exceeded");
  await assert.rejects(client.embeddings.create({ model, input: "x" }), (e) => e.status === 501);
});

test("16 at once", async () => {
  const ask = (i) => chat("讲个故事 " + (i % 4), { seed: i, temperature: 1, max_tokens: 20 });
  const answers = await Promise.all([...Array(16).keys()].map((i) => client.chat.completions.create(ask(i))));
  for (const [i, a] of answers.entries()) {
    const alone = await client.chat.completions.create(ask(i));
    assert.equal(a.choices[0].message.content, alone.choices[0].message.content, `question ${i}`);
  }
});

test("abort", async () => {
  const stream = await client.chat.completions.create(chat("讲个故事", { stream: true, n: 4, temperature: 1 }));
  for await (const chunk of stream) {
    assert.ok(chunk.choices.length > 0);
    break; // which ends the request
  }
  assert.ok(stream.controller.signal.aborted);
});
