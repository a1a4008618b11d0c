/**
 * CONTRACT.md 1: every call sees all `set` made before it. Sets of a batch, and those of one turn, reach the engine
 * together (lib/held-sets.js): nobody may notice.
 */
import { execFileSync } from "node:child_process";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logLinesOf } from "../support/files.js";
import { isNative } from "../support/implementation.js";
import { openStore, stateOf, WRITE_MODES } from "../support/stores.js";

const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };

/** More than are held at once. */
const MANY = 1_500;

/** Does nothing until the clock has gone on by so many milliseconds. */
function busyFor(milliseconds) {
  const end = Date.now() + milliseconds;
  while (Date.now() < end);
}

/** In a turn of its own: each call's promise goes to `pending`. In a batch: they are what its function does. */
const WAYS = [
  ["a turn", (store, work) => {
    const pending = [];
    work((id, value) => pending.push(store.set(id, value)));
    return Promise.all(pending);
  }],
  ["a batch", (store, work) => store.batch(() => work((id, value) => store.set(id, value)))],
];

describe.each(WRITE_MODES)("sets of one turn and of a batch ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, ...KEEP_LOG });
    await store.set("old", { n: -1 });
    // a complete view, which must learn of each
    expect(store.all()).toEqual([{ n: -1 }]);
  });

  it.each(WAYS)("of %s are seen by every read right after each", async (_way, run) => {
    await run(store, (set) => {
      const reads = [
        (id, n) => expect(store.get(id)).toEqual({ n }),
        (id) => expect(store.has(id)).toBe(true),
        (_id, n) => expect(store.count()).toBe(n + 2),
        (_id, n) => expect(store.all().at(-1)).toEqual({ n }),
        (id, n) => expect(store.entries().at(-1)).toEqual([id, { n }]),
        (_id, n) => expect(store.filter((value) => value.n === n)).toEqual([{ n }]),
        (_id, n) => expect(store.count((value) => value.n === n)).toBe(1),
        (id) => expect(store.getHistory(id)).toHaveLength(1),
        (id, n) => expect(store.getOps()[n + 1]).toMatchObject({ op: "set", id, data: { n } }),
        (_id, n) => expect(store.stats().activeRecords).toBe(n + 2),
      ];
      let n = 0;
      for (const read of reads) {
        for (let times = 0; times < 3; times++, n++) {
          set(`k${n}`, { n });
          if (times === 2) read(`k${n}`, n);
        }
      }
    });
  });

  it.each(WAYS)("of %s are all there afterwards, in order, whatever their texts and however many", async (_way, run) => {
    const texts = ["plain", "two\nlines", "\u2028", "\ud800", "日本語", "\"\\", "x".repeat(300_000), "y".repeat(70_000)];
    const expected = [["old", { n: -1 }]];
    for (let n = 0; n < MANY; n++) expected.push([`${n}${texts[n % 6]}`, { n, text: texts[(n * 5) % (n % 500 === 3 ? 8 : 6)] }]);
    expected.push(["last\nline".repeat(10_000), [1, "a\nb"]], ["last", []]);
    await run(store, (set) => {
      for (const [id, value] of expected.slice(1)) set(id, value);
    });
    expect(store.entries()).toEqual(expected);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual(expected);
    expect(logLinesOf(dir).map(({ id }) => id)).toEqual(expected.map(([id]) => id));
  });

  it.each(WAYS)("of %s record each value as it is at the call", async (_way, run) => {
    const value = { n: 0 };
    await run(store, (set) => {
      for (; value.n < 100; value.n++) set(`k${value.n}`, value);
    });
    expect(store.entries().slice(1)).toEqual(Array.from({ length: 100 }, (_, n) => [`k${n}`, { n }]));
  });

  it.each(WAYS)("of %s carry the time of their call", async (_way, run) => {
    const calledAt = [];
    await run(store, (set) => {
      for (let n = 0; n < 5; n++) {
        const before = Date.now();
        set(`k${n}`, { n });
        calledAt.push([before, Date.now()]);
        busyFor(15);
      }
    });
    const times = store.getOps().slice(1).map(({ ts }) => Date.parse(ts));
    expect(times.map((time, n) => time >= calledAt[n][0] && time <= calledAt[n][1])).toEqual(Array.from({ length: 5 }, () => true));
  });

  it.each(WAYS)("of %s survive a stack that overflows in a read", async (way, run) => {
    let n = 0;
    const held = [];
    const overflow = () => {
      try { overflow(); } catch { /* comes from below */ }
      try { store.get("old"); } catch { /* no room */ }
    };
    const deeper = (levels, ...padding) => (levels > 0 ? deeper(levels - 1, ...padding) : overflow());
    for (let round = 0; round < 20; round++) {
      await run(store, (set) => {
        for (let i = 0; i < 5; i++, n++) {
          held.push(`k${n}`);
          set(`k${n}`, { n });
        }
        try { deeper(round, ...Array.from({ length: round % 5 })); } catch { /* no room at all */ }
      }).catch((error) => {
        // the stack had no room for the end of a batch, which fails as a whole then
        if (way === "a turn" || !(error instanceof RangeError)) throw error;
        held.splice(-5);
      });
    }
    expect(store.entries().slice(1).map(([id]) => id)).toEqual(held);
    await store.close();
    expect((await stateOf(dir)).entries.slice(1).map(([id]) => id)).toEqual(held);
  });

  it("take their turn among other calls that nobody awaits", async () => {
    const calls = [
      store.set("a", { n: 1 }),
      store.set("b", { n: 1 }),
      store.delete("a"),
      store.set("c", { n: 1 }),
      store.set("d", { n: 1 }),
      store.undo(),
      store.set("e", { n: 1 }),
      store.set("f", { n: 1 }),
      store.batch(() => {
        store.set("g", { n: 1 });
        store.delete("f");
        store.set("h", { n: 1 });
      }),
      store.set("i", { n: 1 }),
      store.set("j", { n: 1 }),
      store.archive((value, id) => id === "i" || id === "j", "s"),
      store.set("k", { n: 1 }),
      store.set("l", { n: 1 }),
      store.flush(),
      store.set("m", { n: 1 }),
      store.set("n", { n: 1 }),
    ];
    const closed = store.close();
    await Promise.all(calls);
    await closed;
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(["old", "b", "c", "e", "g", "h", "k", "l", "m", "n"]);
  });

  it("of a batch that fails are gone from every read", async () => {
    const failing = store.batch(() => {
      for (let n = 0; n < MANY; n++) store.set(`k${n}`, { n });
      store.set("old", { n: 1 });
      throw new RangeError("stop");
    });
    await expect(failing).rejects.toThrow("stop");
    expect([store.has("k0"), store.has(`k${MANY - 1}`), store.count(), store.get("old")]).toEqual([false, false, 1, { n: -1 }]);
    expect(store.entries()).toEqual([["old", { n: -1 }]]);
  });

  // Who keeps files in JavaScript makes texts of arrays.
  it.runIf(isNative).each(WAYS)("of %s do not mind an Array.prototype.toJSON", async (_way, run) => {
    Array.prototype.toJSON = () => { throw new Error("no value is an array"); };
    onTestFinished(() => { delete Array.prototype.toJSON; });
    await run(store, (set) => {
      for (let n = 0; n < 10; n++) set(`k${n}`, { n });
    });
    delete Array.prototype.toJSON;
    expect(store.entries().slice(1)).toEqual(Array.from({ length: 10 }, (_, n) => [`k${n}`, { n }]));
    await store.close();
    expect((await stateOf(dir)).entries).toHaveLength(11);
  });
});

describe.runIf(isNative)("sets that are held", () => {
  it("carry real times, although Date was somebody else's when the package was imported", () => {
    const dir = temporaryDirectory();
    const program = `
      const { now } = Date;
      Date.now = () => 1e12;
      const { Store } = await import(${JSON.stringify(new URL("../../index.js", import.meta.url).href)});
      Date.now = now;
      const store = new Store();
      await store.open(${JSON.stringify(dir)}, { durability: "os" });
      await Promise.all(["a", "b", "c"].map((id) => store.set(id, {})));
      await store.batch(() => store.set("d", {}));
      console.log(JSON.stringify(store.getOps().map(({ ts }) => Date.parse(ts))));
      await store.close();`;
    const before = Date.now();
    const times = JSON.parse(execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" }));
    expect(times.map((time) => time >= before && time <= Date.now())).toEqual([true, true, true, true]);
  });

  it("settle with the checkpoint whose threshold they reach, and the others do", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os", checkpointThreshold: 100, checkpointOnClose: false });
    await Promise.all(Array.from({ length: 1_050 }, (_, n) => store.set(`k${n}`, { n })));
    expect(store.stats().opsCount).toBe(50);
    expect(store.count()).toBe(1_050);
  });
});
