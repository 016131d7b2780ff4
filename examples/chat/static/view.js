// The page around the logs: rooms, people, the state of the connection, the login.

import { $, avatar, make, sync } from "./dom.js";

export function showPeople(names, me) {
  $("people-count").textContent = names.length;
  const create = (name) => {
    const person = make("li", "person");
    person.append(avatar(name), make("span", "name", name));
    if (name === me) person.append(make("span", "tag", "you"));
    return person;
  };
  sync($("people"), names, (name) => name, create);
}

// rooms: [{ name, here, joined, unread, current }]
export function showRooms(rooms, onOpen) {
  const create = ({ name }) => {
    const item = make("li");
    const button = make("button", "plain room-button");
    button.append(make("span", "name", name));
    for (const part of ["count", "joined", "badge"]) button.append(make("span", part));
    button.addEventListener("click", () => onOpen(name));
    item.append(button);
    return item;
  };
  sync($("rooms"), rooms, (room) => room.name, create, updateRoom);
  $("elsewhere").hidden = !rooms.some((room) => room.unread);
}

// Spoken, it is "lobby 2 here joined 1 unread"; shown are the name and the numbers.
function updateRoom(item, { here, joined, unread, current }) {
  const button = item.firstElementChild;
  const part = (name) => button.querySelector(`.${name}`);
  button.classList.toggle("is-joined", joined);
  if (current) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
  part("count").replaceChildren(here ? String(here) : spoken("0"), spoken("here"));
  part("joined").replaceChildren(...(joined ? [spoken("joined")] : []));
  part("badge").replaceChildren(...(unread ? [String(unread), spoken("unread")] : []));
}

const spoken = (text) => make("span", "visually-hidden", text);

export function showNotice(text, { retry = false } = {}) {
  $("notice-text").textContent = text;
  $("notice-retry").hidden = !retry;
  $("notice-close").hidden = retry;
  $("notice").hidden = false;
}

export const hideNotice = () => ($("notice").hidden = true);

const STATES = { connecting: "Connecting…", open: "Connected", waiting: "Reconnecting…", closed: "Disconnected" };

export function showState(state) {
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
}

// While there is no connection: why, and in how many milliseconds the next attempt is. The seconds are not spoken.
let counting = null;

export function showOutage(text, delay) {
  clearInterval(counting);
  const due = Date.now() + delay;
  const tick = () => {
    const seconds = Math.ceil((due - Date.now()) / 1000);
    $("outage-countdown").textContent = seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again…";
  };
  $("outage-text").textContent = text;
  $("outage").hidden = false;
  tick();
  counting = setInterval(tick, 250);
}

export function showAttempt() {
  clearInterval(counting);
  $("outage-countdown").textContent = "Trying again…";
}

export function hideOutage() {
  clearInterval(counting);
  $("outage").hidden = true;
}

export function showComposer(room, { state, here }) {
  $("room-title").textContent = room ?? "No room open";
  $("room-here").textContent = room && here ? `${here} here` : "";
  $("leave").hidden = !room;
  $("composer").hidden = !room;
  $("composer-label").textContent = `Message to ${room}`;
  $("text").placeholder = state === "closed" ? "Not connected" : `Message to ${room}`;
  $("send").disabled = state === "closed";
}

// On a phone the panel lies over the room; where there is space it is always there, and this does nothing.
export function showPanel(open) {
  if (open === isPanelOpen()) return;
  $("panel").classList.toggle("open", open);
  $("panel-toggle").setAttribute("aria-expanded", open);
  $("shade").hidden = !open;
  $("room").inert = open;
  (open ? $("rooms").querySelector("button") : $("panel-toggle"))?.focus();
}

export const isPanelOpen = () => $("panel").classList.contains("open");

export function showLogin(error = "", name = "") {
  $("chat").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = error;
  $("name").value = name;
  $("name").focus();
}

export function showChat(name) {
  $("login").hidden = true;
  $("chat").hidden = false;
  $("me").textContent = name;
  $("me-avatar").replaceChildren(avatar(name));
}
