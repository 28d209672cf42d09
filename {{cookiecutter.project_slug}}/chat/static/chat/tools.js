// The buttons of own messages, "Edit" and "Delete". Tab leads to those of the newest message, and
// the arrow keys from there to the others.

const STEPS = { ArrowUp: -1, ArrowDown: 1 };

export class Tools {
  #list;

  /**
   * @param {Element} list of the messages
   * @param {object} actions functions by the value of a button; each gets the message's item
   */
  constructor(list, actions) {
    this.#list = list;
    list.addEventListener("click", ({ target }) => {
      const button = target.closest(".tools button");
      if (button) actions[button.value](button.closest(".message"));
    });
    list.addEventListener("keydown", (event) => this.#move(event));
    const observer = new MutationObserver(() => this.#setTabStop());
    observer.observe(list, { childList: true, subtree: true });
  }

  /** Item of the newest own message that can be edited, or undefined. */
  get newest() {
    return this.#all.at(-1)?.closest(".message");
  }

  get #all() {
    return [...this.#list.querySelectorAll(".tools:not([hidden])")];
  }

  #setTabStop() {
    const newest = this.#all.at(-1);
    if (newest?.firstElementChild.tabIndex === 0) return;
    for (const button of this.#list.querySelectorAll(".tools [tabindex='0']")) button.tabIndex = -1;
    for (const button of newest?.children ?? []) button.tabIndex = 0;
  }

  #move(event) {
    const button = event.target.closest(".tools button");
    const step = STEPS[event.key];
    if (!button || !step) return;
    event.preventDefault();
    const all = this.#all;
    const next = all[all.indexOf(button.parentElement) + step];
    next?.querySelector(`[value=${button.value}]`).focus();
  }
}
