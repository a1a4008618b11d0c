/**
 * What the stores of one JavaScript environment (main thread or worker) share: the engine's wake-ups, keeping the
 * process alive while something is pending, and flushing at its end.
 */
import * as native from "../binding.js";
import { LONGEST } from "./timers.js";

/** The method of a store that is called when the engine has results for it. */
export const WAKE = Symbol("wake");

/** The method of a store that hands over to the engine what it holds. */
export const HAND_OVER = Symbol("hand over");

/** What the environment needs of a store. @typedef {{ [WAKE]: () => void, [HAND_OVER]: () => void }} Sleeper */

/** @type {Map<number, WeakRef<Sleeper>>} */
const stores = new Map();

/** Stores with something pending: they must not be collected before their callers are told. @type {Set<Sleeper>} */
const busy = new Set();

/** The same, but what is pending is a caller's backend: a call of it that never ends must not hold the process up. @type {Set<Sleeper>} */
const held = new Set();

const environment = native.register((handle) => stores.get(handle)?.deref()?.[WAKE]());

// The greatest delay of a timer. It does nothing; referenced, it keeps the event loop alive.
const keepAlive = setInterval(() => {}, LONGEST);
keepAlive.unref();

// `exit` comes after process.exit() and uncaught exceptions as well; the engine itself sees to terminated workers.
process.on("exit", () => {
  try {
    for (const store of stores.values()) store.deref()?.[HAND_OVER]();
  } finally {
    native.finishAll(environment);
  }
});

// An unclosed store that nobody can reach any more is flushed and its lock given back.
const collected = new FinalizationRegistry((/** @type {number} */ handle) => {
  stores.delete(handle);
  native.release(handle);
});

/** The number under which the engine knows this environment. */
export function environmentNumber() {
  return environment;
}

/**
 * @param {number} handle
 * @param {Sleeper} store
 */
export function enter(handle, store) {
  stores.set(handle, new WeakRef(store));
  collected.register(store, handle, store);
}

/**
 * @param {number} handle
 * @param {Sleeper} store
 */
export function leave(handle, store) {
  stores.delete(handle);
  collected.unregister(store);
  setBusy(store, false);
  native.release(handle);
}

/**
 * Says whether a store has something pending.
 * @param {Sleeper} store
 * @param {boolean} pending
 * @param {boolean} [alive] False where somebody else's I/O keeps the process alive, or nothing does.
 */
export function setBusy(store, pending, alive = true) {
  if (!pending) {
    held.delete(store);
    if (busy.delete(store) && busy.size === 0) keepAlive.unref();
  } else if (!alive) {
    held.add(store);
  } else {
    if (busy.size === 0) keepAlive.ref();
    busy.add(store);
  }
}
