// Messages and requests, with and without a connection.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  FakeWebSocket,
  assertRejected,
  assertRejectedLater,
  clock,
  makeClient,
  openClient,
  outcome,
  reopen,
  reported,
  settle,
} from "./bench.mjs";

const sentNumbers = () => FakeWebSocket.last.sent.map(({ data }) => data.n);

test("send puts an envelope on the wire", async () => {
  const hub = await openClient();
  assert.equal(hub.send("move", { x: 1 }), true);
  assert.equal(hub.send("stop"), true);

  assert.deepEqual(FakeWebSocket.last.sent, [
    { type: "move", data: { x: 1 } },
    { type: "stop", data: {} },
  ]);
});

test("data that has no JSON form fails where it is sent", async () => {
  const hub = await openClient();
  const loop = {};
  loop.loop = loop;
  assert.throws(() => hub.send("move", loop), TypeError);
  assert.equal((await outcome(hub.request("move", loop)))[0], "rejected");
  assert.equal(clock.pending, 2); // those of the connection
});

test("what is sent before the connection waits for it, in order", async () => {
  const hub = makeClient();
  hub.send("move", { n: 1 });
  hub.request("move", { n: 2 }).catch(() => {});
  await settle();
  FakeWebSocket.last.open();
  hub.send("move", { n: 3 });
  assert.deepEqual(FakeWebSocket.last.sent, []);
  FakeWebSocket.last.hello();
  await settle();

  assert.deepEqual(sentNumbers(), [1, 2, 3]);
});

test("what listeners send when it opens goes behind what has waited", async () => {
  const hub = makeClient();
  hub.on("statechange", ({ state }) => state === "open" && hub.send("move", { n: 2 }));
  hub.send("move", { n: 1 });
  await settle();
  FakeWebSocket.last.hello();
  await settle();

  assert.deepEqual(sentNumbers(), [1, 2]);
});

test("a socket that is closing swallows nothing: it waits for the next one", async () => {
  const hub = await openClient();
  FakeWebSocket.last.readyState = 2;
  assert.equal(hub.send("move", { n: 1 }), true);
  FakeWebSocket.last.end(1006);
  await reopen(hub);

  assert.deepEqual(sentNumbers(), [1]);
});

test("the queue refuses the newest when it is full", async () => {
  const hub = makeClient({ queue: { limit: 2 } });
  assert.equal(hub.send("move", { n: 1 }), true);
  const second = hub.request("move", { n: 2 });
  assert.equal(hub.send("move", { n: 3 }), false);
  await assertRejected(hub.request("move", { n: 4 }), "queue_full");
  FakeWebSocket.last.hello();
  await settle();

  assert.deepEqual(sentNumbers(), [1, 2]);
  assert.deepEqual(await outcome(second), ["pending"]);
  assert.equal(hub.send("move", { n: 5 }), true);
});

test("or drops the oldest, and says so", async () => {
  const hub = makeClient({ queue: { limit: 2, overflow: "drop-oldest" } });
  const dropped = [];
  hub.on("dropped", ({ type, data, error }) => dropped.push([type, data, error.code]));
  const first = hub.request("move", { n: 1 });
  for (const n of [2, 3, 4]) assert.equal(hub.send("move", { n }), true);
  await assertRejected(first, "queue_full");
  assert.deepEqual(dropped, [["move", { n: 2 }, "queue_full"]]);
  FakeWebSocket.last.hello();
  await settle();

  assert.deepEqual(sentNumbers(), [3, 4]);
});

for (const overflow of ["reject", "drop-oldest"]) {
  test(`${overflow} refuses and drops nothing while connected`, async () => {
    const hub = await openClient({ queue: { limit: 0, overflow } });
    hub.on("dropped", () => assert.fail("dropped"));
    assert.equal(hub.send("move", { n: 1 }), true);

    assert.deepEqual(sentNumbers(), [1]);
  });
}

test("by default a hundred may wait", async () => {
  const hub = makeClient();
  const taken = Array.from({ length: 101 }, (_, n) => hub.send("move", { n }));

  assert.deepEqual(taken, [...Array(100).fill(true), false]);
});

test("a closed client refuses everything", async () => {
  const hub = await openClient();
  hub.close();
  assert.equal(hub.send("move"), false);
  await assertRejected(hub.request("move"), "closed");
  await assertRejected(hub.subscribe("t"), "closed");
});

test("what waits when the client closes for good is given back", async () => {
  const hub = makeClient();
  const dropped = [];
  hub.on("dropped", ({ data, error }) => {
    dropped.push([data.n, error.code]);
    assert.equal(hub.send("move", { n: 9 }), false);
  });
  await settle();
  hub.send("move", { n: 1 });
  const request = hub.request("move", { n: 2 });
  FakeWebSocket.last.end(4403);
  await assertRejected(request, "closed");

  assert.deepEqual(dropped, [[1, "closed"]]);
});

