/**
 * The records as JavaScript objects: decoded when they are first read, kept until they change.
 *
 * The engine owns the records. A view is partial (some decoded records, in no order) until the first scan, which
 * completes it: from then on scans do not cross any more. What a scan runs over are two arrays, the ids and the values
 * in the engine's order, which are twice as fast to walk over as a map; the map of a complete view is made by the first
 * call that looks a record up. A changed record is marked stale and decoded again when it is next read.
 *
 * What could go wrong if: a predicate writes while it scans (the scan goes on over the arrays as they were, which
 * nobody changes); a record is put back in the middle of the order by an undo (the view is partial again, decoded
 * objects are kept).
 */
import * as native from "../binding.js";

/** Stands for a record that changed since it was decoded. */
const STALE = Symbol("stale");

/** From this many stale records on, and a quarter of all, a scan reads everything again instead of one by one. */
const MANY = 1000;

/**
 * All records in order. Never changed: a scan may be running over them.
 * @template T
 * @typedef {{ ids: readonly string[], values: readonly T[] }} Lists
 */

/** @template T */
export class View {
  #handle;
  /** Decoded records. Those of a complete view are all records, in order. @type {Map<string, T | typeof STALE>} */
  #records = new Map();
  /** @type {Set<string>} */
  #stale = new Set();
  #complete = false;
  /** All records, none of them stale; if the view is not complete, the map is to be made of them. @type {Lists<T> | undefined} */
  #lists;
  #readings = 0;
  /** Something was scanned since the last change. */
  #scanned = false;

  /** @param {number} handle */
  constructor(handle) {
    this.#handle = handle;
  }

