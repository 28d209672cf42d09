// The people of a room: who is here, and who is typing.
import { paint } from "./message.js";

const TYPING_SHOWN_MS = 5_000;
const IN_LINE = 8;
const IN_COLUMN = 50;

export class People {
  #line;
  #column;
  #typing;
  #typists = new Map(); // names and timers, by user id

  /** @param {Element} element contains the elements of the room's page */
  constructor(element) {
    this.#line = element.querySelector(".people");
    this.#column = element.querySelector(".here");
    this.#typing = element.querySelector(".typing");
  }

  /** Show who is here, in a line and, on wide screens, in a column. */
  show({ users, count }) {
    users.sort((a, b) => (a.user < b.user ? -1 : 1));
    const names = users.slice(0, IN_LINE).map(({ user }) => user);
    const others = count - names.length;
    this.#line.replaceChildren("Here: ", ...listed(names), others > 0 ? ` and ${others} more` : "");
    const inColumn = users.slice(0, IN_COLUMN);
    const rest = count - inColumn.length;
    this.#column.querySelector("ul").replaceChildren(...inColumn.map(personItem));
    this.#column.querySelector("p").textContent = rest > 0 ? `${rest} more` : "";
    this.#column.hidden = false;
  }

  hide() {
    for (const user_id of this.#typists.keys()) this.showTyping({ user_id }, false);
    this.#line.replaceChildren();
    this.#column.hidden = true;
  }

  showTyping({ user, user_id }, active) {
    if (!active && !this.#typists.has(user_id)) return;
    clearTimeout(this.#typists.get(user_id)?.timer);
    this.#typists.delete(user_id);
    if (active) {
      const stop = () => this.showTyping({ user_id }, false);
      this.#typists.set(user_id, { user, timer: setTimeout(stop, TYPING_SHOWN_MS) });
    }
    const names = [...this.#typists.values()].map(({ user }) => user);
    if (names.length > 3) this.#typing.textContent = "Several people are typing…";
    else if (names.length > 1) this.#typing.replaceChildren(...listed(names), " are typing…");
    else this.#typing.replaceChildren(...listed(names), names.length ? " is typing…" : "");
  }
}

/** Return the names with commas between them, each in the direction of its own script. */
function listed(names) {
  return names.flatMap((name, index) => (index ? [", ", isolated(name)] : [isolated(name)]));
}

function personItem({ user, user_id }) {
  const item = document.createElement("li");
  paint(item, user, user_id);
  item.append(isolated(user));
  return item;
}

function isolated(name) {
  const element = document.createElement("bdi");
  element.textContent = name;
  return element;
}
