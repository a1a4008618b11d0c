/**
 * Async generators over what the engine reads in pieces. Leaving a loop early closes the file.
 */
import * as native from "../binding.js";
import { toError } from "./errors.js";

/** @typedef {import("../binding.js").StreamResult} StreamResult */

/**
 * The stream that was opened.
 * @param {StreamResult} result
 */
export function opened({ stream, failure }) {
  if (failure !== undefined || stream === undefined) throw toError(/** @type {any} */ (failure));
  return stream;
}

/**
 * The items of a stream: ids and values in turn, or operations.
 * @param {number} stream
 * @returns {AsyncGenerator<any[], void>}
 */
async function* parts(stream) {
  try {
    for (;;) {
      const part = await native.readStream(stream);
      if (part.failure !== undefined) throw toError(part.failure);
      if (part.json === undefined) return;
      yield JSON.parse(part.json);
    }
  } finally {
    native.closeStream(stream);
  }
}

/**
 * Items, until a signal ends them.
 * @template R
 * @param {AsyncIterable<R> | Iterable<R>} items
 * @param {AbortSignal | undefined} signal
 * @returns {AsyncGenerator<R, void>}
 */
export async function* unlessAborted(items, signal) {
  for await (const item of items) {
    signal?.throwIfAborted();
    yield item;
  }
}

/**
 * The items of a stream whose content is in memory.
 * @param {number | undefined} stream
 * @returns {any[]}
 */
export function itemsNow(stream) {
  /** @type {any[]} */
  const items = [];
  if (stream === undefined) return items;
  for (let json = native.readStreamNow(stream); json !== null; json = native.readStreamNow(stream)) {
    for (const item of JSON.parse(json)) items.push(item);
  }
  return items;
}

/**
 * Ids and values in turn as pairs.
 * @param {any[]} items
 * @returns {[string, any][]}
 */
export function pairs(items) {
  /** @type {[string, any][]} */
  const found = [];
  for (let i = 0; i < items.length; i += 2) found.push([items[i], items[i + 1]]);
  return found;
}

/**
 * Records of a snapshot.
 * @template T
 * @param {number} stream
 * @returns {AsyncGenerator<[string, T], void>}
 */
export async function* records(stream) {
  for await (const items of parts(stream)) {
    for (let i = 0; i < items.length; i += 2) yield [items[i], items[i + 1]];
  }
}

/**
 * Operations.
 * @template T
 * @param {number} stream
 * @param {string} [since]
 * @returns {AsyncGenerator<import("../index.js").Operation<T>, void>}
 */
export async function* operations(stream, since) {
  for await (const items of parts(stream)) {
    for (const operation of items) if (!since || operation.ts > since) yield operation;
  }
}
