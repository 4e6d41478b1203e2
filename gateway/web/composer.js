// The field in which one writes. Enter sends, Shift+Enter makes a new line, and while an input method composes Enter is the
// input method's.
export class Composer {
  #form = document.getElementById("composer");
  #field = document.getElementById("message");
  #send = document.getElementById("send");
  #stop = document.getElementById("stop");
  #editing = document.getElementById("editing");
  #busy = false;
  #before = ""; // what was written before a message was edited

  // actions: {send(text), stop(), cancel()}
  constructor(actions) {
    this.#form.addEventListener("submit", (e) => {
      e.preventDefault();
      const text = this.#field.value.trim();
      if (text === "" || this.#busy) return;
      this.#write("");
      this.#before = "";
      actions.send(text);
    });
    this.#field.addEventListener("keydown", (e) => {
      // 229 is what browsers report that end a composition before they report its last key.
      if (e.isComposing || e.keyCode === 229) return;
      if (e.key === "Enter" && !e.shiftKey && !e.ctrlKey && !e.altKey && !e.metaKey) {
        e.preventDefault();
        this.#form.requestSubmit();
      } else if (e.key === "Escape") {
        if (this.#editing.hidden) actions.stop();
        else actions.cancel();
      }
    });
    this.#field.addEventListener("input", () => this.#fit());
    this.#stop.addEventListener("click", () => {
      actions.stop();
      this.focus();
    });
    document.getElementById("stop-editing").addEventListener("click", () => actions.cancel());
    this.#fit();
  }

  // focus is for those who have a keyboard: others would see one rise.
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.#field.focus({ preventScroll: true });
  }

  // edit has a message's text edited; null goes back to what was written before.
  edit(text) {
    const was = !this.#editing.hidden;
    this.#editing.hidden = text === null;
    if (text !== null && !was) this.#before = this.#field.value;
    if (text !== null || was) this.#write(text ?? this.#before);
    if (text !== null) {
      this.#field.focus();
      this.#field.setSelectionRange(text.length, text.length);
    }
  }

  // busy shows Stop in the place of Send.
  busy(busy) {
    const focused = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#busy = busy;
    this.#send.hidden = busy;
    this.#stop.hidden = !busy;
    if (focused) this.focus();
    this.#fit();
  }

  #write(text) {
    this.#field.value = text;
    this.#fit();
  }

  // #fit makes the field as high as its text, within limits that the style sheet sets.
  #fit() {
    this.#send.disabled = this.#field.value.trim() === "";
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}
