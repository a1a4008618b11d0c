/**
 * The records as JavaScript objects: decoded when they are first read, kept until they change.
 *
 * The engine owns the records. A view is partial (some decoded records, in no order) until the first scan, which
 * completes it: then it holds every id in the engine's order and scans do not cross any more. A changed record is
 * marked stale and decoded again when it is next read.
 *
 * What could go wrong if: a predicate writes while it scans (the scan goes on over the map as it was); a record is put
 * back in the middle of the order by an undo (the view is partial again, decoded objects are kept).
 */
import * as native from "../binding.js";

/** Stands for a record that changed since it was decoded. */
const STALE = Symbol("stale");

/** From this many stale records on, and a quarter of all, a scan reads everything again instead of one by one. */
const MANY = 1000;

/** @template T */
export class View {
  #handle;
  /** @type {Map<string, T | typeof STALE>} */
  #records = new Map();
  /** @type {Set<string>} */
  #stale = new Set();
  #complete = false;
  #scans = 0;
  #copied = false;

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
    if ((known === undefined && this.#complete) || typeof id !== "string") return undefined;
    return this.#decode(id);
  }

  /** @param {string} id */
  has(id) {
    if (this.#complete) return this.#records.has(id);
    return typeof id === "string" && native.hasRecord(this.#handle, JSON.stringify(id));
  }

  get size() {
    return this.#complete ? this.#records.size : native.countRecords(this.#handle);
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
    if (this.#complete) {
      this.#detach();
      this.#records.set(id, STALE);
      this.#stale.add(id);
    } else {
      this.#records.delete(id);
    }
  }

  /**
   * A record was deleted.
   * @param {string} id
   */
  deleted(id) {
    this.#detach();
    this.#records.delete(id);
    this.#stale.delete(id);
  }

  /**
   * Records were changed otherwise; any of them may stand elsewhere in the order, or be gone.
   * @param {string[]} ids
   */
  reordered(ids) {
    this.#detach();
    for (const id of ids) {
      this.#records.delete(id);
      this.#stale.delete(id);
    }
    this.#complete = false;
  }

  /** Leaves the map to the scans that run over it, once. */
  #detach() {
    if (this.#scans > 0 && !this.#copied) {
      this.#records = new Map(this.#records);
      this.#copied = true;
    }
  }

  /**
   * Calls `scan` with all records in order.
   * @template R
   * @param {(records: Map<string, T>) => R} scan
   * @returns {R}
   */
  scan(scan) {
    if (!this.#complete || (this.#stale.size > MANY && this.#stale.size > this.#records.size / 4)) this.#readAll();
    for (const id of this.#stale) this.#decode(id);
    this.#stale.clear();
    this.#scans++;
    this.#copied = false;
    try {
      return scan(/** @type {Map<string, T>} */ (this.#records));
    } finally {
      this.#scans--;
    }
  }

  /** Reads all records, in order; objects that were decoded before stay the same. */
  #readAll() {
    const known = this.#records;
    /** @type {Map<string, T | typeof STALE>} */
    const records = new Map();
    /** @type {number | undefined} */
    let next = 0;
    while (next !== undefined) {
      const page = native.page(this.#handle, next);
      if (page === null) break;
      const ids = /** @type {string[]} */ (JSON.parse(page.ids));
      const values = /** @type {T[]} */ (JSON.parse(page.values));
      for (let i = 0; i < ids.length; i++) {
        const id = /** @type {string} */ (ids[i]);
        const old = known.get(id);
        records.set(id, old === undefined || old === STALE ? /** @type {T} */ (values[i]) : old);
      }
      next = page.next;
    }
    this.#records = records;
    this.#copied = true;
    this.#stale.clear();
    this.#complete = true;
  }
}
