/**
 * Types of wshub.js. Give the client the types of your app's messages, and calls are checked against them:
 *
 *     import type { Protocol } from "./protocol";
 *     const hub = new WSHubClient<Protocol>("/ws", { getToken });
 *
 * Without, every type is a string and every data is `any`.
 */

/** What the messages of an app look like: for each type its data. */
export interface ProtocolShape {
  /** What clients send. */
  client: object;
  /** What the server sends. */
  server: object;
  /** What the server replies, by the type of the request. */
  replies: object;
}

/** Any type, any data. */
export interface LooseProtocol {
  client: Record<string, any>;
  server: Record<string, any>;
  replies: Record<string, any>;
}

/** Messages of the library itself, which every server may send. */
export interface ServerMessagesOfTheLibrary {
  hello: { connection_id: string; heartbeat_seconds: number; heartbeat_timeout_seconds: number };
  /** The token expires soon; the client fetches another one by itself. */
  "auth.expiring": Record<string, any>;
  /** Publications may have been lost: reload. */
  gap: Record<string, any>;
  /** A failure that belongs to no request. */
  error: { code: string; message: string; details?: unknown[] };
}

type Name<T> = Extract<keyof T, string>;
/** The app's own description of a type wins. */
type FromServer<P extends ProtocolShape> = P["server"] &
  Omit<ServerMessagesOfTheLibrary, keyof P["server"] | keyof LocalEvents>;
type ReplyTo<P extends ProtocolShape, T> = T extends keyof P["replies"] ? P["replies"][T] : Record<string, any>;
/** `data` may be left out where `{}` would do. */
type DataArguments<D> = {} extends D ? [data?: D] : [data: D];
type RequestArguments<D> = {} extends D
  ? [data?: D, options?: RequestOptions]
  : [data: D, options?: RequestOptions];

/** One envelope. As a union over all types, so that `switch (message.type)` narrows `message.data`. */
export type Message<Types> = {
  [T in Name<Types>]: { type: T; data: Types[T]; request_id?: string | null };
}[Name<Types>];

export type State = "connecting" | "open" | "waiting" | "closed";

/**
 * Why a connection ended or could not be had: the name of a close code in `CLOSE_CODES`, or
 * `lost` (any other code), `connect_timeout`, `token_failed`, `heartbeat_timeout`; and, for good,
 * `closed` (by `close()`), `logged_out` (`getToken` gave none), `invalid` (url or token).
 */
export type Reason =
  | "normal" | "protocol_error" | "unsupported_data" | "invalid_payload" | "policy_violation" | "message_too_big"
  | "internal_error" | "service_restart" | "try_again_later" | "unauthorized" | "forbidden" | "heartbeat_timeout"
  | "too_many_connections"
  | "lost" | "connect_timeout" | "token_failed"
  | "closed" | "logged_out" | "invalid";

export interface StateChange {
  state: State;
  previous: State;
  /** Of `waiting` and `closed`. */
  reason?: Reason;
  /** The server's words, or ours. */
  message?: string;
  /** The close code, where there was a close. */
  code?: number;
  /** Attempts that have failed since the last stable connection. Of `connecting` and `waiting`. */
  attempt?: number;
  /** Milliseconds to the next attempt. Of `waiting`. */
  delay?: number;
  /** What `getToken` threw. */
  error?: unknown;
}

/** Events of the client itself, for `on` and `once`. */
export interface LocalEvents {
  statechange: StateChange;
  /** Open again, subscriptions restored; publications in between are lost: reload. */
  resumed: { reason?: Reason; code?: number };
  /** A topic could not be restored and is given up. */
  unsubscribed: { topic: string; error: WSHubError };
  /** A queued `send` that will not be sent. */
  dropped: { type: string; data: any; error: WSHubError };
}

/** What is needed of a `WebSocket` constructor. */
export interface WebSocketConstructor {
  new (url: string, protocols?: string[]): any;
}

