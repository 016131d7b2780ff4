// Who is logged in, in this tab: each tab may be somebody else.

const store = sessionStorage;

// The server said no; the message is for the user.
export class Refused extends Error {}

async function post(path, { body, key } = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) },
    body: JSON.stringify(body ?? {}),
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const ErrorType = response.status < 500 ? Refused : Error;
  throw new ErrorType(answer.error ?? `The server failed (HTTP ${response.status}).`);
}

export const session = {
  /** Why the last login has ended, in the server's words. */
  ended: "",

  get name() {
    return store.getItem("name");
  },

  get rooms() {
    return JSON.parse(store.getItem("rooms") ?? '["lobby"]');
  },

  set rooms(names) {
    store.setItem("rooms", JSON.stringify(names));
  },

  // Throws Refused, or something else where the server cannot be reached.
  async logIn(wanted) {
    const { name, login } = await post("/login", { body: { name: wanted } });
    store.setItem("name", name);
    store.setItem("login", login);
  },

  // What the client asks before it connects, and before a token expires. `null`: nobody is logged in any more.
  async token() {
    try {
      return (await post("/token", { key: store.getItem("login") })).token;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.ended = error.message;
      return null;
    }
  },

  logOut() {
    store.clear();
  },
};
