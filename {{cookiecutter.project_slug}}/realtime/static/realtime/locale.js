// Times and numbers in the language of the page, as they are written in the reader's country.
// Times are in the reader's zone. Without scripts, they are in the server's.

const language = document.documentElement.lang;

/** Locale for `Intl`: the one of the browser's that has the language of the page, as `de-AT`. */
export const locale =
  navigator.languages.find((one) => one.split("-")[0] === language.split("-")[0]) ?? language;

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
  time.textContent = new Date(time.dateTime).toLocaleString(locale, style);
}

for (const time of document.querySelectorAll("time[data-shown]")) showTime(time);
