// Who hears what, and listeners that fail.

import assert from "node:assert/strict";
import { test } from "node:test";

import { WSHubError } from "../../quart_wshub/static/wshub.js";
import { FakeWebSocket, clock, openClient, reported, settle } from "./bench.mjs";

test("on hears one type, with data and message, until it is off", async () => {
  const hub = await openClient();
  const heard = [];
  const off = hub.on("news", (data, message) => heard.push([data, message]));
  FakeWebSocket.last.say("news", { n: 1 });
  FakeWebSocket.last.say("weather", { n: 2 });
  off();
  FakeWebSocket.last.say("news", { n: 3 });

  assert.deepEqual(heard, [[{ n: 1 }, { type: "news", data: { n: 1 }, request_id: null }]]);
});

test("off takes the function that on was given, and only that one", async () => {
  const hub = await openClient();
  const heard = [];
  const [one, two] = [() => heard.push(1), () => heard.push(2)];
  hub.on("news", one);
  hub.on("news", two);
  hub.off("news", one);
  hub.off("news", one);
  hub.off("weather", one);
  FakeWebSocket.last.say("news");

  assert.deepEqual(heard, [2]);
});

test("once hears the next one only, and may be off before", async () => {
  const hub = await openClient();
  const heard = [];
  hub.once("news", ({ n }) => heard.push(n));
  hub.once("news", () => heard.push("never"))();
  FakeWebSocket.last.say("news", { n: 1 });
  FakeWebSocket.last.say("news", { n: 2 });

  assert.deepEqual(heard, [1]);
});

test("onAny hears all types, those of the library too", async () => {
  const hub = await openClient();
  const heard = [];
  const off = hub.onAny(({ type }) => heard.push(type));
  for (const type of ["news", "gap", "statechange"]) FakeWebSocket.last.say(type);
  off();
  FakeWebSocket.last.say("news");

  assert.deepEqual(heard, ["news", "gap", "statechange"]);
});

test("a gap is heard", async () => {
  const hub = await openClient();
  let gaps = 0;
  hub.on("gap", () => gaps++);
  FakeWebSocket.last.say("gap");

  assert.equal(gaps, 1);
});

test("a server cannot play the client's own events", async () => {
  const hub = await openClient();
  const before = hub.changes.length;
  FakeWebSocket.last.say("statechange", { state: "closed" });

  assert.equal(hub.changes.length, before);
});

test("data that is missing is {}", async () => {
  const hub = await openClient();
  const heard = [];
  hub.on("news", (data) => heard.push(data));
  FakeWebSocket.last.raw('{"type": "news"}');
  FakeWebSocket.last.raw('{"type": "news", "data": null}');

  assert.deepEqual(heard, [{}, {}]);
});

for (const text of ["", "{", "null", "[]", "17", '"text"', "{}", '{"type": 5}', new ArrayBuffer(2)]) {
  test(`${JSON.stringify(text)} is no envelope: reported, and nothing else`, async () => {
    const hub = await openClient();
    hub.onAny(() => assert.fail("a listener got it"));
    FakeWebSocket.last.raw(text);

    assert.deepEqual(reported().map(({ code }) => code), ["invalid_envelope"]);
    assert.equal(hub.state, "open");
  });
}

test("a listener that fails, at once or later, is reported and disturbs nobody", async () => {
  const hub = await openClient();
  const heard = [];
  hub.on("news", () => {
    throw new Error("at once");
  });
  hub.on("news", async () => {
    throw new Error("later");
  });
  hub.on("news", () => heard.push("news"));
  hub.onAny(() => {
    throw new Error("any");
  });
  hub.onAny(() => heard.push("any"));
  FakeWebSocket.last.say("news");
  await settle();

  assert.deepEqual(heard, ["news", "any"]);
  assert.deepEqual(reported().map(({ message }) => message), ["at once", "any", "later"]);
});

test("so is a topicOf that fails", async () => {
  const hub = await openClient({ topicOf: ({ data }) => data.room.name });
  hub.subscribe("a").catch(() => {});
  FakeWebSocket.last.say("news");

  assert.match(reported()[0].message, /name/);
});

test("a listener of state changes that fails does not stop the reconnecting", async () => {
  const hub = await openClient();
  const off = hub.on("statechange", () => {
    throw new Error("bad listener");
  });
  FakeWebSocket.last.end(1006);
  await clock.advance(500);
  FakeWebSocket.last.hello();
  await settle();
  off();

  assert.equal(hub.state, "open");
  assert.equal(reported().length, 3);
});

