// The text field: sends new messages, and edits own ones.
import { Tools } from "./tools.js";

export class Composer {
  #client;
  #log;
  #form;
  #input;
  #editing; // the line above the field
  #problem;
  #tools;
  #item = null; // the message that is edited
  #draft = ""; // of a new message, kept meanwhile

  /** Reason for the user, while nothing can be sent. The text stays in the field. */
  refusal = "";

  /**
   * @param {Element} element contains the elements of the room's page
   * @param {import("./client.js").ChatClient} client
   * @param {import("./log.js").MessageLog} log
   */
  constructor(element, client, log) {
    this.#client = client;
    this.#log = log;
    this.#form = element.querySelector(".composer");
    this.#input = this.#form.elements.text;
    this.#editing = element.querySelector(".editing");
    this.#problem = element.querySelector(".problem");
    this.#tools = new Tools(element.querySelector("ol"), {
      edit: (item) => this.#edit(item),
      delete: (item) => this.#change(item, ""),
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.elements.cancel.addEventListener("click", () => this.#stop());
    this.#input.addEventListener("keydown", (event) => this.#press(event));
    this.#input.addEventListener("input", () => {
      if (this.#input.value && !this.#item) client.typing();
    });
  }

  focus() {
    this.#input.focus();
  }

  /** The text of a new message that is not sent. */
  get draft() {
    return this.#item ? this.#draft : this.#input.value;
  }

  set draft(text) {
    this.#input.value = text;
  }

  set hidden(hidden) {
    this.#form.hidden = hidden;
  }

  #press(event) {
    const { key } = event;
    // Enter also ends the composition of Japanese, Chinese and Korean words.
    if (event.isComposing) return;
    if (key === "Enter" && !event.shiftKey) this.#form.requestSubmit();
    else if (key === "Escape" && this.#item) this.#stop();
    else if (key === "ArrowUp" && !this.#input.value && !this.#item && this.#tools.newest) {
      this.#edit(this.#tools.newest);
    } else return;
    event.preventDefault();
  }

  #submit() {
    const text = this.#input.value.trim();
    this.#problem.textContent = this.refusal;
    if (this.refusal) return;
    if (this.#item) {
      if (text === textOf(this.#item)) this.#stop();
      else this.#change(this.#item, text);
    } else if (text) {
      this.#log.addPending(this.#client.send(text), text);
      this.#form.reset();
      this.focus();
    }
  }

  /** Store the new text of a message, or delete it. Until it is stored, the field keeps the text. */
  async #change(item, text) {
    if (this.#form.ariaBusy === "true") return;
    if (!text && !confirm(gettext("Delete this message for everyone?"))) return;
    this.#form.ariaBusy = "true";
    this.#problem.textContent = "";
    try {
      await this.#client.edit(Number(item.dataset.seq), text);
      if (item === this.#item) this.#stop();
      else if (!text) this.focus(); // its button is gone
    } catch (error) {
      this.#problem.textContent = error.message;
    }
    this.#form.ariaBusy = "false";
  }

  #edit(item) {
    if (!this.#item) this.#draft = this.#input.value;
    this.#show(item, textOf(item));
  }

  #stop() {
    this.#show(null, this.#draft);
  }

  #show(item, text) {
    this.#item?.classList.remove("changing");
    item?.classList.add("changing");
    this.#item = item;
    this.#input.value = text;
    this.#problem.textContent = "";
    this.#editing.hidden = !item;
    this.#form.elements.send.textContent = item ? gettext("Save") : gettext("Send");
    this.focus();
  }
}

function textOf(item) {
  return item.querySelector(".text").textContent;
}
