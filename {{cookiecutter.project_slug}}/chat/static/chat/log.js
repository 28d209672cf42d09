// The messages of the room, in order: new ones below, what is still to be sent at the end, and
// older ones above as soon as somebody scrolls there.
import { dayItem, dayOf, join, markFailed, nameDay, pendingItem, storedItem } from "./message.js";
import { Reader } from "./reader.js";

const FRAME_MS = 16;
const PER_FRAME = 100;
const SPOKEN = 10; // that many at once a screen reader still reads aloud
const SILENCE_MS = 1_000;

export class MessageLog {
  user = null; // whose messages are the visitor's own

  #log;
  #list;
  #older;
  #empty;
  #reader;
  #observer;
  #loadOlder;
  #loading = false;
  #started = false;
  #waiting = []; // messages for the next frame
  #unsettled = new Map(); // items that are pending or failed, by ref
  #first = null; // seq of the oldest message
  #lastDay = null;
  #silence;

  /**
   * @param {Element} element has the elements of the room's page
   * @param {function(number): Promise} loadOlder answers `{messages, more}` of before that `seq`
   */
  constructor(element, loadOlder) {
    this.#log = element.querySelector("[role=log]");
    this.#list = element.querySelector("ol");
    this.#older = element.querySelector(".older");
    this.#empty = element.querySelector(".empty");
    this.#reader = new Reader(this.#log, element.querySelector(".jump"));
    this.#loadOlder = loadOlder;
    const seen = ([{ isIntersecting }]) => isIntersecting && this.#addOlder();
    this.#observer = new IntersectionObserver(seen, { root: this.#log, rootMargin: "500px" });
  }

  /** All that was missed is there; what comes from now on is news. */
  start() {
    this.#flush();
    this.#empty.hidden = this.#first !== null;
    if (!this.#started) {
      this.#beSilent();
      this.#reader.toEnd(); // after a reload Firefox would show what was in sight before
    }
    this.#started = true;
    this.#watch();
  }

  /** Shows a message, with others that come before the next frame. */
  add(message) {
    if (this.#waiting.push(message) === 1) setTimeout(() => this.#flush(), FRAME_MS);
  }

  addPending(ref, text) {
    const item = pendingItem(this.user ?? "", text);
    this.#unsettled.set(ref, item);
    this.#empty.hidden = true;
    this.#list.append(item);
    join(item);
    this.#reader.answered();
  }

  fail(ref, detail) {
    const item = this.#unsettled.get(ref);
    markFailed(item, detail);
    this.#place(item);
  }

  get hasPending() {
    return this.#nextPending !== null;
  }

  /** Forgets everything but what is still to be sent. */
  clear() {
    this.#waiting = [];
    this.#first = this.#lastDay = null;
    for (const item of this.#list.querySelectorAll("li:not(.pending)")) item.remove();
  }

  get #nextPending() {
    const items = [...this.#unsettled.values()];
    return items.find((item) => item.matches(".pending")) ?? null;
  }

  // What is there already is not moved, lest a screen reader read it again.
  #place(item) {
    const next = this.#nextPending;
    if (!item.isConnected || item.nextElementSibling !== next) this.#list.insertBefore(item, next);
  }

  #flush() {
    const messages = this.#waiting.splice(0, PER_FRAME);
    if (!messages.length) return;
    if (this.#waiting.length) setTimeout(() => this.#flush(), FRAME_MS);
    if (messages.length > SPOKEN) this.#beSilent();
    if (this.#first === null) this.#older.hidden = messages[0].seq === 1;
    this.#first ??= messages[0].seq;
    this.#empty.hidden = true;
    this.#reader.keepPlace(() => {
      const items = messages.map((message) => this.#append(message));
      if (this.#started) this.#reader.count(items.filter((item) => !item.matches(".own")));
      items.forEach(join);
    });
  }

  #append(message) {
    const { ref, user } = message;
    const item = storedItem(message, user === this.user, this.#unsettled.get(ref));
    this.#unsettled.delete(ref);
    this.#place(item);
    const day = dayOf(message);
    if (day !== this.#lastDay) {
      this.#list.querySelectorAll(".day").forEach(nameDay);
      item.before(dayItem(day));
      this.#lastDay = day;
    }
    return item;
  }

  async #addOlder() {
    if (this.#loading) return;
    this.#loading = true;
    try {
      const { messages, more } = await this.#loadOlder(this.#first);
      this.#older.hidden = !more;
      if (messages.length) this.#prepend(messages);
      this.#watch();
    } catch {
      // Without a connection; it is tried again with the next.
    } finally {
      this.#loading = false;
    }
  }

  #prepend(messages) {
    this.#beSilent();
    const fragment = new DocumentFragment();
    let day = null;
    for (const message of messages) {
      if (dayOf(message) !== day) fragment.append(dayItem((day = dayOf(message))));
      const item = storedItem(message, message.user === this.user);
      fragment.append(item);
      join(item);
    }
    const [separator, item] = this.#list.children;
    if (separator.dataset.day === day) separator.remove();
    this.#list.prepend(fragment);
    join(item);
    this.#first = messages[0].seq;
  }

  // Observed anew, it is reported anew, also if it was in sight all the time.
  #watch() {
    this.#observer.unobserve(this.#older);
    this.#observer.observe(this.#older);
  }

  #beSilent() {
    this.#log.ariaLive = "off";
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => (this.#log.ariaLive = "polite"), SILENCE_MS);
  }
}
