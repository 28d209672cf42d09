// The reader's position in the log, and the messages that arrived out of sight.
import { setRead } from "./unread.js";

const FOLLOWING_PX = 40; // so close to the end, the reader follows new messages

/** Counts unread messages, also in the page's title, marks the first, and offers a way to the end. */
export class Reader {
  #log;
  #jump;
  #room;
  #latest = null; // seq of the newest message in the log
  #read = null; // seq of the newest message that was in sight
  #marker = document.createElement("li");
  #title = document.title;
  #following = true;
  #unread = 0;

  /**
   * @param {Element} log keeps its end in sight while its `scrollTop` is 0 (column-reverse)
   * @param {Element} jump the button that leads to the end
   * @param {string} room its name
   */
  constructor(log, jump, room) {
    this.#log = log;
    this.#jump = jump;
    this.#room = room;
    this.#marker.className = "unread";
    this.#marker.textContent = "New messages";
    log.addEventListener("scroll", () => this.#update(), { passive: true });
    document.addEventListener("visibilitychange", () => document.hidden || this.#showMarker());
    jump.addEventListener("click", () => {
      log.focus({ preventScroll: true });
      this.toEnd();
    });
  }

  toEnd() {
    this.#log.scrollTop = 0;
    this.#update();
  }

  /** Change the end of the log. If the reader is further up, nothing in sight moves. */
  keepPosition(change) {
    if (this.#following) return change();
    const { scrollTop, scrollHeight } = this.#log;
    change();
    this.#log.scrollTop = scrollTop + scrollHeight - this.#log.scrollHeight;
  }

  /** Count new items as unread, unless the reader sees them arrive. */
  markUnread(items) {
    if (this.#isWatching || !items.length) return;
    if (!this.#unread) items[0].before(this.#marker);
    this.#showUnread(this.#unread + items.length);
  }

  /** Note the number of the newest message. */
  reach(seq) {
    this.#latest = seq;
    this.#remember();
  }

  /** Remove the marker and go to the end: a reader who replies has read everything. */
  markRead() {
    this.#marker.remove();
    this.toEnd();
  }

  get #isWatching() {
    return this.#following && !document.hidden;
  }

  #update() {
    this.#following = this.#log.scrollTop > -FOLLOWING_PX;
    this.#jump.hidden = this.#following;
    if (this.#isWatching) this.#showUnread(0);
    this.#remember();
  }

  #showMarker() {
    if (this.#unread) this.#marker.scrollIntoView({ block: "nearest" });
    this.#update();
  }

  #remember() {
    if (!this.#isWatching || this.#read === this.#latest) return;
    this.#read = this.#latest;
    setRead(this.#room, this.#read);
  }

  #showUnread(unread) {
    if (unread === this.#unread) return;
    this.#unread = unread;
    const news = unread === 1 ? "1 new message" : `${unread} new messages`;
    this.#jump.textContent = unread ? news : "Newest messages";
    document.title = unread ? `(${unread}) ${this.#title}` : this.#title;
  }
}
