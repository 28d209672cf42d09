// A WebSocket that comes back by itself, loses nothing and repeats nothing: it resumes after the
// last message it has, fetches what it missed, and sends again what was not acknowledged.

const RECONNECT_CODES = new Set([1001, 1006, 1011, 1012, 4012, 4408]);
const LOST = 1006;
const GOING_AWAY = 4012;
{% if cookiecutter.auth == "token" %}
const SIGNED_OUT = 4401;
{% endif %}
const BACKOFF_MS = 1_000;
const BACKOFF_CAP_MS = 10_000;
const GOING_AWAY_MS = 3_000; // over which the clients of a server that ends come back
const ACK_MS = 10_000;
const LATER_CODES = new Set(["rate_limited", "unavailable"]);
const LATER_MS = 2_000;
const LATER_CAP_S = 60; // a message that has to wait longer fails
const PING_MS = 25_000; // a proxy may drop a socket that is idle for a minute
const SILENCE_MS = 10_000; // how long the server may take to answer before it counts as gone
const TYPING_MS = 3_000;
const PAGE_SIZE = 500;
const OLDER_SIZE = 100;

/**
 * The connection to one room. In: `connect()`, `send()`, `typing()`, `close()`. Out: each event of
 * the server as a CustomEvent named by its `type`, the event as `detail` (`typing`, …), and
 *
 * - `message`: a stored message; each once, in the order of `seq`.
 * - `presence`: `{users, count}`; who is here now.
 * - `failed`: `{ref, code, detail}`; this message was refused and will not be sent again.
 * - `reset`: the server's database started over; forget all messages.
 * - `state`: `{state, code, retrying}`; `connecting`, `open`, or `closed` with the other two.
 */
export class RealtimeClient extends EventTarget {
  state = "closed";
  user = null;

  #url;
  #historyUrl;
{% if cookiecutter.auth == "token" %}
  #ticketUrl;
  #csrfToken;
{% endif %}
  #socket = null;
  #requests = new AbortController(); // HTTP requests that end with the connection
  #timers = {};
  #failures = 0;
  #last = null; // seq of the newest message given to the page
  #ahead = new Map(); // messages that wait for the ones before them, by seq
  #filling = false;
  #users = new Set(); // who is here
  #outbox = []; // not acknowledged; only the first is on its way, which keeps them in order
  #typedAt = -Infinity;
  #explained = false;

