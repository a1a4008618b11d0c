/** CONTRACT.md 2 and issue 2: a flipped bit anywhere in a log or snapshot that we wrote is noticed. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { cutTailsOf, logPathOf, snapshotPathOf } from "../support/files.js";
import { Store } from "../support/implementation.js";
import { stateOf, withStore } from "../support/stores.js";

const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };

// thousands of damaged logs are reported there
beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => {});
});

afterEach(() => {
  vi.restoreAllMocks();
});

/**
 * Opens a directory read-only.
 *
 * @param {string} dir store directory
 * @returns {Promise<string>} the state as text, or the code of the refusal
 */
async function outcomeOf(dir) {
  const store = new Store();
  try {
    await store.open(dir, { readOnly: true });
  } catch (error) {
    return `refused: ${error.code}`;
  }
  const state = JSON.stringify(store.entries());
  await store.close();
  return state;
}

/**
 * Calls `visit` with every version of `bytes` that differs in one bit.
 *
 * @param {Buffer} bytes the original
 * @param {(flipped: Buffer, at: number, bit: number) => Promise<void>} visit what to do
 */
async function forEachFlip(bytes, visit) {
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[at] ^= 1 << bit;
      await visit(flipped, at, bit);
    }
  }
}

describe("in a log of ours", () => {
  let dir;
  let log;
  let bytes;
  /** JSON text of the state after each line. */
  let states;

  beforeEach(async () => {
    dir = temporaryDirectory();
    states = ["[]"];
    const note = (store) => states.push(JSON.stringify(store.entries()));
    await withStore(dir, KEEP_LOG, async (store) => {
      await store.set("a", { n: 1 });
      note(store);
      await store.batch(() => {
        store.set("b", { n: 2 });
        store.set("a", { n: 3 });
      });
      note(store);
      await store.delete("b");
      note(store);
      await store.set("c", { n: 4 });
      note(store);
    });
    log = logPathOf(dir);
    bytes = readFileSync(log);
  });

  it("every flipped bit is noticed: open rejects, or cuts the last line", async () => {
    const lastLine = bytes.lastIndexOf(10, bytes.length - 2);
    const surprises = [];
    await forEachFlip(bytes, async (flipped, at, bit) => {
      writeFileSync(log, flipped);
      const outcome = await outcomeOf(dir);
      const allowed = ["refused: OPSLOG_CORRUPT"];
      if (at > lastLine) allowed.push(states[3]);
      // the last two lines run together are one invalid line that reaches the end of the file
      if (at === lastLine) allowed.push(states[2], states[3]);
      // a last line that lost only its newline is whole
      if (at === bytes.length - 1) allowed.push(states[4]);
      if (!allowed.includes(outcome)) surprises.push({ at, bit, outcome });
    });
    expect(surprises).toEqual([]);
  });

  it("a flipped bit in the last line is cut and saved by a writer", async () => {
    const lastLine = bytes.lastIndexOf(10, bytes.length - 2) + 1;
    for (let at = lastLine; at < bytes.length - 1; at += 11) {
      const flipped = Buffer.from(bytes);
      flipped[at] ^= 1 << (at % 8);
      writeFileSync(log, flipped);
      await withStore(dir, KEEP_LOG, (store) => expect(JSON.stringify(store.entries())).toBe(states[3]));
      expect(readFileSync(log).equals(bytes.subarray(0, lastLine))).toBe(true);
      const saved = cutTailsOf(dir).map((path) => readFileSync(path).toString("hex"));
      expect(saved).toContain(flipped.subarray(lastLine).toString("hex"));
    }
  });

  it("cut at any byte it opens to the state of its whole lines, and batches are whole or absent", async () => {
    const ends = [];
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) ends.push(at);
    const surprises = [];
    for (let length = 0; length <= bytes.length; length++) {
      writeFileSync(log, bytes.subarray(0, length));
      const lines = ends.filter((end) => end <= length).length;
      const outcome = await outcomeOf(dir);
      if (outcome !== states[[0, 1, 1, 2, 3, 4][lines]]) surprises.push({ length, outcome });
    }
    expect(surprises).toEqual([]);
  });
});

describe("in a snapshot of ours", () => {
  let dir;
  let path;
  let bytes;
  let whole;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await withStore(dir, {}, async (store) => {
      await store.set("a", { n: 1 });
      await store.set("b", { text: "é" });
      await store.set("c", [1, 2]);
    });
    path = snapshotPathOf(dir);
    bytes = readFileSync(path);
    whole = JSON.stringify((await stateOf(dir)).entries);
  });

  it("every flipped bit makes open reject", async () => {
    const surprises = [];
    await forEachFlip(bytes, async (flipped, at, bit) => {
      writeFileSync(path, flipped);
      const outcome = await outcomeOf(dir);
      if (!outcome.startsWith("refused: OPSLOG_")) surprises.push({ at, bit, outcome });
    });
    expect(surprises).toEqual([]);
  });

  it("cut at any byte it is refused, apart from its last newline", async () => {
    const surprises = [];
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length));
      const outcome = await outcomeOf(dir);
      const isWhole = length === bytes.length - 1 && outcome === whole;
      if (!isWhole && !outcome.startsWith("refused: OPSLOG_")) surprises.push({ length, outcome });
    }
    expect(surprises).toEqual([]);
  });

  it("a record that is doubled, moved or removed is noticed", async () => {
    const [header, ...records] = bytes.toString().split(/(?<=\n)/);
    const versions = [
      [header, ...records, records[0]],
      [header, records[1], records[0], records[2]],
      [header, records[0], records[2]],
      [header, records[0], records[1], records[1]],
    ];
    for (const lines of versions) {
      writeFileSync(path, lines.join(""));
      expect(await outcomeOf(dir)).toMatch(/^refused: OPSLOG_/);
    }
  });
});
