// Tokens that are refused, that expire, and that are renewed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeWebSocket, clock, makeClient, openClient, reported, settle } from "./bench.mjs";

/** A getToken that records why it was asked and gives t1, t2, … */
function tokens() {
  const asked = [];
  const getToken = async (why) => {
    asked.push(why.renew);
    return `t${asked.length}`;
  };
  return { asked, getToken };
}

test("every connection asks for the token; only after a refusal must it be another one", async () => {
  const { asked, getToken } = tokens();
  const hub = await openClient({ getToken });
  FakeWebSocket.last.end(1006);
  await clock.advance(hub.changes.at(-1).delay);
  FakeWebSocket.last.end(4401);
  await clock.advance(hub.changes.at(-1).delay);

  assert.deepEqual(asked, [false, false, true]);
  assert.deepEqual(FakeWebSocket.last.protocols, ["bearer", "t3"]);

  FakeWebSocket.last.hello();
  FakeWebSocket.last.end(1006);
  await clock.advance(hub.changes.at(-1).delay);
  assert.deepEqual(asked, [false, false, true, false]);
});

test("4401 is answered with a new token at once", async () => {
  const { getToken } = tokens();
  const hub = await openClient({ getToken });
  FakeWebSocket.last.end(4401);
  assert.equal(hub.changes.at(-1).delay, 0);
  await clock.advance(0);

  assert.deepEqual(FakeWebSocket.last.protocols, ["bearer", "t2"]);
});

test("4401 for a new token ends it", async () => {
  const hub = makeClient();
  await settle();
  FakeWebSocket.last.end(4401);
  await clock.advance(0);
  assert.equal(hub.state, "connecting");
  FakeWebSocket.last.end(4401, "token revoked");
  await clock.advance(60_000);

  assert.equal(FakeWebSocket.made.length, 2);
  const { state, reason, message, code } = hub.changes.at(-1);
  assert.deepEqual([state, reason, message, code], ["closed", "unauthorized", "token revoked", 4401]);
});

test("a network failure between two refusals does not count as a chance", async () => {
  const hub = makeClient();
  await settle();
  FakeWebSocket.last.end(4401);
  await clock.advance(0);
  FakeWebSocket.last.end(1006);
  await clock.advance(hub.changes.at(-1).delay);
  FakeWebSocket.last.end(4401);

  assert.equal(hub.state, "closed");
});

test("tokens that are taken and die at once are renewed ever more slowly", async () => {
  const hub = await openClient();
  const delays = [];
  for (let round = 0; round < 4; round++) {
    FakeWebSocket.last.end(4401);
    delays.push(hub.changes.at(-1).delay);
    await clock.advance(delays.at(-1));
    FakeWebSocket.last.hello();
    await settle();
  }
  assert.deepEqual(delays, [0, 500, 1000, 2000]);
});

test("without getToken there is no other token: 4401 ends it", async () => {
  const hub = makeClient({ getToken: undefined });
  await settle();
  FakeWebSocket.last.end(4401);

  assert.equal(hub.state, "closed");
  assert.equal(hub.changes.at(-1).reason, "unauthorized");
});

test("with hello: false a refusal right after the accept ends it as well", async () => {
  const hub = makeClient({ hello: false });
  await settle();
  for (let round = 0; round < 2; round++) {
    FakeWebSocket.last.open();
    await settle();
    FakeWebSocket.last.end(4401);
    await clock.advance(0);
  }
  assert.equal(hub.state, "closed");
});

test("a user who logs in again may connect again", async () => {
  const { asked, getToken } = tokens();
  const hub = makeClient({ getToken });
  await settle();
  FakeWebSocket.last.end(4401);
  await clock.advance(0);
  FakeWebSocket.last.end(4401);
  hub.connect();
  await settle();
  FakeWebSocket.last.hello();
  await settle();

  assert.equal(hub.state, "open");
  assert.deepEqual(asked, [false, true, false]);
});

