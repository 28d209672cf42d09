// Times in the language of the page and the zone of its reader. Without scripts, they are in UTC.

const STYLES = {
  date: { dateStyle: "medium" },
  minutes: { dateStyle: "medium", timeStyle: "short" },
  seconds: { dateStyle: "medium", timeStyle: "medium" },
};

/**
 * Show the time that an element has in `datetime`, to the precision that it has in `data-shown`.
 * @param {HTMLTimeElement} time
 */
export function showTime(time) {
  const style = STYLES[time.dataset.shown ?? "minutes"];
  time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, style);
}

for (const time of document.querySelectorAll("time[data-shown]")) showTime(time);
