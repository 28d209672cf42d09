// A WebSocket that reconnects. It carries events and does not know what they mean.
//
//   const client = new RealtimeClient(form.dataset.socketPath, {
//     onevent: (event) => console.log(event.type, event),
//     onstatus: ({ status, code }) => console.log(status, code),
//   });
//   client.connect();
//   client.send({ type: "roll", sides: 6 });
//
// An event is a JSON object with a `type`, one in each text frame. The consumer must answer
// `{"type": "ping"}` with `{"type": "pong"}`, as `RealtimeConsumer` does.
//
// A page with the id of its user, `<html data-user-id="7">`, is reloaded if a `welcome` has the id of
// another user: one has signed in since, in another window of the browser.

const RECONNECT_CODES = new Set([1001, 1006, 1011, 1012, 4012, 4408]);
const LOST = 1006;
const GOING_AWAY = 4012;
const TOO_MANY = 4409;
// The server counts connections of a lost network for up to 40 s. After these delays, stop.
const TOO_MANY_MS = [2_000, 4_000, 8_000, 16_000, 30_000];
const BACKOFF_MS = 1_000; // doubles with each failure
const BACKOFF_CAP_MS = 10_000;
const GOING_AWAY_MS = 3_000; // the clients of a stopping server reconnect within this time
const PING_MS = 25_000; // proxies drop a socket that is idle for a minute
const ANSWER_MS = 10_000; // reconnect if the server answers nothing for this long

/** @typedef {{type: string, [field: string]: any}} RealtimeEvent */

/**
 * @typedef {object} Status
 * @property {"connecting" | "open" | "closed"} status
 * @property {number} [code] the close code, if closed
 * @property {boolean} [retrying] whether the client will reconnect by itself, if closed
 */

export class RealtimeClient {
  /** @type {Status["status"]} */
  status = "closed";

  #url;
  #resume;
  #onevent;
  #onstatus;
  #socket = null;
  #attempt = new AbortController(); // aborts when the connection closes
  #timers = {};
  #failures = 0;
  #refusals = 0; // with 4409
  #opened = false; // at least once
  #explained = false;

