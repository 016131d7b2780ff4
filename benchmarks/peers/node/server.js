// Peer `node`: the ws library with a Map for a hub. Usage: node server.js PORT
'use strict';

const http = require('node:http');
const { setTimeout: sleep, setImmediate: turn } = require('node:timers/promises');
const jwt = require('jsonwebtoken');
const { WebSocketServer } = require('ws');

const ACK_EVERY = 500; // as in benchmarks/protocol.py
const FIRST_SEQ = 1_000_000;
const HEARTBEAT_MS = Number(process.env.WS_HEARTBEAT_SECONDS ?? 30) * 1000;
const TIMEOUT_MS = Number(process.env.WS_HEARTBEAT_TIMEOUT_SECONDS ?? 60) * 1000;
const SECRET = process.env.BENCH_SECRET;

const topics = new Map();
const users = new Map();
const bursts = new Map();

const encode = (type, data, requestId = null) => JSON.stringify({ type, data, request_id: requestId });
const message = (seq, text) => ({ seq: FIRST_SEQ + seq, text });

function parseEnvelope(raw) {
  const envelope = JSON.parse(raw);
  if (typeof envelope !== 'object' || envelope === null) throw new TypeError('not an envelope');
  const { type, data = {}, request_id: requestId = null } = envelope;
  if (typeof type !== 'string' || type === '') throw new TypeError('bad type');
  if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new TypeError('bad data');
  if (requestId !== null && typeof requestId !== 'string') throw new TypeError('bad request_id');
  return { type, data, requestId };
}

// The event loop gets its turn after each broadcast, as in the Python peers.
async function fanout({ topic, count, text }) {
  for (let seq = 0; seq < count; seq++) {
    const payload = encode('bench.message', message(seq, text));
    for (const ws of topics.get(topic) ?? []) ws.send(payload);
    await turn();
  }
}

async function sendEach({ users: names, count, text }) {
  for (const name of names) {
    for (let seq = 0; seq < count; seq++) users.get(name).send(encode('bench.message', message(seq, text)));
    await turn();
  }
}

function burst(ws, { count, text }) {
  const key = `${count} ${text}`;
  if (!bursts.has(key)) {
    bursts.set(key, Array.from({ length: count }, (_, seq) => encode('bench.message', message(seq, text))));
  }
  for (const payload of bursts.get(key)) ws.send(payload);
}

function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

async function longestStall(seconds) {
  const tick = 1; // ms, the shortest timer of node
  let worst = 0;
  let worstCpu = 0;
  let now = performance.now();
  let cpu = cpuSeconds();
  const end = now + seconds * 1000;
  while (now < end) {
    await sleep(tick);
    const before = now;
    now = performance.now();
    worst = Math.max(worst, now - before - tick);
    const cpuBefore = cpu;
    cpu = cpuSeconds();
    worstCpu = Math.max(worstCpu, cpu - cpuBefore);
  }
  return { seconds: worst / 1000, cpu_seconds: worstCpu };
}

function subscribe(ws, topic) {
  if (!topics.has(topic)) topics.set(topic, new Set());
  topics.get(topic).add(ws);
}

async function respond(ws, { type, data, requestId }) {
  switch (type) {
    case 'bench.sink':
      ws.sunk += 1;
      if (ws.sunk % ACK_EVERY === 0) ws.send(encode('bench.ack', { count: ws.sunk }));
      break;
    case 'bench.echo':
      ws.send(encode(type, data, requestId));
      break;
    case 'subscribe':
      subscribe(ws, data.topic);
      ws.send(encode('bench.subscribed', data));
      break;
    case 'bench.fanout':
      await fanout(data);
      ws.send(encode('bench.done', {}));
      break;
    case 'bench.burst':
      burst(ws, data);
      break;
    case 'bench.each':
      await sendEach(data);
      ws.send(encode('bench.done', {}));
      break;
    case 'bench.stall':
      ws.send(encode('bench.stalled', await longestStall(data.seconds)));
      break;
    default:
  }
}

function open(ws, user) {
  ws.sunk = 0;
  ws.lastSeen = Date.now();
  users.set(user, ws);
  ws.on('pong', () => { ws.lastSeen = Date.now(); });
  ws.on('error', () => ws.terminate());
  ws.on('close', () => { for (const members of topics.values()) members.delete(ws); });
  ws.on('message', (raw) => respond(ws, parseEnvelope(raw)));
}

const wss = new WebSocketServer({ noServer: true, maxPayload: 65536 });
const server = http.createServer((_request, response) => response.writeHead(404).end());

server.on('upgrade', (request, socket, head) => {
  let user;
  try {
    const token = new URL(request.url, 'http://localhost').searchParams.get('token');
    user = jwt.verify(token, SECRET, { algorithms: ['HS256'] }).sub;
  } catch {
    socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n');
    return;
  }
  wss.handleUpgrade(request, socket, head, (ws) => open(ws, user));
});

setInterval(() => {
  const deadline = Date.now() - TIMEOUT_MS;
  for (const ws of wss.clients) {
    if (ws.lastSeen < deadline) ws.terminate();
    else ws.ping();
  }
}, HEARTBEAT_MS);

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 2048 });
