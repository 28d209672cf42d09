// The chat's connection to one room. It sends each message until the server has stored it, and
// receives each message once and in order.
import { RealtimeClient } from "../realtime/client.js";

const ACK_MS = 10_000; // send again if the server does not acknowledge for this long
const OFFLINE = gettext(
  "You are offline. Your change is not saved: save it when you are connected.",
);
const UNANSWERED = gettext("The server did not answer. Save your change again.");
const RETRY_CODES = new Set(["rate_limited", "unavailable"]);
const RETRY_MS = 2_000;
const RETRY_CAP_S = 60; // fail a message that would have to wait longer
const TYPING_MS = 3_000;
const PAGE_SIZE = 500;
const OLDER_SIZE = 100;

/**
 * A person: the display name, which may change and repeat, and the key.
 * @typedef {{user: string, user_id: string}} User
 */

/**
 * Events, each a CustomEvent with a `detail`:
 *
 * - `message`: a stored message.
 * - `edited`: `{seq, text, edited_at}`; the new text of a message, which the page may have or not,
 *   or an empty one if it was deleted.
 * - `failed`: `{ref, code, detail}`; the server refused this message, which will not be sent again.
 * - `reset`: drop all messages, the latest follow; the server's database was replaced, or more
 *   messages were edited than a reconnect repeats.
 * - `presence`: `{users, count}`; the users in the room. In a large room the list is partial.
 * - `status`: `{status, code, retrying}`, as of `RealtimeClient`; `open` once the user is known.
 * - Any other event of the server, by its `type`.
 */
export class ChatClient extends EventTarget {
  status = "closed";
  /** @type {User | null} known from the first welcome on */
  me = null;

  #client;
  #historyUrl;
  #requests = new AbortController(); // HTTP requests that end with the connection
  #last = null; // seq of the newest message given to the page
  #early = new Map(); // messages that arrived before an earlier one, by seq
  #edits = new Map(); // the latest edit of each edited message, by seq
  #fetching = false;
  #users = new Map(); // those in the room, by id
  #unacknowledged = []; // only the first is on its way, which keeps them in order
  #changes = new Map(); // own edits on their way, by ref
  #retryTimer;
  #typedAt = -Infinity;

  /**
   * @param {object} options
   * @param {ConstructorParameters<typeof RealtimeClient>[0]} options.url of the socket
   * @param {string} options.historyUrl answers `?after=<seq>&limit=<n>` and `?before=<seq>&limit=<n>`
   *   with `{messages, more}`
   */
  constructor({ url, historyUrl }) {
    super();
    this.#historyUrl = historyUrl;
    this.#client = new RealtimeClient(url, {
      resume: () => ({ after: this.#last }),
      onevent: (event) => this.#receive(event),
      onstatus: (status) => this.#followStatus(status),
    });
  }

  /** Connect, and reconnect until `close()` is called or a close code forbids it. */
  connect() {
    this.#client.connect();
  }

  /** Close the connection. `connect()` opens it again, and sends what is not stored yet. */
  close() {
    this.#client.close();
  }

