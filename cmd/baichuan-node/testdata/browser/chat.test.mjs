// Drives the chat page over a real swarm. The environment says where: GATEWAY_URL, KEYED_URL and KEY for a gateway that asks
// for keys, PEERS with the processes of the swarm by the peers' nicknames; CHROMIUM is the browser's file.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { answers, chat, stream } from "./chat.mjs";
import { accessible, launch, patience, phone, quit, shoot, visit } from "./harness.mjs";

const peers = JSON.parse(process.env.PEERS);
const story = "Tell me a story"; // which is long
const opposite = "What is the opposite of big?";

// slowly holds up who computes the last layers, again and again for a moment, while f runs: so there is a middle of an
// answer even where a page is drawn more slowly than a small model talks.
async function slowly(f) {
  const held = [peers.carl, peers.fay];
  const signal = (s) => held.forEach((pid) => process.kill(pid, s));
  let on = true;
  const holding = (async () => {
    while (on) {
      signal("SIGSTOP");
      await setTimeout(40);
      signal("SIGCONT");
      await setTimeout(2);
    }
  })();
  try {
    await f();
  } finally {
    on = false;
    await holding;
  }
}

// texts waits until the elements have these texts.
async function texts(elements, want, why) {
  for (const end = Date.now() + patience; ; await elements.page().waitForTimeout(50)) {
    const got = await elements.allInnerTexts();
    if (Date.now() > end || JSON.stringify(got) === JSON.stringify(want)) return assert.deepEqual(got, want, why);
  }
}

before(launch);
after(quit);

test("a conversation: ask, edit, regenerate, go back, a second one, all still there after a reload", () =>
  visit({}, async (page) => {
    const c = chat(page);
    await page.getByText("hold all 6 layers").waitFor();
    await accessible(page, "an empty page");
    await shoot(page, "chat-1440-light-welcome");
    await c.set({ Temperature: 0 });
    assert.match(await c.ask("What is a swarm?"), /peers/);
    assert.match(await page.locator(".chain-line").innerText(), /0:2[^]*4:6[^]*tokens\/s/);

    await c.edit.first().click();
    assert.equal(await c.message.inputValue(), "What is a swarm?");
    await c.message.fill("Hello! Who are you?");
    await c.message.press("Enter");
    await c.done();
    await texts(c.questions, ["Hello! Who are you?"]);
    await page.getByRole("button", { name: "Previous version" }).click();
    await texts(c.questions, ["What is a swarm?"]);

    const first = await c.answer();
    await c.regenerate.click();
    await page.getByText("2 of 2").last().waitFor();
    await c.done();
    assert.equal(await c.answer(), first, "temperature 0 gives the same answer");

    await c.ask("Thank you");
    assert.equal(await c.answers.count(), 2);
    await c.fresh.click();
    assert.equal(await c.answers.count(), 0);
    await c.ask(opposite);
    await texts(c.history, [opposite, "What is a swarm?"]);
    await page.reload();
    await texts(c.questions, [opposite], "the address is the conversation's");
    await c.history.nth(1).click();
    await texts(c.questions, ["What is a swarm?", "Thank you"]);
    await page.goBack();
    await page.getByRole("heading", { name: opposite }).waitFor();

    await page.getByRole("button", { name: "Options" }).first().click();
    await page.getByRole("button", { name: "Rename" }).click();
    await page.getByRole("textbox", { name: "Title" }).fill("A tale");
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "A tale" }).waitFor();
    await page.getByRole("button", { name: "Options" }).first().click();
    await page.getByRole("button", { name: "Delete" }).click();
    await accessible(page, "a question");
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByRole("link", { name: "A tale" }).waitFor({ state: "detached" });
    await page.reload();
    await texts(c.history, ["What is a swarm?"]);
  }));

