// The page of a device: a chart of its latest readings, and the commands to it.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";
import { locale } from "../realtime/locale.js";
import { copies } from "./copy.js";

const SHOWN = 300; // readings, in units of the view box
const HEIGHT = 60;

const chart = document.querySelector(".chart");
const readAgain = copies(chart.dataset.path, show);

const format = new Intl.NumberFormat(locale, { maximumFractionDigits: 20 });
const values = [];
let last = null; // number of the latest reading
let frame = null;

new RealtimeClient(
{% if cookiecutter.auth == "token" %}
  withTicket(chart.dataset.socketPath),
{% else %}
  chart.dataset.socketPath,
{% endif %}
  { resume: () => ({ after: last }), onevent: receive, onstatus: showStatus },
).connect();

function showStatus({ status, retrying }) {
  if (status !== "closed") return; // a welcome brings the state of the device
  document.querySelector(".online").textContent = retrying
    ? gettext("Reconnecting…")
    : gettext("Disconnected. Reload the page.");
}

function receive(event) {
  if (event.type === "welcome" && event.seq < last) location.reload(); // another database
  if (event.type !== "reading") return readAgain();
  if (event.seq <= (last ?? 0)) return;
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
  chart.querySelector(".value").textContent = format.format(values.at(-1));
  const range = { count: values.length, low: format.format(lowest), high: format.format(highest) };
  const label = gettext("The latest readings (%(count)s): between %(low)s and %(high)s");
  chart.querySelector("svg").setAttribute("aria-label", interpolate(label, range, true));
}

function show(copy) {
  for (const part of [".online", ".commands"]) {
    const [shown, next] = [document, copy].map((page) => page.querySelector(part));
    if (!shown.isEqualNode(next)) shown.replaceChildren(...next.childNodes);
  }
}
