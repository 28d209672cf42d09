// Links in texts. Only http and https lead somewhere, and no text can hide where.

// Ends at spaces, quotes, invisible characters and those that reorder text.
const URLS = /\bhttps?:\/\/[^\s<>"`\\^{|}\p{Cc}\p{Cf}]+/giu;
const PUNCTUATION = /[.,:;!?'*_~…。、，！？）」』】»”’]/u;
const CLOSING = new Map([[")", "("], ["]", "["]]);

/** Return the text as nodes and strings, with a link for each address. */
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(URLS)) {
    const address = withoutEnd(found);
    const link = linkTo(address);
    if (!link) continue;
    parts.push(text.slice(end, index), link);
    end = index + address.length;
  }
  parts.push(text.slice(end));
  return parts.filter((part) => part !== "");
}

// Punctuation after an address ends the sentence. A bracket that opened before it closes after it.
// Takes time in proportion to the length: a hostile text must not stop the page.
function withoutEnd(address) {
  const unopened = new Map(); // brackets, by the closing one
  for (const [closing, opening] of CLOSING) {
    unopened.set(closing, address.split(closing).length - address.split(opening).length);
  }
  for (let end = address.length; ; end -= 1) {
    const last = address[end - 1];
    if (unopened.get(last) > 0) unopened.set(last, unopened.get(last) - 1);
    else if (!PUNCTUATION.test(last)) return address.slice(0, end);
  }
}

function linkTo(address) {
  const url = parse(address);
  // A name before an "@" looks like the site.
  if (!url || url.username || url.password) return null;
  const link = document.createElement("a");
  link.href = url.href;
  link.rel = "noopener noreferrer nofollow ugc";
  link.target = "_blank";
  link.dir = "ltr";
  link.textContent = address;
  // Show the real name of a site that is written with other letters, as browsers do.
  const [, written] = address.split(/[/?#]+/);
  if (written.toLowerCase().replace(/:\d*$/, "") !== url.hostname) link.dataset.host = url.hostname;
  return link;
}

function parse(address) {
  try {
    return new URL(address);
  } catch {
    return null;
  }
}
