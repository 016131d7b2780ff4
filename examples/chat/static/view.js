// The page: elements in, elements out. Whatever people wrote goes through `textContent` only, so it stays text.

const MOST_ENTRIES = 500;
const AT_BOTTOM_PX = 60;

export const $ = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

// Make the children of `list` follow `items`, keeping those that stay, and with them the keyboard's focus.
function sync(list, items, key, create, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const child = old.get(key(item)) ?? create(item);
    old.delete(key(item));
    child.dataset.key = key(item);
    update(child, item);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
  old.forEach((child) => child.remove());
}

function avatar(name) {
  const element = make("span", "avatar", [...name][0].toUpperCase());
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  element.style.setProperty("--hue", hue);
  element.ariaHidden = "true";
  return element;
}

export function showPeople(names, me) {
  $("people-count").textContent = names.length;
  const create = (name) => {
    const person = make("li", "person");
    person.append(avatar(name), make("span", "name", name));
    if (name === me) person.append(make("span", "quiet", "you"));
    return person;
  };
  sync($("people"), names, (name) => name, create, () => {});
}

// rooms: [{ name, people, joined, unread, current }]
export function showRooms(rooms, onOpen) {
  const create = ({ name }) => {
    const item = make("li");
    const button = make("button", "plain room-button");
    button.append(make("span", "name", name), make("span", "badge"), make("span", "count"));
    button.addEventListener("click", () => onOpen(name));
    item.append(button);
    return item;
  };
  sync($("rooms"), rooms, (room) => room.name, create, updateRoom);
  $("elsewhere").hidden = !rooms.some((room) => room.unread);
}

function updateRoom(item, { name, people, joined, unread, current }) {
  const button = item.firstElementChild;
  button.classList.toggle("joined", joined);
  if (current) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
  button.querySelector(".count").textContent = people || "";
  button.querySelector(".badge").textContent = unread || "";
  const facts = [name, `${people} ${people === 1 ? "person" : "people"}`];
  if (joined) facts.push("joined");
  if (unread) facts.push(`${unread} unread`);
  button.ariaLabel = facts.join(", ");
}

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

// One log per room, of which one is shown: a screen reader speaks only what is added to that.
export function makeLog(room) {
  const log = make("ol", "log");
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

function append(log, entry) {
  log.append(entry);
  if (log.children.length > MOST_ENTRIES) log.firstElementChild.remove();
  settle(log);
  if (!log.hidden && !following.has(log)) $("newer").hidden = false;
}

export function addMessage(log, { user, text, at }, own) {
  const entry = make("li", own ? "message own" : "message");
  const head = make("p", "message-head");
  const time = make("time", "quiet", new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = at;
  head.append(make("strong", "name", user), " ", time);
  entry.append(avatar(user), head, make("p", "text", text));
  entry.dataset.user = user;
  entry.classList.toggle("continued", log.lastElementChild?.dataset.user === user);
  if (own) following.add(log);
  append(log, entry);
}

export function addLine(log, text, className = "") {
  append(log, make("li", `line ${className}`, text));
}

export function addAnnouncement(log, text) {
  const entry = make("li", "announcement");
  entry.append(make("strong", "", "Announcement"), make("p", "text", text));
  append(log, entry);
}

export function showNotice(text, { retry = false } = {}) {
  $("notice-text").textContent = text;
  $("notice-retry").hidden = !retry;
  $("notice").hidden = false;
}

export const hideNotice = () => ($("notice").hidden = true);

const STATES = { connecting: "Connecting…", online: "Connected", waiting: "Reconnecting…", stopped: "Disconnected" };

export function showState(state) {
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
}

export function showComposer(room, usable) {
  $("room-title").textContent = room ?? "No room open";
  $("leave").hidden = !room;
  $("composer").hidden = !room;
  $("composer-label").textContent = `Message to ${room}`;
  $("text").placeholder = usable ? `Message to ${room}` : "Waiting for the connection…";
  $("send").disabled = !usable;
}

// On a phone the panel lies over the room; where there is space it is always there, and this does nothing.
export function showPanel(open) {
  if (open === isPanelOpen()) return;
  $("panel").classList.toggle("open", open);
  $("panel-toggle").setAttribute("aria-expanded", open);
  $("shade").hidden = !open;
  (open ? $("rooms").querySelector("button") : $("panel-toggle"))?.focus();
}

export const isPanelOpen = () => $("panel").classList.contains("open");

export function showLogin(error = "") {
  $("chat").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = error;
  $("name").focus();
}

export function showChat(name) {
  $("login").hidden = true;
  $("chat").hidden = false;
  $("me").textContent = name;
}
