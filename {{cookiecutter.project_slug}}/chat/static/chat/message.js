// The items of the list: messages, and the days between them.
import { locale } from "../realtime/locale.js";
import { linked } from "./links.js";

const JOINED_MS = 5 * 60_000; // join a message to an older one of the same user within this time
const DAY_MS = 24 * 3_600_000;
const HUES = 6; // as many as chat.css has

const template = document.querySelector("#message").content.firstElementChild;
const timeOnly = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const dateOnly = new Intl.DateTimeFormat(locale, { dateStyle: "full" });
const dateAndTime = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short" });
const relativeDay = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

/** Fill the item of a stored message: a new item, or one that was pending or failed. */
export function storedItem(message, own, item = template.cloneNode(true)) {
  const time = item.querySelector("time");
  const date = new Date(message.at);
  item.className = own ? "message own" : "message";
  fill(item, message);
  if (own) showTools(item);
  else item.querySelector(".tools")?.remove();
  item.dataset.seq = message.seq;
  item.querySelector(".reason").hidden = true;
  time.dateTime = message.at;
  time.textContent = timeOnly.format(date);
  time.title = dateAndTime.format(date);
  return item;
}

/** Make an item for a text that is not stored yet. The user is unknown before the first welcome. */
export function pendingItem(me, text) {
  const item = template.cloneNode(true);
  fill(item, { user: "", user_id: "", ...me, text });
  item.className = "message own pending";
  item.querySelector("time").textContent = gettext("sending…");
  return item;
}

/** Show the new text of a message that was edited, or that it was deleted. */
export function replaceText(item, text) {
  showText(item, text, true);
}

/** Show that the server refused the message, and why. */
export function markFailed(item, detail) {
  const reason = item.querySelector(".reason");
  item.classList.replace("pending", "failed");
  item.querySelector("time").textContent = gettext("not sent");
  reason.textContent = detail;
  reason.hidden = false;
}

/** Join the item to the one above if the same user wrote both within a few minutes. */
export function join(item) {
  const above = item.previousElementSibling;
  const sameUser = above?.dataset.userId === item.dataset.userId;
  item.classList.toggle("continued", sameUser && timeOf(item) - timeOf(above) < JOINED_MS);
}

/** Return the local day of a message, as a text to compare. */
export function dayOf(message) {
  return new Date(message.at).toDateString();
}

/** Make an item that names the day of the messages below. */
export function dayItem(day) {
  const item = document.createElement("li");
  item.className = "day";
  item.dataset.day = day;
  nameDay(item);
  return item;
}

/** Name the day, again after midnight: "Today" becomes "Yesterday". */
export function nameDay(item) {
  const date = new Date(item.dataset.day);
  const days = Math.round((date - new Date().setHours(0, 0, 0, 0)) / DAY_MS);
  const name = days === 0 || days === -1 ? relativeDay.format(days, "day") : dateOnly.format(date);
  item.textContent = name[0].toLocaleUpperCase() + name.slice(1);
}

/** Give an item the initial and the colour of a user. */
export function paint(item, user, user_id) {
  const [initial = ""] = user;
  let hash = 0;
  for (const character of user_id) hash = (hash * 31 + character.codePointAt(0)) % 1_000_003;
  item.dataset.initial = initial.toUpperCase();
  item.dataset.hue = hash % HUES;
}

function fill(item, { user, user_id, text, edited_at }) {
  paint(item, user, user_id);
  item.dataset.userId = user_id;
  item.querySelector(".user").textContent = user;
  showText(item, text, edited_at !== undefined);
}

function showText(item, text, edited) {
  const deleted = text === "";
  item.querySelector(".text").replaceChildren(...(deleted ? [gettext("Deleted.")] : linked(text)));
  item.querySelector(".mark").hidden = deleted || !edited;
  item.classList.toggle("deleted", deleted);
  if (deleted) item.querySelector(".tools")?.remove();
}

// A touch on the message gives it the focus, which shows them.
function showTools(item) {
  const tools = item.querySelector(".tools");
  if (!tools) return;
  tools.hidden = false;
  item.tabIndex = -1;
}

function timeOf(item) {
  return Date.parse(item.querySelector("time").dateTime) || Date.now();
}