export interface WSHubOptions<P extends ProtocolShape = LooseProtocol> {
  /**
   * The token of the user, asked for before every connection. `renew`: the last one was refused or expires, a cached one
   * will not do. Nothing (`null`, `undefined`, `""`): nobody is logged in, the client closes. Throwing: tried again later.
   */
  getToken?: (why: { renew: boolean; attempt: number }) => Token | Promise<Token>;
  /** Where there is no global one: Node 20. */
  WebSocket?: WebSocketConstructor;
  /** Connect right after construction. Default `true`. */
  autoConnect?: boolean;
  /** Subprotocols offered besides `bearer`. */
  protocols?: string[];
  /** Wait for the server's `hello` before anything is sent. Default `true`; `false` for `WS_HELLO=false`. */
  hello?: boolean;
  /** Milliseconds an attempt may take, token and `hello` included. Default 10,000. */
  connectTimeout?: number;
  /** Milliseconds until an unanswered request fails. Default 10,000. */
  requestTimeout?: number;
  /** Milliseconds of silence that end a connection whose `hello` does not say. Default 60,000. */
  heartbeatTimeout?: number;
  /** Milliseconds to wait for a pong after waking up. Default 5,000. */
  probeTimeout?: number;
  /** Milliseconds. Defaults: `min` 500, `max` 20,000, `restart` 2,000 (jitter after 1012), `stable` 10,000 (then reset). */
  backoff?: { min?: number; max?: number; restart?: number; stable?: number };
  /** What waits for a connection: at most `limit` (100) messages; the newest is refused, or the oldest dropped. */
  queue?: { limit?: number; overflow?: "reject" | "drop-oldest" };
  /** The topic a message belongs to, for the functions given to `subscribe`. Default: `message.data.topic`. */
  topicOf?: (message: Message<FromServer<P>>) => string | null | undefined;
  /** Where failures of listeners and the like go. Default: `reportError`, or the console. */
  onError?: (error: unknown) => void;
}

export type Token = string | null | undefined;

export interface RequestOptions {
  /** Milliseconds, waiting for a connection included; 0: no limit. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface Subscription {
  readonly topic: string;
  /** The data of the server's first reply. */
  readonly reply: Record<string, any>;
  unsubscribe(): Promise<void>;
}

export class WSHubError extends Error {
  constructor(code: string, message?: string, details?: unknown[], cause?: unknown);
  readonly name: "WSHubError";
  /** The server's, or `timeout`, `aborted`, `disconnected`, `closed`, `queue_full`, `invalid_envelope`. */
  readonly code: string;
  readonly details: unknown[];
}

export interface CloseCodeEntry {
  readonly name: Reason;
  readonly reason: string;
  readonly reconnect: boolean;
}

export const CLOSE_CODES: Readonly<Record<number, CloseCodeEntry>>;

type Off = () => void;

export class WSHubClient<P extends ProtocolShape = LooseProtocol> {
  /** @throws {TypeError} a bad url, no WebSocket, or a `getToken` that is no function. */
  constructor(url: string | URL, options?: WSHubOptions<P>);

  readonly state: State;
  readonly topics: string[];
  readonly connectionId: string | null;

  /** Resolves when open; rejects with a `WSHubError` when closed for good. */
  connect(): Promise<void>;
  close(code?: number, reason?: string): void;

  on<E extends keyof LocalEvents>(event: E, fn: (detail: LocalEvents[E]) => unknown): Off;
  on<T extends Name<FromServer<P>>>(
    type: T,
    fn: (data: FromServer<P>[T], message: { type: T; data: FromServer<P>[T]; request_id?: string | null }) => unknown,
  ): Off;
  once<E extends keyof LocalEvents>(event: E, fn: (detail: LocalEvents[E]) => unknown): Off;
  once<T extends Name<FromServer<P>>>(
    type: T,
    fn: (data: FromServer<P>[T], message: { type: T; data: FromServer<P>[T]; request_id?: string | null }) => unknown,
  ): Off;
  off(type: string, fn: (...args: any[]) => unknown): void;
  onAny(fn: (message: Message<FromServer<P>>) => unknown): Off;

  /** Answer requests of the server. */
  handle<T extends Name<P["server"]>>(
    type: T,
    fn: (
      data: P["server"][T],
      message: { type: T; data: P["server"][T]; request_id: string },
    ) => object | void | Promise<object | void>,
  ): Off;

  /** `false`: refused, because the client is closed or the queue full. */
  send<T extends Name<P["client"]>>(type: T, ...data: DataArguments<P["client"][T]>): boolean;
  request<T extends Name<P["client"]>>(
    type: T,
    ...args: RequestArguments<P["client"][T]>
  ): Promise<ReplyTo<P, T>>;
  subscribe(topic: string, fn?: (message: Message<FromServer<P>>) => unknown): Promise<Subscription>;
}
