// After a connection has ended: whether to come back, when, and as what.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CLOSE_CODES } from "../../quart_wshub/static/wshub.js";
import { FakeWebSocket, clock, makeClient, openClient, outcome, reopen, settle } from "./bench.mjs";

/** The delay announced after each of a row of failed attempts. */
async function delaysOfFailures(count, code = 1006) {
  const hub = makeClient();
  await settle();
  for (let failure = 0; failure < count; failure++) {
    FakeWebSocket.last.end(code);
    await clock.advance(hub.changes.at(-1).delay);
  }
  return hub.changes.filter(({ state }) => state === "waiting").map(({ delay }) => delay);
}

test("the delays double from half a second to twenty, by full jitter", async () => {
  clock.chance = 1 - Number.EPSILON;
  const longest = await delaysOfFailures(9);
  assert.deepEqual(longest.map(Math.round), [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000, 20_000]);
});

test("chance shortens them down to nothing", async () => {
  clock.chance = 0;
  assert.deepEqual(await delaysOfFailures(5), [0, 0, 0, 0, 0]);
});

test("no number of failures makes a delay that is none", async () => {
  const hub = makeClient({ backoff: { max: 10 } });
  await settle();
  for (let failure = 0; failure < 1100; failure++) {
    FakeWebSocket.last.end(1006);
    hub.connect();
    await settle();
  }
  assert.equal(hub.changes.at(-2).delay, 5);
});

test("the next attempt comes when announced, not before", async () => {
  const hub = await openClient();
  FakeWebSocket.last.end(1006);
  const { delay } = hub.changes.at(-1);
  assert.equal(delay, 250);
  await clock.advance(delay - 1);
  assert.equal(FakeWebSocket.made.length, 1);
  await clock.advance(1);

  assert.equal(FakeWebSocket.made.length, 2);
});

test("the delay goes back to its beginning only after a connection has been stable", async () => {
  const hub = await openClient();
  const delays = [];
  for (const lifetime of [0, 9_999, 9_999, 10_000, 0]) {
    await clock.advance(lifetime);
    FakeWebSocket.last.end(1006);
    delays.push(hub.changes.at(-1).delay);
    await clock.advance(delays.at(-1));
    FakeWebSocket.last.hello();
    await settle();
  }
  assert.deepEqual(delays, [250, 500, 1000, 250, 500]);
});

for (const [code, { name, reason, reconnect }] of Object.entries(CLOSE_CODES)) {
  if (Number(code) === 4401) continue; // see tokens.test.mjs
  test(`${code} ${reconnect ? "comes back" : "stops"}, and says why`, async () => {
    const hub = await openClient();
    FakeWebSocket.last.end(Number(code));
    const change = hub.changes.at(-1);
    assert.equal(change.state, reconnect ? "waiting" : "closed");
    assert.equal(change.reason, name);
    assert.equal(change.message, reason);
    assert.equal(change.code, Number(code));

    await clock.advance(60_000);
    assert.equal(FakeWebSocket.made.length > 1, reconnect);
  });
}

for (const code of [1001, 1005, 1006, 1014, 1015, 3000, 4000, 4999]) {
  test(`${code}, which is in no table, comes back`, async () => {
    const hub = await openClient();
    FakeWebSocket.last.end(code, "words");
    assert.deepEqual(hub.changes.at(-1), {
      state: "waiting",
      previous: "open",
      code,
      reason: "lost",
      message: "words",
      attempt: 1,
      delay: 250,
    });
  });
}

test("after 1012 clients spread over two seconds", async () => {
  const hub = await openClient();
  FakeWebSocket.last.end(1012);
  assert.equal(hub.changes.at(-1).delay, 1000);
});

test("after 1008 it stays away for ten to twenty seconds, and nothing makes it hurry", async () => {
  const waking = installPage();
  try {
    for (const [chance, delay] of [[0, 10_000], [0.5, 15_000]]) {
      clock.chance = chance;
      const hub = await openClient();
      FakeWebSocket.last.end(1008);
      assert.equal(hub.changes.at(-1).delay, delay);

      waking.fire("window", "online");
      await settle();
      assert.equal(hub.state, "waiting");
      hub.close();
    }
  } finally {
    waking.uninstall();
  }
});

test("resumed comes after it is open again, and says what had happened; the first connection is no return", async () => {
  const hub = await openClient();
  const events = [];
  hub.on("resumed", (outage) => events.push([hub.state, outage]));
  FakeWebSocket.last.end(1013);
  await clock.advance(500);
  FakeWebSocket.last.end(1006); // a further failure is not the reason
  await reopen(hub);

  assert.deepEqual(events, [["open", { code: 1013, reason: "try_again_later" }]]);
});

test("who closes when it is open again hears of no return", async () => {
  const hub = await openClient();
  hub.on("resumed", () => assert.fail("resumed"));
  hub.on("statechange", ({ state }) => state === "open" && hub.close());
  FakeWebSocket.last.end(1006);
  await reopen(hub);

  assert.equal(hub.state, "closed");
});

