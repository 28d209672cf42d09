// Reads the page again after changes on the server.

const PAUSE_MS = 500; // changes that come together are read once
const EVERY_MS = 5_000; // an event may be lost

/**
 * Pass copies of the page at a path to `show`, every few seconds. Return a function that asks for
 * one soon.
 */
export function copies(path, show) {
  let timer = null;

  async function read() {
    timer = null;
    if (document.hidden) return;
    try {
      const response = await fetch(path);
      if (!response.ok || response.redirected) return;
      show(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch {
      // The next one will come through.
    }
  }

  function soon() {
    timer ??= setTimeout(read, PAUSE_MS);
  }

  setInterval(soon, EVERY_MS);
  document.addEventListener("visibilitychange", soon);
  return soon;
}
