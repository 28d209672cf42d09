// The list of devices: shows their values and states as they change.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";

const LOOK_MS = 5_000; // an event has the values of some devices only

const list = document.querySelector(".devices");
const rows = new Map();
for (const row of list?.children ?? []) rows.set(row.dataset.device, row);

if (list) {
  const client = new RealtimeClient(
{% if cookiecutter.auth == "token" %}
    withTicket(list.dataset.socketPath),
{% else %}
    list.dataset.socketPath,
{% endif %}
    { onevent: (event) => receive(client, event) },
  );
  client.connect();
  setInterval(() => document.hidden || look(client), LOOK_MS);
}

function look(client) {
  if (client.status === "open") client.send({ type: "look", devices: [...rows.keys()] });
}

function receive(client, event) {
  if (event.type === "welcome") look(client);
  if (event.type === "state") showState(event);
  if (event.type === "devices") event.devices.forEach(showState);
  if (event.type === "values") {
    for (const [name, value] of Object.entries(event.values)) showValue(rows.get(name), value);
  }
}

function showState({ device, online, value }) {
  const row = rows.get(device);
  if (!row) return; // on another page of the list
  row.dataset.online = online;
  row.querySelector(".online").textContent = online ? "Online" : "Offline";
  showValue(row, value);
}

function showValue(row, value) {
  if (row) row.querySelector(".value").textContent = value ?? "";
}
