// One log of messages per room, of which one is shown: a screen reader speaks only what is added to that.

import { $, avatar, listed, make } from "./dom.js";

const MOST_ENTRIES = 500;
const AT_BOTTOM_PX = 60;
const SAME_BREATH_MS = 5 * 60_000;
const LATE_MS = 1_000;

// Logs whose newest entry is in view stay so when an entry comes, and when a draft or a keyboard takes their space.
const following = new WeakSet();
const resizes = new ResizeObserver((entries) => entries.forEach(({ target }) => settle(target)));

function settle(log) {
  if (!log.hidden && following.has(log)) scrollDown(log);
}

function scrolled(log) {
  if (log.hidden) return;
  if (log.scrollHeight - log.scrollTop - log.clientHeight > AT_BOTTOM_PX) {
    following.delete(log);
  } else {
    following.add(log);
    $("newer").hidden = true;
  }
}

export function makeLog(room) {
  const log = make("div", "log");
  log.role = "log";
  log.ariaLabel = `Messages in ${room}`;
  log.tabIndex = 0;
  log.hidden = true;
  log.addEventListener("scroll", () => scrolled(log));
  resizes.observe(log);
  $("logs").append(log);
  return log;
}

export function showLog(log) {
  for (const other of $("logs").querySelectorAll(".log")) other.hidden = other !== log;
  $("empty").hidden = Boolean(log);
  $("newer").hidden = true;
  if (log) scrollDown(log);
}

export function scrollDown(log) {
  following.add(log);
  log.scrollTo(0, log.scrollHeight);
}

// What waits to be sent stays at the end.
function append(log, entry) {
  log.insertBefore(entry, log.querySelector(".pending"));
  if (log.children.length > MOST_ENTRIES) log.firstElementChild.remove();
  settle(log);
  if (!log.hidden && !following.has(log)) $("newer").hidden = false;
}

const last = (log) => log.querySelector(".pending")?.previousElementSibling ?? log.lastElementChild;

function timeOf(at) {
  const time = make("time", "quiet", at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = at.toISOString();
  return time;
}

function messageEntry(user, text, at, before) {
  const entry = make("div", "message");
  const head = make("p", "message-head");
  head.append(make("strong", "name", user), " ", timeOf(at));
  entry.append(avatar(user), head, make("p", "text", text));
  entry.dataset.user = user;
  entry.dataset.at = at.getTime();
  const continued = before?.dataset.user === user && at.getTime() - before.dataset.at < SAME_BREATH_MS;
  entry.classList.toggle("continued", continued);
  return entry;
}

export function addMessage(log, { user, text, at }, own) {
  const entry = messageEntry(user, text, new Date(at), last(log));
  entry.classList.toggle("own", own);
  if (own) following.add(log);
  append(log, entry);
}

// A message of one's own that is not everybody's yet; it is taken away when it comes back, or marked as failed.
export function addPending(log, user, text) {
  const entry = messageEntry(user, text, new Date(), log.lastElementChild);
  entry.classList.add("own", "pending");
  entry.ariaLive = "off"; // it is read out when it is said
  following.add(log);
  log.append(entry);
  settle(log);
  setTimeout(() => {
    entry.classList.add("is-late"); // which the page says in words
    if (entry.isConnected) settle(log);
  }, LATE_MS);
  return entry;
}

export function markFailed(entry, why, { onRetry, onDrop }) {
  const note = make("p", "failed");
  note.role = "alert";
  const button = (label, action) => {
    const made = make("button", "link", label);
    made.addEventListener("click", () => {
      entry.remove();
      action();
    });
    return made;
  };
  note.append(make("span", "", why), button("Send again", onRetry), button("Drop it", onDrop));
  entry.append(note);
  entry.classList.add("is-failed");
  entry.ariaLive = "polite";
  settle(entry.parentElement);
}

export function addLine(log, text, className = "") {
  append(log, make("div", `line ${className}`, text));
}

// People who come or go in a row share a line, which a screen reader finds but does not speak unasked.
export function addMember(log, user, what) {
  let line = last(log);
  if (line?.dataset.what !== what) {
    line = make("div", "line");
    line.dataset.what = what;
    line.names = [];
    line.ariaLive = "off";
    append(log, line);
  }
  line.names = [...line.names.filter((name) => name !== user), user];
  line.textContent = `${listed(line.names)} ${what}`;
  settle(log);
}

export function addGap(log, text) {
  const before = last(log);
  if (before?.classList.contains("gap")) before.remove();
  const line = make("div", "line gap");
  line.append(make("span", "", text));
  append(log, line);
}

export function addAnnouncement(log, text) {
  const entry = make("div", "announcement");
  entry.append(make("strong", "", "Announcement"), make("p", "text", text));
  append(log, entry);
}
