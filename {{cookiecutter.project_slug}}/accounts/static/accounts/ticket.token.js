// Single-use tickets, which let a page that is signed in open sockets.

const NOT_SIGNED_IN = 4401;

/**
 * Return a URL for `RealtimeClient` that carries a new ticket for each connection. The page must
 * have the links of `identity.html`, with the URL of tickets, and a form with a CSRF token.
 * @param {string} path of the socket
 * @returns {(signal: AbortSignal) => Promise<URL>}
 */
export function withTicket(path) {
  return async (signal) => {
    const url = new URL(path, location.href);
    url.searchParams.set("ticket", await fetchTicket(signal));
    return url;
  };
}

async function fetchTicket(signal) {
  let response = await requestTicket(document, signal);
  // A login in another window changed the CSRF token: take the one of a new copy of this page.
  if (response.status === 403) response = await requestTicket(await fetchPage(signal), signal);
  if (response.status === 401) {
    throw new Error("Not signed in.", { cause: NOT_SIGNED_IN }); // stops the client
  }
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}.`); // it retries
  return (await response.json()).ticket;
}

// The page has the token wherever the site keeps it: in a cookie of any name, or in the session.
function requestTicket(page, signal) {
  const { name, value } = page.querySelector("[name=csrfmiddlewaretoken]");
  const body = new URLSearchParams({ [name]: value });
  const { ticketUrl } = document.querySelector("[data-ticket-url]").dataset;
  return fetch(ticketUrl, { method: "POST", body, signal });
}

async function fetchPage(signal) {
  const response = await fetch(location.href, { signal });
  return new DOMParser().parseFromString(await response.text(), "text/html");
}
