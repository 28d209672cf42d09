// The page of the dashboard: a chart of each figure, drawn from the events of the feed.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";
import { locale } from "../realtime/locale.js";

const SPAN_SECONDS = 300; // the width of a chart, in units of its view box
const HEIGHT = 60;
const HOLE_SECONDS = 5; // the line is broken where no figures came for longer

const board = document.querySelector(".figures");
const template = document.querySelector("template");
const connection = document.querySelector(".connection");
const details = document.querySelector("details");
const names = JSON.parse(document.querySelector("#names").textContent); // in the page's language
const format = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });

const samples = []; // of the last minutes: {at, values}, with the server's time in seconds
const tiles = new Map(); // by the labels of the figures
let last = null; // number of the latest event
let frame = null;

const client = new RealtimeClient(
{% if cookiecutter.auth == "token" %}
  withTicket(board.dataset.socketPath),
{% else %}
  board.dataset.socketPath,
{% endif %}
  { resume: () => ({ after: last }), onevent: receive, onstatus: showStatus },
);
// A hidden page has no connection. It gets what it missed when it is shown again.
document.addEventListener("visibilitychange", follow);
details.addEventListener("toggle", draw);
follow();

function follow() {
  if (document.hidden) client.close();
  else client.connect();
}

function showStatus({ status, retrying }) {
  if (status === "closed" && !document.hidden) {
    connection.textContent = retrying
      ? gettext("Reconnecting…")
      : gettext("Disconnected. Reload the page.");
  }
  if (status === "open") connection.textContent = gettext("Live");
}

function receive(event) {
  if (event.type === "welcome" && event.seq < last) location.reload(); // another database
  if (event.type !== "figures" || event.seq <= (last ?? 0)) return;
  last = event.seq;
  samples.push({ at: Date.parse(event.at) / 1000, values: event.values });
  while (samples[0].at < samples.at(-1).at - SPAN_SECONDS) samples.shift();
  frame ??= requestAnimationFrame(draw); // once for all events that came together
}

function draw() {
  frame = null;
  if (!samples.length) return;
  const labels = Object.keys(samples.at(-1).values);
  for (const label of labels) drawFigure(tileOf(label), label);
  for (const [label, tile] of tiles) tile.hidden = !labels.includes(label);
  if (details.open) details.querySelector("tbody").replaceChildren(...labels.map(rowOf));
}

function tileOf(label) {
  if (!tiles.has(label)) {
    const tile = template.content.cloneNode(true).querySelector("figure");
    tile.querySelector("figcaption").textContent = nameOf(label);
    board.append(tile);
    tiles.set(label, tile);
  }
  return tiles.get(label);
}

function drawFigure(tile, label) {
  const { now, lowest, highest } = summary(label);
  const end = samples.at(-1).at;
  const scale = (HEIGHT - 2) / (highest || 1);
  let path = "";
  let before = -Infinity;
  for (const { at, values } of samples) {
    if (!(label in values)) continue;
    const x = (SPAN_SECONDS - end + at).toFixed(1);
    path += `${at - before > HOLE_SECONDS ? "M" : "L"}${x} ${(HEIGHT - 1 - values[label] * scale).toFixed(1)}`;
    before = at;
  }
  tile.querySelector(".value").textContent = format.format(now);
  tile.querySelector("path").setAttribute("d", path);
  const range = { name: nameOf(label), low: format.format(lowest), high: format.format(highest) };
  const text = gettext("%(name)s in the last five minutes: between %(low)s and %(high)s");
  tile.querySelector("svg").setAttribute("aria-label", interpolate(text, range, true));
}

function nameOf(label) {
  return names[label] ?? label;
}

function summary(label) {
  const values = samples.filter((one) => label in one.values).map((one) => one.values[label]);
  const sum = values.reduce((left, right) => left + right, 0);
  return {
    now: values.at(-1),
    lowest: Math.min(...values),
    average: sum / values.length,
    highest: Math.max(...values),
  };
}

function rowOf(label) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = nameOf(label);
  const { now, lowest, average, highest } = summary(label);
  row.append(head, ...[now, lowest, average, highest].map(cellOf));
  return row;
}

function cellOf(value) {
  const cell = document.createElement("td");
  cell.textContent = format.format(value);
  return cell;
}
