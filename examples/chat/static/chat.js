// The chat: what this tab knows, what happens when the server or the user says something.

import { Connection } from "./connection.js";
import { session } from "./session.js";
import * as view from "./view.js";

const { $ } = view;

const logs = new Map(); // by room this tab has joined: its log
const unread = new Map(); // by room: messages nobody looked at
let rooms = []; // as the server last told: [{ name, people }]
let current = null; // the room that is shown
let wanted = null; // a room to show as soon as the server lets us in
let wasOnline = false;

const url = new URL("/ws", location.href.replace(/^http/, "ws"));
const connection = new Connection(url, { getToken: (renew) => session.token(renew), onMessage, onState });

// What the server says

const on = {
  presence({ users, rooms: listed }) {
    rooms = listed;
    view.showPeople(users, session.name);
    render();
  },
  "room.joined": ({ room }) => enter(room),
  "room.left": ({ room }) => forget(room),
  "member.joined": ({ room, user }) => mention(room, user, "joined"),
  "member.left": ({ room, user }) => mention(room, user, "left"),
  "chat.message"(message) {
    const log = logs.get(message.room);
    if (!log) return;
    const own = message.user === session.name;
    view.addMessage(log, message, own);
    const seen = message.room === current && !document.hidden;
    if (!own && !seen) unread.set(message.room, (unread.get(message.room) ?? 0) + 1);
    render();
  },
  announcement({ text }) {
    for (const log of logs.values()) view.addAnnouncement(log, text);
    if (!current) view.showNotice(`Announcement: ${text}`);
  },
  error({ message }) {
    wanted = null;
    view.showNotice(message);
  },
};

function onMessage({ type, data }) {
  if (Object.hasOwn(on, type)) on[type](data);
}

function onState(state, { reason, loggedOut }) {
  view.showState(state);
  if (loggedOut) return logOut(reason);
  if (state === "online") restore();
  else if (wasOnline) interrupt();
  if (state === "stopped" && reason) view.showNotice(reason, { retry: true });
  render();
}

function restore() {
  view.hideNotice();
  session.rooms.forEach((room) => connection.send("room.join", { room }));
  wasOnline = true;
}

function interrupt() {
  wasOnline = false;
  const text = "Connection lost: what others say meanwhile will be missing here";
  for (const log of logs.values()) view.addLine(log, text, "warning");
}

// Rooms

function open(room) {
  view.showPanel(false);
  if (logs.has(room)) show(room);
  else if (connection.send("room.join", { room })) wanted = room;
}

function enter(room) {
  const isNew = !logs.has(room);
  if (isNew) logs.set(room, view.makeLog(room));
  view.addLine(logs.get(room), isNew ? `You joined ${room}` : "Connected again");
  session.rooms = [...logs.keys()];
  if (isNew && (wanted !== null || !current)) show(room);
  wanted = null;
}

// Not of this user, who may be in other tabs too.
function mention(room, user, what) {
  if (logs.has(room) && user !== session.name) view.addLine(logs.get(room), `${user} ${what}`);
}

function show(room) {
  current = room;
  unread.delete(room);
  render();
  view.showLog(logs.get(room));
  // Not on a touch screen, where this would bring up the keyboard before anyone has read a word.
  $(matchMedia("(hover: hover)").matches ? "text" : "room-title").focus();
}

function forget(room) {
  logs.get(room)?.remove();
  logs.delete(room);
  unread.delete(room);
  session.rooms = [...logs.keys()];
  if (current !== room) return;
  current = null;
  view.showLog(null);
  render();
  $("room-title").focus();
}

function render() {
  const details = ({ name, people }) => ({
    name,
    people,
    joined: logs.has(name),
    unread: unread.get(name) ?? 0,
    current: name === current,
  });
  view.showRooms(rooms.map(details), open);
  view.showComposer(current, connection.state === "online");
  const count = [...unread.values()].reduce((sum, each) => sum + each, 0);
  document.title = `${count ? `(${count}) ` : ""}${current ? `${current} · ` : ""}Chat`;
}

// What the user does

async function logIn(event) {
  event.preventDefault();
  $("login-error").textContent = "";
  try {
    await session.logIn($("name").value);
  } catch (error) {
    view.showLogin(error instanceof TypeError ? "The server cannot be reached." : error.message);
    return;
  }
  start();
}

function start() {
  view.showChat(session.name);
  connection.connect();
}

function logOut(reason = "") {
  wasOnline = false;
  connection.close();
  [...logs.keys()].forEach(forget);
  session.logOut();
  view.hideNotice();
  view.showLogin(reason);
}

function say() {
  const text = $("text").value.trim();
  if (text && connection.send("chat.send", { room: current, text })) $("text").value = "";
  $("text").focus();
}

function onKey(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say();
}

function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

onSubmit("composer", say);
onSubmit("room-form", () => {
  open($("room-name").value.trim().toLowerCase());
  $("room-name").value = "";
});
$("login-form").addEventListener("submit", logIn);
$("text").addEventListener("keydown", onKey);
$("logout").addEventListener("click", () => logOut());
$("leave").addEventListener("click", () => connection.send("room.leave", { room: current }));
$("newer").addEventListener("click", () => view.scrollDown(logs.get(current)));
$("notice-close").addEventListener("click", view.hideNotice);
$("notice-retry").addEventListener("click", () => connection.connect());
$("panel-toggle").addEventListener("click", () => view.showPanel(!view.isPanelOpen()));
$("shade").addEventListener("click", () => view.showPanel(false));
document.addEventListener("keydown", (event) => event.key === "Escape" && view.showPanel(false));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && current) {
    unread.delete(current);
    render();
  }
});

if (session.name) start();
else view.showLogin();