test("Stop ends an answer, whose text stays, and the reader may scroll up meanwhile", () =>
  visit({ size: { width: 1440, height: 420 } }, async (page) => {
    const c = chat(page);
    await slowly(async () => {
      await c.begin(story);
      await page.waitForFunction(() => document.getElementById("thread").lastElementChild?.innerText.length > 350);
      await page.mouse.move(700, 200);
      await page.mouse.wheel(0, -2000);
      const scroller = page.locator("#scroller");
      await page.waitForFunction(() => document.getElementById("scroller").scrollTop === 0);
      const length = (await c.answer()).length;
      await page.waitForFunction((n) => document.querySelector("article.answer .prose").innerText.length > n, length);
      assert.equal(await scroller.evaluate((e) => e.scrollTop), 0, "the page scrolls although its reader has scrolled up");
      await c.stop.click();
      await page.getByText("Stopped.").waitFor();
    });
    const text = await c.answer();
    assert.ok(text.length > 300);
    await c.message.fill("x");
    await c.send.waitFor();
    await page.getByRole("button", { name: "To the newest" }).click();
    await page.waitForFunction(() => {
      const e = document.getElementById("scroller");
      return e.scrollHeight - e.scrollTop - e.clientHeight < 2;
    });
    await page.reload();
    assert.equal(await c.answer(), text);
  }));

test("a peer dies in mid-answer: the answer is what it would have been, and the page tells", () =>
  visit({}, async (page) => {
    const c = chat(page);
    await c.set({ Temperature: 0 });
    let bob;
    await slowly(async () => {
      await c.begin(story);
      bob = await (await page.waitForFunction(() => {
        const names = document.querySelectorAll(".chain-name");
        return document.querySelector("article.answer .prose")?.innerText.length > 40 && names[1]?.firstElementChild.nextSibling.textContent;
      })).jsonValue();
      process.kill(peers[bob], "SIGKILL");
      await page.locator(".chain-note, .note", { hasText: `${bob} is gone (layers 2:4)` }).first().waitFor();
      await shoot(page, "chat-1440-light-failover");
    });
    await page.locator(".chain-line").click();
    await c.done();
    const text = await c.answer();
    await page.locator("article.answer .note", { hasText: "went on after" }).waitFor();
    assert.ok(!(await page.locator(".chain-details .hop b").allInnerTexts()).includes(bob));
    await shoot(page, "chat-1440-light-chain");
    await accessible(page, "an answer with a failover");
    await c.regenerate.click();
    await page.getByText("2 of 2").waitFor();
    await c.done();
    assert.equal(await c.answer(), text);
    assert.equal(await page.locator("article.answer .note", { hasText: "went on after" }).count(), 0);
  }));

const rich = `# Rivers

A *swarm* is **like a river**, see [the paper](https://example.com/paper "x") or https://example.org/y.

| river | length | note |
|:------|-------:|:----:|
| Yangtze | 6,300 km | the \`longest\` of Asia |
| Yellow River | 5,464 km | – |

1. one
2. two
   - nested

\`\`\`python
def flow(x: int) -> str:
    """Say where the water goes."""
    return f"{x} rivers reach the sea"  # 百川
\`\`\`

> quoted`;

test("Markdown becomes headings, tables, lists and code that can be copied", () =>
  visit({}, async (page, context) => {
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await answers(page, (route) => route.fulfill(stream(rich)));
    const c = chat(page);
    await c.ask("Tell me of rivers");
    const answer = c.answers.last();
    for (const [tag, n] of [["h1", 1], ["th", 3], ["td", 6], ["ol > li", 2], ["ul > li", 1], ["pre code", 1], ["blockquote", 1], ["strong", 1], ["a[rel~=noopener]", 2]]) {
      assert.equal(await answer.locator(tag).count(), n, tag);
    }
    assert.equal(await answer.locator(".hljs-keyword").first().innerText(), "def");
    await page.getByRole("button", { name: "Copy code" }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def flow[^]*百川\n$/);
    await accessible(page, "an answer in Markdown");
    await shoot(page, "chat-1440-light-markdown");
    await page.getByRole("button", { name: "Dark colours" }).click();
    await accessible(page, "the same in the dark");
    await shoot(page, "chat-1440-dark-markdown");
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  }));

