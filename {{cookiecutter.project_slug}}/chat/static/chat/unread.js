// The number of the last message that the user has read in each room, kept by this browser.

const KEY = `chat.read.${document.documentElement.dataset.userId ?? "guest"}`;
const MOST = 100; // rooms; forget those read longest ago

/** Store that the user has read this room up to this number. */
export function setRead(room, seq) {
  const read = load();
  read.delete(room); // to the end
  read.set(room, seq);
  const kept = [...read].slice(-MOST);
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Without storage, nothing counts as unread.
  }
}

/** Return the rooms that the user has read in, the latest first. */
export function visited() {
  return [...load().keys()].reverse();
}

/** Return how many messages are new, 0 for a room that the user has never opened. */
export function unread(room, seq) {
  return Math.max(0, seq - (load().get(room) ?? seq));
}

function load() {
  try {
    return new Map(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
  } catch {
    return new Map();
  }
}
