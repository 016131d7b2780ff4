// The wire vectors of the server: what it sends in each case does to the client what it should. See tests/vectors/README.md.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { CLOSE_CODES } from "../../quart_wshub/static/wshub.js";
import { FakeWebSocket, clock, makeClient, outcome, reported, settle } from "./bench.mjs";

const FOLDER = new URL("../../tests/vectors/", import.meta.url);

/** What a client could have sent, or nothing. */
function envelope(text) {
  try {
    const { type, data = {}, request_id: id } = JSON.parse(text);
    return typeof type === "string" && data && typeof id === "string" ? { type, data, id } : null;
  } catch {
    return null;
  }
}

/** Make the requests of a case that get an answer. By the vector's id, what the client called it, and its promise. */
function ask(hub, { send, receive }) {
  const asked = new Map();
  for (const { type, data, id } of send.map(envelope).filter(Boolean)) {
    const answered = receive.some((message) => message.request_id === id && message.type !== "pong");
    if (!answered || asked.has(id)) continue;
    const promise = hub.request(type, data);
    promise.catch(() => {});
    const sent = FakeWebSocket.last.sent.at(-1);
    assert.deepEqual([sent.type, sent.data], [type, data]);
    asked.set(id, { type, promise, own: sent.request_id });
  }
  return asked;
}

async function checkAnswer({ type, promise }, message) {
  const [how, result] = await outcome(promise);
  if (message.type === "error") {
    assert.equal(how, "rejected");
    assert.deepEqual({ code: result.code, message: result.message, details: result.details }, message.data);
  } else {
    assert.equal(message.type, `${type}.reply`);
    assert.deepEqual([how, result], ["resolved", message.data]);
  }
}

async function checkMessage(hub, message, heard) {
  const before = FakeWebSocket.last.sent.length;
  FakeWebSocket.last.raw(JSON.stringify(message));
  await settle();
  const sent = FakeWebSocket.last.sent.slice(before);
  if (message.type === "ping") return assert.deepEqual(sent, [{ type: "pong", data: {} }]);
  if (message.type === "pong") return assert.deepEqual(heard.splice(0), []);
  assert.deepEqual(heard.splice(0), [message]);
  if (message.type === "hello") assert.equal(hub.connectionId, message.data.connection_id);
  if (message.type === "error") assert.deepEqual(reported().map(({ code }) => code), [message.data.code]);
  if (message.type === "auth.expiring") assert.equal(sent[0].type, "auth.refresh");
}

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json"))) {
  for (const vector of JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"))) {
    test(`${file}: ${vector.name}`, async () => {
      const hub = makeClient({ hello: false });
      const heard = [];
      hub.onAny((message) => heard.push(message));
      await settle();
      FakeWebSocket.last.open();
      await settle();

      const asked = ask(hub, vector);
      for (const message of vector.receive) {
        const call = asked.get(message.request_id);
        if (call && message.type !== "pong") {
          FakeWebSocket.last.raw(JSON.stringify({ ...message, request_id: call.own }));
          await checkAnswer(call, message);
          asked.delete(message.request_id);
        } else await checkMessage(hub, message, heard);
      }
      assert.deepEqual(heard, []);

      if (vector.close === null) return assert.equal(hub.state, "open");
      FakeWebSocket.last.end(vector.close);
      const { reconnect } = CLOSE_CODES[vector.close] ?? { reconnect: true };
      assert.equal(hub.state, reconnect || vector.close === 4401 ? "waiting" : "closed");
      assert.equal(clock.pending > 0, hub.state === "waiting");
    });
  }
}
