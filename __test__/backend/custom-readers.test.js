/**
 * CONTRACT.md 1 and 5: readers through a custom backend beside a writer that checkpoints, undoes and archives at random.
 * `OPSLOG_SEED` repeats a run.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { FsBackend, Store } from "../../index.js";
import { temporaryDirectory } from "../support/directory.js";
import { MemoryBackend } from "../support/memory-backend.js";
import { choices, seedsOf } from "../support/random.js";
import { closedAtEnd, stateIn } from "../support/stores.js";

class Subclass extends FsBackend {}

const STEPS = 300;
const IDS = ["a", "b", "c", "d", "e", "f"];

const PAIRS = [
  { name: "native files", writer: () => undefined, reader: () => undefined },
  { name: "in memory", writer: () => new MemoryBackend(), reader: (seed) => new MemoryBackend({ seed }) },
  { name: "a subclass beside a native writer", writer: () => undefined, reader: () => new Subclass() },
  { name: "a native reader beside a subclass", writer: () => new Subclass(), reader: () => undefined },
  { name: "one subclass object for both", writer: (shared) => shared, reader: (_seed, shared) => shared },
];

/** Follows by `tail` and `refresh`, or by `watch`; a `refresh` keeps what it read for itself. */
async function follow(reader, way, below, isOver, seen) {
  if (way === "watch") {
    reader.watch((ops) => seen.push(...ops), 1 + below(5));
    while (!isOver()) await sleep(5);
    await sleep(200);
    reader.unwatch();
    // on a busy machine the last looks take longer than any pause
    seen.push(...await reader.tail());
    return;
  }
  for (let last = false; !last;) {
    last = isOver();
    if (way === "refresh" && below(2)) await reader.refresh();
    else for (const ops of await Promise.all(Array.from({ length: 1 + below(3) }, () => reader.tail()))) seen.push(...ops);
    await sleep(below(12));
  }
}

describe.each(PAIRS)("readers: $name", ({ writer, reader }) => {
  // Known: under load a native reader beside a subclass is told some operations twice, once in some thirty runs. Open.
  it.each(seedsOf([1, 2, 3]))("get each lasting operation once, and the state (seed %i)", async (seed) => {
    const below = choices(seed);
    const dir = temporaryDirectory();
    const shared = new Subclass();
    const store = closedAtEnd(new Store());
    await store.open(dir, { backend: writer(shared), durability: "os", checkpointThreshold: seed === 1 ? Infinity : 3 + below(20), checkpointOnClose: false });
    let over = false;
    const readers = [];
    for (const way of ["tail", "watch", "refresh"]) {
      const one = closedAtEnd(new Store());
      await one.open(dir, { backend: reader(seed, shared), readOnly: true });
      const seen = [];
      readers.push({ way, store: one, seen, done: follow(one, way, choices(seed + 1), () => over, seen) });
    }
    // every operation can be told from every other by its number
    const lasting = [];
    const undone = new Set();
    let number = 0;
    for (let n = 0; n < STEPS; n++) {
      const kind = below(20);
      if (kind < 13) {
        await store.set(IDS[below(IDS.length)], { n: ++number });
        lasting.push(number);
      } else if (kind < 15) {
        await store.batch(() => IDS.slice(below(3), 4).forEach((id) => {
          void store.set(id, { n: ++number });
          lasting.push(number);
        }));
      } else if (kind < 18) {
        const undoable = store.getOps().length;
        expect(await store.undo()).toBe(undoable > 0);
        if (undoable > 0) undone.add(lasting.pop());
      } else if (kind === 18) {
        await store.compact();
      } else {
        const id = IDS[below(IDS.length)];
        await store.archive((_value, key) => key === id, `S${below(2)}`);
      }
      if (below(5) === 0) await sleep(below(10));
    }
    over = true;
    await Promise.all(readers.map(({ done }) => done));
    for (const { way, store: one, seen } of readers) {
      await one.refresh();
      expect(stateIn(one), way).toEqual(stateIn(store));
      expect(one.listArchiveSegments(), way).toEqual(store.listArchiveSegments());
      expect(one.stats(), way).toEqual(store.stats());
      const numbers = seen.map(({ data }) => data?.n);
      expect(numbers.filter((n, i) => numbers.indexOf(n) !== i), `${way}: none twice`).toEqual([]);
      const survivors = numbers.filter((n) => !undone.has(n)).sort((a, b) => a - b);
      if (way === "refresh") expect(lasting, way).toEqual(expect.arrayContaining(survivors));
      else expect(survivors, way).toEqual(lasting);
    }
    await store.close();
  });
});

describe.each(["immediate", "group", "async"])("streams of a %s store in memory", (writeMode) => {
  it("give the current state together, what is buffered included", async () => {
    const dir = temporaryDirectory();
    const below = choices(5);
    const store = closedAtEnd(new Store());
    await store.open(dir, { backend: new MemoryBackend(), writeMode, groupCommitSize: 1_000, groupCommitMs: 3_600_000, checkpointThreshold: Infinity });
    for (let n = 0; n < 120; n++) {
      const id = IDS[below(IDS.length)];
      if (below(5) === 0 && store.has(id)) void store.delete(id);
      else void store.set(id, { n });
      if (n % 7 !== 0) continue;
      if (n % 3 === 0) await store.compact();
      void store.set("buffered", { n });
      const expected = store.entries();
      const records = new Map();
      for await (const [key, record] of store.streamSnapshot()) records.set(key, record);
      for await (const { op, id: key, data } of store.getWalOps()) {
        if (op === "set") records.set(key, data);
        else records.delete(key);
      }
      expect([...records].sort()).toEqual(expected.sort());
    }
  });
});
