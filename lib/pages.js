/**
 * Records cross to the engine as JSON texts of arrays `[id, value, …]`, in pieces: no text comes near the greatest
 * length of a string.
 */
import { argumentError, show } from "./errors.js";

/** About so many characters a piece. */
const PAGE = 4 << 20;

/**
 * Records as JSON texts, as they are now.
 * @param {Iterable<[string, unknown]>} records
 */
export function pagesOf(records) {
  /** @type {string[]} */
  const pages = [];
  /** @type {string[]} */
  let items = [];
  let size = 0;
  for (const [id, value] of records) {
    if (typeof id !== "string") throw argumentError(`Argument 'records' must have strings as keys, got ${show(id)}`);
    const item = `${JSON.stringify(id)},${JSON.stringify(value) ?? "null"}`;
    items.push(item);
    size += item.length;
    if (size < PAGE) continue;
    pages.push(`[${items.join(",")}]`);
    items = [];
    size = 0;
  }
  if (items.length > 0) pages.push(`[${items.join(",")}]`);
  return pages;
}

/**
 * Records out of JSON texts.
 * @param {Iterable<string>} pages
 * @returns {Map<string, unknown>}
 */
export function recordsOf(pages) {
  /** @type {Map<string, unknown>} */
  const records = new Map();
  for (const page of pages) {
    const items = JSON.parse(page);
    for (let i = 0; i < items.length; i += 2) records.set(items[i], items[i + 1]);
  }
  return records;
}
