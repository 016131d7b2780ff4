// Subscriptions: asked for, fed, restored, lost and given up.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeWebSocket, assertRejected, clock, makeClient, openClient, outcome, reopen, settle } from "./bench.mjs";

const subscribed = () => FakeWebSocket.last.sent.filter(({ type }) => type === "subscribe").map(({ data }) => data.topic);

/** Let the server accept whatever is asked, from now on. */
function acceptAll(socket = FakeWebSocket.last, refusals = {}) {
  const send = socket.send.bind(socket);
  socket.send = (text) => {
    send(text);
    const { type, data, request_id } = JSON.parse(text);
    if (!request_id) return;
    const code = type === "subscribe" && refusals[data.topic];
    queueMicrotask(() =>
      code ? socket.say("error", { code, message: code, details: [] }, request_id) : socket.say(`${type}.reply`, data, request_id),
    );
  };
}

/** Reconnect to a server that accepts all topics but these. */
async function reopenAccepting(hub, refusals = {}) {
  await clock.advance(hub.changes.at(-1).delay);
  acceptAll(FakeWebSocket.last, refusals);
  FakeWebSocket.last.hello();
  await settle();
}

test("subscribe asks, and gives the reply and a way out", async () => {
  const hub = await openClient();
  const promise = hub.subscribe("chat:lobby");
  assert.deepEqual(FakeWebSocket.last.asked("subscribe").data, { topic: "chat:lobby" });
  FakeWebSocket.last.reply("subscribe", { topic: "chat:lobby", count: 3 });
  const [, subscription] = await outcome(promise);
  assert.equal(subscription.topic, "chat:lobby");
  assert.deepEqual(subscription.reply, { topic: "chat:lobby", count: 3 });
  assert.deepEqual(hub.topics, ["chat:lobby"]);

  const done = subscription.unsubscribe();
  assert.deepEqual(FakeWebSocket.last.asked("unsubscribe").data, { topic: "chat:lobby" });
  assert.deepEqual(hub.topics, []);
  FakeWebSocket.last.reply("unsubscribe");
  assert.deepEqual(await outcome(done), ["resolved", undefined]);
});

test("a refusal rejects, and is not asked again", async () => {
  const hub = await openClient();
  hub.on("unsubscribed", () => assert.fail("it never was subscribed"));
  const promise = hub.subscribe("secret");
  FakeWebSocket.last.refuse("subscribe", "forbidden", "not for you");
  assert.equal((await assertRejected(promise, "forbidden")).message, "not for you");
  assert.deepEqual(hub.topics, []);
  FakeWebSocket.last.end(1006);
  await reopen(hub);

  assert.deepEqual(subscribed(), []);
});

test("without a connection it waits for one", async () => {
  const hub = makeClient();
  const promise = hub.subscribe("a");
  await settle();
  acceptAll();
  FakeWebSocket.last.hello();

  assert.equal((await outcome(promise))[0], "resolved");
});

test("one that is under way when the connection ends is settled by the next", async () => {
  const hub = await openClient();
  const promise = hub.subscribe("a");
  FakeWebSocket.last.end(1006);
  assert.deepEqual(await outcome(promise), ["pending"]);
  await reopenAccepting(hub);

  assert.equal((await outcome(promise))[0], "resolved");
});

test("closing for good rejects it", async () => {
  for (const end of [(hub) => hub.close(), () => FakeWebSocket.last.end(4403)]) {
    const hub = await openClient();
    const promise = hub.subscribe("a");
    end(hub);
    await assertRejected(promise, "closed");
    assert.deepEqual(hub.topics, []);
  }
});

test("fn gets the messages whose data names the topic", async () => {
  const hub = await openClient();
  acceptAll();
  const heard = [];
  await hub.subscribe("a", (message) => heard.push(message));
  await hub.subscribe("b");
  FakeWebSocket.last.say("news", { topic: "a", n: 1 });
  FakeWebSocket.last.say("news", { topic: "b", n: 2 });
  FakeWebSocket.last.say("news", { n: 3 });

  assert.deepEqual(heard, [{ type: "news", data: { topic: "a", n: 1 }, request_id: null }]);
});

test("topicOf says otherwise which topic a message is of", async () => {
  const hub = await openClient({ topicOf: ({ data }) => data.room && `chat:${data.room}` });
  acceptAll();
  const heard = [];
  await hub.subscribe("chat:lobby", ({ data }) => heard.push(data.n));
  FakeWebSocket.last.say("chat.message", { room: "lobby", n: 1 });
  FakeWebSocket.last.say("chat.message", { room: "other", n: 2 });

  assert.deepEqual(heard, [1]);
});

