/**
 * The processes of the real run: an agent that makes random calls, or a reader beside it, until the time is over or it
 * is killed.
 *
 * `node worker.js JSON`, with what {@link Order} says. Says a line once its store is open for the first time. Ends with 0 once it has closed its store.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "../cases.js";
import { implementation } from "../stores.js";
import { journalPath, nameOf, namesIn, now, openJournal, valueOf } from "./journal.js";

/** @typedef {import("./journal.js").Call} Call */
/** @typedef {import("./journal.js").Change} Change */
/** @typedef {import("../../index.js").Store<unknown>} Store */

/**
 * @typedef {object} Order
 * @property {"agent" | "ours" | "upstream"} role an agent, or a reader of one of the two packages
 * @property {string} who
 * @property {number} session
 * @property {number} seed
 * @property {string} dir
 * @property {string} journals
 * @property {number} until the time at which it is to end
 */

/** @type {Order} */
const { role, who, session, seed, dir, journals, until } = JSON.parse(process.argv[2] ?? "");
const tell = openJournal(journalPath(journals, who, session));
const random = randomFrom(seed);
/** @param {number} count */
const below = (count) => Math.floor(random() * count);

/** How often a call that others keep from its lock is made again, where the session cannot go on without it. */
const ATTEMPTS = 5;

await (role === "agent" ? agent() : reader());

/**
 * Makes a call between its two lines.
 * @param {Call} call
 * @param {() => unknown} work
 * @returns {Promise<{ error?: Error & { code?: string } }>}
 */
async function make(call, work) {
  tell({ call, at: now() });
  try {
    const result = await work();
    const done = typeof result === "boolean" || typeof result === "number" ? result : null;
    tell({ done, at: now() });
    return {};
  } catch (thrown) {
    const error = /** @type {Error & { code?: string }} */ (thrown);
    tell({ failed: error.message, code: error.code, at: now() });
    return { error };
  }
}

/**
 * Each of them has a lock to wait for of its own.
 * @param {unknown[]} calls
 * @returns {Promise<number>} the bit of each call that was made; those that others kept from their lock were not
 */
async function together(calls) {
  const ended = await Promise.allSettled(calls);
  return ended.reduce((bits, one, at) => {
    if (one.status === "fulfilled") return bits | (1 << at);
    if (one.reason.code !== "OPSLOG_LOCKED") throw one.reason;
    return bits;
  }, 0);
}

/** @param {Store} store @param {string} how @param {number} since */
function look(store, how, since) {
  tell({ seen: namesIn(store.entries()), how, since, at: now() });
}

