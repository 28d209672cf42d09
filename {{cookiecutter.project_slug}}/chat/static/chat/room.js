// The room's page: shows what the client reports, and gives it what is typed.
import { RealtimeClient } from "../realtime/client.js";
import { MessageLog } from "./log.js";

const TYPING_SHOWN_MS = 5_000;
const PEOPLE_SHOWN = 8;
const SIGNED_OUT = [4401, 4403];
const STOPPED = {
  1000: "Disconnected.",
  4400: "Disconnected: the server did not understand this page.",
  4401: "You are signed out.",
  4403: "You are signed out.",
  4404: "There is no such room.",
  4409: "Disconnected: you have too many chats open.",
  4429: "Disconnected: too much was sent at once.",
};

const room = document.querySelector("[data-room]");
const people = room.querySelector(".people");
const typing = room.querySelector(".typing");
const status = room.querySelector("[role=status]");
const reconnect = room.querySelector(".reconnect");
const form = room.querySelector("form");
const input = form.elements.text;

const client = new RealtimeClient({
  url: room.dataset.socketPath,
  historyUrl: room.dataset.historyUrl,
});
const log = new MessageLog(room, (seq) => client.older(seq));
const typists = new Map(); // timers, by user

function showTyping(user, active) {
  if (!active && !typists.has(user)) return;
  clearTimeout(typists.get(user));
  typists.delete(user);
  if (active) typists.set(user, setTimeout(showTyping, TYPING_SHOWN_MS, user, false));
  const names = [...typists.keys()];
  if (names.length > 3) typing.textContent = "Several people are typing…";
  else if (names.length > 1) typing.replaceChildren(...listed(names), " are typing…");
  else typing.replaceChildren(...listed(names), names.length ? " is typing…" : "");
}

function showPeople({ users, count }) {
  const names = users.sort().slice(0, PEOPLE_SHOWN);
  const others = count - names.length;
  people.replaceChildren("Here: ", ...listed(names), others > 0 ? ` and ${others} more` : "");
}

/** The names with commas between them, each in the direction of its own script. */
function listed(names) {
  return names.flatMap((name, index) => {
    const element = document.createElement("bdi");
    element.textContent = name;
    return index ? [", ", element] : [element];
  });
}

function showState({ state, code, retrying }) {
  const stopped = state === "closed" && !retrying;
  let text = client.user === null ? "Connecting…" : "Connection lost. Reconnecting…";
  if (state === "open") text = "Connected";
  if (stopped) text = STOPPED[code] ?? `Disconnected (${code}).`;
  // The same text is not set again, or a screen reader would read each attempt aloud.
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = stopped ? "stopped" : state;
  reconnect.hidden = !stopped;
  reconnect.textContent = SIGNED_OUT.includes(code) ? "Log in" : "Reconnect";
  log.user = client.user;
}

client.addEventListener("message", ({ detail }) => {
  log.add(detail);
  showTyping(detail.user, false);
});
client.addEventListener("failed", ({ detail }) => log.fail(detail.ref, detail.detail));
client.addEventListener("reset", () => log.clear());
client.addEventListener("typing", ({ detail: { user } }) => {
  showTyping(user, user !== client.user); // one's own other window is no news
});
client.addEventListener("presence", ({ detail }) => {
  log.start();
  showPeople(detail);
});
client.addEventListener("state", ({ detail }) => showState(detail));

reconnect.addEventListener("click", () => {
  // A page that needs a login sends whoever has none there, and back.
  if (reconnect.textContent === "Log in") location.reload();
  else client.connect();
});

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

// On a touch screen the keyboard would come up and cover the messages.
if (matchMedia("(hover: hover)").matches) input.focus();
client.connect();
