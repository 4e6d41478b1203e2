// Copying to the clipboard, with a sign that it has happened.
import { icon, say } from "./frame.js";
import { t } from "./i18n.js";

export async function copy(button, text) {
  if (!(await copied(text))) {
    say(t("chat.notCopied"));
    return;
  }
  button.replaceChildren(icon("check"));
  say(t("chat.copied"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelecting(text); // a page that came by plain HTTP from another machine has no clipboard
  }
}

function copiedBySelecting(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  field.readOnly = true;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
