/**
 * The client of a quart-wshub server: one authenticated WebSocket that comes back by itself.
 *
 * One ES module without dependencies, for browsers, workers and Node. `wshub.d.ts` beside it has the types,
 * docs/client.md the policies. Times are milliseconds. Nothing here knows what the app's messages mean.
 */

/** What a client does about each close code: the table of the server's `CloseCode`. Any other code: reconnect. */
export const CLOSE_CODES = Object.freeze({
  1000: { name: "normal", reason: "", reconnect: false },
  1002: { name: "protocol_error", reason: "protocol error", reconnect: false },
  1003: { name: "unsupported_data", reason: "unsupported message kind", reconnect: false },
  1007: { name: "invalid_payload", reason: "invalid payload", reconnect: false },
  1008: { name: "policy_violation", reason: "policy violation", reconnect: true },
  1009: { name: "message_too_big", reason: "message too big", reconnect: false },
  1011: { name: "internal_error", reason: "internal error", reconnect: true },
  1012: { name: "service_restart", reason: "the server is restarting", reconnect: true },
  1013: { name: "try_again_later", reason: "send queue overflow", reconnect: true },
  4401: { name: "unauthorized", reason: "token missing, invalid or expired", reconnect: false },
  4403: { name: "forbidden", reason: "forbidden", reconnect: false },
  4408: { name: "heartbeat_timeout", reason: "heartbeat timeout", reconnect: true },
  4429: { name: "too_many_connections", reason: "too many connections of this user", reconnect: false },
});

const POLICY_VIOLATION = 1008;
const SERVICE_RESTART = 1012;
const UNAUTHORIZED = 4401;
const HEARTBEAT_TIMEOUT = 4408;

const SOCKET_OPEN = 1;
const LONGEST_TIMER = 2 ** 31 - 1;

/** A timer this late was held up by sleep or by a throttled tab, and so may be the messages it was waiting for. */
const LATE = 2_000;

/** Whoever was heard this recently needs no probe when the page becomes visible. */
const RECENT = 1_000;

/** Refusals of a subscription that may pass, how often it is tried on one connection, and how many at a time. */
const TRANSIENT = new Set(["rate_limited", "internal", "timeout"]);
const SUBSCRIBE_TRIES = 3;
const SUBSCRIBE_LANES = 8;

/** What this client tells itself. A server's message of such a type reaches `onAny` only. */
const LOCAL_EVENTS = new Set(["statechange", "resumed", "unsubscribed", "dropped"]);

const DEFAULTS = {
  autoConnect: true,
  protocols: [],
  hello: true,
  connectTimeout: 10_000,
  requestTimeout: 10_000,
  heartbeatTimeout: 60_000,
  probeTimeout: 5_000,
  topicOf: (message) => message.data?.topic,
};
const BACKOFF = { min: 500, max: 20_000, restart: 2_000, stable: 10_000 };
const QUEUE = { limit: 100, overflow: "reject" };

const WAKING = [
  ["", "online"],
  ["", "pageshow"],
  ["document", "visibilitychange"],
  ["document", "resume"],
];

const noop = () => {};

/** Why something failed: `code` is the server's, or `timeout`, `aborted`, `disconnected`, `closed`, `queue_full`. */
export class WSHubError extends Error {
  constructor(code, message = code, details = [], cause = undefined) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "WSHubError";
    this.code = code;
    this.details = details;
  }
}

/** @returns {WSHubError} what an `error` envelope says. */
function errorOf({ data }) {
  return new WSHubError(data?.code ?? "internal", data?.message, data?.details ?? []);
}

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  parts.promise.catch(noop); // whoever awaits it still sees the failure
  return parts;
}

function encode(type, data, requestId) {
  return JSON.stringify({ type, data, request_id: requestId ?? undefined });
}

