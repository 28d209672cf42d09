// The bell on every page: the number of unread notifications, and their list on its own page.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";
import { showTime } from "../realtime/locale.js";

const HIDDEN_MS = 30_000; // a page that is hidden for longer has no socket
const MOST_SHOWN = 99;

const bell = document.querySelector(".bell");
const badge = bell.querySelector(".count");
const spoken = document.querySelector(".unread-count");
const list = document.querySelector(".notifications");
let unread = 0;
let last = list ? Number(list.dataset.seq) : null; // only a list needs what it missed
let counted = 0; // `seq` of the newest event in the count
let closing; // timer

const client = new RealtimeClient({{ "withTicket(bell.dataset.socketPath)" if cookiecutter.auth == "token" else "bell.dataset.socketPath" }}, {
  resume: () => ({ after: last }),
  onevent: (event) => {
    if (event.type === "welcome") {
      counted = event.seq;
      showCount(event.unread);
    } else if (event.type === "gap") {
      location.reload(); // more than a replay was missed
    } else if (event.seq) {
      count(event);
      if (list) showInList(event);
    }
  },
});

function count({ type, seq, count }) {
  if (seq <= counted) return; // replayed for the list
  counted = seq;
  showCount(type === "notification" ? unread + 1 : Math.max(0, unread - count));
}

function showCount(number) {
  const changed = number !== unread;
  unread = number;
  badge.hidden = !unread;
  badge.textContent = unread > MOST_SHOWN ? `${MOST_SHOWN}+` : unread || "";
  if (!changed) return;
  const text = ngettext("%s unread notification", "%s unread notifications", unread);
  spoken.textContent = interpolate(text, [unread]);
}

function showInList(event) {
  last = event.seq;
  if (event.type === "read") markRead(event);
  else if (!("firstPage" in list.dataset)) list.querySelector(".news").hidden = false;
  else if (!list.querySelector(`[data-id="${event.id}"]`)) add(event);
}

function add({ id, text, at }) {
  const item = list.querySelector("template").content.cloneNode(true).firstElementChild;
  const link = item.querySelector("a");
  item.dataset.id = id;
  link.href = `${bell.pathname}${id}/`;
  link.textContent = text;
  item.querySelector("time").dateTime = at;
  showTime(item.querySelector("time"));
  const items = list.querySelector("ol");
  items.prepend(item);
  items.hidden = false;
  list.querySelector(".nothing").hidden = true;
  const newest = list.querySelector("[name=last]");
  if (newest) newest.value = id;
}

function markRead({ first, last }) {
  for (const item of list.querySelectorAll(".is-unread[data-id]")) {
    if (item.dataset.id < first || item.dataset.id > last) continue;
    item.classList.remove("is-unread");
    item.querySelector(".new").hidden = true;
  }
}

function follow() {
  clearTimeout(closing);
  if (document.hidden) closing = setTimeout(() => client.close(), HIDDEN_MS);
  else client.connect();
}

document.addEventListener("visibilitychange", follow);
follow(); // a page that is opened in the background connects when it is shown
