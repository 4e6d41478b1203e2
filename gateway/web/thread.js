// The messages of the conversation that is shown. Elements stay while their messages do, so that an answer that grows
// changes nothing but itself.
import { icon, iconButton, make } from "./frame.js";
import { t } from "./i18n.js";
import { copy } from "./copy.js";
import { render } from "./markdown.js";
import { failoverText, paceText } from "./chain.js";
import { left, versions, way } from "./talk.js";

export class Thread {
  #element;
  #actions; // {edit, regenerate, choose, retry, drop}
  #shown = new Map(); // message id -> {article, body, notes, tools}
  #drawn = new WeakMap(); // element -> what it shows

  constructor(element, actions) {
    this.#element = element;
    this.#actions = actions;
  }

  // show shows a conversation. running says which message is being answered, null: none.
  show(talk, running) {
    const list = talk ? way(talk) : [];
    const ids = new Set(list.map((m) => m.id));
    for (const [id, parts] of this.#shown) {
      if (ids.has(id)) continue;
      parts.article.remove();
      this.#shown.delete(id);
    }
    list.forEach((message, i) => {
      let parts = this.#shown.get(message.id);
      if (!parts) {
        parts = frameOf(message);
        this.#shown.set(message.id, parts);
      }
      if (this.#element.children[i] !== parts.article) this.#element.insertBefore(parts.article, this.#element.children[i] ?? null);
      this.#fill(parts, talk, message, running, i === list.length - 1);
    });
  }

  // update shows a message that has changed.
  update(talk, message, running) {
    const parts = this.#shown.get(message.id);
    if (parts) this.#fill(parts, talk, message, running, talk.leaf === message.id);
  }

  // clear forgets all elements: their words are in another language now.
  clear() {
    this.#shown.clear();
    this.#element.replaceChildren();
  }

  // mark shows which message is being edited, and what goes with it; null: none.
  mark(talk, edited) {
    let after = false;
    for (const message of talk ? way(talk) : []) {
      if (message === edited) after = true;
      this.#shown.get(message.id)?.article.classList.toggle("goes", after);
    }
  }

  #fill(parts, talk, message, running, isLast) {
    const mine = message.role === "user";
    const busy = running === message;
    parts.article.classList.toggle("busy", busy);
    parts.article.setAttribute("aria-busy", String(busy));
    if (mine) parts.body.textContent = message.content;
    else render(parts.body, message.content);
    parts.article.classList.toggle("waiting", busy && message.content === "" && message.state !== "retrying");
    const dropped = isLast && !mine ? left(talk, way(talk).slice(0, -1)) : 0;
    this.#redraw(parts.notes, [busy, message.state, message.finish, message.error?.kind, message.failovers?.length, dropped], () =>
      mine ? [] : this.#notes(message, busy, dropped));
    const count = parts.notes.querySelector(".countdown");
    if (count) count.textContent = t("error.countdown", { s: Math.max(0, Math.ceil((message.retryAt - Date.now()) / 1000)) });
    this.#redraw(parts.tools, [busy, isLast, running !== null, versions(talk, message).length, message.finish, message.tokens], () =>
      busy ? [] : this.#tools(talk, message, isLast, running !== null));
  }

  // #redraw makes an element's children anew if what they show has changed. The focus stays with the same button.
  #redraw(element, what, children) {
    const key = JSON.stringify(what);
    if (this.#drawn.get(element) === key) return;
    this.#drawn.set(element, key);
    const focused = element.contains(document.activeElement) ? document.activeElement.dataset.tLabel : undefined;
    element.replaceChildren(...children());
    if (focused) (element.querySelector(`[data-t-label="${focused}"]:not(:disabled)`) ?? element.querySelector("button:not(:disabled)"))?.focus();
  }

  // #tools are what can be done with a message, and what it has cost.
  #tools(talk, message, isLast, anyBusy) {
    const mine = message.role === "user";
    const tools = [];
    const all = versions(talk, message);
    if (all.length > 1) tools.push(this.#pager(message, all, anyBusy));
    if (message.content) {
      const button = iconButton("copy", "chat.copy", () => copy(button, message.content));
      tools.push(button);
    }
    if (mine && !anyBusy) tools.push(iconButton("edit", "chat.edit", () => this.#actions.edit(message)));
    if (!mine && isLast && !anyBusy && (message.content || message.finish !== "failed")) tools.push(iconButton("again", "chat.regenerate", () => this.#actions.regenerate(message)));
    const cost = mine ? "" : stats(message);
    if (cost) tools.push(make("span", { class: "stats small numbers" }, cost));
    return tools;
  }

  // #pager goes through the versions of a message.
  #pager(message, all, anyBusy) {
    const i = all.indexOf(message);
    const step = (name, key, to) => iconButton(name, key, () => this.#actions.choose(all[to]), { disabled: anyBusy || !all[to] });
    return make("span", { class: "pager small numbers" }, step("left", "chat.before", i - 1), t("chat.version", { i: i + 1, n: all.length }), step("right", "chat.after", i + 1));
  }

  // #notes tell what became of an answer.
  #notes(message, busy, dropped) {
    const notes = [];
    const note = (...words) => notes.push(make("p", { class: "note small muted" }, ...words));
    if (busy) {
      if (message.state === "retrying") {
        notes.push(trouble(message, "", make("span", { class: "countdown numbers" }), retryButton(() => this.#actions.hurry())));
      }
      return notes;
    }
    for (const f of message.failovers ?? []) note(icon("again"), make("span", {}, failoverText(f, message.chain ?? [])));
    if (message.finish === "length") note(t("answer.length"));
    if (message.finish === "stopped") note(t("answer.stopped"));
    if (dropped > 0) note(t("answer.dropped", { n: dropped }));
    if (message.finish === "failed") {
      const drop = message.error.kind === "long";
      const button = drop
        ? make("button", { type: "button", class: "button", click: () => this.#actions.retry(message, true) }, t("error.drop"))
        : retryButton(() => this.#actions.retry(message, false));
      notes.push(trouble(message, "bad", button));
    }
    return notes;
  }
}

function trouble(message, kind, ...more) {
  const { kind: what, message: said } = message.error;
  return make("div", { class: `notice ${kind}`, role: kind ? "alert" : null }, icon("alert"),
    make("div", { class: "notice-words" }, make("div", {}, t(`error.${what}`)), said ? make("div", { class: "small said" }, said) : null), ...more);
}

function retryButton(click) {
  return make("button", { type: "button", class: "button", click }, t("error.retry"));
}

function frameOf(message) {
  const mine = message.role === "user";
  const body = make("div", { class: mine ? "bubble" : "prose" });
  const notes = make("div", { class: "notes" });
  const tools = make("div", { class: "tools" });
  const article = make("article", { class: `message ${mine ? "mine" : "answer"}`, "aria-label": t(mine ? "chat.you" : "chat.answer") }, body, notes, tools);
  return { article, body, notes, tools };
}

function stats(message) {
  const parts = [];
  if (message.tokens) parts.push(t("answer.tokens", { n: message.tokens }));
  if (message.pace) parts.push(paceText(message.pace));
  return parts.join(" · ");
}