test("several may share a topic: it is asked for once, and left with the last", async () => {
  const hub = await openClient();
  acceptAll();
  const heard = [];
  const one = await hub.subscribe("a", () => heard.push(1));
  const two = await hub.subscribe("a", () => heard.push(2));
  assert.deepEqual(subscribed(), ["a"]);
  FakeWebSocket.last.say("news", { topic: "a" });
  await one.unsubscribe();
  await one.unsubscribe();
  FakeWebSocket.last.say("news", { topic: "a" });
  assert.deepEqual(heard, [1, 2, 2]);
  assert.equal(FakeWebSocket.last.asked("unsubscribe"), undefined);

  await two.unsubscribe();
  assert.notEqual(FakeWebSocket.last.asked("unsubscribe"), undefined);
});

test("leaving and coming back at once ends subscribed", async () => {
  const hub = await openClient();
  acceptAll();
  const subscription = await hub.subscribe("a");
  await Promise.all([subscription.unsubscribe(), hub.subscribe("a")]);

  assert.deepEqual(FakeWebSocket.last.sent.map(({ type }) => type), ["subscribe", "unsubscribe", "subscribe"]);
  assert.deepEqual(hub.topics, ["a"]);
});

test("without a connection unsubscribing is done at once", async () => {
  const hub = await openClient();
  acceptAll();
  const subscription = await hub.subscribe("a");
  FakeWebSocket.last.end(1006);
  assert.equal((await outcome(subscription.unsubscribe()))[0], "resolved");
  await reopenAccepting(hub);

  assert.deepEqual(subscribed(), []);
});

test("an unsubscribe that the end of the connection overtakes is done", async () => {
  const hub = await openClient();
  const promise = hub.subscribe("a");
  FakeWebSocket.last.reply("subscribe");
  const done = (await promise).unsubscribe();
  FakeWebSocket.last.end(1006);

  assert.deepEqual(await outcome(done), ["resolved", undefined]);
});

test("topics are restored before anything that waits is sent, and before it is open", async () => {
  const hub = await openClient();
  acceptAll();
  await hub.subscribe("a");
  await hub.subscribe("b");
  FakeWebSocket.last.end(1012);
  hub.send("move", { n: 1 });
  await clock.advance(hub.changes.at(-1).delay);
  FakeWebSocket.last.hello();
  await settle();
  assert.deepEqual(subscribed(), ["a", "b"]);
  assert.equal(hub.state, "connecting");
  assert.equal(FakeWebSocket.last.asked("move"), undefined);

  for (const { data, request_id } of [...FakeWebSocket.last.sent]) FakeWebSocket.last.say("subscribe.reply", data, request_id);
  await settle();
  assert.equal(hub.state, "open");
  assert.deepEqual(FakeWebSocket.last.asked("move").data, { n: 1 });
});

test("many topics are restored some at a time, and all of them", async () => {
  const hub = await openClient();
  acceptAll();
  const names = Array.from({ length: 30 }, (_, n) => `t${n}`);
  await Promise.all(names.map((name) => hub.subscribe(name)));
  FakeWebSocket.last.end(1006);
  await clock.advance(hub.changes.at(-1).delay);
  FakeWebSocket.last.hello();
  await settle();
  assert.equal(subscribed().length, 8);

  const [first, ...others] = [...FakeWebSocket.last.sent];
  FakeWebSocket.last.say("subscribe.reply", {}, first.request_id);
  await settle();
  assert.equal(subscribed().length, 9);
  acceptAll();
  for (const { request_id } of others) FakeWebSocket.last.say("subscribe.reply", {}, request_id);
  FakeWebSocket.last.say("subscribe.reply", {}, FakeWebSocket.last.sent[8].request_id);
  await settle();
  await settle();
  assert.deepEqual(subscribed(), names);
  assert.equal(hub.state, "open");
});

test("a topic left while it waits to be restored is not asked for", async () => {
  const hub = await openClient();
  acceptAll();
  const names = Array.from({ length: 9 }, (_, n) => `t${n}`);
  const subscriptions = await Promise.all(names.map((name) => hub.subscribe(name)));
  FakeWebSocket.last.end(1006);
  await reopen(hub);
  subscriptions[8].unsubscribe().catch(() => {});
  for (const { data, request_id } of [...FakeWebSocket.last.sent]) FakeWebSocket.last.say("subscribe.reply", data, request_id);
  await settle();

  assert.deepEqual(subscribed(), names.slice(0, 8));
  assert.equal(hub.state, "open");
});

