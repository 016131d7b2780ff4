// From construction to an open connection, and what can go wrong on the way.

import assert from "node:assert/strict";
import { test } from "node:test";

import { WSHubClient } from "../../quart_wshub/static/wshub.js";
import { FakeWebSocket, assertRejected, clock, makeClient, openClient, outcome, settle } from "./bench.mjs";

test("it connects by itself, with the token as a subprotocol", async () => {
  const hub = makeClient({ getToken: async () => "t.o-k_en" });
  assert.equal(hub.state, "connecting");
  await settle();

  assert.equal(FakeWebSocket.last.url, "wss://hub.test/ws");
  assert.deepEqual(FakeWebSocket.last.protocols, ["bearer", "t.o-k_en"]);
});

test("further subprotocols go behind the token", async () => {
  makeClient({ protocols: ["v2.app"] });
  await settle();

  assert.deepEqual(FakeWebSocket.last.protocols, ["bearer", "token", "v2.app"]);
});

test("without getToken no token is offered", async () => {
  makeClient({ getToken: undefined });
  await settle();

  assert.deepEqual(FakeWebSocket.last.protocols, []);
});

test("autoConnect: false waits for connect()", async () => {
  const hub = makeClient({ autoConnect: false });
  await settle();
  assert.equal(hub.state, "closed");
  assert.equal(FakeWebSocket.made.length, 0);

  hub.connect();
  await settle();
  assert.equal(FakeWebSocket.made.length, 1);
});

test("closed before it began: no socket, and nothing is asked", async () => {
  let asked = 0;
  const hub = makeClient({ getToken: () => void asked++ });
  hub.close();
  await settle();

  assert.equal(hub.state, "closed");
  assert.equal(asked, 0);
});

test("only the hello makes it open: an accepted socket may be one that is about to be refused", async () => {
  const hub = makeClient();
  await settle();
  FakeWebSocket.last.open();
  await settle();
  assert.equal(hub.state, "connecting");

  FakeWebSocket.last.hello({ connection_id: "c7", heartbeat_seconds: 30, heartbeat_timeout_seconds: 60 });
  await settle();
  assert.equal(hub.state, "open");
  assert.equal(hub.connectionId, "c7");
});

test("another first message will do, and reaches its listeners", async () => {
  const hub = makeClient();
  const heard = [];
  hub.on("news", (data) => heard.push(data));
  await settle();
  FakeWebSocket.last.open();
  FakeWebSocket.last.say("news", { n: 1 });
  await settle();

  assert.equal(hub.state, "open");
  assert.deepEqual(heard, [{ n: 1 }]);
});

test("hello: false takes the accepted socket for open", async () => {
  const hub = makeClient({ hello: false });
  await settle();
  FakeWebSocket.last.open();
  await settle();

  assert.equal(hub.state, "open");
});

test("an attempt that hangs is given up", async () => {
  const hub = makeClient();
  await settle();
  const [hanging] = FakeWebSocket.made;
  await clock.advance(9_999);
  assert.equal(hub.state, "connecting");
  await clock.advance(1);

  assert.equal(hub.state, "waiting");
  assert.equal(hub.changes.at(-1).reason, "connect_timeout");
  assert.notEqual(hanging.closedWith, null);
});

test("so is one whose token never comes, and the token that comes late opens nothing", async () => {
  let give;
  const hub = makeClient({ getToken: () => new Promise((resolve) => (give ??= resolve)) });
  await clock.advance(10_000);
  assert.equal(hub.changes.at(-1).reason, "connect_timeout");

  give("late");
  await settle();
  assert.equal(FakeWebSocket.made.length, 0);
});

test("so does the failure of a token that was given up", async () => {
  let fail;
  const hub = makeClient({ getToken: () => new Promise((_, reject) => (fail ??= reject)) });
  await clock.advance(10_000);
  fail(new Error("late"));
  await settle();

  assert.equal(hub.changes.at(-1).reason, "connect_timeout");
  assert.equal(hub.changes.at(-1).attempt, 1);
});

