// Signs of life, asked for and given, awake and asleep.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeWebSocket, clock, openClient, settle } from "./bench.mjs";

const HELLO = { connection_id: "c", heartbeat_seconds: 3, heartbeat_timeout_seconds: 6 };

/** Open, with a watchdog of six seconds. */
async function openBriskly(options) {
  const hub = await openClient(options);
  FakeWebSocket.last.end(1006);
  await clock.advance(500);
  FakeWebSocket.last.hello(HELLO);
  await settle();
  return hub;
}

const pings = () => FakeWebSocket.last.sent.filter(({ type }) => type === "ping").length;

test("a ping is answered at once, and reaches no listener", async () => {
  const hub = await openClient();
  const heard = [];
  hub.onAny((message) => heard.push(message));
  FakeWebSocket.last.say("ping");
  FakeWebSocket.last.say("ping", {}, "p1");
  FakeWebSocket.last.say("pong");

  assert.deepEqual(FakeWebSocket.last.sent, [
    { type: "pong", data: {} },
    { type: "pong", data: {}, request_id: "p1" },
  ]);
  assert.deepEqual(heard, []);
});

test("also before the client is open", async () => {
  await openClient();
  FakeWebSocket.last.end(1006);
  await clock.advance(500);
  FakeWebSocket.last.open();
  FakeWebSocket.last.say("ping");

  assert.deepEqual(FakeWebSocket.last.sent, [{ type: "pong", data: {} }]);
});

test("silence for as long as hello says ends the connection, on time", async () => {
  const hub = await openBriskly();
  const silent = FakeWebSocket.last;
  await clock.advance(5_999);
  assert.equal(hub.state, "open");
  await clock.advance(1);

  assert.equal(hub.state, "waiting");
  assert.equal(hub.changes.at(-1).reason, "heartbeat_timeout");
  assert.deepEqual(silent.closedWith, [4408, "heartbeat_timeout"]);
});

test("any message is a sign of life, even one that is no envelope", async () => {
  const hub = await openBriskly({ onError: () => {} });
  for (const message of ['{"type": "news"}', '{"type": "ping"}', "nonsense"]) {
    await clock.advance(5_000);
    FakeWebSocket.last.raw(message);
  }
  await clock.advance(5_999);
  assert.equal(hub.state, "open");
  await clock.advance(1);

  assert.equal(hub.state, "waiting");
});

test("without figures the silence may last as long as the option says", async () => {
  const hub = await openClient({ heartbeatTimeout: 4_000 });
  FakeWebSocket.last.end(1006);
  await clock.advance(500);
  FakeWebSocket.last.hello({});
  await clock.advance(3_999);
  assert.equal(hub.state, "open");
  await clock.advance(1);
  assert.equal(hub.state, "waiting");
});

test("a hello that was not waited for still says how long", async () => {
  const hub = await openClient({ hello: false });
  FakeWebSocket.last.hello(HELLO);
  assert.equal(hub.connectionId, "c");
  await clock.advance(5_999);
  assert.equal(hub.state, "open");
  await clock.advance(1);
  assert.equal(hub.state, "waiting");
});

test("a server that allows a month of silence is not given up at once", async () => {
  const hub = await openClient();
  FakeWebSocket.last.end(1006);
  await clock.advance(500);
  FakeWebSocket.last.hello({ ...HELLO, heartbeat_timeout_seconds: 30 * 86_400 });
  await clock.advance(100_000);

  assert.equal(hub.state, "open");
});

test("waking from sleep asks instead of giving up, and an answer is enough", async () => {
  const hub = await openBriskly();
  clock.sleep(3_600_000);
  await clock.advance(0);
  assert.equal(hub.state, "open");
  assert.equal(pings(), 1);

  FakeWebSocket.last.say("pong");
  await clock.advance(5_999);
  assert.equal(hub.state, "open");
  await clock.advance(1);
  assert.equal(hub.state, "waiting");
});

test("after sleep a connection that does not answer is given up after the short deadline", async () => {
  const hub = await openBriskly();
  clock.sleep(3_600_000);
  await clock.advance(4_999);
  assert.equal(hub.state, "open");
  await clock.advance(1);

  assert.equal(hub.state, "waiting");
  assert.equal(hub.changes.at(-1).reason, "heartbeat_timeout");
});

test("falling asleep again before the answer asks again", async () => {
  const hub = await openBriskly();
  clock.sleep(3_600_000);
  await clock.advance(1_000);
  clock.sleep(3_600_000);
  await clock.advance(0);

  assert.equal(hub.state, "open");
  assert.equal(pings(), 2);
});

test("a tab whose timers fire once a minute raises no false alarm while messages come", async () => {
  const hub = await openBriskly();
  for (let minute = 0; minute < 5; minute++) {
    for (let ping = 0; ping < 20; ping++) {
      clock.sleep(3_000);
      FakeWebSocket.last.say("ping");
    }
    await clock.advance(0); // now the timers may run
  }
  assert.equal(hub.state, "open");
  assert.equal(pings(), 0);
});

test("nor does one that was frozen, so that its messages come after its timers", async () => {
  const hub = await openBriskly();
  clock.sleep(60_000);
  await clock.advance(0);
  FakeWebSocket.last.say("ping");
  await clock.advance(5_000);

  assert.equal(hub.state, "open");
});

test("a clock that is set back neither ends the connection nor blinds the watchdog for as long", async () => {
  const hub = await openBriskly();
  await clock.advance(1_000);
  FakeWebSocket.last.say("news");
  clock.setWallClock(-3_600_000);
  await clock.advance(5_000);
  assert.equal(hub.state, "open");
  await clock.advance(6_000);
  assert.equal(hub.state, "waiting");
});

test("a clock that is set forward makes it ask, not give up", async () => {
  const hub = await openBriskly();
  await clock.advance(1_000);
  FakeWebSocket.last.say("news");
  clock.setWallClock(3_600_000);
  await clock.advance(5_000);
  assert.equal(hub.state, "open");
  assert.equal(pings(), 1);
});

test("a probe finds a socket that is already closing: nothing is sent, and the connection is given up", async () => {
  const hub = await openBriskly();
  FakeWebSocket.last.readyState = 2;
  clock.sleep(3_600_000);
  await clock.advance(0);

  assert.equal(hub.state, "waiting");
});

test("coming back to the page probes an open connection, once, and not one just heard", async () => {
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  globalThis.document = document;
  try {
    const hub = await openBriskly();
    document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(pings(), 0);

    await clock.advance(1_001);
    document.dispatchEvent(new Event("visibilitychange"));
    document.dispatchEvent(new Event("resume"));
    assert.equal(pings(), 1);
    await clock.advance(5_000);
    assert.equal(hub.state, "waiting");
  } finally {
    delete globalThis.document;
  }
});

test("a change of the network probes at once, however recently something was heard", async () => {
  const window = new EventTarget();
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.removeEventListener = window.removeEventListener.bind(window);
  try {
    await openBriskly();
    window.dispatchEvent(new Event("online"));
    assert.equal(pings(), 1);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});
