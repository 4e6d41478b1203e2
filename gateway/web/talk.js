// Conversations as they are kept: trees of messages, so that an edited message or a second answer loses nothing. These are
// plain functions of plain objects:
//
//   talk     {id, title, created, updated, model, settings, messages: {id: message}, leaf, dropped}
//   message  {id, parent, role, content, at} and for answers what became of them (see answer.js)
//
// The leaf says which way down the tree is shown.

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

export function newTalk(model, settings) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, model, settings: { ...settings }, messages: {}, leaf: null, dropped: 0 };
}

// add appends a message below parent (null: a first one), and shows it.
export function add(talk, parent, role, content) {
  const message = { id: newId(), parent, role, content, at: Date.now() };
  talk.messages[message.id] = message;
  talk.leaf = message.id;
  talk.updated = message.at;
  return message;
}

// way lists the messages that are shown, the first one first.
export function way(talk) {
  const list = [];
  for (let m = talk.messages[talk.leaf]; m; m = talk.messages[m.parent]) list.unshift(m);
  return list;
}

// versions lists the messages that take the same place, the oldest first.
export function versions(talk, message) {
  return Object.values(talk.messages)
    .filter((m) => m.parent === message.parent)
    .sort((a, b) => a.at - b.at);
}

// choose shows a message, and below it what was newest.
export function choose(talk, message) {
  let leaf = message;
  for (;;) {
    const below = Object.values(talk.messages).filter((m) => m.parent === leaf.id);
    if (below.length === 0) break;
    leaf = below.reduce((a, b) => (b.at > a.at ? b : a));
  }
  talk.leaf = leaf.id;
}

// titleOf gives a conversation's name: its own, or the first words of its first message.
export function titleOf(talk) {
  if (talk.title) return talk.title;
  const first = way(talk)[0]?.content ?? "";
  const line = first.trim().replace(/\s+/g, " ");
  const letters = [...line];
  return letters.length > 48 ? letters.slice(0, 47).join("").trimEnd() + "…" : line;
}

// toAsk gives the messages that a model is asked with to answer the last of list.
export function toAsk(talk, list) {
  const messages = list.slice(left(talk, list)).filter((m) => m.role === "user" || m.content !== "");
  const asked = messages.map(({ role, content }) => ({ role, content }));
  const system = talk.settings.system?.trim();
  return system ? [{ role: "system", content: system }, ...asked] : asked;
}

// left is how many of the first messages of a list are left out: never its last one.
export function left(talk, list) {
  return Math.min(talk.dropped, list.length - 1);
}

// toMarkdown writes a conversation for a file.
export function toMarkdown(talk, you, answer) {
  const parts = way(talk).map((m) => `**${m.role === "user" ? you : answer}**\n\n${m.content}\n`);
  return `# ${titleOf(talk)}\n\n${parts.join("\n")}`;
}
