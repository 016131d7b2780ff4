// Time that stands still until a test advances it: timers, `Date.now` and chance, put in the place of the real ones.

const REAL = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  now: Date.now,
  random: Math.random,
};

/** Let everything run that waits for promises only. */
export async function settle() {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export class FakeClock {
  #now = 0;
  #wall = 1_700_000_000_000; // what Date.now() is ahead
  #timers = new Map();
  #ids = 0;

  /** What `Math.random()` gives. */
  chance = 0.5;

  install() {
    globalThis.setTimeout = (fn, ms) => {
      const delay = ms > 2 ** 31 - 1 ? 1 : ms; // as the real one does
      this.#timers.set(++this.#ids, { due: this.#now + delay, fn });
      return this.#ids;
    };
    globalThis.clearTimeout = (id) => this.#timers.delete(id);
    Date.now = () => this.#wall + this.#now;
    Math.random = () => this.chance;
  }

  uninstall() {
    Object.assign(globalThis, { setTimeout: REAL.setTimeout, clearTimeout: REAL.clearTimeout });
    Date.now = REAL.now;
    Math.random = REAL.random;
  }

  /** How many timers are set. */
  get pending() {
    return this.#timers.size;
  }

  /** Let time pass, firing what becomes due, in order. */
  async advance(ms) {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const [id, next] = [...this.#timers].sort(([, a], [, b]) => a.due - b.due)[0] ?? [];
      if (!next || next.due > end) break;
      this.#now = Math.max(this.#now, next.due);
      this.#timers.delete(id);
      next.fn();
      await settle();
    }
    this.#now = end;
  }

  /** Somebody sets the clock; timers do not care. */
  setWallClock(ms) {
    this.#wall += ms;
  }

  /** The machine sleeps: time passes, and no timer fires before it wakes up. */
  sleep(ms) {
    this.#now += ms;
  }
}
