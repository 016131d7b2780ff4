// The chat: what this tab knows, what happens when the server or the user says something.

import { WSHubClient } from "/ws/client.js";
import { $, onSubmit, sendOnEnter } from "./dom.js";
import * as logView from "./log.js";
import { Refused, session } from "./session.js";
import * as view from "./view.js";
import { whyClosed, whyFailed, whyWaiting } from "./words.js";

const LOOK_AGAIN_MS = 60_000;

// Failures that the page's state tells anyway.
const BROKEN = new Set(["disconnected", "closed"]);

const rooms = new Map(); // by name, of those this tab is in: { log, unread, subscription }
const pending = new Map(); // by key: messages of this tab that have not come back yet
let listed = []; // all rooms, as the server last told: [{ name, here }]
let current = null; // the room that is shown

const hub = new WSHubClient("/ws", { getToken: () => session.token(), autoConnect: false });

// The connection

hub.on("statechange", (change) => {
  view.showState(change.state);
  if (change.reason === "logged_out") logOut(session.ended);
  else if (change.state === "open") opened();
  else if (change.state === "connecting") view.showAttempt();
  else if (change.state === "waiting") view.showOutage(whyWaiting(change), change.delay);
  else ended(change);
  render();
});

function opened() {
  view.hideNotice();
  view.hideOutage();
  for (const room of session.rooms) if (!hub.topics.includes(topicOf(room))) join(room);
  lookAround();
}

function ended(change) {
  view.hideOutage();
  if (change.reason !== "closed") view.showNotice(whyClosed(change), { retry: true });
}

// The client has subscribed again to all topics. What was said meanwhile is nowhere to be had.
hub.on("resumed", () => {
  for (const [room, { log }] of rooms) {
    logView.addGap(log, `Connected again at ${clock()} · you may have missed messages`);
    hub.send("room.enter", { room });
  }
});

hub.on("gap", ({ topics }) => {
  for (const [room, { log }] of rooms) {
    if (topics && !topics.includes(topicOf(room))) continue;
    logView.addGap(log, `The servers lost touch at ${clock()} · you may have missed messages`);
  }
  lookAround();
});

hub.on("unsubscribed", ({ topic, error }) => {
  forget(roomOf(topic));
  view.showNotice(whyFailed(error));
});

const clock = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// Who is online, and the rooms: asked for whenever something has changed, one question at a time.

let asking = false;
let askAgain = false;

async function lookAround() {
  askAgain = true;
  if (asking) return;
  asking = true;
  while (askAgain && hub.state === "open") {
    askAgain = false;
    try {
      tellPresence(await hub.request("presence.get"));
    } catch {
      break; // the next connection asks anew
    }
  }
  asking = false;
}

function tellPresence({ users, rooms }) {
  listed = rooms;
  view.showPeople(users, session.name);
  render();
}

hub.on("presence.changed", lookAround);
// A server that died has not said who left with it.
setInterval(() => document.hidden || lookAround(), LOOK_AGAIN_MS);

// Rooms

const topicOf = (room) => `room:${room}`;
const roomOf = (topic) => topic.slice("room:".length);

async function open(room) {
  view.showPanel(false);
  if (rooms.has(room)) return show(room);
  if (await join(room)) show(room);
}

async function join(room) {
  try {
    const subscription = await hub.subscribe(topicOf(room), onRoomMessage);
    if (!rooms.has(room)) enter(room, subscription);
    await hub.request("room.enter", { room });
  } catch (error) {
    if (!BROKEN.has(error.code)) view.showNotice(whyFailed(error)); // else `resumed` does what is missing
  }
  return rooms.has(room);
}

function enter(room, subscription) {
  rooms.set(room, { log: logView.makeLog(room), unread: 0, subscription });
  logView.addLine(rooms.get(room).log, `You joined ${room}`);
  session.rooms = [...rooms.keys()];
  if (!current) show(room);
}

function show(room) {
  current = room;
  rooms.get(room).unread = 0;
  render();
  logView.showLog(rooms.get(room).log);
  // Not on a touch screen, where this would bring up the keyboard before anyone has read a word.
  $(matchMedia("(hover: hover)").matches ? "text" : "room-title").focus();
}

async function leave(room) {
  const { subscription } = rooms.get(room);
  forget(room);
  $("room-title").focus();
  try {
    await hub.request("room.leave", { room });
    await subscription.unsubscribe();
  } catch (error) {
    await subscription.unsubscribe().catch(() => {}); // so that at least the next connection is not in there
    if (!BROKEN.has(error.code)) view.showNotice(whyFailed(error));
  }
}

