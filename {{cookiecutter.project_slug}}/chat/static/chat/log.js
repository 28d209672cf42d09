// The messages of the room, in order: new ones below, unsent ones at the end, and older ones above,
// which load when the reader scrolls up.
import {
  dayItem,
  dayOf,
  join,
  markFailed,
  nameDay,
  pendingItem,
  replaceText,
  storedItem,
} from "./message.js";
import { Reader } from "./reader.js";

const FRAME_MS = 16;
const PER_FRAME = 100;
const ANNOUNCED = 10; // mute screen readers if more messages arrive at once
const MUTE_MS = 1_000;

export class MessageLog {
  me = null; // the user of this page

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
  #unsent = new Map(); // pending and failed items, by ref
  #first = null; // seq of the oldest message
  #lastDay = null;
  #muteTimer;

  /**
   * @param {Element} element contains the elements of the room's page
   * @param {function(number): Promise} loadOlder fetches `{messages, more}` before this `seq`
   */
  constructor(element, loadOlder) {
    this.#log = element.querySelector("[role=log]");
    this.#list = element.querySelector("ol");
    this.#older = element.querySelector(".older");
    this.#empty = element.querySelector(".empty");
    this.#reader = new Reader(this.#log, element.querySelector(".jump"), element.dataset.room);
    this.#loadOlder = loadOlder;
    const seen = ([{ isIntersecting }]) => isIntersecting && this.#addOlder();
    this.#observer = new IntersectionObserver(seen, { root: this.#log, rootMargin: "500px" });
  }

  /** Show that the replay is complete: messages that arrive from now on are new. */
  start() {
    this.#render();
    this.#empty.hidden = this.#first !== null;
    if (!this.#started) {
      this.#mute();
      this.#reader.toEnd(); // after a reload Firefox would restore the old position
    }
    this.#started = true;
    this.#watch();
  }

  /** Show a message, together with others that arrive before the next frame. */
  add(message) {
    if (this.#waiting.push(message) === 1) setTimeout(() => this.#render(), FRAME_MS);
  }

  addPending(ref, text) {
    const item = pendingItem(this.me, text);
    this.#unsent.set(ref, item);
    this.#empty.hidden = true;
    this.#list.append(item);
    join(item);
    this.#reader.markRead();
  }

  fail(ref, detail) {
    const item = this.#unsent.get(ref);
    markFailed(item, detail);
    this.#place(item);
  }

  get hasPending() {
    return this.#firstPending !== null;
  }

  /** Change the text of a message in its place. Screen readers read it there, without a word. */
  edit({ seq, text, edited_at }) {
    for (const message of this.#waiting) {
      if (message.seq === seq) Object.assign(message, { text, edited_at });
    }
    const item = this.#list.querySelector(`[data-seq="${seq}"]`);
    if (!item) return;
    const change = () => replaceText(item, text);
    const isBelow = item.getBoundingClientRect().top > this.#log.getBoundingClientRect().bottom;
    if (isBelow) this.#reader.keepPosition(change);
    else change();
  }

  /** Remove everything but the unsent messages. */
  clear() {
    this.#waiting = [];
    this.#first = this.#lastDay = null;
    this.#started = false;
    this.#older.hidden = true;
    for (const item of this.#list.querySelectorAll("li:not(.pending, .failed)")) item.remove();
  }

  get #firstPending() {
    const items = [...this.#unsent.values()];
    return items.find((item) => item.matches(".pending")) ?? null;
  }

  // Do not move an item that is in its place, or screen readers announce it again.
  #place(item) {
    const next = this.#firstPending;
    if (!item.isConnected || item.nextElementSibling !== next) this.#list.insertBefore(item, next);
  }

  #render() {
    const messages = this.#waiting.splice(0, PER_FRAME);
    if (!messages.length) return;
    if (this.#waiting.length) setTimeout(() => this.#render(), FRAME_MS);
    if (messages.length > ANNOUNCED) this.#mute();
    if (this.#first === null) this.#older.hidden = messages[0].seq === 1;
    this.#first ??= messages[0].seq;
    this.#empty.hidden = true;
    this.#reader.keepPosition(() => {
      const items = messages.map((message) => this.#append(message));
      if (this.#started) this.#reader.markUnread(items.filter((item) => !item.matches(".own")));
      items.forEach(join);
    });
    this.#reader.reach(messages.at(-1).seq);
  }

  #isOwn(message) {
    return message.user_id === this.me.user_id;
  }

  #append(message) {
    const own = this.#isOwn(message);
    const item = storedItem(message, own, own ? this.#unsent.get(message.ref) : undefined);
    if (own) this.#unsent.delete(message.ref);
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
      const first = this.#first;
      const { messages, more } = await this.#loadOlder(first);
      if (this.#first === first) {
        this.#older.hidden = !more;
        if (messages.length) this.#prepend(messages);
      }
      this.#watch();
    } catch {
      // The connection is lost: the next one tries again.
    } finally {
      this.#loading = false;
    }
  }

  #prepend(messages) {
    this.#mute();
    const fragment = new DocumentFragment();
    let day = null;
    for (const message of messages) {
      if (dayOf(message) !== day) fragment.append(dayItem((day = dayOf(message))));
      const item = storedItem(message, this.#isOwn(message));
      fragment.append(item);
      join(item);
    }
    const [separator, item] = this.#list.children;
    if (separator.dataset.day === day) separator.remove();
    this.#list.prepend(fragment);
    join(item);
    this.#first = messages[0].seq;
  }

  // Observe again, so that an element that stays visible is reported again.
  #watch() {
    this.#observer.unobserve(this.#older);
    this.#observer.observe(this.#older);
  }

  #mute() {
    this.#log.ariaLive = "off";
    clearTimeout(this.#muteTimer);
    this.#muteTimer = setTimeout(() => (this.#log.ariaLive = "polite"), MUTE_MS);
  }
}
