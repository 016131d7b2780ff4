// Who is logged in, in this tab: each tab may be somebody else.

import { LoginRefused } from "./connection.js";

const store = sessionStorage;

export const session = {
  get name() {
    return store.getItem("name");
  },

  get rooms() {
    return JSON.parse(store.getItem("rooms") ?? '["lobby"]');
  },

  set rooms(names) {
    store.setItem("rooms", JSON.stringify(names));
  },

  // The token of the name, a new one if `renew`.
  async token(renew) {
    if (renew || !store.getItem("token")) await this.logIn(this.name);
    return store.getItem("token");
  },

  // Throws LoginRefused with words for the user, or TypeError where the server cannot be reached.
  async logIn(name) {
    const response = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name }),
    });
    if (response.status >= 500) throw new TypeError(`HTTP ${response.status}`);
    const answer = await response.json();
    if (!response.ok) throw new LoginRefused(answer.error);
    store.setItem("name", answer.name);
    store.setItem("token", answer.token);
  },

  logOut() {
    store.clear();
  },
};