const hostile = [
  "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>",
  "<svg onload=window.hurt=3></svg><iframe src='https://evil.example/'></iframe><style>body{display:none}</style>",
  "![picture](https://evil.example/p.png) ![x](data:image/svg+xml,<svg/onload=window.hurt=4>) ![y](//evil.example/y)",
  "[a](javascript:window.hurt=5) [b](data:text/html,<script>window.hurt=6</script>) [c](vbscript:x) [d](https://fine.example/)",
  "<a href='javascript:window.hurt=7'>e</a> <form action=https://evil.example><button>f</button></form>",
  '[g](https://fine.example/"onmouseover="window.hurt=8) [h](<javascript:window.hurt=9>) [i](JaVaScRiPt:window.hurt=10)',
  "```html\n<script>window.hurt = 11</script>\n```\n`<img src=x onerror=window.hurt=12>`",
  '```"><img/src=x/onerror=window.hurt=13>\nx\n```\n<math><mtext><table><mglyph><style><img src=x onerror=window.hurt=14>',
  '<div id="thread">j</div><input name="body"> &lt;script&gt;window.hurt=15&lt;/script&gt; <base href="https://evil.example/">',
].join("\n\n");

test("what a model, a user or a peer says is never executed, and nothing is fetched for it", () =>
  visit({}, async (page) => {
    const bad = '<img src=x onerror="window.hurt=16">';
    const chain = [{ peer: "p1", nick: bad, layers: "0:6", device: bad }];
    await answers(page, (route) => route.fulfill(stream(hostile, { baichuan: { chain, tokens_per_s: 3, failover: { layers: bad, peer: bad, reason: bad, successors: [bad], stall_ms: 1, replayed_tokens: 1 } } })));
    const c = chat(page);
    await c.ask(hostile);
    await page.locator(".chain-line").click();
    for (const link of await c.answers.last().locator("a").all()) {
      assert.match(await link.getAttribute("href"), /^https:\/\/(fine|evil)\.example/);
      await link.hover();
    }
    const found = await page.evaluate(() => ({
      hurt: window.hurt ?? null,
      elements: document.querySelectorAll("main :is(script, iframe, style, form:not(#composer), input, base, object, embed, math)").length,
      pictures: [...document.querySelectorAll("img")].filter((i) => !i.src.endsWith("/web/icon.svg")).length,
      handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on") || a.name === "style" && e.closest(".prose"))).length,
      thread: document.querySelectorAll("#thread").length,
    }));
    assert.deepEqual(found, { hurt: null, elements: 0, pictures: 0, handlers: 0, thread: 1 });
    assert.match(await c.answers.last().innerText(), /<script>window\.hurt = 1<\/script>/, "HTML is shown as it is written");
    assert.equal(await c.questions.first().innerText(), hostile);
    await page.reload();
    assert.equal(await page.evaluate(() => window.hurt ?? null), null);
  }));

test("errors are told in plain words, and a retry is at hand", () =>
  visit({ allow: /Failed to load resource/ }, async (page) => {
    const c = chat(page);
    const turns = [
      (route) => route.fulfill({ status: 503, headers: { "Retry-After": "1" }, json: { error: { message: "no room", type: "server_error", param: null, code: null } } }),
      (route) => route.fulfill(stream("At last.")),
      (route) => route.fulfill({ status: 503, json: { error: { message: "no chain", type: "server_error", param: null, code: null } } }),
      (route) => route.fulfill(stream("There.")),
      (route) => route.abort(),
      (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body: 'data: {"choices":[{"index":0,"delta":{"content":"Half an"}}]}\n\n' }),
      (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body: 'data: {"choices":[{"index":0,"delta":{"content":"Half"}}]}\n\ndata: {"error":{"message":"layers 2:4 are gone"}}\n\n' }),
    ];
    await answers(page, (route) => (turns.shift() ?? ((r) => r.continue()))(route));
    await c.begin("hello");
    await page.getByText(/Trying again in \d s/).waitFor();
    await c.done();
    assert.equal(await c.answer(), "At last.");

    await c.begin("hello");
    await page.getByText("The swarm can't take this on right now.").waitFor();
    await page.getByText("no chain").waitFor();
    await accessible(page, "an error");
    await shoot(page, "chat-1440-light-error");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("There.", { exact: true }).waitFor();

    await c.begin("hello");
    await page.getByText("The gateway can't be reached.").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("The connection was lost in the middle of the answer.").waitFor();
    assert.equal(await c.answer(), "Half an");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("layers 2:4 are gone").waitFor();

    const long = { status: 400, json: { error: { message: "too many tokens", type: "invalid_request_error", param: "messages", code: "context_length_exceeded" } } };
    const asked = [];
    await answers(page, async (route) => {
      const { messages } = route.request().postDataJSON();
      asked.push(messages.length);
      await route.fulfill(messages.length > 3 ? long : stream("It fits."));
    });
    await c.begin("hello");
    await page.getByText("longer than the model can read").waitFor();
    await page.getByRole("button", { name: "Leave out the oldest messages" }).click();
    await c.done();
    assert.equal(await c.answer(), "It fits.");
    await page.getByText("The first 4 messages were left out").waitFor();
    assert.deepEqual(asked, [7, 7, 5, 3], "it leaves out a question and its answer at a time, until the rest fits");
    await page.unrouteAll();

    await c.fresh.click();
    await c.ask("Hello!");
    await c.begin("hello world ".repeat(2000));
    await page.getByText("longer than the model can read").waitFor();
    await c.edit.last().click();
    await c.message.fill("Thank you");
    await c.message.press("Enter");
    await c.done();
  }));

