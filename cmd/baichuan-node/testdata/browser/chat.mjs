// The chat page as its user finds it: by the names of what it has.
const words = {
  en: { message: "Message", send: "Send", stop: "Stop", fresh: "New chat", regenerate: "Regenerate", edit: "Edit", settings: "Settings", conversations: "Conversations" },
  zh: { message: "消息", send: "发送", stop: "停止", fresh: "新对话", regenerate: "重新生成", edit: "编辑", settings: "设置", conversations: "对话记录" },
};

export function chat(page, language = "en") {
  const name = words[language];
  const button = (n) => page.getByRole("button", { name: n, exact: true });
  const self = {
    message: page.getByRole("textbox", { name: name.message, exact: true }),
    send: button(name.send),
    stop: button(name.stop),
    fresh: button(name.fresh),
    regenerate: button(name.regenerate),
    edit: button(name.edit),
    settings: button(name.settings),
    history: page.getByRole("navigation", { name: name.conversations }).getByRole("link"),
    answers: page.locator("article.answer .prose"),
    questions: page.locator("article.mine .bubble"),

    // ask sends a text and waits for the whole answer.
    async ask(text) {
      await self.begin(text);
      await self.done();
      return self.answer();
    },
    async begin(text) {
      await self.message.fill(text);
      await self.message.press("Enter");
    },
    done: () => self.regenerate.waitFor(),
    answer: () => self.answers.last().innerText(),

    // set changes settings.
    async set(values) {
      await self.settings.click();
      for (const [label, value] of Object.entries(values)) await page.getByLabel(label, { exact: true }).fill(String(value));
      await page.keyboard.press("Escape");
    },
  };
  return self;
}

// stream is what a gateway sends of an answer, for tests of what no model says.
export function stream(text, more = {}) {
  const chunk = (delta, finish = null) => `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }], ...more })}\n\n`;
  return { status: 200, contentType: "text/event-stream", body: chunk({ role: "assistant", content: "" }) + chunk({ content: text }) + chunk({}, "stop") + "data: [DONE]\n\n" };
}

// answers lets the page's requests for answers be answered by a test.
export function answers(page, answer) {
  return page.route("**/v1/chat/completions", answer);
}
