// The room's page: shows what the client receives, and sends what the user types.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { ChatClient } from "./client.js";
import { MessageLog } from "./log.js";

const TYPING_SHOWN_MS = 5_000;
const PEOPLE_SHOWN = 8;
{% if cookiecutter.auth != "none" %}
const REASON_MS = 5_000;
const SIGNED_OUT = [4401, 4403];
{% endif %}
const STOPPED = {
  1000: "Disconnected.",
  4400: "Disconnected: the server did not understand this page. Reload it.",
{% if cookiecutter.auth != "none" %}
  4401: "You are signed out.",
  4403: "You are signed out.",
{% endif %}
  4404: "There is no such room.",
  4409: "Too many chats are open. Close another one, then reconnect.",
  4429: "Disconnected: too much was sent at once.",
{% if cookiecutter.auth != "none" %}
  removed: "You were removed from this room.",
{% endif %}
};

const room = document.querySelector("[data-room]");
const people = room.querySelector(".people");
const typing = room.querySelector(".typing");
const status = room.querySelector("[role=status]");
const reconnect = room.querySelector(".reconnect");
const form = room.querySelector("form");
const input = form.elements.text;

const client = new ChatClient({
{% if cookiecutter.auth == "token" %}
  url: withTicket(room.dataset.socketPath),
{% else %}
  url: room.dataset.socketPath,
{% endif %}
  historyUrl: room.dataset.historyUrl,
});
const log = new MessageLog(room, (seq) => client.older(seq));
let closedBy; // close code of the last connection
const typists = new Map(); // names and timers, by user id

function showTyping({ user, user_id }, active) {
  if (!active && !typists.has(user_id)) return;
  clearTimeout(typists.get(user_id)?.timer);
  typists.delete(user_id);
  if (active) {
    const timer = setTimeout(showTyping, TYPING_SHOWN_MS, { user_id }, false);
    typists.set(user_id, { user, timer });
  }
  const names = [...typists.values()].map(({ user }) => user);
  if (names.length > 3) typing.textContent = "Several people are typing…";
  else if (names.length > 1) typing.replaceChildren(...listed(names), " are typing…");
  else typing.replaceChildren(...listed(names), names.length ? " is typing…" : "");
}

function showPeople({ users, count }) {
  const names = users.map(({ user }) => user).sort().slice(0, PEOPLE_SHOWN);
  const others = count - names.length;
  people.replaceChildren("Here: ", ...listed(names), others > 0 ? ` and ${others} more` : "");
}

/** Return the names with commas between them, each in the direction of its own script. */
function listed(names) {
  return names.flatMap((name, index) => {
    const element = document.createElement("bdi");
    element.textContent = name;
    return index ? [", ", element] : [element];
  });
}

function showStatus({ status: current, code, retrying }) {
  const stopped = current === "closed" && !retrying;
  let text = client.me === null ? "Connecting…" : "Connection lost. Reconnecting…";
  if (current !== "connecting") closedBy = code;
  if (closedBy === 4409) text = "Too many chats are open. Trying again…";
  if (current === "open") text = "Connected";
  if (stopped) text = STOPPED[code] ?? `Disconnected (${code}).`;
  // Do not set the same text again, or screen readers announce each attempt.
  if (status.textContent !== text) status.textContent = text;
  status.dataset.status = stopped ? "stopped" : current;
  reconnect.hidden = !stopped;
{% if cookiecutter.auth != "none" %}
  reconnect.textContent = SIGNED_OUT.includes(code) ? "Log in" : "Reconnect";
{% else %}
  reconnect.textContent = "Reconnect";
{% endif %}
  log.me = client.me;
}

{% if cookiecutter.auth != "none" %}
/** Ask why the server closed with 4403: without a membership this page is 404 now. */
async function wasRemoved() {
  try {
    const signal = AbortSignal.timeout(REASON_MS);
    const { status } = await fetch(location.href, { method: "HEAD", redirect: "manual", signal });
    return status === 404;
  } catch {
    return false;
  }
}

{% endif %}
client.addEventListener("message", ({ detail }) => {
  log.add(detail);
  showTyping(detail, false);
});
client.addEventListener("edited", ({ detail }) => log.edit(detail));
client.addEventListener("failed", ({ detail }) => log.fail(detail.ref, detail.detail));
client.addEventListener("reset", () => log.clear());
client.addEventListener("typing", ({ detail }) => {
  showTyping(detail, detail.user_id !== client.me.user_id); // not the user's own other window
});
client.addEventListener("presence", ({ detail }) => {
  log.start();
  showPeople(detail);
});
{% if cookiecutter.auth == "none" %}
client.addEventListener("status", ({ detail }) => showStatus(detail));
{% else %}
client.addEventListener("status", async ({ detail }) => {
  const removed = detail.code === 4403 && (await wasRemoved());
  showStatus(removed ? { ...detail, code: "removed" } : detail);
});
{% endif %}

{% if cookiecutter.auth != "none" %}
reconnect.addEventListener("click", () => {
  // After a reload the site asks for a login, and leads back.
  if (reconnect.textContent === "Log in") location.reload();
  else client.connect();
});
{% else %}
reconnect.addEventListener("click", () => client.connect());
{% endif %}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  log.addPending(client.send(text), text);
  form.reset();
  input.focus();
});

input.addEventListener("keydown", (event) => {
  // Enter also ends the composition of Japanese, Chinese and Korean words.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

input.addEventListener("input", () => input.value && client.typing());

addEventListener("beforeunload", (event) => {
  if (log.hasPending) event.preventDefault();
});

// On a touch screen the keyboard would cover the messages.
if (matchMedia("(hover: hover)").matches) input.focus();
client.connect();
