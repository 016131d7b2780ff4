// Many clients in one process, each with things to send while the server is away. Tells what happened as lines of JSON.

import { WSHubClient } from "../../../quart_wshub/static/wshub.js";

const { url, clients, notes, ...options } = JSON.parse(process.argv[2]);

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** One client, up to the notes it has queued and sent: what it waited, when it tried, when it was back. */
async function live(number) {
  const life = { number, outages: [], tries: [], back: null, refused: 0, topics: null, heard: 0 };
  const hub = new WSHubClient(url, { ...options, getToken: () => `user${number}` });
  const topic = `topic${number % 10}`;
  hub.on("unsubscribed", () => tell({ failure: `${number} lost its topic` }));
  hub.on("dropped", () => tell({ failure: `${number} dropped a message` }));
  await hub.connect();
  await hub.subscribe(topic, () => life.heard++);

  hub.on("statechange", ({ state, code, delay, attempt }) => {
    if (state === "waiting") life.outages.push({ at: Date.now(), code, delay, attempt });
    if (state === "connecting") life.tries.push(Date.now());
    if (state === "waiting" && attempt === 1) {
      for (let note = 0; note < notes; note++) life.refused += !hub.send("note", { note: `${number}:${note}` });
    }
  });
  const resumed = new Promise((resolve) => hub.once("resumed", resolve));
  return { hub, life, topic, resumed };
}

const fleet = await Promise.all(Array.from({ length: clients }, (_, number) => live(number)));
tell({ event: "ready" });

await Promise.all(
  fleet.map(async ({ hub, life, resumed }) => {
    await resumed;
    life.back = Date.now();
    life.topics = hub.topics;
    await hub.request("echo"); // behind the notes, so that they have arrived
  }),
);
for (const { hub, topic } of fleet.slice(0, 10)) await hub.request("publish", { topic });
await fleet[0].hub.request("echo");
await Promise.all(fleet.map(({ hub }) => hub.request("echo")));
for (const { hub, life } of fleet) {
  tell({ event: "life", ...life });
  hub.close();
}
tell({ event: "done" });