function forget(room) {
  rooms.get(room)?.log.remove();
  rooms.delete(room);
  session.rooms = [...rooms.keys()];
  if (current === room) {
    current = null;
    logView.showLog(null);
  }
  render();
}

// What comes in

const inRoom = {
  "member.joined": (log, { user }) => mention(log, user, "joined"),
  "member.left": (log, { user }) => mention(log, user, "left"),
  "chat.message": onChatMessage,
};

function onRoomMessage({ type, data }) {
  const log = rooms.get(data.room)?.log;
  if (log) inRoom[type]?.(log, data);
}

// Not of this user, who may be in other tabs too.
function mention(log, user, what) {
  if (user !== session.name) logView.addMember(log, user, what);
}

function onChatMessage(log, message) {
  pending.get(message.key)?.remove();
  pending.delete(message.key);
  const own = message.user === session.name;
  logView.addMessage(log, message, own);
  if (!own && (message.room !== current || document.hidden)) rooms.get(message.room).unread++;
  render();
}

hub.on("announcement", ({ text }) => {
  for (const { log } of rooms.values()) logView.addAnnouncement(log, text);
  if (!current) view.showNotice(`Announcement: ${text}`);
});

// What goes out: it is shown at once, and waits for a connection if need be.

function say() {
  const text = $("text").value.trim();
  if (text && !$("send").disabled) {
    $("text").value = "";
    send(current, text);
  }
  $("text").focus();
}

async function send(room, text) {
  const key = Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("-");
  const entry = logView.addPending(rooms.get(room).log, session.name, text);
  pending.set(key, entry);
  try {
    await hub.request("chat.send", { room, text, key }, { timeout: 0 });
  } catch (error) {
    if (!pending.delete(key)) return; // everybody has it, though the answer got lost
    if (!entry.isConnected) return;
    logView.markFailed(entry, whyFailed(error), { onRetry: () => send(room, text), onDrop: () => $("text").focus() });
  }
}

// The page

function render() {
  const inside = [...rooms.keys()].filter((name) => !listed.some((each) => each.name === name));
  const all = [...listed, ...inside.map((name) => ({ name, here: 0 }))];
  const details = ({ name, here }) => ({
    name,
    here,
    joined: rooms.has(name),
    unread: rooms.get(name)?.unread ?? 0,
    current: name === current,
  });
  view.showRooms(all.map(details), open);
  view.showComposer(current, { state: hub.state, here: all.find(({ name }) => name === current)?.here });
  const unread = [...rooms.values()].reduce((sum, each) => sum + each.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ""}${current ? `${current} · ` : ""}Chat`;
}

function start() {
  view.showChat(session.name);
  connect();
}

function connect() {
  hub.connect().catch(() => {}); // the state tells
}

async function logIn() {
  $("login-error").textContent = "";
  try {
    await session.logIn($("name").value);
  } catch (error) {
    view.showLogin(error instanceof Refused ? error.message : "The server cannot be reached.", $("name").value);
    return;
  }
  start();
}

function logOut(reason = "") {
  const name = reason && session.name;
  hub.close();
  [...rooms.keys()].forEach(forget);
  pending.clear();
  listed = [];
  session.logOut();
  view.hideNotice();
  view.hideOutage();
  view.showPanel(false);
  view.showLogin(reason, name);
}

onSubmit($("login-form"), logIn);
onSubmit($("composer"), say);
onSubmit($("room-form"), () => {
  open($("room-name").value.trim().normalize("NFKC").toLowerCase());
  $("room-name").value = "";
});
sendOnEnter($("text"), say);
$("logout").addEventListener("click", () => logOut());
$("leave").addEventListener("click", () => leave(current));
$("newer").addEventListener("click", () => logView.scrollDown(rooms.get(current).log));
$("notice-close").addEventListener("click", view.hideNotice);
$("notice-retry").addEventListener("click", connect);
$("outage-retry").addEventListener("click", connect);
$("panel-toggle").addEventListener("click", () => view.showPanel(!view.isPanelOpen()));
$("shade").addEventListener("click", () => view.showPanel(false));
document.addEventListener("keydown", (event) => event.key === "Escape" && view.showPanel(false));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  if (current) rooms.get(current).unread = 0;
  lookAround();
  render();
});

if (session.name) start();
else view.showLogin();
