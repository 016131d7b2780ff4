// A client on a leash: commands come as lines of JSON, and what happens goes out as such.
//
// In:  {"id": 1, "call": "request", "args": ["echo", {"n": 1}]}; also "subscribe", "unsubscribe", "tokens", "properties".
// Out: {"id": 1, "value": …} or {"id": 1, "error": {code, message}}, and {"event": "statechange" | "message" | …, …}.

import { createInterface } from "node:readline";

import { WSHubClient, WSHubError } from "../../../quart_wshub/static/wshub.js";

const { url, tokens, listen = [], wsModule, ...options } = JSON.parse(process.argv[2]);

if (wsModule) {
  delete globalThis.WebSocket; // as on Node 20
  options.WebSocket = (await import(wsModule)).WebSocket;
}

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const given = [];
const subscriptions = new Map();

const hub = new WSHubClient(url, {
  ...options,
  getToken: async ({ renew }) => {
    const token = tokens[Math.min(given.length, tokens.length - 1)];
    given.push({ renew, token });
    return token;
  },
  onError: (error) => tell({ event: "failure", message: String(error) }),
});

for (const event of ["statechange", "resumed", "unsubscribed", "dropped", ...listen]) {
  hub.on(event, (detail) => tell({ event, ...detail }));
}
hub.handle("sum", ({ a, b }) => ({ sum: a + b }));
hub.handle("deny", () => {
  throw new WSHubError("forbidden", "not for you");
});
hub.handle("dawdle", ({ ms }) => new Promise((resolve) => setTimeout(() => resolve({ ms }), ms)));

const commands = {
  request: (...args) => hub.request(...args),
  send: (...args) => hub.send(...args),
  connect: () => hub.connect(),
  close: (...args) => hub.close(...args),
  given: () => given,
  topics: () => hub.topics,
  async subscribe(topic) {
    const subscription = await hub.subscribe(topic, ({ type, data }) => tell({ event: "heard", topic, type, data }));
    subscriptions.set(topic, subscription);
    return subscription.reply;
  },
  unsubscribe: (topic) => subscriptions.get(topic).unsubscribe(),
};

async function obey({ id, call, args }) {
  try {
    tell({ id, value: (await commands[call](...args)) ?? null });
  } catch ({ code, message }) {
    tell({ id, error: { code, message } });
  }
}

// The process ends by itself once its input has ended and the client keeps nothing running.
createInterface({ input: process.stdin }).on("line", (line) => obey(JSON.parse(line)));
