/**
 * Async generators over what the engine reads in pieces. Leaving a loop early closes the file.
 */
import * as native from "../binding.js";
import { toError } from "./errors.js";

/** @typedef {import("../binding.js").StreamResult} StreamResult */

/**
 * The items of a stream: ids and values in turn, or operations.
 * @param {StreamResult} opened
 * @returns {AsyncGenerator<any[], void>}
 */
async function* parts({ stream, failure }) {
  if (failure !== undefined || stream === undefined) throw toError(/** @type {any} */ (failure));
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
 * What a generator yields, until a signal ends it.
 * @template R
 * @param {AsyncGenerator<R, void>} items
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
 * @param {StreamResult} opened
 * @returns {AsyncGenerator<[string, T], void>}
 */
export async function* records(opened) {
  for await (const items of parts(opened)) {
    for (let i = 0; i < items.length; i += 2) yield [items[i], items[i + 1]];
  }
}

/**
 * Operations.
 * @template T
 * @param {StreamResult} opened
 * @param {string} [since]
 * @returns {AsyncGenerator<import("../index.js").Operation<T>, void>}
 */
export async function* operations(opened, since) {
  for await (const items of parts(opened)) {
    for (const operation of items) if (!since || operation.ts > since) yield operation;
  }
}