test("auth.expiring brings a new token over the same connection", async () => {
  const { asked, getToken } = tokens();
  const hub = await openClient({ getToken });
  FakeWebSocket.last.say("auth.expiring");
  await settle();
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(FakeWebSocket.last.asked("auth.refresh").data, { token: "t2" });
  assert.equal(typeof FakeWebSocket.last.asked("auth.refresh").request_id, "string");

  FakeWebSocket.last.reply("auth.refresh");
  await clock.advance(1_000);
  assert.equal(hub.state, "open");
  assert.equal(FakeWebSocket.made.length, 1);
  assert.equal(FakeWebSocket.last.sent.length, 1);
});

test("it happens for each announcement, but once at a time", async () => {
  const { asked, getToken } = tokens();
  await openClient({ getToken });
  FakeWebSocket.last.say("auth.expiring");
  FakeWebSocket.last.say("auth.expiring");
  await settle();
  FakeWebSocket.last.reply("auth.refresh");
  await settle();
  assert.equal(asked.length, 2);

  FakeWebSocket.last.say("auth.expiring");
  await settle();
  assert.equal(asked.length, 3);
});

test("a refresh that fails is tried again with backoff until the token expires", async () => {
  let asked = 0;
  const failure = new Error("offline");
  const hub = await openClient({
    getToken: () => {
      if (asked++) throw failure;
      return "token";
    },
  });
  FakeWebSocket.last.say("auth.expiring");
  await clock.advance(250 + 500 + 1000);
  assert.equal(asked, 5);
  assert.deepEqual(new Set(reported()), new Set([failure]));

  FakeWebSocket.last.end(4401);
  await clock.advance(0);
  assert.equal(hub.state, "waiting");
  assert.equal(hub.changes.at(-1).reason, "token_failed");
});

test("so is one that the server cannot serve now", async () => {
  await openClient();
  FakeWebSocket.last.say("auth.expiring");
  await settle();
  FakeWebSocket.last.refuse("auth.refresh", "rate_limited");
  await clock.advance(250);
  FakeWebSocket.last.reply("auth.refresh");
  await clock.advance(30_000);

  assert.equal(FakeWebSocket.last.sent.length, 2);
  assert.equal(reported()[0].code, "rate_limited");
});

test("a refresh that finds nobody logged in any more ends the connection", async () => {
  let asked = 0;
  const hub = await openClient({ getToken: () => (asked++ ? null : "token") });
  FakeWebSocket.last.say("auth.expiring");
  await settle();

  assert.equal(hub.state, "closed");
  assert.equal(hub.changes.at(-1).reason, "logged_out");
});

test("a new token that comes when the connection is gone is not sent over the next one", async () => {
  const waiting = [];
  const hub = await openClient({
    getToken: ({ renew }) => (renew ? new Promise((resolve) => waiting.push(resolve)) : "token"),
  });
  FakeWebSocket.last.say("auth.expiring");
  await settle();
  FakeWebSocket.last.end(1006);
  await clock.advance(hub.changes.at(-1).delay);
  FakeWebSocket.last.hello();
  waiting[0]("late");
  await settle();

  assert.deepEqual(FakeWebSocket.last.sent, []);
});

for (const [what, finish] of [
  ["finds nobody logged in", ([resolve]) => resolve(null)],
  ["fails", ([, reject]) => reject(new Error("late"))],
]) {
  test(`a refresh that ${what} when the connection is gone does nothing to the next one`, async () => {
    const waiting = [];
    const hub = await openClient({
      getToken: ({ renew }) => (renew ? new Promise((...settlers) => waiting.push(settlers)) : "token"),
    });
    FakeWebSocket.last.say("auth.expiring");
    await settle();
    FakeWebSocket.last.end(1006);
    await clock.advance(hub.changes.at(-1).delay);
    FakeWebSocket.last.hello();
    finish(waiting[0]);
    await clock.advance(1_000);

    assert.equal(hub.state, "open");
    assert.equal(waiting.length, 1);
  });
}
