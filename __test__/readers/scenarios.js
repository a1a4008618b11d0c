/** Writers and readers of the reader tests; the first function runs in child processes and in the test's own. */
import { writeFileSync } from "node:fs";
import { setImmediate as yieldOnce } from "node:timers/promises";

const IDS = ["a", "b", "c", "日本", "__proto__", "constructor", "f", "g", "h", "i"];

/**
 * A seeded source of numbers (mulberry32).
 *
 * @param {number} seed any integer
 * @returns {(below: number) => number} a function that answers with an integer from 0 to below `below`
 */
export function randomSource(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/**
 * What identifies an operation of `writeAtRandom`: a number is written once, and deleted once by a delete that lasts.
 *
 * @param {any} operation as readers get it
 * @returns {string} its key
 */
export function keyOf({ op, id, data, prev }) {
  return `${op} ${id} ${(op === "set" ? data : prev).n}`;
}

/**
 * Makes random writes to an open store, most of them awaited one by one.
 *
 * @param {any} store an open writer
 * @param {{ seed: number, count: number }} how the seed and the number of steps
 * @param {(lasting: number) => void} [onStep] is called after each step with the number of lasting operations so far
 * @returns {Promise<{ lasting: string[], undone: string[] }>} keys of the operations that last, in order, and of the others
 */
export async function writeAtRandom(store, { seed, count }, onStep = () => {}) {
  const below = randomSource(seed);
  /** @type {string[]} */
  const lasting = [];
  /** @type {string[]} */
  const undone = [];
  const kept = new Set();
  let n = 0;
  /** @type {Promise<unknown>[]} */
  let pending = [];
  const change = (id) => {
    const old = store.get(id);
    if (old !== undefined && !kept.has(old.n) && below(4) === 0) {
      lasting.push(keyOf({ op: "delete", id, prev: old }));
      return store.delete(id);
    }
    n++;
    lasting.push(keyOf({ op: "set", id, data: { n } }));
    return store.set(id, { n, text: "日本語 text".repeat(below(12)), [`m${below(3)}`]: below(5), list: [n, null] });
  };
  for (let step = 0; step < count; step++) {
    const kind = below(20);
    if (kind < 11) {
      await change(IDS[below(IDS.length)]);
    } else if (kind < 13) {
      for (let i = below(5); i >= 0; i--) pending.push(change(IDS[below(IDS.length)]));
    } else if (kind < 15) {
      const batch = store.batch(() => {
        for (let i = below(6); i >= 0; i--) change(IDS[below(IDS.length)]);
      });
      await batch;
    } else if (kind < 19) {
      if (await store.undo()) {
        const key = lasting.pop() ?? "";
        undone.push(key);
        if (key.startsWith("delete")) kept.add(Number(key.split(" ").at(-1)));
      }
    } else {
      pending.push(store.compact());
    }
    if (below(6) === 0) {
      await Promise.all(pending);
      pending = [];
      await yieldOnce();
    }
    onStep(lasting.length);
  }
  await Promise.all(pending);
  return { lasting, undone };
}

/** Opens a store, waits until it is told to, writes at random, closes, and leaves what it did in a file. */
export async function writer({ Store, report, command, dir, options, seed, count, result }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; n < 30; n++) await store.set(`first${n}`, { n: -1 - n });
  report("open");
  command();
  let reported = 0;
  const written = await writeAtRandom(store, { seed, count }, (lasting) => {
    if (lasting < reported + 40) return;
    reported = lasting;
    report({ lasting });
  });
  await store.close();
  writeFileSync(result, JSON.stringify(written));
  report("closed");
}

/** Watches with a callback that throws; `handled`: with a listener for uncaught exceptions. */
export async function watchAndThrow({ Store, report, dir, handled }) {
  const store = new Store();
  await store.open(dir, { readOnly: true });
  if (handled) {
    process.on("uncaughtException", (error, origin) => {
      report({ uncaught: error.message, origin });
    });
  }
  store.watch((ops) => {
    const ids = ops.map(({ id }) => id);
    if (ids.includes("stop")) {
      store.unwatch();
      report({ stopped: ids });
      return;
    }
    throw new Error(`callback fails at ${ids.join()}`);
  }, 5);
  report("watching");
}

/** Watches until an operation on "stop" comes, ends the watch as `how` says, and should end by itself then. */
export async function watchUntilStop({ Store, report, dir, how, interval }) {
  const store = new Store();
  await store.open(dir, { readOnly: true });
  process.on("exit", () => report("ended by itself"));
  if (how !== "never watch") {
    store.watch((ops) => {
      report({ seen: ops.map(({ id }) => id) });
      if (!ops.some(({ id }) => id === "stop")) return;
      if (how === "unwatch") store.unwatch();
      else void store.close();
    }, interval);
  }
  globalThis.store = store;
  report("ready");
}
