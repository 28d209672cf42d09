// The list of rooms, beside the messages or on a page of its own, with what is new in each.
import { unread, visited } from "./unread.js";

const POLL_MS = 10_000;
const MOST = 30; // rooms of a request, and rooms beside the messages
const MOST_CHARACTERS = 4_000; // in a query: above this, the next room begins another request

const list = document.querySelector("[data-numbers-url]");
const template = list.querySelector("template"); // beside the messages only
const total = document.querySelector(".open-rooms .count");
const numbers = new Map(); // of the latest messages, by room
let timer;

/** Ask for the numbers of the rooms that the user has read in, while somebody looks. */
async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  timer = setTimeout(poll, POLL_MS);
  if (!navigator.onLine) return;
  const asked = visited().filter((room, place) => itemOf(room) || (template && place < MOST));
  try {
    for (const query of queriesOf(asked)) {
      const response = await fetch(`${list.dataset.numbersUrl}?${query}`, { redirect: "manual" });
      const { rooms } = await response.json();
      for (const [room, seq] of Object.entries(rooms)) numbers.set(room, seq);
      show();
    }
  } catch {
    // Signed out, or the server is down: ask again later.
  }
}

function* queriesOf(rooms) {
  let query = new URLSearchParams();
  for (const room of rooms) {
    query.append("room", room);
    if (query.size < MOST && query.toString().length < MOST_CHARACTERS) continue;
    yield query;
    query = new URLSearchParams();
  }
  if (query.size) yield query;
}

function show() {
  if (template) visited().filter((room) => numbers.has(room)).forEach(add);
  let sum = 0;
  for (const item of list.querySelectorAll("[data-room]")) {
    const { room } = item.dataset;
    const count = isOpen(item) || !numbers.has(room) ? 0 : unread(room, numbers.get(room));
    showCount(item.querySelector(".count"), count);
    sum += count;
  }
  if (total) showCount(total, sum);
}

function showCount(element, count) {
  element.hidden = count === 0;
  element.textContent = interpolate(gettext("%s new"), [count]);
}

/** Add a room in its place. If the list is full, one that the user has never read in makes way. */
function add(room) {
  if (itemOf(room)) return;
  const items = [...list.querySelectorAll("[data-room]")];
  if (items.length >= MOST) {
    const read = new Set(visited());
    const other = items.findLast((item) => !read.has(item.dataset.room) && !isOpen(item));
    if (!other) return;
    other.remove();
  }
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.room = item.querySelector("bdi").textContent = room;
  item.querySelector("a").href = `../${encodeURIComponent(room)}/`;
  const key = room.toLowerCase();
  const next = items.find((other) => other.isConnected && other.dataset.room.toLowerCase() > key);
  list.querySelector("ul").insertBefore(item, next ?? null);
}

function isOpen(item) {
  return item.querySelector("[aria-current]") !== null;
}

function itemOf(room) {
  return list.querySelector(`[data-room="${CSS.escape(room)}"]`);
}

document.addEventListener("visibilitychange", poll);
addEventListener("storage", show); // another window has read something
addEventListener("pageshow", poll); // also on the way back from a room
