// A limit, not a rival: one thread that appends a line to a file and syncs it. It keeps no state and reads nothing.

import { closeSync, fdatasyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

export const version = "";

/** @type {import("./contender.js").Contender["open"]} */
export function open(dir, { durability }) {
  mkdirSync(dir, { recursive: true });
  const file = openSync(join(dir, "raw.jsonl"), "a");
  /** @param {readonly [string, object][]} entries */
  const append = (entries) => {
    const ts = new Date().toISOString();
    const lines = entries.map(([id, data]) => JSON.stringify({ ts, op: "set", id, prev: null, data }));
    writeSync(file, `${lines.join("\n")}\n`);
    if (durability === "fsync") fdatasyncSync(file);
  };
  return {
    set: (id, record) => append([[id, record]]),
    get: () => undefined,
    batch: append,
    flush: () => {},
    checkpoint: () => {},
    close: () => closeSync(file),
  };
}