test("a request gets the data of its reply", async () => {
  const hub = await openClient();
  const [one, two] = [hub.request("add", { n: 1 }), hub.request("add", { n: 2 })];
  const [first, second] = FakeWebSocket.last.sent;
  assert.notEqual(first.request_id, second.request_id);
  FakeWebSocket.last.say("add.reply", { sum: 2 }, second.request_id);
  FakeWebSocket.last.say("add.reply", { sum: 1 }, first.request_id);

  assert.deepEqual(await outcome(one), ["resolved", { sum: 1 }]);
  assert.deepEqual(await outcome(two), ["resolved", { sum: 2 }]);
  assert.equal(clock.pending, 2);
});

test("replies reach no listener", async () => {
  const hub = await openClient();
  hub.onAny(() => assert.fail("a listener got it"));
  const request = hub.request("add");
  FakeWebSocket.last.reply("add");
  FakeWebSocket.last.reply("add"); // nobody waits for this one

  assert.equal((await outcome(request))[0], "resolved");
});

test("an error envelope rejects the request with its code, message and details", async () => {
  const hub = await openClient();
  const request = hub.request("add", { n: "x" });
  FakeWebSocket.last.refuse("add", "invalid_data", "n must be a number", [{ loc: ["n"] }]);
  const error = await assertRejected(request, "invalid_data");

  assert.equal(error.message, "n must be a number");
  assert.deepEqual(error.details, [{ loc: ["n"] }]);
});

test("an error that belongs to no request goes to its listeners, or is reported", async () => {
  const hub = await openClient();
  FakeWebSocket.last.say("error", { code: "invalid_json", message: "no JSON", details: [] });
  assert.deepEqual(reported().map(({ code }) => code), ["invalid_json"]);

  const heard = [];
  hub.on("error", ({ code }) => heard.push(code));
  FakeWebSocket.last.say("error", { code: "unknown_type", message: "?", details: [] }, "not-ours");
  assert.deepEqual(heard, ["unknown_type"]);
});

test("a request times out, by default after ten seconds, and a late reply is nobody's", async () => {
  const hub = await openClient();
  hub.onAny(() => assert.fail("a listener got it"));
  const [normal, brief] = [hub.request("add"), hub.request("add", {}, { timeout: 50 })];
  const failed = assertRejectedLater(brief, "timeout");
  await clock.advance(50);
  await failed;
  FakeWebSocket.last.reply("add");
  await clock.advance(9_949);
  assert.equal(FakeWebSocket.last.sent.length, 2);
  assert.deepEqual(await outcome(normal), ["pending"]);
  await clock.advance(1);

  await assertRejected(normal, "timeout");
});

test("a timeout longer than timers can be is none", async () => {
  const hub = await openClient();
  const request = hub.request("add", {}, { timeout: 1e10 });
  await clock.advance(1_000);

  assert.deepEqual(await outcome(request), ["pending"]);
  FakeWebSocket.last.reply("add");
});

test("timeout: 0 waits for as long as it takes", async () => {
  const hub = await openClient({ heartbeatTimeout: 1e9 });
  const request = hub.request("add", {}, { timeout: 0 });
  await clock.advance(59_000);
  assert.deepEqual(await outcome(request), ["pending"]);
  FakeWebSocket.last.reply("add");

  assert.equal((await outcome(request))[0], "resolved");
});

test("a request that times out while it waits for a connection is never sent", async () => {
  const hub = makeClient();
  const failed = assertRejectedLater(hub.request("add", {}, { timeout: 50 }), "timeout", /not sent/);
  await clock.advance(50);
  await failed;
  FakeWebSocket.last.hello();
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent, []);
});

test("a request can be aborted, before, while it waits, and when it is sent", async () => {
  const hub = makeClient();
  const reason = new Error("changed my mind");
  await assertRejected(hub.request("add", {}, { signal: AbortSignal.abort(reason) }), "aborted");

  const controller = new AbortController();
  const waiting = hub.request("add", {}, { signal: controller.signal });
  controller.abort(reason);
  assert.equal((await assertRejected(waiting, "aborted")).cause, reason);
  FakeWebSocket.last.hello();
  await settle();
  assert.deepEqual(FakeWebSocket.last.sent, []);

  const another = new AbortController();
  const sent = hub.request("add", {}, { signal: another.signal });
  another.abort(reason);
  await assertRejected(sent, "aborted");
  FakeWebSocket.last.reply("add");
});

test("a request under way when the connection ends is rejected: it may have been served", async () => {
  const hub = await openClient();
  const request = hub.request("add");
  FakeWebSocket.last.end(1006);
  await assertRejected(request, "disconnected");
  const waiting = hub.request("add", { n: 2 });
  await reopen(hub);

  assert.deepEqual(sentNumbers(), [2]);
  FakeWebSocket.last.reply("add", { sum: 2 });
  assert.deepEqual(await outcome(waiting), ["resolved", { sum: 2 }]);
});

test("ids of two clients differ, so that nobody takes another's reply for his own", async () => {
  clock.uninstall(); // chance as it is
  const ids = [];
  for (let n = 0; n < 2; n++) {
    const hub = await openClient();
    hub.request("add").catch(() => {});
    ids.push(FakeWebSocket.last.asked("add").request_id);
    hub.close();
  }
  clock.install();
  assert.notEqual(ids[0], ids[1]);
});