test("an eviction can be undone by the user: connect() resumes", async () => {
  const hub = await openClient();
  const events = [];
  hub.on("resumed", ({ code }) => events.push(code));
  FakeWebSocket.last.end(4429);
  assert.equal(hub.state, "closed");
  hub.connect();
  await settle();
  FakeWebSocket.last.hello();
  await settle();

  assert.deepEqual(events, [4429]);
});

test("close() closes the socket with its code, stops everything, and says so once", async () => {
  const hub = await openClient();
  hub.close(4000, "bye");
  hub.close();
  assert.deepEqual(FakeWebSocket.last.closedWith, [4000, "bye"]);
  assert.deepEqual(hub.changes.at(-1), { state: "closed", previous: "open", reason: "closed", message: "bye" });
  assert.equal(hub.changes.filter(({ state }) => state === "closed").length, 1);
  assert.equal(clock.pending, 0);

  FakeWebSocket.last.end(1006);
  await clock.advance(60_000);
  assert.equal(FakeWebSocket.made.length, 1);
});

test("a close code that is not allowed changes nothing", async () => {
  const hub = await openClient();
  assert.throws(() => hub.close(1012), { name: "InvalidAccessError" });

  assert.equal(hub.state, "open");
});

for (const state of ["connecting", "waiting"]) {
  test(`close() while ${state} leaves nothing`, async () => {
    const hub = makeClient();
    await settle();
    if (state === "waiting") FakeWebSocket.last.end();
    assert.equal(hub.state, state);
    hub.close();
    assert.equal(clock.pending, 0);
    assert.deepEqual(FakeWebSocket.alive, []);

    await clock.advance(60_000);
    assert.equal(FakeWebSocket.made.length, 1);
  });
}

test("connect() after close() starts afresh", async () => {
  const hub = await openClient();
  const resumed = [];
  hub.on("resumed", (outage) => resumed.push(outage));
  hub.close();
  const connected = hub.connect();
  await settle();
  FakeWebSocket.last.hello();

  assert.deepEqual(await outcome(connected), ["resolved", undefined]);
  assert.deepEqual(resumed, []);
});

test("a listener may close it in every state", async () => {
  for (const state of ["waiting", "connecting", "open"]) {
    const hub = makeClient({ autoConnect: false });
    hub.on("statechange", (change) => change.state === state && hub.close());
    hub.connect();
    await settle();
    FakeWebSocket.last?.hello();
    await settle();
    if (state === "waiting") FakeWebSocket.last.end();
    await clock.advance(30_000);
    assert.equal(hub.state, "closed", state);
    assert.equal(clock.pending, 0);
    FakeWebSocket.made = [];
  }
});

/** Something like a page, whose events the test fires. */
function installPage() {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const listening = new Set();
  for (const target of [window, document]) {
    const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
    target.addEventListener = (type, fn) => listening.add(`${type}`) && add.call(target, type, fn);
    target.removeEventListener = (type, fn) => listening.delete(`${type}`) && remove.call(target, type, fn);
  }
  Object.assign(globalThis, {
    addEventListener: window.addEventListener,
    removeEventListener: window.removeEventListener,
    document,
  });
  return {
    listening,
    document,
    fire: (where, type) => (where === "document" ? document : window).dispatchEvent(new Event(type)),
    uninstall() {
      delete globalThis.addEventListener;
      delete globalThis.removeEventListener;
      delete globalThis.document;
    },
  };
}

for (const [where, type] of [
  ["window", "online"],
  ["window", "pageshow"],
  ["document", "visibilitychange"],
  ["document", "resume"],
]) {
  test(`${type} makes the next attempt an immediate one`, async () => {
    const page = installPage();
    try {
      await openClient();
      FakeWebSocket.last.end(1006);
      page.fire(where, type);
      await settle();
      assert.equal(FakeWebSocket.made.length, 2);
    } finally {
      page.uninstall();
    }
  });
}

test("becoming hidden hurries nobody, and hurrying does not shorten the backoff", async () => {
  const page = installPage();
  try {
    const hub = await openClient();
    FakeWebSocket.last.end(1006);
    page.document.visibilityState = "hidden";
    page.fire("document", "visibilitychange");
    await settle();
    assert.equal(FakeWebSocket.made.length, 1);

    page.fire("window", "online");
    await settle();
    FakeWebSocket.last.end(1006);
    assert.equal(hub.changes.at(-1).delay, 500);
  } finally {
    page.uninstall();
  }
});

test("while an attempt is under way, waking starts no second one", async () => {
  const page = installPage();
  try {
    makeClient();
    await settle();
    page.fire("window", "online");
    page.fire("document", "visibilitychange");
    await settle();
    assert.equal(FakeWebSocket.made.length, 1);
  } finally {
    page.uninstall();
  }
});

test("close() stops listening to the page, and connect() listens again", async () => {
  const page = installPage();
  try {
    const hub = await openClient();
    assert.equal(page.listening.size, 4);
    hub.close();
    assert.equal(page.listening.size, 0);
    hub.connect();
    assert.equal(page.listening.size, 4);
  } finally {
    page.uninstall();
  }
});
