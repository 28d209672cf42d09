// The items of the list: messages, and the days between them.

const JOINED_MS = 5 * 60_000; // join a message to an older one of the same user within this time
const DAY_MS = 24 * 3_600_000;
const HUES = 6; // as many as chat.css has

const template = document.querySelector("template").content.firstElementChild;
const timeOnly = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const dateOnly = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
const relativeDay = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** Fill the item of a stored message: a new item, or one that was pending or failed. */
export function storedItem(message, own, item = template.cloneNode(true)) {
  const time = item.querySelector("time");
  const date = new Date(message.at);
  fill(item, message);
  item.className = own ? "message own" : "message";
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
  item.querySelector("time").textContent = "sending…";
  return item;
}

/** Show the new text of a message that was edited. */
export function replaceText(item, text) {
  item.querySelector(".text").textContent = text;
}

/** Show that the server refused the message, and why. */
export function markFailed(item, detail) {
  const reason = item.querySelector(".reason");
  item.classList.replace("pending", "failed");
  item.querySelector("time").textContent = "not sent";
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

function fill(item, { user, user_id, text }) {
  const [initial = ""] = user;
  let hash = 0;
  for (const character of user_id) hash = (hash * 31 + character.codePointAt(0)) % 1_000_003;
  item.dataset.userId = user_id;
  item.dataset.initial = initial.toUpperCase();
  item.dataset.hue = hash % HUES;
  item.querySelector(".user").textContent = user;
  item.querySelector(".text").textContent = text;
}

function timeOf(item) {
  return Date.parse(item.querySelector("time").dateTime) || Date.now();
}
