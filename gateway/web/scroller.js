// The scrolling of the thread: it follows what is new as long as its reader is at the end, and stays where it is when they
// scroll up.

// So near to the end counts as there: a line.
const nearEnd = 48;

export class Scroller {
  #view;
  #button;
  #follows = true;

  constructor(view, content, button) {
    this.#view = view;
    this.#button = button;
    view.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.grown()).observe(content);
    new ResizeObserver(() => this.grown()).observe(view);
  }

  // follow goes to the end from now on.
  follow() {
    this.#follows = true;
    this.grown();
  }

  toEnd() {
    this.follow();
  }

  // grown is told that there may be more.
  grown() {
    if (this.#follows) this.#view.scrollTop = this.#view.scrollHeight;
    this.#show();
  }

  #scrolled() {
    this.#follows = this.#left() < nearEnd;
    this.#show();
  }

  #left() {
    return this.#view.scrollHeight - this.#view.scrollTop - this.#view.clientHeight;
  }

  #show() {
    this.#button.hidden = this.#left() < nearEnd;
  }
}