test("a gateway with keys: the page asks, tells that one is wrong, and keeps the right one", () =>
  visit({ url: process.env.KEYED_URL, allow: /401/ }, async (page) => {
    const field = page.getByLabel("API key");
    await field.fill("sk-bn-wrong");
    await accessible(page, "the window that asks for a key");
    await field.press("Enter");
    await page.getByText("This key is not known here.").waitFor();
    await field.fill(process.env.KEY);
    await page.getByRole("button", { name: "Use it" }).click();
    const c = chat(page);
    await page.getByText("hold all 6 layers").waitFor();
    await c.ask("Hello!");
    await page.reload();
    await page.getByText("baichuan2-mini-chat").waitFor();
    assert.equal(await field.isVisible(), false);
    await c.ask("Hello!");
  }));

test("Chinese, on a phone, in the dark; Enter belongs to an input method that composes", () =>
  visit({ size: phone, dark: true, language: "zh-CN" }, async (page, context) => {
    const c = chat(page, "zh");
    await page.getByText("想聊点什么？").waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
    await shoot(page, "chat-390-dark-welcome");
    await c.message.fill("第一行");
    await c.message.press("Shift+Enter");
    const ime = await context.newCDPSession(page);
    await ime.send("Input.imeSetComposition", { text: "ni hao", selectionStart: 6, selectionEnd: 6 });
    await ime.send("Input.dispatchKeyEvent", { type: "rawKeyDown", key: "Enter", code: "Enter", windowsVirtualKeyCode: 229 });
    await c.message.evaluate((e) => e.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true })));
    assert.equal(await c.questions.count(), 0, "a message is sent that is being composed");
    await ime.send("Input.insertText", { text: "你好" });
    assert.equal(await c.message.inputValue(), "第一行\n你好");
    await c.message.press("Enter");
    await c.done();
    assert.equal(await c.questions.first().innerText(), "第一行\n你好");
    assert.ok(/[\u4e00-\u9fff]/.test(await c.ask("你是谁？")));
    await page.locator(".chain-line").click();
    await accessible(page, "a phone");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it is wider than the screen");
    await shoot(page, "chat-390-dark-chat");
    await page.getByRole("button", { name: "对话记录" }).click();
    await c.fresh.waitFor();
    await accessible(page, "the list of conversations");
    await shoot(page, "chat-390-dark-list");
    await page.getByRole("button", { name: "English" }).click();
    await page.getByRole("button", { name: "New chat" }).waitFor();
    await page.getByRole("button", { name: "Light colours" }).click();
    await page.getByRole("button", { name: "Close" }).first().click();
    await chat(page).message.waitFor();
    await shoot(page, "chat-390-light-chat");
    await chat(page).settings.click();
    await accessible(page, "the settings");
    await shoot(page, "chat-390-light-settings");
  }));
