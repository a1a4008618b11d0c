/**
 * Schema migration at open: the caller's function sees every record, and archived ones, before anything is stored.
 */
import * as native from "../binding.js";
import { argumentError, show, toError } from "./errors.js";
import { itemsNow, pairs } from "./streams.js";
import { isThenable, valueText } from "./values.js";

/** @typedef {(record: unknown, fromVersion: number) => unknown} Migrate */

/**
 * @param {Migrate} migrate
 * @param {string} id
 * @param {unknown} record
 * @param {number} from
 */
function migrated(migrate, id, record, from) {
  const result = migrate(record, from);
  if (isThenable(result)) {
    result.then(undefined, () => {});
    throw argumentError(`Option 'migrate' must not be async: it returned a promise for record ${show(id)}`);
  }
  if (result === undefined || result === null) {
    throw argumentError(`Option 'migrate' must return the record, it returned ${show(result)} for record ${show(id)}`);
  }
  return result;
}

/**
 * Migrates the records of a store that is being opened.
 * @param {number} handle
 * @param {Migrate} migrate
 * @param {number} from Version of the stored records.
 * @param {number} to Version that is asked for.
 */
export function migrateLoaded(handle, migrate, from, to) {
  migrateRecords(handle, migrate, from);
  const { segments, failure } = native.loadedSegments(handle);
  if (failure !== undefined) throw toError(failure);
  for (const { path, version, stream } of segments) {
    const records = migrateSegment(pairs(itemsNow(stream)), migrate, version);
    const members = records.map(([id, record]) => `${JSON.stringify(id)}:${valueText(record)}`);
    native.migrateSegment(handle, path, to, `{${members.join(",")}}`);
  }
}

/**
 * Migrates the records of a store that is being opened, without its archives.
 * @param {number} handle
 * @param {Migrate} migrate
 * @param {number} from Version of the stored records.
 */
export function migrateRecords(handle, migrate, from) {
  /** @type {number | undefined} */
  let next = 0;
  while (next !== undefined) {
    const page = native.loadedPage(handle, next);
    if (page === null) break;
    const ids = /** @type {string[]} */ (JSON.parse(page.ids));
    const values = /** @type {unknown[]} */ (JSON.parse(page.values));
    const texts = ids.map((id, i) => valueText(migrated(migrate, id, values[i], from)));
    native.migrateValues(handle, `[${texts.join(",")}]`);
    next = page.next;
  }
}

/**
 * @template T
 * @param {[string, T][]} records
 * @param {Migrate} migrate
 * @param {number} from
 * @returns {[string, T][]}
 */
export function migrateSegment(records, migrate, from) {
  return records.map(([id, record]) => [id, /** @type {T} */ (migrated(migrate, id, record, from))]);
}