  /**
   * @param {object} options
   * @param {string} options.url the socket, a path or a URL
   * @param {string} options.historyUrl answers `?after=<seq>&limit=<n>`, and the same with
   *   `before`, with `{messages, more}`
{% if cookiecutter.auth == "token" %}
   * @param {string} [options.ticketUrl] answers a POST with `{ticket}`, one for each connection
   * @param {string} [options.csrfToken] for that POST, if the page has no form with a CSRF token
{% endif %}
   */
{% if cookiecutter.auth == "token" %}
  constructor({ url, historyUrl, ticketUrl = "/api/ticket/", csrfToken = "" }) {
{% else %}
  constructor({ url, historyUrl }) {
{% endif %}
    super();
    this.#url = new URL(url, location.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#historyUrl = historyUrl;
{% if cookiecutter.auth == "token" %}
    this.#ticketUrl = ticketUrl;
    this.#csrfToken = csrfToken;
{% endif %}
    // The browser's word is a hint only: whether the server can be reached, a ping must tell.
    addEventListener("online", () => this.#probe());
    addEventListener("offline", () => this.#probe());
    document.addEventListener("visibilitychange", () => document.hidden || this.#probe());
  }

  /** Connect, and again when the connection is lost, until `close()` or a code that forbids it. */
  connect() {
    if (this.state === "closed") this.#open();
  }

  /** Close for good; `connect()` starts again, with everything that was not sent. */
  close() {
    this.#closed(1000);
  }

  /**
   * Send a text now, or as soon as there is a connection.
   * @param {string} text 1 to 4000 characters
   * @param {object} [fields] what else the server takes
   * @returns {string} the `ref` of the `message` or `failed` that will come of it
   */
  send(text, fields) {
    // Not crypto.randomUUID(): on plain http, as on a phone in the local network, there is none.
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const ref = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.#outbox.push({ ...fields, type: "send", ref, text });
    this.#typedAt = -Infinity;
    if (this.#outbox.length === 1) this.#flush();
    return ref;
  }

  /** Tell the others that the user is typing; call it on every key. */
  typing() {
    if (this.state !== "open" || performance.now() - this.#typedAt < TYPING_MS) return;
    this.#typedAt = performance.now();
    this.#write({ type: "typing" });
  }

  /** Older messages: `{messages, more}` of before that `seq`, the oldest first. */
  older(seq) {
    return this.#fetchHistory({ before: seq, limit: OLDER_SIZE }, this.#requests.signal);
  }

{% if cookiecutter.auth == "token" %}
  async #open() {
{% else %}
  #open() {
{% endif %}
    clearTimeout(this.#timers.reconnect);
    this.#timers = {};
    this.#requests = new AbortController();
    this.#setState("connecting");
    this.#expectAnswer();
    const url = new URL(this.#url);
    if (this.#last !== null) url.searchParams.set("after", this.#last);
{% if cookiecutter.auth == "token" %}
    const { signal } = this.#requests;
    try {
      url.searchParams.set("ticket", await this.#fetchTicket(signal));
    } catch (error) {
      if (!signal.aborted) this.#closed(error.cause ?? LOST);
    }
    if (signal.aborted) return;
{% endif %}
    const socket = new WebSocket(url);
    // A socket that was given up may still speak; only the current one is heard.
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => {
      if (socket !== this.#socket) return;
      if (code === LOST && this.user === null) this.#explainRefusal();
      this.#closed(code);
    };
    this.#socket = socket;
  }

{% if cookiecutter.auth == "token" %}
  /** Answers a ticket, or throws; the cause is the close code if trying again is of no use. */
  async #fetchTicket(signal) {
    const field = document.querySelector("[name=csrfmiddlewaretoken]");
    const headers = { "X-CSRFToken": this.#csrfToken || (field?.value ?? "") };
    const request = { method: "POST", redirect: "manual", headers, signal };
    const response = await fetch(this.#ticketUrl, request);
    if (response.type === "opaqueredirect" || [401, 403].includes(response.status)) {
      throw new Error("signed out", { cause: SIGNED_OUT });
    }
    if (!response.ok) throw new Error(`no ticket: ${response.status}`);
    return (await response.json()).ticket;
  }

{% endif %}
  #closed(code) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#requests.abort();
    this.#ahead.clear(); // they come again with the next connection
    for (const timer of Object.values(this.#timers)) clearTimeout(timer); // intervals too
    this.#timers = {};
    const retrying = RECONNECT_CODES.has(code);
    if (retrying) {
      // Any time up to the limit, for a server that restarts must not meet all its clients at once.
      const backoff = Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** this.#failures++);
      const limit = code === GOING_AWAY ? Math.max(backoff, GOING_AWAY_MS) : backoff;
      this.#timers.reconnect = setTimeout(() => this.#open(), 100 + Math.random() * limit);
    }
    this.#setState("closed", { code, retrying });
  }

  // No script is told why a handshake was refused; if the server answers otherwise, it is this.
  async #explainRefusal() {
    if (this.#explained) return;
    this.#explained = true;
    try {
      await this.#fetchHistory({ limit: 0 });
      const { origin } = location;
      console.error(`The server refuses this WebSocket: its ALLOWED_ORIGINS must name ${origin}.`);
    } catch {
      this.#explained = false;
    }
  }

  #setState(state, detail = {}) {
    this.state = state;
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #write(event) {
    this.#socket.send(JSON.stringify(event));
  }

  // A network that is gone tells nobody: no close event comes, so silence has to do.
  #expectAnswer() {
    this.#timers.silence ??= setTimeout(() => this.#closed(LOST), SILENCE_MS);
  }

  #ping() {
    this.#failures = 0; // only here, lest a server that dies on each welcome be hammered
    this.#write({ type: "ping" });
    this.#expectAnswer();
  }

  #probe() {
    if (this.#timers.reconnect) this.#open();
    else if (this.state === "open") this.#ping();
  }

  #receive(event) {
    clearTimeout(this.#timers.silence);
    this.#timers.silence = null;
    if (event.type === "message") return this.#take(event);
    if (event.type === "welcome") this.#welcome(event);
    if (event.type === "gap") {
      this.#last ??= event.after;
      this.#fill();
    }
    if (event.type === "error") this.#refused(event);
    if (event.type === "presence") event = this.#takePresence(event);
    this.#emit(event.type, event);
  }

  // All users, or in a large room only those who came and went.
  #takePresence({ type, users, joined = [], left = [], count }) {
    if (users) this.#users = new Set(users);
    for (const user of joined) this.#users.add(user);
    for (const user of left) this.#users.delete(user);
    return { type, users: [...this.#users], count };
  }

  #welcome({ user, seq }) {
    if (seq < this.#last) {
      this.#last = null;
      this.#emit("reset");
      return this.#closed(LOST);
    }
    if (seq === 0) this.#last = 0;
    if (this.user !== null && this.user !== user) {
      // What one user wrote must not go out under the name of the next.
      const detail = `You are ${user} now.`;
      for (const { ref } of this.#outbox.splice(0)) {
        this.#emit("failed", { ref, code: "other_user", detail });
      }
    }
    this.user = user;
    this.#setState("open");
    this.#timers.ping = setInterval(() => this.#ping(), PING_MS);
    this.#flush();
  }

  #refused({ ref, code, detail, retry_after = 0 }) {
    const later = LATER_CODES.has(code) && retry_after <= LATER_CAP_S;
    if (later) this.#flushIn(Math.max(LATER_MS, retry_after * 1000));
    else if (this.#settle(ref)) this.#emit("failed", { ref, code, detail });
  }

  #flush() {
    if (this.state !== "open" || !this.#outbox.length) return;
    this.#write(this.#outbox[0]);
    this.#flushIn(ACK_MS);
  }

  #flushIn(delay) {
    clearTimeout(this.#timers.flush);
    this.#timers.flush = setTimeout(() => this.#flush(), delay);
  }

  /** Takes the message out of the outbox and sends the next; answers whether it was there. */
  #settle(ref) {
    if (!this.#outbox.length || this.#outbox[0].ref !== ref) return false;
    this.#outbox.shift();
    clearTimeout(this.#timers.flush);
    this.#flush();
    return true;
  }

  #take(message) {
    this.#settle(message.ref);
    this.#last ??= message.seq - 1;
    if (message.seq > this.#last) this.#ahead.set(message.seq, message);
    this.#deliverAhead();
    if (this.#ahead.size) this.#fill();
  }

  #deliver(message) {
    this.#ahead.delete(message.seq);
    if (message.seq <= this.#last) return;
    this.#last = message.seq;
    this.#emit("message", message);
  }

  #deliverAhead() {
    for (let next; (next = this.#ahead.get(this.#last + 1)); ) this.#deliver(next);
  }

  async #fetchHistory(query, signal) {
    const response = await fetch(`${this.#historyUrl}?${new URLSearchParams(query)}`, { signal });
    return response.json();
  }

  // Fetches what is missing, page by page, while live messages wait in #ahead.
  async #fill() {
    if (this.#filling) return;
    this.#filling = true;
    const { signal } = this.#requests;
    try {
      let before, page;
      do {
        before = this.#last;
        page = await this.#fetchHistory({ after: before, limit: PAGE_SIZE }, signal);
        signal.throwIfAborted();
        for (const message of page.messages) {
          this.#settle(message.ref);
          this.#deliver(message);
        }
        this.#deliverAhead();
      } while (this.#last > before && (page.more || this.#ahead.size));
      // What the history does not have either was deleted: on without it.
      const rest = [...this.#ahead.values()].sort((a, b) => a.seq - b.seq);
      for (const message of rest) this.#deliver(message);
    } catch {
      if (!signal.aborted) this.#closed(LOST);
    } finally {
      this.#filling = false;
    }
  }
}