  /**
   * Prepare a connection; `connect()` opens it.
   *
   * @param {string | URL | ((signal: AbortSignal) => string | URL | Promise<string | URL>)} url
   *   The socket, absolute or relative to the page. A function is called for each connection, for
   *   example to fetch a ticket. Its signal aborts when the client gives the connection up. If the
   *   function throws, the client retries. If the error's `cause` is a close code, the connection
   *   closes with this code instead.
   * @param {object} [options]
   * @param {() => Record<string, string | number | null | undefined>} [options.resume]
   *   Returns query parameters for each connection, such as `{after: 7}`, so that the server can
   *   replay what was missed. Empty values are left out.
   * @param {(event: RealtimeEvent) => void} [options.onevent] Receives each event but `pong`.
   * @param {(status: Status) => void} [options.onstatus] Receives each change of the status.
   */
  constructor(url, { resume = () => ({}), onevent = () => {}, onstatus = () => {} } = {}) {
    this.#url = url;
    this.#resume = resume;
    this.#onevent = onevent;
    this.#onstatus = onstatus;
    // Browsers report the network, not whether the server can be reached: check with a ping.
    addEventListener("online", () => this.#probe());
    addEventListener("offline", () => this.#probe());
    document.addEventListener("visibilitychange", () => document.hidden || this.#probe());
  }

  /**
   * Connect, and reconnect until `close()` is called or a close code forbids it. If the user has too
   * many connections (4409), the client retries for a minute.
   */
  connect() {
    if (this.status !== "closed") return;
    this.#refusals = 0;
    this.#open();
  }

  /** Drop the connection as if it were lost, and reconnect after the back-off. */
  reconnect() {
    this.#disconnect(LOST);
  }

  /** Close the connection; `connect()` opens it again. */
  close() {
    this.#disconnect(1000);
  }

  /**
   * Send an event if the connection is open. Nothing is queued: if an event must arrive, keep it
   * until the server acknowledges it, and send it again after each reconnect.
   * @param {RealtimeEvent} event
   * @returns {boolean} whether the event was sent
   */
  send(event) {
    if (this.status !== "open") return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  async #open() {
    clearTimeout(this.#timers.reconnect);
    this.#timers = {};
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    this.#expectAnswer();
    this.#setStatus({ status: "connecting" });
    let url = this.#url;
    try {
      if (typeof url === "function") url = await url(signal);
    } catch (error) {
      if (!signal.aborted) this.#disconnect(typeof error.cause === "number" ? error.cause : LOST);
    }
    if (!signal.aborted) this.#openSocket(this.#withParameters(url));
  }

  #withParameters(url) {
    url = new URL(url, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [name, value] of Object.entries(this.#resume())) {
      if (value !== null && value !== undefined) url.searchParams.set(name, value);
    }
    return url;
  }

  #openSocket(url) {
    const socket = new WebSocket(url);
    this.#socket = socket;
    // A socket that was dropped may still report something: ignore all but the current one.
    const current = (handle) => (event) => socket === this.#socket && handle(event);
    socket.onopen = current(() => {
      this.#opened = true;
      this.#timers.ping = setInterval(() => {
        // Only here, so that a server that fails after each accept gets a rest.
        this.#failures = this.#refusals = 0;
        this.#ping();
      }, PING_MS);
      this.#setStatus({ status: "open" });
      this.#ping(); // detects a consumer that hangs from the start
    });
    socket.onmessage = current(({ data }) => {
      clearTimeout(this.#timers.answer);
      this.#timers.answer = null;
      const event = JSON.parse(data);
      if (isForAnother(event)) location.reload();
      if (event.type !== "pong") this.#onevent(event);
    });
    socket.onclose = current(({ code }) => {
      if (!this.#opened) this.#explainRefusal(socket);
      this.#disconnect(code);
    });
  }

  #disconnect(code) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#attempt.abort();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer); // intervals too
    this.#timers = {};
    const retrying =
      RECONNECT_CODES.has(code) || (code === TOO_MANY && this.#refusals < TOO_MANY_MS.length);
    if (retrying) this.#timers.reconnect = setTimeout(() => this.#open(), this.#delay(code));
    this.#setStatus({ status: "closed", code, retrying });
  }

  // Random, so that clients do not return to a restarted server at once.
  #delay(code) {
    if (code === TOO_MANY) return TOO_MANY_MS[this.#refusals++] * (0.75 + Math.random() / 2);
    const backoff = Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** this.#failures++);
    return 100 + Math.random() * (code === GOING_AWAY ? Math.max(backoff, GOING_AWAY_MS) : backoff);
  }

  #setStatus(status) {
    this.status = status.status;
    this.#onstatus(status);
  }

  #ping() {
    if (this.send({ type: "ping" })) this.#expectAnswer();
  }

  // A network that fails sends no close event: reconnect when an answer is overdue.
  #expectAnswer() {
    this.#timers.answer ??= setTimeout(() => this.#disconnect(LOST), ANSWER_MS);
  }

  #probe() {
    if (this.#timers.reconnect) this.#open();
    else this.#ping();
  }

  // Scripts cannot read why a handshake failed: ask the server's `CommonMiddleware` over HTTP.
  async #explainRefusal({ url }) {
    if (this.#explained) return;
    this.#explained = true;
    const { origin } = location;
    const asked = new URL(url.replace("ws", "http"));
    asked.search = ""; // may hold a ticket
    const own = asked.origin === origin;
    try {
      // Browsers would ask another site first whether it takes the header.
      const options = own ? { headers: { "Handshake-Origin": origin } } : { mode: "no-cors" };
      const answer = await fetch(asked, options);
      if (answer.status >= 500) throw new Error();
      const reason = answer.ok
        ? await answer.text()
        : `Nothing takes WebSockets at ${asked}, or ALLOWED_ORIGINS lacks ${origin}. ` +
          "See the server's log.";
      console.error(`The server refused the WebSocket handshake. ${reason}`);
    } catch {
      this.#explained = false; // the server is down: explain a later failure
    }
  }
}

function isForAnother({ type, user_id }) {
  const { userId } = document.documentElement.dataset;
  return type === "welcome" && userId !== undefined && user_id !== undefined && user_id !== userId;
}
