// What every test of the client stands on: fake time, fake sockets, and a look at what is left behind.

import assert from "node:assert/strict";
import { afterEach, beforeEach } from "node:test";

import { WSHubClient } from "../../quart_wshub/static/wshub.js";
import { FakeClock, settle } from "./clock.mjs";
import { FakeWebSocket } from "./fake_socket.mjs";

export { FakeWebSocket, settle };

/** The time of the running test. */
export let clock;

let clients = [];
let failures = [];

beforeEach(() => {
  clock = new FakeClock();
  clock.install();
  clients = [];
  failures = [];
  FakeWebSocket.made = [];
});

afterEach(() => {
  for (const hub of clients) hub.close();
  clock.uninstall();
  assert.equal(clock.pending, 0, "a timer is left after close()");
  assert.deepEqual(FakeWebSocket.alive, [], "a socket is left after close()");
  assert.deepEqual(failures, [], "failures that the test did not expect");
});

/** A client whose sockets are fake; `changes` are its state changes. Reported failures fail the test, see `reported`. */
export function makeClient(options = {}) {
  const hub = new WSHubClient("wss://hub.test/ws", {
    getToken: () => "token",
    WebSocket: FakeWebSocket,
    onError: (error) => failures.push(error),
    ...options,
  });
  hub.changes = [];
  hub.on("statechange", (change) => hub.changes.push(change));
  clients.push(hub);
  return hub;
}

/** A client that has said hello. */
export async function openClient(options = {}) {
  const hub = makeClient(options);
  await settle();
  FakeWebSocket.last.hello();
  await settle();
  assert.equal(hub.state, "open");
  return hub;
}

/** Wait for the next attempt, and let it succeed. */
export async function reopen(hub) {
  const before = FakeWebSocket.made.length;
  await clock.advance(hub.changes.at(-1).delay);
  assert.equal(FakeWebSocket.made.length, before + 1);
  FakeWebSocket.last.hello();
  await settle();
}

/** What has been reported to `onError` so far; the test answers for it. */
export function reported() {
  return failures.splice(0);
}

/** How a promise stands: `["pending"]`, `["resolved", value]` or `["rejected", error]`. */
export async function outcome(promise) {
  let result = ["pending"];
  promise.then(
    (value) => (result = ["resolved", value]),
    (error) => (result = ["rejected", error]),
  );
  await settle();
  return result;
}

/** Assert that a promise is rejected with this code, now. */
export async function assertRejected(promise, code) {
  const [how, error] = await outcome(promise);
  assert.equal(how, "rejected");
  assert.equal(error.name, "WSHubError");
  assert.equal(error.code, code);
  return error;
}

/** Assert that a promise will be rejected with this code; to be awaited when it should have happened. */
export function assertRejectedLater(promise, code, message = /./) {
  return assert.rejects(promise, (error) => error.name === "WSHubError" && error.code === code && message.test(error.message));
}
