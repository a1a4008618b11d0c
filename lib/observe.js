/**
 * What a store tells those who watch it: events on `node:diagnostics_channel`, errors that no call is told, progress.
 *
 * Without subscribers nothing is asked and nothing is made: two flags are looked at in each turn that writes. The engine
 * counts what it does anyway; an event says what has come since the one before, so several commits that end while the
 * event loop is busy are one event.
 *
 * What could go wrong if: a subscriber comes in the middle (counts from before it are not told); a callback of the
 * caller's throws (an uncaught exception, as one of any timer's callback is: the store's own work goes on).
 */
import { channel } from "node:diagnostics_channel";
import * as native from "../binding.js";
import { wordsOf } from "./errors.js";

const COMMIT = channel("opslog-native:commit");
const CHECKPOINT = channel("opslog-native:checkpoint");
const ERROR = channel("opslog-native:error");

/** How often progress is told, in milliseconds. */
const INTERVAL = 100;

/** @typedef {import("../binding.js").Activity} Activity */
/** @typedef {import("../index.js").Progress} Progress */
/** @typedef {(error: Error, what: string) => void} OnError */
/** @typedef {(progress: Progress) => void} OnProgress */

export class Observer {
  #handle;
  #dir;
  #onError;
  /** What had been done at the last event; undefined where nobody watches. @type {Activity | undefined} */
  #told;

  /**
   * @param {number} handle
   * @param {string} dir
   * @param {OnError} [onError]
   */
  constructor(handle, dir, onError) {
    this.#handle = handle;
    this.#dir = dir;
    this.#onError = onError;
  }

  /** Before a turn's writes are handed over. */
  begin() {
    if (COMMIT.hasSubscribers || CHECKPOINT.hasSubscribers) this.#told ??= native.activity(this.#handle) ?? undefined;
    else this.#told = undefined;
  }

  /** Something has ended. */
  look() {
    if (this.#told === undefined) return;
    const before = this.#told;
    const now = native.activity(this.#handle);
    if (now === null) return;
    this.#told = now;
    const dir = this.#dir;
    if (now.commits > before.commits && COMMIT.hasSubscribers) {
      const { lastSyncMs } = native.sizes(this.#handle) ?? {};
      COMMIT.publish({
        dir,
        commits: now.commits - before.commits,
        operations: now.operations - before.operations,
        bytes: now.bytes - before.bytes,
        lastSyncMs,
      });
    }
    if (now.checkpoints > before.checkpoints && CHECKPOINT.hasSubscribers) {
      const { total: records } = now.checkpoint;
      CHECKPOINT.publish({ dir, checkpoints: now.checkpoints - before.checkpoints, records, ms: now.checkpointMs });
    }
  }

  /**
   * An error that no call is told, or not yet.
   * @param {string} what
   * @param {unknown} error
   * @param {boolean} [quiet] Not for stderr.
   */
  fail(what, error, quiet = false) {
    if (ERROR.hasSubscribers) ERROR.publish({ dir: this.#dir, what, error });
    const onError = this.#onError;
    if (onError !== undefined) process.nextTick(onError, error ?? new Error(what), what);
    else if (!quiet) console.error(`opslog: ${what}${error === undefined ? "" : `: ${wordsOf(error)}`}`);
  }
}

/**
 * How far the next checkpoint of a store has come: what has been done of another one does not count.
 * @param {number} handle
 * @returns {() => Progress | undefined}
 */
export function checkpointProgress(handle) {
  const before = native.activity(handle);
  return () => {
    const now = native.activity(handle);
    if (now === null || before === null) return undefined;
    const { done, total } = before.checkpoint;
    const begun = now.checkpoints > before.checkpoints || now.checkpoint.done !== done || now.checkpoint.total !== total;
    return begun ? now.checkpoint : undefined;
  };
}

/**
 * Tells how far a call has come while it runs, and that it has succeeded.
 * @template R
 * @param {OnProgress | undefined} onProgress
 * @param {(() => Progress | null | undefined) | undefined} look
 * @param {Promise<R>} call
 * @returns {Promise<R>}
 */
export function withProgress(onProgress, look, call) {
  // The very promise: nothing settles later because somebody could have watched.
  return onProgress === undefined ? call : follow(onProgress, look, call);
}

/**
 * @template R
 * @param {OnProgress} onProgress
 * @param {(() => Progress | null | undefined) | undefined} look
 * @param {Promise<R>} call
 * @returns {Promise<R>}
 */
async function follow(onProgress, look, call) {
  let told = -1;
  /** @param {Progress} progress */
  const tell = (progress) => {
    if (progress.done === told) return;
    told = progress.done;
    try {
      onProgress(progress);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  };
  const timer = setInterval(() => {
    const progress = look?.();
    // Where nothing is known yet there is nothing to tell.
    if (progress && progress.total > 0) tell(progress);
  }, INTERVAL);
  timer.unref();
  try {
    const result = await call;
    // Where nobody counted it was one step.
    const total = look?.()?.total ?? 1;
    told = -1;
    tell({ done: total, total });
    return result;
  } finally {
    clearInterval(timer);
  }
}