test("so is one left while it waits to be tried again", async () => {
  const hub = await openClient();
  acceptAll();
  const subscription = await hub.subscribe("a");
  FakeWebSocket.last.end(1006);
  await reopen(hub);
  FakeWebSocket.last.refuse("subscribe", "rate_limited");
  await settle();
  subscription.unsubscribe().catch(() => {});
  await clock.advance(20_000);

  assert.deepEqual(subscribed(), ["a"]);
  assert.equal(hub.state, "open");
});

test("a topic that has become forbidden is given up with an event, the others live on", async () => {
  const hub = await openClient();
  acceptAll();
  const heard = [];
  hub.on("unsubscribed", ({ topic, error }) => heard.push([topic, error.code]));
  const lost = await hub.subscribe("a");
  await hub.subscribe("b");
  FakeWebSocket.last.end(1006);
  await reopenAccepting(hub, { a: "forbidden" });
  assert.deepEqual(heard, [["a", "forbidden"]]);
  assert.deepEqual(hub.topics, ["b"]);
  assert.equal(hub.state, "open");

  await lost.unsubscribe();
  assert.equal(FakeWebSocket.last.asked("unsubscribe"), undefined);
});

test("a refusal that may pass is tried again, twice", async () => {
  const hub = await openClient();
  const promise = hub.subscribe("a");
  FakeWebSocket.last.refuse("subscribe", "rate_limited");
  await clock.advance(500);
  FakeWebSocket.last.refuse("subscribe", "internal");
  assert.deepEqual(await outcome(promise), ["pending"]);
  await clock.advance(1000);
  FakeWebSocket.last.refuse("subscribe", "rate_limited");

  await assertRejected(promise, "rate_limited");
  assert.equal(subscribed().length, 3);
});

test("a rate limit says how long to wait at least", async () => {
  const hub = await openClient();
  hub.subscribe("a").catch(() => {});
  FakeWebSocket.last.refuse("subscribe", "rate_limited", "slowly", [{ retry_after_seconds: 3 }]);
  await clock.advance(3_499);
  assert.equal(subscribed().length, 1);
  await clock.advance(1);

  assert.equal(subscribed().length, 2);
});

test("the end of the connection while a topic waits to be tried again leaves it to the next", async () => {
  const hub = await openClient();
  const promise = hub.subscribe("a");
  FakeWebSocket.last.refuse("subscribe", "rate_limited");
  await settle();
  FakeWebSocket.last.end(1006);
  await reopenAccepting(hub);

  assert.equal((await outcome(promise))[0], "resolved");
  assert.deepEqual(subscribed(), ["a"]);
});

test("the end of the connection while topics are restored restores them on the next", async () => {
  const hub = await openClient();
  acceptAll();
  await hub.subscribe("a");
  const resumed = [];
  hub.on("resumed", ({ code }) => resumed.push(code));
  FakeWebSocket.last.end(1013);
  await reopen(hub);
  FakeWebSocket.last.end(1006);
  await settle();
  assert.equal(hub.state, "waiting");
  await reopenAccepting(hub);

  assert.deepEqual(subscribed(), ["a"]);
  assert.equal(hub.state, "open");
  assert.deepEqual(resumed, [1013]);
});

test("one subscribed to while others are restored is asked for once", async () => {
  const hub = await openClient();
  acceptAll();
  await hub.subscribe("a");
  FakeWebSocket.last.end(1006);
  await reopen(hub);
  const promise = hub.subscribe("b");
  assert.deepEqual(subscribed(), ["a", "b"]);
  for (const { data, request_id } of [...FakeWebSocket.last.sent]) FakeWebSocket.last.say("subscribe.reply", data, request_id);

  assert.equal((await outcome(promise))[0], "resolved");
  assert.equal(hub.state, "open");
});

test("close() forgets the topics; closing by the server keeps those it had granted", async () => {
  const hub = await openClient();
  acceptAll();
  await hub.subscribe("a");
  FakeWebSocket.last.end(4429);
  assert.deepEqual(hub.topics, ["a"]);
  hub.connect();
  await settle();
  acceptAll();
  FakeWebSocket.last.hello();
  await settle();
  assert.deepEqual(subscribed(), ["a"]);

  hub.close();
  assert.deepEqual(hub.topics, []);
});
