// Every line that ends in `// wrong` is, and no other.

import { CLOSE_CODES, WSHubClient } from "../../../quart_wshub/static/wshub.js";
import type { Protocol } from "./protocol.js";

const hub = new WSHubClient<Protocol>("/ws", { getToken: () => "token" });

new WSHubClient<{ client: object }>("/ws"); // wrong
new WSHubClient("/ws", { getToken: () => 5 }); // wrong
new WSHubClient("/ws", { getToken: "token" }); // wrong
new WSHubClient("/ws", { queue: { overflow: "drop-newest" } }); // wrong
new WSHubClient("/ws", { gettoken: () => "token" }); // wrong
hub.send("chat.sent", { room: "a", text: "b" }); // wrong
hub.send("chat.send"); // wrong
hub.send("chat.send", { room: "a" }); // wrong
hub.send("chat.send", { room: "a", text: 5 }); // wrong
hub.send("chat.typing", { rom: "a" }); // wrong
hub.send("chat.message", { from: "me", text: "hi" }); // wrong
hub.on("chat.mesage", () => {}); // wrong
hub.on("chat.message", ({ test }) => test); // wrong
hub.on("chat.message", ({ text }) => text.toFixed()); // wrong
hub.on("statechange", ({ status }) => status); // wrong
hub.on("statechange", ({ state }) => state === "opened"); // wrong
hub.onAny(({ data }) => data.text); // wrong
hub.handle("client.where", () => 5); // wrong
hub.handle("nobody.asks", () => ({})); // wrong
hub.request("chat.send", { room: "a", text: "b" }).then(({ ident }) => ident); // wrong
hub.request("chat.send", { room: "a", text: "b" }, { timeout: "5" }); // wrong
hub.subscribe("chat:lobby", (message) => message.kind); // wrong
hub.subscribe(5); // wrong
hub.state = "open"; // wrong
CLOSE_CODES[4401].reconnect = true; // wrong
hub.reconnect(); // wrong