  /**
   * @param {string} id
   * @returns {T | undefined}
   */
  get(id) {
    const known = this.#records.get(id);
    if (known !== undefined && known !== STALE) return known;
    if (typeof id !== "string" || (known === undefined && this.#complete)) return undefined;
    if (!this.#index()) return this.#decode(id);
    return /** @type {T | undefined} */ (this.#records.get(id));
  }

  /** How often everything was read. */
  get readings() {
    return this.#readings;
  }

  /** @param {string} id */
  has(id) {
    this.#index();
    if (this.#complete) return this.#records.has(id);
    return typeof id === "string" && native.hasRecord(this.#handle, JSON.stringify(id));
  }

  get size() {
    if (this.#lists !== undefined) return this.#lists.ids.length;
    return this.#complete ? this.#records.size : native.countRecords(this.#handle);
  }

  /** @returns {T[]} */
  all() {
    this.#prepare();
    // A copy of an array takes half the time, but is worth making the array only for who scans again and again.
    if (this.#lists === undefined && !this.#scanned) {
      this.#scanned = true;
      return Array.from(/** @type {Map<string, T>} */ (this.#records).values());
    }
    return this.#listed().values.slice();
  }

  /** @returns {[string, T][]} */
  entries() {
    const { ids, values } = this.lists();
    /** @type {[string, T][]} */
    const found = [];
    for (let i = 0; i < ids.length; i++) found.push([/** @type {string} */ (ids[i]), /** @type {T} */ (values[i])]);
    return found;
  }

  /**
   * All records in order, as they are now.
   * @returns {Lists<T>}
   */
  lists() {
    this.#prepare();
    return this.#listed();
  }

  /** @param {string} id */
  #decode(id) {
    const text = native.getRecord(this.#handle, JSON.stringify(id));
    if (text === null) {
      // Taken back since, which the engine is about to tell.
      this.deleted(id);
      return undefined;
    }
    const value = /** @type {T} */ (JSON.parse(text));
    this.#records.set(id, value);
    this.#stale.delete(id);
    return value;
  }

  /**
   * A record was created or replaced.
   * @param {string} id
   */
  changed(id) {
    this.#change();
    if (this.#complete) {
      this.#records.set(id, STALE);
      this.#stale.add(id);
    } else if (this.#records.size > 0) {
      this.#records.delete(id);
    }
  }

  /**
   * A record was deleted.
   * @param {string} id
   */
  deleted(id) {
    this.#change();
    this.#records.delete(id);
    this.#stale.delete(id);
  }

  /**
   * Records were changed otherwise; any of them may stand elsewhere in the order, or be gone.
   * @param {string[]} ids
   */
  reordered(ids) {
    this.#change();
    for (const id of ids) {
      this.#records.delete(id);
      this.#stale.delete(id);
    }
    this.#complete = false;
  }

  /** What the arrays say holds no longer. */
  #change() {
    this.#index();
    this.#lists = undefined;
    this.#scanned = false;
  }

  /** Makes the map of a view of which there are the arrays only. True if there was one to make. */
  #index() {
    if (this.#complete || this.#lists === undefined) return false;
    const { ids, values } = this.#lists;
    const records = new Map();
    for (let i = 0; i < ids.length; i++) records.set(ids[i], values[i]);
    this.#records = records;
    this.#complete = true;
    return true;
  }

  /** All records are decoded afterwards. */
  #prepare() {
    if (this.#lists !== undefined) return;
    if (!this.#complete || (this.#stale.size > MANY && this.#stale.size > this.#records.size / 4)) this.#readAll();
    for (const id of this.#stale) this.#decode(id);
    this.#stale.clear();
  }

  /** @returns {Lists<T>} */
  #listed() {
    if (this.#lists === undefined) {
      const records = /** @type {Map<string, T>} */ (this.#records);
      this.#lists = { ids: Array.from(records.keys()), values: Array.from(records.values()) };
    }
    return this.#lists;
  }

  /** Reads all records, in order; objects that were decoded before stay the same. */
  #readAll() {
    const known = this.#records;
    /** @type {string[]} */
    const allIds = [];
    /** @type {T[]} */
    const allValues = [];
    /** @type {number | undefined} */
    let next = 0;
    let end, moved = false;
    while (next !== undefined) {
      const page = native.page(this.#handle, next);
      if (page === null) break;
      const ids = /** @type {string[]} */ (JSON.parse(page.ids));
      const values = /** @type {T[]} */ (together(page));
      for (let i = 0; i < ids.length; i++) {
        const id = /** @type {string} */ (ids[i]);
        const old = known.size === 0 ? undefined : known.get(id);
        allIds.push(id);
        allValues.push(old === undefined || old === STALE ? /** @type {T} */ (values[i]) : old);
      }
      next = page.next;
      moved ||= end !== undefined && page.end !== end;
      end = page.end;
    }
    this.#lists = { ids: allIds, values: allValues };
    this.#complete = false;
    this.#records = new Map();
    this.#stale.clear();
    this.#readings++;
    // What the engine applied meanwhile, which it is about to tell, may have left a record and its successor: one of them.
    if (moved) this.#change();
  }
}

/**
 * The values of a page whose objects were taken apart: an object begins as a copy of one with the same members, which
 * is faster than to read their names again.
 * @param {{ templates: string, runs: string, values: string }} page
 */
function together({ templates: objects, runs: counts, values: texts }) {
  const templates = /** @type {Record<string, unknown>[]} */ (JSON.parse(objects));
  const runs = /** @type {number[]} */ (JSON.parse(counts));
  const values = /** @type {unknown[]} */ (JSON.parse(texts));
  if (templates.length === 0) return values;
  const found = [];
  let at = 0;
  for (let run = 0; run < runs.length; run += 2) {
    const shape = /** @type {number} */ (runs[run]);
    let count = /** @type {number} */ (runs[run + 1]);
    if (shape === 0) {
      for (; count > 0; count--) found.push(values[at++]);
      continue;
    }
    const template = templates[shape - 1];
    const names = Object.keys(/** @type {object} */ (template));
    for (; count > 0; count--) {
      const object = { ...template };
      for (let i = 0; i < names.length; i++) object[/** @type {string} */ (names[i])] = values[at++];
      found.push(object);
    }
  }
  return found;
}
