// The list of conversations, the newest first.
import { icon, iconButton, make } from "./frame.js";
import { t } from "./i18n.js";
import { titleOf } from "./talk.js";

const day = 24 * 3600 * 1000;

// drawHistory fills the list. actions: {rename, download, remove}; busy says whether a conversation is being answered.
export function drawHistory(element, talks, current, actions, busy) {
  const open = element.querySelector("[popover]:popover-open")?.id;
  if (talks.length === 0) {
    element.replaceChildren(make("p", { class: "small muted none" }, t("history.none")));
    return;
  }
  const today = new Date().setHours(0, 0, 0, 0);
  const groups = [
    ["history.today", (at) => at >= today],
    ["history.week", (at) => at < today && at >= today - 6 * day],
    ["history.older", (at) => at < today - 6 * day],
  ];
  const sorted = [...talks].sort((a, b) => b.updated - a.updated);
  const lists = groups.map(([key, holds]) => {
    const some = sorted.filter((talk) => holds(talk.updated));
    if (some.length === 0) return null;
    return make("section", {}, make("h2", { class: "small muted" }, t(key)), make("ul", {}, ...some.map((talk) => entry(talk, talk === current, actions, busy(talk)))));
  });
  element.replaceChildren(...lists.filter(Boolean));
  if (open) document.getElementById(open)?.showPopover();
}

function entry(talk, isCurrent, actions, busy) {
  const menu = `menu-${talk.id}`;
  const options = iconButton("more", "history.options", () => {}, { popovertarget: menu, class: "icon-button options" });
  const item = (name, key, run) =>
    make("button", { type: "button", class: "menu-item", click: () => {
      document.getElementById(menu).hidePopover();
      run(talk);
    } }, icon(name), t(key));
  const popover = make("div", { id: menu, class: "menu card", popover: "auto" },
    item("edit", "history.rename", actions.rename), item("save", "history.download", actions.download), item("trash", "history.delete", actions.remove));
  popover.addEventListener("toggle", (e) => {
    if (e.newState !== "open") return;
    const at = options.getBoundingClientRect();
    popover.style.top = `${Math.min(at.bottom + 4, innerHeight - popover.offsetHeight - 8)}px`;
    popover.style.left = `${Math.min(at.left, innerWidth - popover.offsetWidth - 8)}px`;
  });
  const link = make("a", { href: `#${talk.id}`, "aria-current": isCurrent ? "page" : null }, titleOf(talk));
  return make("li", { class: isCurrent ? "current" : "" }, link, busy ? make("span", { class: "pulse", role: "img", "aria-label": t("history.answering") }) : null, options, popover);
}
