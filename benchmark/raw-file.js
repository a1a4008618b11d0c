// A file of lines and nothing else: what the limits `raw` and `raw-awaited` write.

import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

/**
 * @param {string} dir
 * @param {(file: number) => Promise<void> | void} sync called after each write
 * @returns {import("./contenders/contender.js").Handle}
 */
export function rawFile(dir, sync) {
  mkdirSync(dir, { recursive: true });
  const file = openSync(join(dir, "raw.jsonl"), "a");
  /** @param {readonly [string, object][]} entries */
  const append = (entries) => {
    const ts = new Date().toISOString();
    const lines = entries.map(([id, data]) => JSON.stringify({ ts, op: "set", id, prev: null, data }));
    writeSync(file, `${lines.join("\n")}\n`);
    return sync(file);
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
