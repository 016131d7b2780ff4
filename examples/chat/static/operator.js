// The operator's page: all it does goes over HTTP with the operator's key, as a script could do it too.

import { $, avatar, make, onSubmit, sync } from "./dom.js";

const LOOK_EVERY_MS = 3_000;
const RESULT_STAYS_MS = 6_000;

const store = sessionStorage;
let looking = null;
let resultTimer = null;

class WrongKey extends Error {}

async function call(path, body) {
  const response = await fetch(`/operator/${path}`, {
    method: body ? "POST" : "GET",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${store.getItem("operator-key")}` },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const ErrorType = [401, 403].includes(response.status) ? WrongKey : Error;
  throw new ErrorType(answer.error ?? `The server failed (HTTP ${response.status}).`);
}

// What is going on

async function look() {
  clearTimeout(looking);
  try {
    show(await call("overview"));
    showState("open", "Live");
  } catch (error) {
    if (error instanceof WrongKey) return logOut(error.message);
    showState("waiting", "Not reachable");
  }
  clearTimeout(looking);
  if (!$("operator").hidden && !document.hidden) looking = setTimeout(look, LOOK_EVERY_MS);
}

function show({ users, rooms, connections, complete }) {
  $("people-count").textContent = users.length;
  $("connections").textContent = connections;
  $("rooms-count").textContent = rooms.filter(({ here }) => here).length;
  $("nobody").hidden = users.length > 0;
  sync($("people"), users, (name) => name, person);
  sync($("rooms"), rooms, ({ name }) => name, room, (item, { here }) => {
    item.lastElementChild.textContent = here ? `${here} here` : "empty";
  });
  if (!complete) tell("A server did not answer: this may not be everybody.");
}

function person(name) {
  const item = make("li", "person");
  const actions = make("span", "actions");
  const button = (className, label, action) => {
    const made = make("button", className, label);
    made.ariaLabel = `${label} ${name}`;
    made.addEventListener("click", () => action(name));
    return made;
  };
  actions.append(button("secondary", "Disconnect", disconnect), button("danger", "Revoke login", revoke));
  item.append(avatar(name), make("span", "name", name), actions);
  return item;
}

function room({ name }) {
  const item = make("li");
  item.append(make("span", "name", name), make("span", "quiet"));
  return item;
}

function showState(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

// What the operator does

async function act(path, body, told) {
  try {
    tell(told(await call(path, body)));
  } catch (error) {
    if (error instanceof WrongKey) return logOut(error.message);
    tell(error instanceof TypeError ? "The server cannot be reached." : error.message);
    return false;
  }
  look();
  return true;
}

const tabs = (count) => `${count} ${count === 1 ? "tab" : "tabs"}`;

const disconnect = (name) => act("disconnect", { name }, ({ closed }) => `Disconnected ${name} (${tabs(closed)}).`);

async function revoke(name) {
  const what = `All tabs of ${name} land on the login page, wherever they are.`;
  if (!(await confirmed(`Revoke the login of ${name}?`, what, "Revoke login"))) return;
  await act("revoke", { name }, ({ closed }) => `The login of ${name} is revoked (${tabs(closed)}).`);
}

function confirmed(title, text, yes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function announce() {
  const text = $("text").value.trim();
  const told = ({ connections }) => `Announced to ${connections} ${connections === 1 ? "connection" : "connections"}.`;
  if (text && (await act("announce", { text }, told))) $("text").value = "";
}

function tell(text) {
  clearTimeout(resultTimer);
  $("result").textContent = text;
  resultTimer = setTimeout(() => ($("result").textContent = ""), RESULT_STAYS_MS);
}

// Coming in and going out

function enter() {
  $("login").hidden = true;
  $("operator").hidden = false;
  look();
}

function logOut(reason = "") {
  clearTimeout(looking);
  store.removeItem("operator-key");
  $("confirm").close();
  $("operator").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = reason;
  $("key").value = "";
  $("key").focus();
}

onSubmit($("login-form"), () => {
  store.setItem("operator-key", $("key").value);
  enter();
});
onSubmit($("announce-form"), announce);
$("logout").addEventListener("click", () => logOut());
document.addEventListener("visibilitychange", () => document.hidden || $("operator").hidden || look());

if (store.getItem("operator-key")) enter();
else logOut();