test("without onError failures go to reportError, or to the console; and one that fails itself, too", async () => {
  const seen = [];
  const { error } = console;
  console.error = (failure) => seen.push(["console", failure.message]);
  try {
    const fail = async (onError) => {
      const hub = await openClient({ onError });
      hub.on("news", () => {
        throw new Error("listener");
      });
      FakeWebSocket.last.say("news");
      hub.close();
    };
    await fail(undefined);
    await fail(() => {
      throw new Error("onError");
    });
    globalThis.reportError = (failure) => seen.push(["reportError", failure.message]);
    await fail(undefined);
  } finally {
    delete globalThis.reportError;
    console.error = error;
  }
  assert.deepEqual(seen, [
    ["console", "listener"],
    ["console", "onError"],
    ["reportError", "listener"],
  ]);
});

test("a listener that is added while others are called hears the next message", async () => {
  const hub = await openClient();
  const heard = [];
  const off = hub.on("news", () => {
    hub.on("news", ({ n }) => heard.push(n));
    hub.onAny(({ data }) => heard.push(`any ${data.n}`));
  });
  const offAny = hub.onAny(() => {
    hub.onAny(() => heard.push("late"));
    offAny();
  });
  FakeWebSocket.last.say("news", { n: 1 });
  off();
  FakeWebSocket.last.say("news", { n: 2 });

  assert.deepEqual(heard, ["any 1", 2, "any 2", "late"]);
});

test("a listener may take itself and others off while it is called", async () => {
  const hub = await openClient();
  const heard = [];
  const off = hub.on("news", () => {
    heard.push(1);
    off();
  });
  hub.on("news", () => heard.push(2));
  FakeWebSocket.last.say("news");
  FakeWebSocket.last.say("news");

  assert.deepEqual(heard, [1, 2, 2]);
});

// Requests of the server

test("a request of the server is answered with what the handler returns", async () => {
  const hub = await openClient();
  hub.handle("where", async ({ unit }) => ({ x: 1, unit }));
  hub.handle("nothing", () => {});
  hub.onAny(() => assert.fail("a listener got it"));
  FakeWebSocket.last.say("where", { unit: "m" }, "s1");
  FakeWebSocket.last.say("nothing", {}, "s2");
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent.sort((a, b) => (a.request_id < b.request_id ? -1 : 1)), [
    { type: "where.reply", data: { x: 1, unit: "m" }, request_id: "s1" },
    { type: "nothing.reply", data: {}, request_id: "s2" },
  ]);
});

test("a handler that fails answers without the details of it, and is reported", async () => {
  const hub = await openClient();
  hub.handle("where", () => {
    throw new Error("secret detail");
  });
  FakeWebSocket.last.say("where", {}, "s1");
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent, [
    { type: "error", data: { code: "internal", message: "the client failed", details: [] }, request_id: "s1" },
  ]);
  assert.deepEqual(reported().map(({ message }) => message), ["secret detail"]);
});

test("a WSHubError it throws is meant for the server", async () => {
  const hub = await openClient();
  hub.handle("where", () => {
    throw new WSHubError("forbidden", "not now", [{ until: 5 }]);
  });
  FakeWebSocket.last.say("where", {}, "s1");
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent[0].data, { code: "forbidden", message: "not now", details: [{ until: 5 }] });
});

test("a reply that has no JSON form is a failure of the handler", async () => {
  const hub = await openClient();
  hub.handle("where", () => ({ n: 1n }));
  FakeWebSocket.last.say("where", {}, "s1");
  await settle();

  assert.equal(FakeWebSocket.last.sent[0].data.code, "internal");
  assert.equal(reported().length, 1);
});

test("a request nobody handles is told so; a handler that is off is nobody", async () => {
  const hub = await openClient();
  hub.handle("where", () => ({}))();
  FakeWebSocket.last.say("where", {}, "s1");
  await settle();

  const [{ type, data, request_id }] = FakeWebSocket.last.sent;
  assert.deepEqual([type, data.code, request_id], ["error", "unknown_type", "s1"]);
});

test("an error with an id that is not ours is no request", async () => {
  await openClient();
  FakeWebSocket.last.say("error", { code: "forbidden", message: "?", details: [] }, "not-ours");
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent, []);
  assert.equal(reported()[0].code, "forbidden");
});

test("a message with an id for which there are only listeners is a message", async () => {
  const hub = await openClient();
  const heard = [];
  hub.on("news", ({ n }) => heard.push(n));
  FakeWebSocket.last.say("news", { n: 1 }, "someone-elses");
  await settle();

  assert.deepEqual(heard, [1]);
  assert.deepEqual(FakeWebSocket.last.sent, []);
});

test("an answer that comes when the connection is gone is not sent over the next one", async () => {
  const hub = await openClient();
  let answer;
  hub.handle("where", () => new Promise((resolve) => (answer = resolve)));
  FakeWebSocket.last.say("where", {}, "s1");
  FakeWebSocket.last.end(1006);
  await clock.advance(500);
  FakeWebSocket.last.hello();
  answer({});
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent, []);
});