test("so is one that is accepted and never greeted", async () => {
  const hub = makeClient();
  await settle();
  FakeWebSocket.last.open();
  await clock.advance(10_000);

  assert.equal(hub.state, "waiting");
});

test("a getToken that fails is asked again after a while", async () => {
  const failure = new Error("offline");
  let failing = true;
  const hub = makeClient({
    getToken: () => {
      if (failing) throw failure;
      return "token";
    },
  });
  await settle();
  assert.equal(hub.state, "waiting");
  assert.equal(hub.changes.at(-1).reason, "token_failed");
  assert.equal(hub.changes.at(-1).error, failure);

  failing = false;
  await clock.advance(500);
  assert.equal(FakeWebSocket.made.length, 1);
});

for (const nothing of [null, undefined, ""]) {
  test(`a getToken that gives ${JSON.stringify(nothing)} says that nobody is logged in`, async () => {
    const hub = makeClient({ getToken: async () => nothing });
    await settle();

    assert.equal(hub.state, "closed");
    assert.equal(hub.changes.at(-1).reason, "logged_out");
    assert.equal(FakeWebSocket.made.length, 0);
  });
}

test("a token that cannot be a subprotocol ends it, and is not told", async () => {
  const hub = makeClient({ getToken: () => "sec ret" });
  await settle();

  assert.equal(hub.state, "closed");
  assert.equal(hub.changes.at(-1).reason, "invalid");
  assert.doesNotMatch(JSON.stringify(hub.changes), /sec ret/);
});

test("the promise of connect() waits for the connection", async () => {
  const hub = makeClient();
  const connected = hub.connect();
  assert.deepEqual(await outcome(connected), ["pending"]);
  FakeWebSocket.last.hello();

  assert.deepEqual(await outcome(connected), ["resolved", undefined]);
  assert.deepEqual(await outcome(hub.connect()), ["resolved", undefined]);
});

test("it waits through failures, and rejects when there is no hope", async () => {
  const hub = makeClient();
  const connected = hub.connect();
  await settle();
  FakeWebSocket.last.end(1006);
  assert.deepEqual(await outcome(connected), ["pending"]);

  await clock.advance(20_000);
  FakeWebSocket.last.end(4403, "not you");
  const error = await assertRejected(connected, "closed");
  assert.equal(error.message, "not you");
});

test("connect() while waiting tries at once", async () => {
  const hub = await openClient();
  await hub.connect();
  FakeWebSocket.last.end(1006);
  hub.connect();
  await settle();

  assert.equal(FakeWebSocket.made.length, 2);
  assert.deepEqual(await outcome(hub.connect()), ["pending"]);
});

test("connect() while connecting or open changes nothing", async () => {
  const hub = makeClient();
  hub.connect();
  await settle();
  hub.connect();
  FakeWebSocket.last.hello();
  hub.connect();
  await settle();

  assert.equal(FakeWebSocket.made.length, 1);
});

test("the url may be an http one or relative to the page", async () => {
  globalThis.location = { href: "https://app.test/page#part" };
  try {
    makeClient();
    const urls = [];
    class Recorder extends FakeWebSocket {
      constructor(url, protocols) {
        urls.push(url);
        super(url, protocols);
        this.readyState = 3;
      }
    }
    for (const url of ["/ws?x=1", "http://a.test/ws", new URL("https://a.test/ws#frag"), "ws://a.test/"]) {
      const hub = new WSHubClient(url, { WebSocket: Recorder });
      await settle();
      hub.close();
    }
    assert.deepEqual(urls, ["wss://app.test/ws?x=1", "ws://a.test/ws", "wss://a.test/ws", "ws://a.test/"]);
  } finally {
    delete globalThis.location;
  }
});

test("what cannot work fails at construction", () => {
  assert.throws(() => new WSHubClient("no url", { WebSocket: FakeWebSocket }), TypeError);
  assert.throws(() => new WSHubClient("ws://a.test", { WebSocket: FakeWebSocket, getToken: "token" }), /getToken/);
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket;
  try {
    assert.throws(() => new WSHubClient("ws://a.test"), /npm package ws/);
  } finally {
    if (WebSocket) globalThis.WebSocket = WebSocket;
  }
});