  /**
   * Send a text now, or as soon as there is a connection.
   * @param {string} text 1 to 4000 characters
   * @param {object} [fields] further fields of the event, or all of one in `unsent`
   * @returns {string} the `ref` of the `message` or `failed` event that follows
   */
  send(text, fields) {
    const ref = fields?.ref ?? newRef();
    this.#unacknowledged.push({ ...fields, type: "send", ref, text });
    this.#typedAt = -Infinity;
    if (this.#unacknowledged.length === 1) this.#sendFirst();
    return ref;
  }

  /** The events of messages that are not stored yet. Each may be sent again, and is stored once. */
  get unsent() {
    return this.#unacknowledged;
  }

  /**
   * Replace the text of an own message, or delete it by an empty text. Nothing is queued.
   * @returns {Promise<void>} rejects with the reason, for the user, unless it is stored
   */
  async edit(seq, text) {
    const change = { type: "edit", ref: newRef(), seq, text };
    const sent = navigator.onLine && this.status === "open" && this.#client.send(change);
    if (!sent) throw new Error(OFFLINE);
    await new Promise((resolve, reject) => {
      this.#changes.set(change.ref, { ...change, resolve, reject });
      setTimeout(() => this.#failChange(change.ref, UNANSWERED), ACK_MS);
    });
  }

  /** Report to the others that the user is typing. Call it on every key. */
  typing() {
    if (this.status !== "open" || performance.now() - this.#typedAt < TYPING_MS) return;
    this.#typedAt = performance.now();
    this.#client.send({ type: "typing" });
  }

  /** Fetch the messages before this `seq`: `{messages, more}`, oldest first. */
  async older(seq) {
    const { messages, more } = await this.#fetchHistory({ before: seq, limit: OLDER_SIZE });
    return { messages: messages.map((message) => this.#latest(message)), more };
  }

  #followStatus(status) {
    if (status.status === "open") return; // reported with the welcome
    if (status.status === "connecting") this.#requests = new AbortController();
    if (status.status === "closed") {
      this.#requests.abort();
      this.#early.clear(); // the next connection replays them
      this.#edits.clear();
      for (const ref of this.#changes.keys()) this.#failChange(ref, UNANSWERED);
      clearTimeout(this.#retryTimer);
    }
    this.#setStatus(status);
  }

  #setStatus(status) {
    this.status = status.status;
    this.#emit("status", status);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #receive(event) {
    switch (event.type) {
      case "welcome":
        this.#welcome(event);
        break;
      case "message":
        this.#receiveMessage(event);
        break;
      case "edited":
        if (this.#latest(event) === event) this.#emit("edited", event);
        this.#acknowledgeChanges(event);
        break;
      case "reset":
        this.#reset();
        break;
      case "gap":
        this.#last ??= event.after;
        this.#fetchMissed();
        break;
      case "error":
        this.#receiveError(event);
        break;
      case "presence":
        this.#receivePresence(event);
        break;
      default:
        this.#emit(event.type, event);
    }
  }

  #welcome({ user, user_id, seq }) {
    if (seq < this.#last) {
      this.#reset();
      this.#client.reconnect();
      return;
    }
    if (seq === 0) this.#last = 0;
    if (this.me !== null && this.me.user_id !== user_id) {
      // Do not send one user's messages under the name of the next.
      const detail = interpolate(gettext("You are signed in as %s now."), [user]);
      for (const { ref } of this.#unacknowledged.splice(0)) {
        this.#emit("failed", { ref, code: "other_user", detail });
      }
    }
    this.me = { user, user_id };
    this.#setStatus({ status: "open" });
    this.#sendFirst();
  }

  #reset() {
    this.#last = null;
    this.#emit("reset");
  }

  // All users or, in a large room, those who came and left.
  #receivePresence({ users, joined = [], left = [], count }) {
    if (users) this.#users.clear();
    for (const user of users ?? joined) this.#users.set(user.user_id, user);
    for (const user of left) this.#users.delete(user.user_id);
    this.#emit("presence", { users: [...this.#users.values()], count });
  }

  #receiveError({ ref, code, detail, retry_after = 0 }) {
    if (this.#failChange(ref, detail)) return;
    const retry = RETRY_CODES.has(code) && retry_after <= RETRY_CAP_S;
    if (retry) this.#sendFirstIn(Math.max(RETRY_MS, retry_after * 1000));
    else if (this.#acknowledge(ref)) this.#emit("failed", { ref, code, detail });
  }

  #acknowledgeChanges({ seq, text }) {
    for (const change of this.#changes.values()) {
      if (change.seq !== seq || change.text !== text) continue;
      this.#changes.delete(change.ref);
      change.resolve();
    }
  }

  #failChange(ref, detail) {
    this.#changes.get(ref)?.reject(new Error(detail));
    return this.#changes.delete(ref);
  }

  #sendFirst() {
    if (this.status !== "open" || !this.#unacknowledged.length) return;
    this.#client.send(this.#unacknowledged[0]);
    this.#sendFirstIn(ACK_MS);
  }

  #sendFirstIn(delay) {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#sendFirst(), delay);
  }

  /** Drop the message on its way if it has this `ref`, and send the next. Return whether it had. */
  #acknowledge(ref) {
    if (!this.#unacknowledged.length || this.#unacknowledged[0].ref !== ref) return false;
    this.#unacknowledged.shift();
    clearTimeout(this.#retryTimer);
    this.#sendFirst();
    return true;
  }

  #receiveMessage(message) {
    this.#acknowledgeOwn(message);
    this.#last ??= message.seq - 1;
    if (message.seq > this.#last) this.#early.set(message.seq, message);
    this.#deliverEarly();
    if (this.#early.size) this.#fetchMissed();
  }

  // Another user may have chosen the same ref.
  #acknowledgeOwn({ ref, user_id }) {
    if (user_id === this.me?.user_id) this.#acknowledge(ref);
  }

  #deliver(message) {
    this.#early.delete(message.seq);
    if (message.seq <= this.#last) return;
    this.#last = message.seq;
    this.#emit("message", this.#latest(message));
  }

  // A message and the edits of its text arrive in any order. The latest edit counts.
  #latest(event) {
    const { seq, text, edited_at = "" } = event;
    const known = this.#edits.get(seq);
    if (known?.edited_at >= edited_at) return { ...event, ...known };
    if (edited_at) this.#edits.set(seq, { text, edited_at });
    return event;
  }

  #deliverEarly() {
    for (let next; (next = this.#early.get(this.#last + 1)); ) this.#deliver(next);
  }

  async #fetchHistory(query) {
    const { signal } = this.#requests;
    const response = await fetch(`${this.#historyUrl}?${new URLSearchParams(query)}`, { signal });
    return response.json();
  }

  // Page by page, while live messages wait in #early.
  async #fetchMissed() {
    if (this.#fetching) return;
    this.#fetching = true;
    const { signal } = this.#requests;
    try {
      let before, page;
      do {
        before = this.#last;
        page = await this.#fetchHistory({ after: before, limit: PAGE_SIZE });
        signal.throwIfAborted();
        for (const message of page.messages) {
          this.#acknowledgeOwn(message);
          this.#deliver(message);
        }
        this.#deliverEarly();
      } while (this.#last > before && (page.more || this.#early.size));
      // The history lacks deleted messages: go on without them.
      const rest = [...this.#early.values()].sort((a, b) => a.seq - b.seq);
      for (const message of rest) this.#deliver(message);
    } catch {
      if (!signal.aborted) this.#client.reconnect();
    } finally {
      this.#fetching = false;
    }
  }
}

// Not crypto.randomUUID(), which is missing on plain http, as on a phone in the local network.
function newRef() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
