// Conversation of two users of a site with tokens, over sockets whose events have the generated types:
// `node conversation.js SITE CONVERSATION TOKEN TOKEN` prints what each of them received.
import type AssistantSent from "./send/Assistant";
import type ChatSent from "./send/Chat";
import type AssistantReceived from "./receive/Assistant";
import type ChatReceived from "./receive/Chat";

declare const process: { argv: string[] };
const [, , site, conversation, ...tokens] = process.argv as [string, string, string, string, string, string];

/** Socket that receives events of one union, and sends those of another. */
class Client<FromSite extends { type: string }, FromClient> {
  readonly #socket: WebSocket;
  readonly #received: FromSite[] = [];
  #arrived = () => {};

  constructor(path: string, token: string) {
    this.#socket = new WebSocket(`${site.replace("http", "ws")}${path}`, ["bearer", token]);
    this.#socket.addEventListener("message", ({ data }: MessageEvent<string>) => {
      this.#received.push(JSON.parse(data) as FromSite);
      this.#arrived();
    });
  }

  send(event: FromClient): void {
    this.#socket.send(JSON.stringify(event));
  }

  /** Return the next event of a type, and skip those before it. */
  async next<Type extends FromSite["type"]>(type: Type): Promise<Extract<FromSite, { type: Type }>> {
    for (;;) {
      const event = this.#received.shift();
      if (event?.type === type) return event as Extract<FromSite, { type: Type }>;
      if (!event) await new Promise<void>((resolve) => (this.#arrived = resolve));
    }
  }

  /** Close, and return the code. */
  async close(): Promise<number> {
    const code = new Promise<number>((resolve) =>
      this.#socket.addEventListener("close", (event: CloseEvent) => resolve(event.code)),
    );
    this.#socket.close(1000);
    return code;
  }
}

const enter = (token: string, query = "") => new Client<ChatSent, ChatReceived>(`/ws/chat/typed/${query}`, token);
const ann = enter(tokens[0]!);
const annsWelcome = await ann.next("welcome");
const bob = enter(tokens[1]!);
const bobsWelcome = await bob.next("welcome");
const users = [annsWelcome.user_id, bobsWelcome.user_id];

ann.send({ type: "typing" });
const typing = await bob.next("typing");
ann.send({ type: "send", ref: "a1", text: "Hi Bob" });
const heard = await bob.next("message");
const acknowledged = await ann.next("message");
ann.send({ type: "send", ref: "a1", text: "Hi again" });
const repeated = await ann.next("message");
ann.send({ type: "send", ref: "a2", text: "" });
const refused = await ann.next("error");

ann.send({ type: "edit", ref: "e1", seq: acknowledged.seq, text: "Hello Bob" });
const edited = await bob.next("edited");

const closed = await bob.close();
ann.send({ type: "send", ref: "a3", text: "Still there?" });
await ann.next("message");
const back = enter(tokens[1]!, `?after=${heard.seq}`);
const latest = (await back.next("welcome")).seq;
const missed = await back.next("message");
back.send({ type: "ping" });
await back.next("pong");

const assistant = new Client<AssistantSent, AssistantReceived>(conversation, tokens[0]!);
await assistant.next("welcome");
assistant.send({ type: "ask", ref: "q1", text: "Hello?" });
const question = await assistant.next("question");
const piece = await assistant.next("piece");
const job = await assistant.next("job");

console.log(
  JSON.stringify({
    users: users.length === new Set(users).size,
    typing: typing.user_id === annsWelcome.user_id,
    heard: [heard.seq, heard.text, heard.user_id === annsWelcome.user_id],
    acknowledged: [acknowledged.seq, acknowledged.ref],
    repeated: [repeated.seq, repeated.text],
    refused: [refused.code, refused.ref],
    edited: [edited.seq, edited.text, edited.edited_at >= acknowledged.at],
    closed,
    missed: [latest, missed.seq, missed.text],
    answered: [question.ref, piece.job === question.job, job.state],
  }),
);
await Promise.all([ann.close(), back.close(), assistant.close()]);
