// The items of the list: messages, and the days between them.

const TOGETHER_MS = 5 * 60_000;
const DAY_MS = 24 * 3_600_000;
const HUES = 6; // as many as the stylesheet has

const template = document.querySelector("template").content.firstElementChild;
const timeOnly = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const dateOnly = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
const relativeDay = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** The item of a stored message: a new one, or what was pending or failed until now. */
export function storedItem({ seq, user, text, at }, own, item = template.cloneNode(true)) {
  const time = item.querySelector("time");
  const date = new Date(at);
  fill(item, user, text);
  item.className = own ? "message own" : "message";
  item.dataset.seq = seq;
  item.querySelector(".reason").hidden = true;
  time.dateTime = at;
  time.textContent = timeOnly.format(date);
  time.title = dateAndTime.format(date);
  return item;
}

/** An item for a text that is on its way to the server. */
export function pendingItem(user, text) {
  const item = template.cloneNode(true);
  fill(item, user, text);
  item.className = "message own pending";
  item.querySelector("time").textContent = "sending…";
  return item;
}

/** Says that the message of the item was refused, and why. */
export function markFailed(item, detail) {
  const reason = item.querySelector(".reason");
  item.classList.replace("pending", "failed");
  item.querySelector("time").textContent = "not sent";
  reason.textContent = detail;
  reason.hidden = false;
}

/** Joins the item to the one above it, if the same person said that just before. */
export function join(item) {
  const above = item.previousElementSibling;
  const together = above?.dataset.user === item.dataset.user && at(item) - at(above) < TOGETHER_MS;
  item.classList.toggle("continued", together);
}

/** The local day of a message, as something to compare. */
export function dayOf(message) {
  return new Date(message.at).toDateString();
}

/** An item that names the day of what is below it. */
export function dayItem(day) {
  const item = document.createElement("li");
  item.className = "day";
  item.dataset.day = day;
  nameDay(item);
  return item;
}

/** Names the day anew, for what was today is yesterday after midnight. */
export function nameDay(item) {
  const date = new Date(item.dataset.day);
  const days = Math.round((date - new Date().setHours(0, 0, 0, 0)) / DAY_MS);
  const name = days === 0 || days === -1 ? relativeDay.format(days, "day") : dateOnly.format(date);
  item.textContent = name[0].toLocaleUpperCase() + name.slice(1);
}

function fill(item, user, text) {
  const [initial = ""] = user;
  let hash = 0;
  for (const character of user) hash = (hash * 31 + character.codePointAt(0)) % 1_000_003;
  item.dataset.user = user;
  item.dataset.initial = initial.toUpperCase();
  item.dataset.hue = hash % HUES;
  item.querySelector(".user").textContent = user;
  item.querySelector(".text").textContent = text;
}

function at(item) {
  return Date.parse(item.querySelector("time").dateTime) || Date.now();
}
