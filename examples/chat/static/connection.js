// One WebSocket at a time to the hub: it logs in with the `bearer` subprotocol, answers pings, notices when the server
// falls silent, and comes back by itself where the close code says that this makes sense. It knows nothing of the chat.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 20_000;
const STABLE_AFTER_MS = 10_000;
const TOKEN_REJECTED = 4401;

// The close codes after which trying again cannot help, and what to tell the user. After any other it can.
export const FINAL_CODES = new Map([
  [1000, "The server ended the connection."],
  [1002, "The server and this page do not understand each other."],
  [1003, "The server does not take what this page sent."],
  [1007, "The server could not read what this page sent."],
  [1009, "That message was too big."],
  [4403, "You may not connect here."],
  [4429, "You have opened the chat in too many tabs; this one was the oldest."],
]);

// Thrown by `getToken` where asking again cannot help either.
export class LoginRefused extends Error {}

export class Connection {
  #url;
  #getToken;
  #onMessage;
  #onState;
  #socket = null;
  #state = "stopped";
  #attempt = 0; // tells an answer that comes late from the one that is awaited
  #failures = 0;
  #tokenRejected = false;
  #timers = {};
  #heartbeatTimeoutMs = 60_000;

  // getToken(renew): a token, a new one if `renew`; onMessage(envelope); onState(state, reason), where state is
  // "connecting", "online", "waiting" or "stopped".
  constructor(url, { getToken, onMessage, onState }) {
    this.#url = url;
    this.#getToken = getToken;
    this.#onMessage = onMessage;
    this.#onState = onState;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  get state() {
    return this.#state;
  }

  async connect() {
    this.#drop();
    const attempt = ++this.#attempt;
    this.#setState("connecting");
    let token;
    try {
      token = await this.#getToken(this.#tokenRejected);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (error instanceof LoginRefused) this.#stop(error.message, { loggedOut: true });
      else this.#retryLater();
      return;
    }
    if (attempt === this.#attempt) this.#open(token);
  }

  // Whether it could be sent.
  send(type, data = {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ type, data }));
    return true;
  }

  close() {
    this.#drop();
    this.#failures = 0;
    this.#tokenRejected = false;
    this.#setState("stopped");
  }

  #open(token) {
    const socket = new WebSocket(this.#url, ["bearer", token]);
    this.#socket = socket;
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#closed(event.code);
    this.#feedWatchdog();
  }

  #receive(envelope) {
    this.#feedWatchdog();
    if (envelope.type === "ping") this.send("pong");
    else if (envelope.type === "hello") this.#greeted(envelope.data);
    else if (envelope.type !== "pong") this.#onMessage(envelope);
  }

  // Only now is the token accepted: an open socket may still be one that is about to be refused.
  #greeted({ heartbeat_timeout_seconds: seconds }) {
    this.#heartbeatTimeoutMs = seconds * 1000;
    this.#tokenRejected = false;
    this.#setTimer("stable", STABLE_AFTER_MS, () => (this.#failures = 0));
    this.#setState("online");
  }

  #closed(code) {
    this.#drop();
    if (FINAL_CODES.has(code)) {
      this.#stop(FINAL_CODES.get(code));
      return;
    }
    const tokenWasOld = code === TOKEN_REJECTED && !this.#tokenRejected;
    this.#tokenRejected = code === TOKEN_REJECTED;
    if (tokenWasOld) this.connect();
    else this.#retryLater();
  }

  // Full jitter, so that not all clients of a restarted server come back at once.
  #retryLater() {
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    this.#setState("waiting");
    this.#setTimer("retry", Math.random() * longest, () => this.connect());
  }

  #hurry() {
    if (this.#state === "waiting") this.connect();
  }

  #stop(reason, details = {}) {
    this.#drop();
    this.#setState("stopped", { reason, ...details });
  }

  // A connection that broke without a word looks alive to the browser for a long time.
  #feedWatchdog() {
    this.#setTimer("watchdog", this.#heartbeatTimeoutMs, () => {
      this.#drop();
      this.#retryLater();
    });
  }

  #drop() {
    this.#attempt++;
    Object.values(this.#timers).forEach(clearTimeout);
    this.#timers = {};
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #setTimer(name, delay, callback) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(callback, delay);
  }

  #setState(state, details = {}) {
    this.#state = state;
    this.#onState(state, details);
  }
}
