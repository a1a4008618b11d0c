/**
 * Snapshot files outside of a store.
 */
import { resolve } from "node:path";
import * as native from "../binding.js";
import { inside } from "./paths.js";
import { opened, records } from "./streams.js";

/**
 * @template T
 * @param {string} dir
 * @param {string} relativePath
 * @returns {AsyncGenerator<[string, T], { version: number }>}
 */
export async function* streamSnapshotFile(dir, relativePath) {
  const result = await native.openSnapshotFile(resolve(dir), inside(dir, relativePath));
  yield* /** @type {AsyncGenerator<[string, T], void>} */ (records(opened(result)));
  return { version: /** @type {number} */ (result.version) };
}
