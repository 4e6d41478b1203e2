// Small windows that ask for something.
const dialog = document.getElementById("prompt");
const input = document.getElementById("prompt-input");
const field = document.getElementById("prompt-field");
const yes = document.getElementById("prompt-yes");

document.getElementById("prompt-no").addEventListener("click", () => dialog.close());
document.getElementById("prompt-form").addEventListener("submit", () => {
  dialog.returnValue = "yes";
});

// question shows a window and gives whether it was answered with yes: with what stands in the field, if there is one.
export function question({ title, text = "", value = null, agree, danger = false }) {
  document.getElementById("prompt-title").textContent = title;
  document.getElementById("prompt-text").textContent = text;
  document.getElementById("prompt-text").hidden = text === "";
  field.hidden = value === null;
  input.value = value ?? "";
  yes.textContent = agree;
  yes.classList.toggle("danger-fill", danger);
  dialog.returnValue = "";
  dialog.showModal();
  if (value !== null) input.select();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes" ? { value: input.value.trim() } : null), { once: true });
  });
}

const keyDialog = document.getElementById("key-dialog");
const keyInput = document.getElementById("key");
let asking = null; // the same window for all who need a key now

// askKey asks for the gateway's key; wrong: the one that was used is not known. It gives null if the window is closed.
export function askKey(wrong) {
  asking ??= new Promise((done) => {
    document.getElementById("key-wrong").hidden = !wrong;
    keyInput.value = "";
    keyDialog.returnValue = "";
    keyDialog.showModal();
    keyDialog.addEventListener("close", () => {
      asking = null;
      const secret = keyInput.value.trim();
      keyInput.value = "";
      done(keyDialog.returnValue === "use" && secret ? secret : null);
    }, { once: true });
  });
  return asking;
}

document.getElementById("key-form").addEventListener("submit", () => {
  keyDialog.returnValue = "use";
});
