// Where the reader is in the log, and what came while nobody looked.

const FOLLOWING_PX = 40; // so near its end the reader still follows

/** Counts what is missed, in the page's title too, and shows where it begins and a way there. */
export class Reader {
  #log;
  #jump;
  #marker = document.createElement("li");
  #title = document.title;
  #following = true;
  #unread = 0;

  /**
   * @param {Element} log keeps itself at its end, where its `scrollTop` is 0 (column-reverse)
   * @param {Element} jump the button to that end
   */
  constructor(log, jump) {
    this.#log = log;
    this.#jump = jump;
    this.#marker.className = "unread";
    this.#marker.textContent = "New messages";
    log.addEventListener("scroll", () => this.#look(), { passive: true });
    document.addEventListener("visibilitychange", () => document.hidden || this.#comeBack());
    jump.addEventListener("click", () => {
      log.focus({ preventScroll: true });
      this.toEnd();
    });
  }

  toEnd() {
    this.#log.scrollTop = 0;
    this.#look();
  }

  /** Makes a change at the end of the log; who reads further up sees nothing move. */
  keepPlace(change) {
    if (this.#following) return change();
    const { scrollTop, scrollHeight } = this.#log;
    change();
    this.#log.scrollTop = scrollTop + scrollHeight - this.#log.scrollHeight;
  }

  /** These items came; they are unread, unless somebody looks. */
  count(items) {
    if (this.#isLooking || !items.length) return;
    if (!this.#unread) items[0].before(this.#marker);
    this.#tell(this.#unread + items.length);
  }

  /** The reader answers, and has therefore read all. */
  answered() {
    this.#marker.remove();
    this.toEnd();
  }

  get #isLooking() {
    return this.#following && !document.hidden;
  }

  #look() {
    this.#following = this.#log.scrollTop > -FOLLOWING_PX;
    this.#jump.hidden = this.#following;
    if (this.#isLooking) this.#tell(0);
  }

  // What is new is read from its beginning.
  #comeBack() {
    if (this.#unread) this.#marker.scrollIntoView({ block: "nearest" });
    this.#look();
  }

  #tell(unread) {
    if (unread === this.#unread) return;
    this.#unread = unread;
    const news = unread === 1 ? "1 new message" : `${unread} new messages`;
    this.#jump.textContent = unread ? news : "Newest messages";
    document.title = unread ? `(${unread}) ${this.#title}` : this.#title;
  }
}
