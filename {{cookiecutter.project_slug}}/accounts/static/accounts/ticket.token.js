// Single-use tickets, which let a page that is signed in open sockets.

const TICKET_URL = "/api/ticket/";
const NOT_SIGNED_IN = 4401;

/**
 * Return a URL for `RealtimeClient` that carries a new ticket for each connection. The page must
 * have a form with a CSRF token, such as the button to log out.
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
  const headers = { "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value };
  const request = { method: "POST", redirect: "manual", headers, signal };
  const response = await fetch(TICKET_URL, request);
  if (response.type === "opaqueredirect" || [401, 403].includes(response.status)) {
    throw new Error("Not signed in.", { cause: NOT_SIGNED_IN }); // stops the client
  }
  if (!response.ok) throw new Error(`${TICKET_URL} answered ${response.status}.`); // it retries
  return (await response.json()).ticket;
}
