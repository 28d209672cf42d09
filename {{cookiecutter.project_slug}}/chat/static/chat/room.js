// The room's page: shows what the client reports, and gives it what is typed.
import { RealtimeClient } from "../realtime/client.js";

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
const log = room.querySelector("[role=log]");
const list = log.querySelector("ol");
const template = room.querySelector("template").content.firstElementChild;
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
const unsettled = new Map(); // items that are pending or failed, by ref
const typists = new Map(); // timers, by user

const timeOnly = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Shows the item at the end, before what is pending; who reads older messages is left in peace. */
function place(item) {
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const next = item.matches(".pending") ? null : list.querySelector(".pending");
  if (!item.isConnected || item.nextElementSibling !== next) list.insertBefore(item, next);
  if (following) log.scrollTop = log.scrollHeight;
}

function showMessage({ ref, user, text, at }) {
  const item = unsettled.get(ref) ?? template.cloneNode(true);
  unsettled.delete(ref);
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  const time = item.querySelector("time");
  time.dateTime = at;
  time.title = dateAndTime.format(date);
  time.textContent = today ? timeOnly.format(date) : time.title;
  item.querySelector(".user").textContent = user;
  item.querySelector(".text").textContent = text;
  item.querySelector(".reason").hidden = true;
  item.classList.remove("pending", "failed");
  item.classList.toggle("own", user === client.user);
  place(item);
  showTyping(user, false);
}

function showPending(ref, text) {
  const item = template.cloneNode(true);
  item.classList.add("own", "pending");
  item.querySelector(".user").textContent = client.user ?? "";
  item.querySelector("time").textContent = "sending…";
  item.querySelector(".text").textContent = text;
  unsettled.set(ref, item);
  place(item);
  log.scrollTop = log.scrollHeight;
}

function showFailed({ ref, detail }) {
  const item = unsettled.get(ref);
  item.classList.replace("pending", "failed");
  item.querySelector("time").textContent = "not sent";
  const reason = item.querySelector(".reason");
  reason.textContent = detail;
  reason.hidden = false;
  place(item);
}

function showTyping(user, active) {
  clearTimeout(typists.get(user));
  typists.delete(user);
  if (active) typists.set(user, setTimeout(showTyping, TYPING_SHOWN_MS, user, false));
  const names = [...typists.keys()];
  const who = names.length > 3 ? "Several people" : names.join(", ");
  typing.textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

function showPeople({ users, count }) {
  const others = count - PEOPLE_SHOWN;
  const names = users.sort().slice(0, PEOPLE_SHOWN).join(", ");
  people.textContent = `Here: ${names}${others > 0 ? ` and ${others} more` : ""}`;
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
}

client.addEventListener("message", ({ detail }) => showMessage(detail));
client.addEventListener("failed", ({ detail }) => showFailed(detail));
client.addEventListener("typing", ({ detail: { user } }) => {
  showTyping(user, user !== client.user); // one's own other window is no news
});
client.addEventListener("presence", ({ detail }) => showPeople(detail));
client.addEventListener("state", ({ detail }) => showState(detail));
client.addEventListener("reset", () => {
  for (const item of list.querySelectorAll("li:not(.pending)")) item.remove();
});

reconnect.addEventListener("click", () => {
  // A page that needs a login sends whoever has none there, and back.
  if (reconnect.textContent === "Log in") location.reload();
  else client.connect();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  showPending(client.send(text), text);
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
  if (list.querySelector(".pending")) event.preventDefault();
});

client.connect();