async function agent() {
  const { Store } = await implementation("ours");
  let counter = 0;
  const nextName = () => `${who}:${session * 1_000_000 + ++counter}`;
  /** @returns {Promise<Store>} */
  const open = async () => {
    for (let attempt = 1; ; attempt++) {
      const store = /** @type {Store} */ (new Store());
      const since = now();
      const { error } = await make({ do: "open" }, () =>
        store.open(dir, {
          agentId: who, checkpointThreshold: 10 + below(60), checkpointOnClose: below(2) === 0, durability: below(2) === 0 ? "fsync" : "os",
        }),
      );
      if (error === undefined) {
        look(store, "open", since);
        return store;
      }
      if (error.code !== "OPSLOG_LOCKED" || attempt === ATTEMPTS) throw error;
    }
  };
  /** @param {Store} store */
  const close = async (store) => {
    for (let attempt = 1; ; attempt++) {
      const { error } = await make({ do: "close" }, () => store.close());
      if (error === undefined) return;
      if (error.code !== "OPSLOG_LOCKED" || attempt === ATTEMPTS) throw error;
    }
  };
  let store = await open();
  console.log('"open"');
  /** @param {string} key @returns {Change} */
  const set = (key) => ({ do: "set", key, name: nextName() });
  const ownKey = () => `${who}/${below(10)}`;
  /** @param {Change} change */
  const carryOut = (change) => (change.do === "set" ? store.set(change.key, valueOf(change.name)) : store.delete(change.key));
  /** Changes that are legal one after the other. @returns {Change[]} */
  const several = () => {
    const there = new Set(store.entries().map(([id]) => id));
    return Array.from({ length: 2 + below(4) }, () => {
      const key = below(5) === 0 ? `shared/${below(3)}` : ownKey();
      if (!key.startsWith("shared") && there.has(key) && below(3) === 0) {
        there.delete(key);
        return { do: "delete", key, name: nextName() };
      }
      there.add(key);
      return set(key);
    });
  };
  while (now() < until) {
    const what = below(100);
    if (what < 26) {
      const change = set(ownKey());
      await make(change, () => carryOut(change));
    } else if (what < 34) {
      const change = set(`${who}/old/${session}-${counter}`);
      await make(change, () => carryOut(change));
    } else if (what < 50) {
      const key = `shared/${below(3)}`;
      const over = store.has(key) ? nameOf(store.get(key)) : undefined;
      /** @type {Change} */
      const change = over !== undefined && below(5) === 0 ? { do: "delete", key, name: nextName() } : set(key);
      await make({ ...change, over }, () => carryOut(change));
      // Not known where a checkpoint has come in between.
      const clock = store.getHistory(key).findLast((op) => op.data !== undefined && nameOf(op.data) === change.name)?.clock;
      if (clock !== undefined) tell({ clock, name: change.name, at: now() });
    } else if (what < 56) {
      const key = ownKey();
      if (store.has(key)) await make({ do: "delete", key, name: nextName() }, () => store.delete(key));
    } else if (what < 66) {
      const parts = several();
      await make({ do: "batch", parts }, () => store.batch(() => parts.forEach((part) => void carryOut(part))));
    } else if (what < 72) {
      const parts = several().filter((part) => part.do === "set");
      if (parts.length > 0) await make({ do: "together", parts }, () => together(parts.map(carryOut)));
    } else if (what < 82) {
      await make({ do: "undo" }, () => store.undo());
    } else if (what < 84) {
      const segment = below(2) === 0 ? "common" : `of ${who}`;
      await make({ do: "archive", segment }, () => store.archive((_value, id) => id.startsWith(`${who}/old/`), segment));
    } else if (what < 86) {
      await make({ do: "compact" }, () => store.compact());
    } else if (what < 97) {
      const how = what < 93 ? "refresh" : "tail";
      const since = now();
      const { error } = await make({ do: how }, async () => void (await store[how]()));
      if (error === undefined) look(store, how, since);
    } else {
      await close(store);
      store = await open();
    }
  }
  await close(store);
}

async function reader() {
  const { Store } = await implementation(role);
  while (!existsSync(join(dir, "manifest.json"))) await sleep(1);
  for (let times = 0; times === 0 || now() < until; times++) {
    const store = await openForReading(/** @type {() => Store} */ (() => new Store()));
    if (times === 0) console.log('"open"');
    for (let looks = below(5); looks > 0 && now() < until; looks--) {
      await sleep(below(15));
      const since = now();
      await (below(2) === 0 ? store.refresh() : store.tail());
      look(store, "refresh", since);
    }
    await store.close();
    await sleep(below(10));
  }
}

/**
 * Upstream may meet files that were superseded while it was opening, and is to find others the next time. Ours has no
 * second try.
 * @param {() => Store} make
 * @returns {Promise<Store>}
 */
async function openForReading(make) {
  for (let attempt = 1; ; attempt++) {
    const store = make();
    const since = now();
    try {
      await store.open(dir, { readOnly: true });
      look(store, "open", since);
      return store;
    } catch (error) {
      if (role === "ours" || attempt === ATTEMPTS) throw error;
      tell({ note: String(error), at: now() });
      await sleep(10 * attempt);
    }
  }
}
