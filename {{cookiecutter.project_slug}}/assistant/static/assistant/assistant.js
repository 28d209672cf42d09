// The page of a conversation: shows the events of its feed on top of what the server rendered.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";

const RETRY_MS = 2_000;
const NEAR_PX = 80; // so close to the end, the reader follows the answer
const OPEN = new Set(["waiting", "running"]);
const STATES = {
  waiting: gettext("Waiting…"),
  running: gettext("Answering…"),
  cancelled: gettext("Stopped."),
};
const AGAIN = { failed: gettext("Retry"), cancelled: gettext("Continue") };
const CLOSED = {
  4400: gettext("Disconnected: the server did not understand this page. Reload it."),
  4401: gettext("You are signed out."),
  4403: gettext("You are signed out, or the conversation was deleted."),
  4404: gettext("The conversation was deleted."),
  4409: gettext("Too many pages are open. Close another one."),
};

const section = document.querySelector(".conversation");
const template = section.querySelector("template");
const status = section.querySelector(".connection [role=status]");
const reload = section.querySelector(".reload");
const announcer = section.querySelector(".announcer");
const error = section.querySelector(".composer .error");
const form = section.querySelector(".composer");
const input = form.elements.text;
const ask = form.querySelector("[type=submit]");
const stop = form.querySelector(".stop");
let turns = section.querySelector(".turns");
let last = Number(turns.dataset.seq); // number of the last event that the page shows
let pending = null; // the question that is not stored yet

const path = section.dataset.socketPath;
{% if cookiecutter.auth == "token" %}
const client = new RealtimeClient(withTicket(path), {
{% else %}
const client = new RealtimeClient(path, {
{% endif %}
  resume: () => ({ after: last }),
  onevent: receive,
  onstatus: showStatus,
});

function receive(event) {
  if (event.type === "welcome") welcome(event);
  else if (event.type === "gap") fetchTurns();
  else if (event.type === "error") refuse(event);
  else if (event.seq > last) {
    last = event.seq;
    follow(() => show(event));
  }
}

function welcome({ seq }) {
  if (seq < last) location.reload(); // the server's database was replaced
  else send();
}

function show(event) {
  const turn = find(event.job);
  if (event.type === "question") showQuestion(turn, event);
  if (event.type === "piece") showPiece(turn, event);
  if (event.type === "job") showState(turn, event);
  showButtons();
}

/** Return the element of the turn that a job answers. */
function find(job) {
  const found = turns.querySelector(`[data-job="${job}"]`);
  if (found) return found;
  const turn = template.content.cloneNode(true).querySelector("li");
  turn.dataset.job = job;
  turns.append(turn);
  return turn;
}

function showQuestion(turn, { ref, text, title }) {
  turn.dataset.ref = ref;
  turn.querySelector(".question").textContent = text;
  section.querySelector("h1").textContent = title;
  acknowledge(ref);
}

// The server may have rendered this piece already.
function showPiece(turn, { step, text }) {
  if (step <= Number(turn.dataset.steps)) return;
  turn.dataset.steps = step;
  turn.querySelector(".answer").append(text);
}

function showState(turn, { state, reason }) {
  const wasOpen = OPEN.has(turn.dataset.state);
  turn.dataset.state = state;
  turn.dataset.reason = reason;
  if (wasOpen && !OPEN.has(state)) announce(turn);
}

/** Let screen readers speak an answer once, when it has ended. */
function announce(turn) {
  const answer = turn.querySelector(".answer");
  answer.normalize();
  announcer.textContent = [answer.textContent, turn.dataset.reason].join(" ");
}

/** Show the states of all turns, and the buttons that make sense now. */
function showButtons() {
  for (const turn of turns.children) {
    const { state, reason } = turn.dataset;
    const again = turn.querySelector(".again");
    turn.querySelector(".state").textContent = reason || (STATES[state] ?? "");
    again.textContent = AGAIN[state] ?? "";
    again.hidden = !AGAIN[state] || turn !== turns.lastElementChild;
  }
  const answering = OPEN.has(turns.lastElementChild?.dataset.state);
  section.querySelector(".nothing").hidden = turns.children.length > 0;
  stop.hidden = !answering;
  ask.hidden = answering;
  ask.disabled = input.readOnly = pending !== null;
}

/** Change the page. Stay at its end if the reader is there. */
function follow(change) {
  const page = document.scrollingElement;
  const isNear = page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_PX;
  change();
  if (isNear) page.scrollTop = page.scrollHeight;
}

// More was missed than the socket replays: take the turns of a new copy of this page.
async function fetchTurns() {
  client.close();
  try {
    const response = await fetch(location.href);
    if (!response.ok || response.redirected) return location.reload();
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fetched = page.querySelector(".turns");
    last = Number(fetched.dataset.seq);
    turns.replaceWith(fetched);
    turns = fetched;
    for (const { dataset } of turns.children) acknowledge(dataset.ref);
    showButtons();
    client.connect();
  } catch {
    setTimeout(fetchTurns, RETRY_MS);
  }
}

/** Send the question that is not stored yet. The server stores a `ref` once. */
function send() {
  if (pending) client.send({ type: "ask", ...pending });
}

function acknowledge(ref) {
  if (pending?.ref !== ref) return;
  pending = null;
  form.reset();
}

function refuse({ code, detail }) {
  if (pending && code === "unavailable") {
    setTimeout(send, RETRY_MS);
    return;
  }
  error.textContent = detail;
  pending = null;
  showButtons();
}

function newRef() {
  // Not crypto.randomUUID(), which is missing on plain http, as on a phone in the local network.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function showStatus({ status: current, code, retrying }) {
  const stopped = current === "closed" && code !== 1000 && !retrying;
  let text = current === "open" ? gettext("Connected") : gettext("Connecting…");
  if (stopped) text = CLOSED[code] ?? interpolate(gettext("Disconnected (%s)."), [code]);
  // Do not set the same text again, or screen readers announce each attempt.
  if (status.textContent !== text) status.textContent = text;
  status.dataset.status = stopped ? "stopped" : current;
  reload.hidden = !stopped;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text || pending) return;
  error.textContent = "";
  pending = { ref: newRef(), text };
  showButtons();
  send();
});

input.addEventListener("keydown", (event) => {
  // Enter also ends the composition of Japanese, Chinese and Korean words.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!ask.hidden) form.requestSubmit();
});

function act(type) {
  error.textContent = "";
  client.send({ type, job: Number(turns.lastElementChild.dataset.job) });
}

stop.addEventListener("click", () => act("stop"));
section.addEventListener("click", ({ target }) => target.matches(".again") && act("retry"));
reload.addEventListener("click", () => location.reload());

addEventListener("beforeunload", (event) => {
  if (pending) event.preventDefault();
});

showButtons();
scrollTo(0, document.scrollingElement.scrollHeight);
if (matchMedia("(hover: hover)").matches) input.focus({ preventScroll: true });
client.connect();
