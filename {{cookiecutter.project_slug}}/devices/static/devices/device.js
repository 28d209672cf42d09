// The page of a device: a chart of its latest readings, and the states of commands.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";

const SHOWN = 300; // readings, in units of the view box
const HEIGHT = 60;
const STATES = ["waiting", "sent", "delivered", "answered"]; // a command never goes back

const chart = document.querySelector(".chart");
const online = document.querySelector(".online");
const commands = document.querySelector(".commands");
const template = document.querySelector("template");

const values = [];
let last = null; // number of the latest reading
let seen = ""; // time of the device's latest message
let frame = null;

new RealtimeClient(
{% if cookiecutter.auth == "token" %}
  withTicket(chart.dataset.socketPath),
{% else %}
  chart.dataset.socketPath,
{% endif %}
  { resume: () => ({ after: last }), onevent: receive },
).connect();

function receive(event) {
  if (event.type === "welcome" && event.seq < last) location.reload(); // another database
  if (event.type === "state") showState(event);
  if (event.type === "command") showCommand(event);
  if (event.type !== "reading" || event.seq <= (last ?? 0)) return;
  last = event.seq;
  values.push(event.value);
  if (values.length > SHOWN) values.shift();
  frame ??= requestAnimationFrame(draw); // once for all readings that came together
}

function draw() {
  frame = null;
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  const scale = (HEIGHT - 2) / (highest - lowest || 1);
  const x = (index) => SHOWN - values.length + index;
  const y = (value) => (HEIGHT - 1 - (value - lowest) * scale).toFixed(1);
  const path = values.map((value, index) => `${index ? "L" : "M"}${x(index)} ${y(value)}`).join("");
  chart.querySelector("path").setAttribute("d", path);
  chart.querySelector(".value").textContent = values.at(-1);
  const label = `The latest ${values.length} readings: between ${lowest} and ${highest}`;
  chart.querySelector("svg").setAttribute("aria-label", label);
}

function showState(event) {
  if ((event.seen ?? "") < seen) return;
  seen = event.seen ?? "";
  online.textContent = event.online ? "Online" : "Offline";
}

function showCommand({ id, text, state, answer }) {
  let item = commands.querySelector(`[data-command="${id}"]`);
  if (!item) {
    item = template.content.cloneNode(true).querySelector("li");
    item.dataset.command = id;
    item.querySelector(".text").textContent = text;
    commands.prepend(item);
  } else if (STATES.indexOf(state) < STATES.indexOf(item.dataset.state)) return;
  item.dataset.state = state;
  item.querySelector(".state").textContent = state[0].toUpperCase() + state.slice(1);
  item.querySelector(".answer").textContent = answer;
}
