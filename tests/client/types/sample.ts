// An app that uses all of it, rightly.

import {
  CLOSE_CODES,
  WSHubClient,
  WSHubError,
  type Message,
  type State,
  type StateChange,
  type Subscription,
} from "../../../quart_wshub/static/wshub.js";
import type { Protocol, ServerMessages } from "./protocol.js";

const hub = new WSHubClient<Protocol>("/ws", {
  getToken: async ({ renew, attempt }) => (renew || attempt > 3 ? null : "token"),
  WebSocket,
  autoConnect: false,
  protocols: ["v2.app"],
  backoff: { min: 100, max: 5_000 },
  queue: { limit: 10, overflow: "drop-oldest" },
  topicOf: (message) => ("topic" in message.data ? message.data.topic : undefined),
  onError: (error: unknown) => console.error(error),
});

export function show(message: Message<ServerMessages>): string {
  switch (message.type) {
    case "chat.message":
      return `${message.data.from}: ${message.data.text}`;
    case "chat.joined":
      return message.data.user;
    case "client.where":
      return message.data.unit;
  }
}

export async function main(): Promise<void> {
  const off: () => void = hub.on("chat.message", (data, message) => {
    const text: string = data.text;
    const type: "chat.message" = message.type;
    console.log(text, type);
  });
  hub.on("statechange", ({ state, delay, reason }: StateChange) => {
    const now: State = state;
    if (reason === "unauthorized") location.assign("/login");
    console.log(now, delay ?? 0);
  });
  hub.on("resumed", ({ code }) => console.log(code));
  hub.on("unsubscribed", ({ topic, error }) => console.log(topic, error.code));
  hub.on("dropped", ({ type, data }) => console.log(type, data));
  hub.on("gap", () => location.reload());
  hub.on("error", ({ code, message }) => console.log(code, message));
  hub.on("hello", ({ heartbeat_seconds }) => console.log(heartbeat_seconds.toFixed()));
  hub.once("chat.joined", async ({ user }) => console.log(user));
  hub.onAny((message) => {
    if (message.type === "chat.message") console.log(message.data.text);
  });
  hub.handle("client.where", async ({ unit }) => ({ x: 1, unit }));
  hub.handle("client.where", () => {
    throw new WSHubError("forbidden", "not now");
  });

  await hub.connect();
  const sent: boolean = hub.send("chat.send", { room: "lobby", text: "hi" });
  hub.send("chat.typing");
  hub.send("ping_all");
  const controller = new AbortController();
  const reply = await hub.request("chat.send", { room: "a", text: "b" }, { timeout: 5, signal: controller.signal });
  const id: number = reply.id;
  await hub.request("chat.typing");
  await hub.request("chat.typing", {}, { timeout: 5 });
  const lobby: Subscription = await hub.subscribe("chat:lobby", (message) => console.log(message.type));
  await hub.subscribe("silent");
  await lobby.unsubscribe();
  const topics: string[] = hub.topics;
  console.log(sent, id, topics, hub.connectionId?.length, hub.state === "open", CLOSE_CODES[4401]?.reconnect);
  off();
  hub.close();
  hub.close(4000, "bye");
}

// Without a protocol, anything goes.
const loose = new WSHubClient(new URL("wss://example.com/ws"));
loose.on("anything", (data) => console.log(data.whatever.you.like));
loose.on("statechange", ({ state }) => console.log(state.toUpperCase()));
loose.send("anything", { at: "all" });
loose.send("nothing");
loose.handle("anything", () => ({}));
loose.request("anything", { n: 1 }).then((reply) => console.log(reply.some.thing));
