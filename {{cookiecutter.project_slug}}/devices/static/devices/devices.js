// The list of devices: shows their values and states as they change.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";
import { locale } from "../realtime/locale.js";
import { copies } from "./copy.js";

const format = new Intl.NumberFormat(locale, { maximumFractionDigits: 20 });
const list = document.querySelector(".devices");
const connection = document.querySelector("main [role=status]");
const readAgain = copies(location.href, show);

new RealtimeClient(
{% if cookiecutter.auth == "token" %}
  withTicket(list.dataset.socketPath),
{% else %}
  list.dataset.socketPath,
{% endif %}
  { onevent: receive, onstatus: showStatus },
).connect();

function showStatus({ status, retrying }) {
  if (status === "open") connection.textContent = "";
  if (status === "closed") {
    connection.textContent = retrying
      ? gettext("Reconnecting…")
      : gettext("Disconnected. Reload the page.");
  }
}

function receive(event) {
  if (event.type !== "values") return readAgain();
  for (const [name, value] of Object.entries(event.values)) {
    const row = rowOf(name); // null on other pages of the list
    if (row) row.querySelector(".value").textContent = format.format(value);
  }
}

function show(copy) {
  let previous = null;
  for (const row of copy.querySelectorAll("[data-device]")) {
    const shown = rowOf(row.dataset.device);
    if (!shown) previous ? previous.after(row) : list.prepend(row);
    else {
      const { value } = row.querySelector(".value");
      // 20 instead of 20.0, as events have it
      if (value) shown.querySelector(".value").textContent = format.format(value);
      shown.querySelector(".online").textContent = row.querySelector(".online").textContent;
    }
    previous = shown ?? row;
  }
  if (previous) list.querySelector(".nothing")?.remove();
}

function rowOf(name) {
  return list.querySelector(`[data-device="${name}"]`);
}