export class WSHubClient {
  #url;
  #options;
  #WebSocket;
  #state = "closed";
  #ready = null; // settled when `connect()` has succeeded or become hopeless
  #link = null; // the one attempt or connection; whatever belongs to another one comes too late
  #timers = new Map(); // of the link, or of the wait for the next
  #failures = 0;
  #renew = false; // the next token must be another one
  #patient = false; // the server asked to be left alone
  #outage = null; // why an open connection ended, until it is back
  #lastSeen = 0;
  #heard = false; // since the watchdog was set
  #probing = false;
  #silence = 0;
  #listeners = new Map();
  #any = new Set();
  #handlers = new Map();
  #topics = new Map();
  #calls = new Map(); // requests by id, sent or queued
  #queue = [];
  #ids = 0;
  #prefix = `${Math.random().toString(36).slice(2, 10)}-`;

  /** The id the server gave this connection, `null` before its `hello`. */
  connectionId = null;

  /**
   * @param {string | URL} url of the hub; relative to the page, and with `http` for `ws`, if you like.
   * @param {object} [options] see `WSHubOptions` in wshub.d.ts.
   */
  constructor(url, options = {}) {
    this.#options = {
      ...DEFAULTS,
      ...options,
      backoff: { ...BACKOFF, ...options.backoff },
      queue: { ...QUEUE, ...options.queue },
    };
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) throw new TypeError("no WebSocket here: pass one, such as that of the npm package ws");
    if (typeof (options.getToken ?? noop) !== "function") throw new TypeError("getToken must be a function");
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.hash = "";
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    if (this.#options.autoConnect) this.#connectSoon();
  }

  /** `"connecting"`, `"open"`, `"waiting"` (for the next attempt) or `"closed"`. */
  get state() {
    return this.#state;
  }

  /** The topics subscribed to, or about to be. */
  get topics() {
    return [...this.#topics.keys()];
  }

  // Connecting and closing

  /** Connect, or try again now. The promise waits for the connection, and rejects once there will be none. */
  connect() {
    this.#ready ??= deferred();
    const { promise } = this.#ready;
    if (this.#state === "closed") this.#start();
    if (this.#state === "waiting") this.#attempt();
    if (this.#state === "open") this.#ready.resolve();
    return promise;
  }

  /**
   * End it all: subscriptions are forgotten, what waits is rejected, no timer stays.
   * @throws {DOMException} the code is neither 1000 nor 3000 to 4999, or the reason too long; nothing has changed then.
   */
  close(code = 1000, reason = "") {
    this.#link?.socket?.close(code, reason);
    const topics = [...this.#topics.values()];
    this.#topics.clear();
    for (const { ready } of topics) ready.reject(new WSHubError("closed"));
    this.#stop({ reason: "closed", message: reason });
    this.#outage = null;
  }

  #connectSoon() {
    this.#state = "connecting"; // listeners can be added before anything happens
    queueMicrotask(() => {
      if (this.#state === "connecting" && !this.#link) this.#start();
    });
  }

  #start() {
    this.#failures = 0;
    this.#renew = false;
    this.#listenForWaking("addEventListener");
    this.#attempt();
  }

  #attempt() {
    this.#drop();
    const link = (this.#link = { socket: null, live: false, heard: false, renewed: this.#renew });
    this.#after("connect", this.#options.connectTimeout, () => this.#retry({ reason: "connect_timeout" }));
    this.#become("connecting", { attempt: this.#failures });
    this.#token(link.renewed).then(
      (token) => link === this.#link && this.#open(link, token),
      (error) => link === this.#link && this.#retry({ reason: "token_failed", error }),
    );
  }

  /** Async, so that whatever `getToken` throws is a rejection. No `getToken`, no token: `undefined`. */
  async #token(renew) {
    const { getToken } = this.#options;
    return getToken && ((await getToken({ renew, attempt: this.#failures })) || null);
  }

  #open(link, token) {
    if (token === null) return this.#stop({ reason: "logged_out" });
    const protocols = [...(token ? ["bearer", token] : []), ...this.#options.protocols];
    try {
      link.socket = new this.#WebSocket(this.#url.href, protocols);
    } catch {
      // The browser's own words would quote the token.
      return this.#stop({ reason: "invalid", message: "no WebSocket takes this url, or this token as a subprotocol" });
    }
    this.#silence = this.#options.heartbeatTimeout;
    const { socket } = link;
    socket.onopen = () => this.#options.hello || this.#greeted(link);
    socket.onmessage = ({ data }) => this.#receive(link, data);
    socket.onclose = ({ code, reason }) => this.#closed(link, code, reason);
    socket.onerror = noop; // the close that follows tells
  }

  /** The first message: only now is the token accepted. */
  async #greeted(link) {
    link.live = true;
    this.#renew = false;
    this.#lastSeen = Date.now();
    this.#cancel("connect");
    this.#after("stable", this.#options.backoff.stable, () => (this.#failures = 0));
    this.#expectWithin(this.#silence);
    await this.#restoreTopics(link);
    if (link === this.#link) this.#opened();
  }

  #introduced({ connection_id: id = null, heartbeat_timeout_seconds: seconds }) {
    this.connectionId = id;
    if (seconds > 0) this.#silence = seconds * 1000;
    this.#expectWithin(this.#silence);
  }

  #opened() {
    const outage = this.#outage;
    this.#outage = null;
    const previous = this.#state;
    this.#state = "open";
    this.#flush(); // before any listener can send
    this.#ready?.resolve();
    this.#emit("statechange", { state: "open", previous });
    if (outage && this.#state === "open") this.#emit("resumed", outage);
  }

  #closed(link, code, said) {
    const { name, reason, reconnect = true } = CLOSE_CODES[code] ?? { name: "lost", reason: "the connection was lost" };
    const why = { code, reason: name, message: said || reason };
    if (code === UNAUTHORIZED) {
      const hopeless = !this.#options.getToken || (link.renewed && !link.heard);
      this.#renew = true;
      if (hopeless) this.#stop(why);
      else this.#retry(why);
    } else if (reconnect) this.#retry(why);
    else this.#stop(why);
  }

  #retry(why) {
    if (this.#state === "open") this.#ready = null;
    this.#drop(why);
    const delay = this.#delay(why.code, this.#failures++);
    this.#patient = why.code === POLICY_VIOLATION;
    this.#after("retry", delay, () => this.#attempt());
    this.#become("waiting", { ...why, attempt: this.#failures, delay });
  }

  /** Full jitter: the clients of a restarted server must not come back all at once. */
  #delay(code, failures) {
    const { min, max, restart } = this.#options.backoff;
    const bound = Math.min(max, min * 2 ** failures);
    if (code === UNAUTHORIZED && !failures) return 0;
    if (code === POLICY_VIOLATION) return (max / 2) * (1 + Math.random());
    return Math.random() * (code === SERVICE_RESTART ? Math.max(bound, restart) : bound);
  }

  #stop(why) {
    this.#drop(why);
    this.#listenForWaking("removeEventListener");
    const previous = this.#state;
    this.#state = "closed";
    const error = new WSHubError("closed", why.message || why.reason, [], why.error);
    this.#queue.splice(0).forEach((item) => this.#giveUp(item, error));
    for (const [topic, record] of this.#topics) {
      if (!record.active) this.#topics.delete(topic);
      record.ready.reject(error);
    }
    this.#ready?.reject(error);
    this.#ready = null;
    if (previous !== "closed") this.#emit("statechange", { ...why, state: "closed", previous });
  }

  /** Let go of the link, so that there are never two. Requests it carried may or may not have been served. */
  #drop(why = {}) {
    this.#timers.forEach(clearTimeout);
    this.#timers.clear();
    this.#probing = false;
    const link = this.#link;
    this.#link = null;
    this.connectionId = null;
    if (link?.live) this.#outage ??= { code: why.code, reason: why.reason };
    if (link?.socket) this.#discard(link.socket, why);
    for (const call of this.#calls.values()) if (call.sent) call.settle(new WSHubError("disconnected"));
  }

  #discard(socket, { reason }) {
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (reason === "heartbeat_timeout") socket.close(HEARTBEAT_TIMEOUT, reason);
    else socket.close();
  }

  #become(state, detail) {
    const previous = this.#state;
    this.#state = state;
    if (state !== previous || state === "waiting") this.#emit("statechange", { ...detail, state, previous });
  }

  // Listening

  /** Call `fn(data, message)` for each message of a type, or `fn(detail)` for each local event. Returns its end. */
  on(type, fn) {
    const fns = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, fns.add(fn));
    return () => this.off(type, fn);
  }

  /** As `on`, for the next one only. */
  once(type, fn) {
    const off = this.on(type, (...args) => {
      off();
      return fn(...args);
    });
    return off;
  }

  off(type, fn) {
    const fns = this.#listeners.get(type);
    if (fns?.delete(fn) && !fns.size) this.#listeners.delete(type);
  }

  /** Call `fn(message)` for every message but heartbeats, replies and answered requests. Returns its end. */
  onAny(fn) {
    this.#any.add(fn);
    return () => void this.#any.delete(fn);
  }

  /** Answer the server's requests of a type with what `fn(data, message)` returns or, as `WSHubError`, throws. */
  handle(type, fn) {
    this.#handlers.set(type, fn);
    return () => void (this.#handlers.get(type) === fn && this.#handlers.delete(type));
  }

  #receive(link, text) {
    this.#lastSeen = Date.now();
    this.#heard = link.heard = true;
    const message = this.#parse(text);
    if (!message) return;
    if (message.type === "hello") this.#introduced(message.data);
    if (!link.live) this.#greeted(link);
    const { type, request_id: id } = message;
    if (type === "ping") link.socket.send(encode("pong", {}, id));
    else if (type === "pong") return;
    else if (typeof id === "string" && id.startsWith(this.#prefix)) this.#replied(id, message);
    else if (this.#isRequest(message)) this.#answer(link, message);
    else this.#deliver(link, message);
  }

  /** A message that merely carries an id is one for which there are listeners, and no handler. */
  #isRequest({ type, request_id: id }) {
    return typeof id === "string" && type !== "error" && (this.#handlers.has(type) || !this.#listeners.has(type));
  }

  #parse(text) {
    try {
      const message = JSON.parse(text);
      if (typeof message.type === "string") return { ...message, data: message.data ?? {} };
    } catch {
      // told below
    }
    this.#report(new WSHubError("invalid_envelope", "the server sent something that is no envelope"));
  }

  /** A reply to a request that has timed out finds none. */
  #replied(id, message) {
    if (message.type === "error") this.#calls.get(id)?.settle(errorOf(message));
    else this.#calls.get(id)?.settle(null, message.data);
  }

  async #answer(link, message) {
    const { type, data, request_id: id } = message;
    let text;
    try {
      const handler = this.#handlers.get(type);
      if (!handler) throw new WSHubError("unknown_type", `this client does not answer ${type}`);
      text = encode(`${type}.reply`, (await handler(data, message)) ?? {}, id);
    } catch (error) {
      const meant = error instanceof WSHubError;
      if (!meant) this.#report(error);
      const { code, message: told, details } = meant ? error : new WSHubError("internal", "the client failed");
      text = encode("error", { code, message: told, details }, id);
    }
    if (link === this.#link) link.socket.send(text);
  }

  #deliver(link, message) {
    const { type, data } = message;
    if (type === "auth.expiring" && !link.refreshing) this.#refresh(link, 0);
    if (type === "error" && !this.#listeners.has(type)) this.#report(errorOf(message));
    if (!LOCAL_EVENTS.has(type)) this.#emit(type, data, message);
    for (const fn of [...this.#any]) this.#run(fn, message);
    if (this.#topics.size) this.#run(() => this.#deliverToTopic(message));
  }

  #deliverToTopic(message) {
    const record = this.#topics.get(this.#options.topicOf(message));
    for (const { fn } of [...(record?.handles ?? [])]) if (fn) this.#run(fn, message);
  }

  #emit(type, ...args) {
    for (const fn of [...(this.#listeners.get(type) ?? [])]) this.#run(fn, ...args);
  }

  /** A listener that fails, now or later, disturbs nobody else. */
  #run(fn, ...args) {
    try {
      fn(...args)?.catch?.((error) => this.#report(error));
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error) {
    try {
      (this.#options.onError ?? globalThis.reportError ?? console.error)(error);
    } catch (another) {
      console.error(another);
    }
  }

  // Sending

  /** Send, or queue until connected. `false`: refused, for the client is closed or the queue full. */
  send(type, data = {}) {
    return !this.#dispatch({ type, data, text: encode(type, data) });
  }

  /**
   * Send and wait for the reply's data; queued until connected, which the timeout includes.
   * @returns {Promise<object>} rejects with a `WSHubError`.
   */
  request(type, data = {}, options = {}) {
    return this.#request(type, data, options, (call) => this.#dispatch(call));
  }

  #request(type, data, { timeout = this.#options.requestTimeout, signal }, dispatch) {
    return new Promise((resolve, reject) => {
      const id = this.#prefix + ++this.#ids;
      const call = { type, data, text: encode(type, data, id), sent: false };
      const abort = () => call.settle(new WSHubError("aborted", "aborted", [], signal.reason));
      const expire = () =>
        call.settle(new WSHubError("timeout", `${call.sent ? "no reply" : "not sent"} within ${timeout} ms`));
      const timer = timeout > 0 && timeout <= LONGEST_TIMER ? setTimeout(expire, timeout) : undefined;
      call.settle = (error, reply) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#calls.delete(id);
        if (!call.sent) this.#queue = this.#queue.filter((item) => item !== call);
        if (error) reject(error);
        else resolve(reply);
      };
      this.#calls.set(id, call);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) return abort();
      const refused = dispatch(call);
      if (refused) call.settle(refused);
    });
  }

  /** What the protocol itself asks goes ahead of the queue. */
  #call(link, type, data) {
    return this.#request(type, data, {}, (call) => {
      link.socket.send(call.text);
      call.sent = true;
    });
  }

  /** @returns {WSHubError | undefined} why it is refused. */
  #dispatch(item) {
    const { limit, overflow } = this.#options.queue;
    if (this.#state === "closed") return new WSHubError("closed");
    const full = this.#queue.length >= limit && !this.#canSend();
    if (full && overflow === "reject") return new WSHubError("queue_full");
    this.#queue.push(item);
    this.#flush();
    while (this.#queue.length > limit) this.#giveUp(this.#queue.shift(), new WSHubError("queue_full"));
  }

  #canSend() {
    return this.#state === "open" && this.#isOpen();
  }

  /** A socket that is closing would swallow what is sent. */
  #isOpen() {
    return this.#link?.socket.readyState === SOCKET_OPEN;
  }

  #flush() {
    while (this.#queue.length && this.#canSend()) {
      const item = this.#queue.shift();
      item.sent = true;
      this.#link.socket.send(item.text);
    }
  }

  #giveUp(item, error) {
    if (item.settle) item.settle(error);
    else this.#emit("dropped", { type: item.type, data: item.data, error });
  }

  // Topics

  /**
   * Subscribe, now and after every reconnect. `fn(message)` gets the messages that `topicOf` assigns to the topic.
   * @returns {Promise<{topic: string, reply: object, unsubscribe: () => Promise<void>}>} rejects when refused.
   */
  async subscribe(topic, fn) {
    if (this.#state === "closed") throw new WSHubError("closed");
    const record = this.#topics.get(topic) ?? this.#newTopic(topic);
    const handle = { fn };
    record.handles.add(handle);
    const reply = await record.ready.promise;
    return { topic, reply, unsubscribe: () => this.#unsubscribe(record, handle) };
  }

  #newTopic(topic) {
    const record = { topic, handles: new Set(), ready: deferred(), active: false };
    this.#topics.set(topic, record);
    if (this.#link?.live) this.#establish(this.#link, record);
    return record;
  }

  /** Some at a time, so that a rate limit meets few of them. */
  async #restoreTopics(link) {
    const waiting = [...this.#topics.values()];
    const lane = async () => {
      while (waiting.length) await this.#establish(link, waiting.shift());
    };
    await Promise.all(Array.from({ length: SUBSCRIBE_LANES }, lane));
  }

  /** Never rejects. Ends early when the link does: the next one starts anew. */
  async #establish(link, record, tries = 1) {
    const current = () => link === this.#link && this.#topics.get(record.topic) === record;
    if (!current()) return;
    try {
      const reply = await this.#call(link, "subscribe", { topic: record.topic });
      record.active = true;
      record.ready.resolve(reply);
    } catch (error) {
      if (!current()) return;
      if (!TRANSIENT.has(error.code) || tries >= SUBSCRIBE_TRIES) return this.#lose(record, error);
      const wait = (error.details[0]?.retry_after_seconds ?? 0) * 1000 + this.#delay(0, tries);
      await new Promise((resolve) => this.#after(record, wait, resolve));
      return this.#establish(link, record, tries + 1);
    }
  }

  #lose(record, error) {
    this.#topics.delete(record.topic);
    record.ready.reject(error);
    if (record.active) this.#emit("unsubscribed", { topic: record.topic, error });
  }

  async #unsubscribe(record, handle) {
    const { topic, handles } = record;
    if (!handles.delete(handle) || handles.size || this.#topics.get(topic) !== record) return;
    this.#topics.delete(topic);
    if (!this.#link?.live) return;
    try {
      await this.#call(this.#link, "unsubscribe", { topic });
    } catch (error) {
      if (error.code !== "disconnected") throw error; // which unsubscribes as well
    }
  }

  // Token lifetime

  /** A new token over the same connection. Where that fails until the old one expires, 4401 makes a new connection. */
  async #refresh(link, failures) {
    link.refreshing = true;
    try {
      const token = await this.#token(true);
      if (link !== this.#link) return;
      if (token === null) return this.#stop({ reason: "logged_out" });
      if (token) await this.#call(link, "auth.refresh", { token });
      link.refreshing = false;
    } catch (error) {
      if (link !== this.#link) return;
      this.#report(error);
      this.#after("refresh", this.#delay(0, failures), () => this.#refresh(link, failures + 1));
    }
  }

  // Heartbeat and waking

  /** One timer for all messages: when it fires, they have said whether to wait on. */
  #expectWithin(ms) {
    const due = Date.now() + ms;
    this.#heard = false;
    this.#after("watchdog", ms, () => {
      const now = Date.now();
      const silent = Math.max(0, now - this.#lastSeen); // not below, where the clock was set back
      this.#probing = false;
      if (this.#heard && silent < this.#silence) this.#expectWithin(this.#silence - silent);
      else if (now - due > LATE && this.#isOpen()) this.#probe();
      else this.#retry({ reason: "heartbeat_timeout", message: "the server fell silent" });
    });
  }

  /** After sleep the silence proves nothing; a pong does, and its absence. */
  #probe() {
    if (this.#probing || !this.#isOpen()) return;
    this.#link.socket.send(encode("ping", {}));
    this.#expectWithin(this.#options.probeTimeout);
    this.#probing = true;
  }

  #wake = ({ type }) => {
    if (type === "visibilitychange" && globalThis.document.visibilityState !== "visible") return;
    if (this.#state === "waiting" && !this.#patient) this.#attempt();
    else if (this.#link?.live && (type === "online" || Date.now() - this.#lastSeen > RECENT)) this.#probe();
  };

  #listenForWaking(change) {
    for (const [target, type] of WAKING) (target ? globalThis[target] : globalThis)?.[change]?.(type, this.#wake);
  }

  // Timers

  #after(key, ms, fn) {
    this.#cancel(key);
    const run = () => {
      this.#timers.delete(key);
      fn();
    };
    this.#timers.set(key, setTimeout(run, Math.min(ms, LONGEST_TIMER)));
  }

  #cancel(key) {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
  }
}
