// A WebSocket whose other end is the test.

const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3];

export class FakeWebSocket {
  /** All of the current test, the oldest first. */
  static made = [];

  static get last() {
    return FakeWebSocket.made.at(-1);
  }

  /** Those that are neither closed nor closing. */
  static get alive() {
    return FakeWebSocket.made.filter((socket) => socket.readyState <= OPEN);
  }

  readyState = CONNECTING;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  /** Envelopes sent, parsed. */
  sent = [];
  /** What `close` was called with first. */
  closedWith = null;

  constructor(url, protocols) {
    if (FakeWebSocket.alive.length) throw new Error("two sockets at once");
    if (protocols.some((protocol) => /[^!#$%&'*+.^_`|~0-9A-Za-z-]/.test(protocol))) {
      throw new SyntaxError(`The subprotocol '${protocols.at(-1)}' is invalid.`);
    }
    this.url = url;
    this.protocols = protocols;
    FakeWebSocket.made.push(this);
  }

  send(text) {
    if (this.readyState === CONNECTING) throw new DOMException("still connecting", "InvalidStateError");
    if (this.readyState === OPEN) this.sent.push(JSON.parse(text)); // else it is swallowed, as by a real one
  }

  close(code, reason) {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new DOMException("bad code", "InvalidAccessError");
    }
    this.closedWith ??= [code, reason];
    if (this.readyState < CLOSING) this.readyState = CLOSING;
  }

  // The other end

  open() {
    this.readyState = OPEN;
    this.onopen?.({});
  }

  hello(data = { connection_id: "c1", heartbeat_seconds: 30, heartbeat_timeout_seconds: 60 }) {
    if (this.readyState === CONNECTING) this.open();
    this.say("hello", data);
  }

  say(type, data = {}, request_id = null) {
    this.raw(JSON.stringify({ type, data, request_id }));
  }

  raw(text) {
    this.onmessage?.({ data: text });
  }

  /** The request of this type that came last. */
  asked(type) {
    return this.sent.findLast((message) => message.type === type);
  }

  /** Reply to the last request of this type. */
  reply(type, data = {}) {
    this.say(`${type}.reply`, data, this.asked(type).request_id);
  }

  /** Answer the last request of this type with an error. */
  refuse(type, code, message = code, details = []) {
    this.say("error", { code, message, details }, this.asked(type).request_id);
  }

  /** Close, as the server or the network would. */
  end(code = 1006, reason = "") {
    this.readyState = CLOSED;
    this.onerror?.({});
    this.onclose?.({ code, reason });
  }
}
