// Every line that ends in `// wrong` is, and no other.

import { WSHubClient } from "./wshub.js";
import type { ChatMessage, ChatSend, ChatSent, ErrorCode, Replies, ServerMessages, Thread2 } from "./chat.js"; // wrong

const hub = new WSHubClient<import("./chat.js").Protocol>("/ws");

hub.send("chat.sent", { room: "a", body: { kind: "text", text: "b" } }); // wrong
hub.send("chat.send"); // wrong
hub.send("chat.send", { room: "a" }); // wrong
hub.send("chat.send", { room: "a", body: { text: "the kind has a default, but no use without" } }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "video", text: "b" } }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "text", text: 5 } }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "picture", url: "b", size: [1] } }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "picture", url: "b", size: [1, 2, 3] } }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "text", text: "b" }, colour: "green" }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "text", text: "b" }, tags: { mood: "glad" } }); // wrong
hub.send("chat.send", { room: "a", body: { kind: "text", text: "b" }, in_reply: 5 }); // wrong
hub.send("chat/typing", { answers: [{ answers: 5 }] }); // wrong
hub.send("chat.message", { room: "a", text: "b" }); // wrong
hub.send("ping", { no: "data" }); // wrong
hub.send("item.put", { there: "the other one" }); // wrong
hub.send("subscribe", { topics: ["a"] }); // wrong
hub.request("item.put", { here: 1 }).then(({ here }) => here); // wrong
hub.request("chat.send", {} as ChatSend).then(({ price }) => price.toFixed()); // wrong
hub.on("chat.mesage", () => {}); // wrong
hub.on("chat.message", ({ text }) => text.toFixed()); // wrong
hub.on("chat.message", ({ by_colour }) => by_colour.green); // wrong
hub.on("chat.message", ({ by_colour }) => by_colour.red.toFixed()); // wrong
hub.on("error", ({ code }) => code === "too_nice"); // wrong
hub.on("gap", ({ topics }) => topics.length); // wrong

export const sent: ChatSent = { id: "1", at: "2026", price: "1", thread: { answers: [] } }; // wrong
export const code: ErrorCode = "too_nice"; // wrong
export const reply: Replies["raw"] = 5; // wrong
export const hello: ServerMessages["hello"] = { connection_id: "1", heartbeat_seconds: 1 }; // wrong
export const message: ChatMessage = { room: "a", text: "b", by_colour: {}, labels: "one" }; // wrong
export type Nothing = Thread2;
