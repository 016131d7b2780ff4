// An app that uses the types rightly.

import { WSHubClient } from "./wshub.js";
import type {
  ChatMessage,
  ChatSend,
  ChatSent,
  ClientMessages,
  ErrorCode,
  HelloData,
  Protocol,
  Replies,
  ServerMessages,
} from "./chat.js";

const hub = new WSHubClient<Protocol>("/ws", { getToken: () => "token" });

const short: ChatSend = { room: "lobby", body: { kind: "text", text: "hi" } };
const long: ClientMessages["chat.send"] = {
  room: "lobby",
  body: { kind: "picture", url: "/a.png", size: [640, 480] },
  reply_to: null,
  colour: "blue",
  tags: { mood: ["glad"] },
  "in-reply": 7,
};

hub.send("chat.send", short);
hub.send("chat/typing");
hub.send("chat/typing", { answers: [{}, { answers: [{ answers: [] }] }] });
hub.send("raw", { any: ["thing"] });
hub.send("ping");
hub.send("item.put", { here: 1 });

hub.request("chat.send", long).then((sent: ChatSent) => {
  const id: string = sent.id;
  const price: string = sent.price;
  const count: number = sent.length + sent.thread.answers.length;
  return [id, price, count, new Date(sent.at)];
});
hub.request("item.put", { here: 1 }).then(({ there }) => there.toUpperCase());
hub.request("auth.refresh", { token: "new" }).then(({ expires_at }) => expires_at?.length);
hub.request("chat/typing").then((data: Record<string, unknown>) => data);

hub.on("chat.message", (data, message) => {
  const same: ChatMessage = message.data;
  const reds: number | undefined = data.by_colour.red;
  const more: unknown = data["something else"];
  return [same.labels.join(), reds, more];
});
hub.on("hello", (hello: HelloData) => hello.heartbeat_seconds * 1000);
hub.on("gap", ({ topics }) => topics === null || topics.map((topic) => topic.length));
hub.on("error", ({ code }) => {
  switch (code) {
    case "too_rude":
    case "room_full":
      return code;
    default:
      return explain(code);
  }
});
hub.onAny((message) => {
  if (message.type === "chat.message") return message.data.text;
  if (message.type === "auth.expiring") return message.data.expires_at;
  return message.type;
});

function explain(code: ErrorCode): string {
  return code;
}

export function describe(body: ChatSend["body"]): string | number {
  return body.kind === "text" ? body.text : body.size[0];
}

const everyType: keyof ServerMessages | keyof ClientMessages | keyof Replies = "chat.send";
export { everyType };
