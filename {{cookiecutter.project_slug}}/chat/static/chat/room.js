// The room's page: shows what the client receives, and sends what the user types.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { ChatClient } from "./client.js";
import { Composer } from "./composer.js";
import { MessageLog } from "./log.js";
import { People } from "./people.js";

{% if cookiecutter.auth != "none" %}
const REASON_MS = 5_000;
const KEPT = `unsent by ${document.documentElement.dataset.userId} in ${location.pathname}`;
const SIGNED_OUT = [4401, 4403];
{% endif %}
const GONE = {{ "[4404]" if cookiecutter.auth == "none" else '[4404, "removed"]' }};
const STOPPED = {
  1000: gettext("Disconnected."),
  4400: gettext("Disconnected: the server did not understand this page. Reload it."),
{% if cookiecutter.auth != "none" %}
  4401: gettext("You are signed out."),
  4403: gettext("You are signed out."),
{% endif %}
  4404: gettext("There is no such room."),
  4409: gettext("Too many chats are open. Close another one, then reconnect."),
  4429: gettext("Disconnected: too much was sent at once."),
{% if cookiecutter.auth != "none" %}
  removed: gettext("You were removed from this room."),
{% endif %}
};

const room = document.querySelector("[data-room]");
const status = room.querySelector("[role=status]");
const reconnect = room.querySelector(".reconnect");
const back = room.querySelector(".back");

const client = new ChatClient({
{% if cookiecutter.auth == "token" %}
  url: withTicket(room.dataset.socketPath),
{% else %}
  url: room.dataset.socketPath,
{% endif %}
  historyUrl: room.dataset.historyUrl,
});
const log = new MessageLog(room, (seq) => client.older(seq));
const composer = new Composer(room, client, log);
const people = new People(room);
let latest = { status: "connecting" }; // of the client
let closedBy; // close code of the last connection
{% if cookiecutter.auth != "none" %}
let signedOut = false;
{% endif %}

function showStatus() {
  const { status: current, code, retrying } = latest;
  const stopped = current === "closed" && !retrying;
  const gone = stopped && GONE.includes(code);
  let text = client.me === null ? gettext("Connecting…") : gettext("Connection lost. Reconnecting…");
  if (current !== "connecting") closedBy = code;
  if (closedBy === 4409) text = gettext("Too many chats are open. Trying again…");
  if (current === "open") text = gettext("Connected");
  if (!navigator.onLine) text = gettext("Offline");
  if (stopped) text = STOPPED[code] ?? interpolate(gettext("Disconnected (%s)."), [code]);
  // Do not set the same text again, or screen readers announce each attempt.
  if (status.textContent !== text) status.textContent = text;
  status.dataset.status = stopped ? "stopped" : navigator.onLine ? current : "offline";
  reconnect.hidden = !stopped || gone;
{% if cookiecutter.auth != "none" %}
  signedOut = stopped && SIGNED_OUT.includes(code);
  reconnect.textContent = signedOut ? gettext("Log in") : gettext("Reconnect");
  composer.refusal = signedOut ? gettext("You are signed out. Log in, then send it.") : "";
{% endif %}
  back.hidden = !gone;
  composer.hidden = gone;
  if (gone) people.hide();
}

function followStatus(detail) {
  latest = detail;
  log.me = client.me;
  showStatus();
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
  people.showTyping(detail, false);
});
client.addEventListener("edited", ({ detail }) => log.edit(detail));
client.addEventListener("failed", ({ detail }) => log.fail(detail.ref, detail.detail));
client.addEventListener("reset", () => log.clear());
client.addEventListener("typing", ({ detail }) => {
  people.showTyping(detail, detail.user_id !== client.me.user_id); // not from another window
});
client.addEventListener("presence", ({ detail }) => {
  log.start();
  people.show(detail);
});
{% if cookiecutter.auth == "none" %}
client.addEventListener("status", ({ detail }) => followStatus(detail));
{% else %}
client.addEventListener("status", async ({ detail }) => {
  const removed = detail.code === 4403 && (await wasRemoved());
  followStatus(removed ? { ...detail, code: "removed" } : detail);
});
{% endif %}

// Browsers report this before a ping is overdue.
for (const event of ["online", "offline"]) addEventListener(event, showStatus);

{% if cookiecutter.auth == "none" %}
reconnect.addEventListener("click", () => client.connect());
{% else %}
reconnect.addEventListener("click", () => {
  if (!signedOut) return client.connect();
  // After a reload the site asks for a login, and leads back.
  const kept = { draft: composer.draft, unsent: client.unsent };
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
  removeEventListener("beforeunload", confirmLeaving);
  location.reload();
});
const kept = JSON.parse(sessionStorage.getItem(KEPT));
sessionStorage.removeItem(KEPT);
composer.draft = kept?.draft ?? "";
for (const event of kept?.unsent ?? []) log.addPending(client.send(event.text, event), event.text);
{% endif %}

addEventListener("beforeunload", confirmLeaving);

function confirmLeaving(event) {
  if (log.hasPending && back.hidden) event.preventDefault();
}

// On a touch screen the keyboard would cover the messages.
if (matchMedia("(hover: hover)").matches) composer.focus();
client.connect();
