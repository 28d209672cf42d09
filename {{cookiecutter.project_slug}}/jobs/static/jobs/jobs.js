// The page of jobs: shows the events of the user's feed on top of what the server rendered.
{% if cookiecutter.auth == "token" %}
import { withTicket } from "../accounts/ticket.js";
{% endif %}
import { RealtimeClient } from "../realtime/client.js";

const STATES = {
  waiting: gettext("Waiting"),
  running: gettext("Running"),
  done: gettext("Done"),
  failed: gettext("Failed"),
  cancelled: gettext("Cancelled"),
};

const list = document.querySelector(".jobs");
const template = document.querySelector("template");
const nothing = document.querySelector(".nothing");
const estimate = document.querySelector(".estimate");
const rendered = Number(list.dataset.seq); // the page has the state after this event
let last = null; // number of the last event that was shown

const client = new RealtimeClient(
{% if cookiecutter.auth == "token" %}
  withTicket(list.dataset.socketPath),
{% else %}
  list.dataset.socketPath,
{% endif %}
  {
    resume: () => ({ after: last }),
    onevent: receive,
    onstatus: showStatus,
  },
);
client.connect();

function showStatus({ status, retrying }) {
  list.dataset.status = status;
  if (status === "open") showEstimate(0);
  if (status === "closed") {
    estimate.textContent = retrying
      ? gettext("Reconnecting…")
      : gettext("Disconnected. Reload the page.");
  }
}

function receive(event) {
  if (isBehind(event)) return reload();
  if (event.type === "welcome") client.send({ type: "estimate" });
  if (event.type === "estimate") showEstimate(event.waiting);
  if (event.type === "gap") last = event.before - 1;
  if (!event.seq || event.type === "welcome" || event.seq <= (last ?? 0)) return;
  last = event.seq;
  const isNew = event.seq > rendered;
  const job = find(event.job, isNew);
  if (!job) return; // older than those that the page shows
  if (event.type === "step") addStep(job, event);
  if (isNew && event.progress !== undefined) job.querySelector("progress").value = event.progress;
  if (isNew && event.type === "job") showState(job, event);
}

function reload() {
  client.close(); // each further event would start over
  location.reload();
}

/** Return whether more was missed than the socket replays, or the server's database was replaced. */
function isBehind({ type, seq, before }) {
  const shown = last ?? rendered;
  if (type === "welcome") return seq < shown;
  return (type === "gap" ? before : seq) > shown + 1;
}

/** Return the element of a job. Make one if the job is newer than the page. */
function find(number, isNew) {
  const found = list.querySelector(`[data-job="${number}"]`);
  if (found || !isNew) return found;
  const job = template.content.cloneNode(true).querySelector("li");
  job.dataset.job = number;
  job.querySelector(".number").textContent = number;
  for (const form of job.querySelectorAll("form")) {
    form.setAttribute("action", form.getAttribute("action").replace(/\b0\b/, number));
  }
  list.prepend(job);
  nothing.hidden = true;
  return job;
}

function addStep(job, { text, step }) {
  const steps = job.querySelector("ol");
  const item = document.createElement("li");
  item.dataset.step = step;
  item.textContent = text;
  steps.append(item);
  steps.scrollTop = steps.scrollHeight;
}

function showState(job, { state, reason, result }) {
  job.dataset.state = state;
  job.querySelector(".state").textContent = STATES[state];
  job.querySelector(".reason").textContent = reason;
  job.querySelector(".result").textContent = result ?? "";
}

function showEstimate(waiting) {
  estimate.textContent = waiting
    ? interpolate(gettext("Jobs that wait: %s"), [waiting])
    : "";
}
