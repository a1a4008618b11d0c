/** CONTRACT.md 1 and 3: `compact`, a checkpoint now, while reads and writes go on. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logLinesOf, manifestOf, snapshotLinesOf } from "../support/files.js";
import { hasFiles } from "../support/implementation.js";
import { openStore, openUpstream, stateIn, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

describe.each(WRITE_MODES)("compact ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.set("a", { n: 1 });
    await store.set("b", { n: 2 });
  });

  it.runIf(hasFiles)("writes what was called before it into a snapshot and leaves an empty log", async () => {
    const { currentSnapshot, activeOps, stats: { created } } = manifestOf(dir);
    expect(await store.compact()).toBe(undefined);
    const manifest = manifestOf(dir);
    expect(manifest.currentSnapshot).not.toBe(currentSnapshot);
    expect(manifest.activeOps).not.toBe(activeOps);
    expect(manifest.stats).toMatchObject({ activeRecords: 2, archivedRecords: 0, opsCount: 0, created });
    expect(readFileSync(join(dir, "manifest.json"), "utf8")).toBe(JSON.stringify(manifest, null, 2));
    const [header, ...records] = snapshotLinesOf(dir);
    expect(header).toMatchObject({ version: 1, count: 2, crc: expect.anything() });
    expect(Object.keys(header).slice(0, 2)).toEqual(["version", "timestamp"]);
    expect(records).toEqual([{ id: "a", data: { n: 1 } }, { id: "b", data: { n: 2 } }]);
    expect(logLinesOf(dir)).toEqual([]);
    expect(store.getOps()).toEqual([]);
    expect(store.stats().opsCount).toBe(0);
  });

  it("stands between what was called before and after it, when nobody awaits", async () => {
    const results = await Promise.all([
      store.set("c", { n: 3 }), store.compact(), store.set("d", { n: 4 }), store.delete("a"),
    ]);
    expect(results).toEqual([undefined, undefined, undefined, undefined]);
    await store.flush();
    expect(snapshotLinesOf(dir).slice(1).map(({ id }) => id)).toEqual(["a", "b", "c"]);
    expect(logLinesOf(dir).map(({ op, id }) => [op, id])).toEqual([["set", "d"], ["delete", "a"]]);
    expect(store.getOps().map(({ op, id }) => [op, id])).toEqual([["set", "d"], ["delete", "a"]]);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("is a limit that undo does not cross, in the order of the calls", async () => {
    expect(await Promise.all([store.compact(), store.undo()])).toEqual([undefined, false]);
    expect(await Promise.all([store.set("c", { n: 3 }), store.compact(), store.undo()])).toEqual([undefined, undefined, false]);
    expect(await Promise.all([store.compact(), store.set("d", { n: 4 }), store.undo()])).toEqual([undefined, undefined, true]);
    expect(await Promise.all([store.set("e", { n: 5 }), store.undo(), store.compact()])).toEqual([undefined, true, undefined]);
    expect(store.entries().map(([id]) => id)).toEqual(["a", "b", "c"]);
    expect(await store.undo()).toBe(false);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("lets reads and writes go on meanwhile, and loses none of them", async () => {
    await store.batch(() => {
      for (let n = 0; n < 20_000; n++) store.set(`k${n}`, { n, text: "some text to write" });
    });
    let done = false;
    const compacting = store.compact().then(() => {
      done = true;
    });
    const pending = [];
    for (let n = 0; !done || n < 300; n++) {
      const id = `k${n % 20_000}`;
      pending.push(n % 3 === 2 ? store.set(`new${n}`, { n }) : store.set(id, { n, changed: true }));
      expect(store.get("a")).toEqual({ n: 1 });
      if (n % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
    }
    await compacting;
    await Promise.all(pending);
    expect(store.getOps()).toHaveLength(pending.length);
    const state = stateIn(store);
    await store.close();
    const again = await stateOf(dir);
    expect(again.entries).toEqual(state.entries);
    expect(again.ops).toEqual(state.ops);
  });

  it("may be called many times at once", async () => {
    await Promise.all([store.compact(), store.compact(), store.set("c", { n: 3 }), store.compact(), store.compact()]);
    expect(store.getOps()).toEqual([]);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("leaves a store that upstream reads and checkpoints", async () => {
    await store.compact();
    await store.set("c", { n: 3 });
    await store.close();
    const upstream = await openUpstream(dir);
    expect(upstream.entries()).toEqual([["a", { n: 1 }], ["b", { n: 2 }], ["c", { n: 3 }]]);
    await upstream.compact();
    await upstream.close();
    await withStore(dir, {}, (again) => expect(again.entries()).toEqual([["a", { n: 1 }], ["b", { n: 2 }], ["c", { n: 3 }]]));
  });
});

describe("names of files", () => {
  it("keep the pattern name-<digits> and are new in each of many checkpoints in a row", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    const seen = new Set();
    for (let n = 0; n < 40; n++) {
      await store.set("a", { n });
      await store.compact();
      const { currentSnapshot, activeOps } = manifestOf(dir);
      expect(currentSnapshot).toMatch(/^snapshots\/snap-\d+\.jsonl$/);
      expect(activeOps).toMatch(/^ops\/ops-\d+\.jsonl$/);
      seen.add(currentSnapshot).add(activeOps);
      expect(snapshotLinesOf(dir)[1]).toEqual({ id: "a", data: { n } });
    }
    expect(seen.size).toBe(80);
  });

  it.runIf(hasFiles)("never collide with a file that is there", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    await store.set("a", { n: 1 });
    const now = Date.now();
    for (let ms = 0; ms < 4_000; ms++) {
      writeFileSync(join(dir, `ops/ops-${now + ms}.jsonl`), "foreign");
      writeFileSync(join(dir, `snapshots/snap-${now + ms}.jsonl`), "foreign");
    }
    await store.compact();
    await store.set("b", { n: 1 });
    expect(snapshotLinesOf(dir)[1]).toEqual({ id: "a", data: { n: 1 } });
    expect(logLinesOf(dir)).toHaveLength(1);
    const foreign = ["ops", "snapshots"].flatMap((folder) => readdirSync(join(dir, folder))
      .filter((name) => readFileSync(join(dir, folder, name), "utf8") === "foreign"));
    expect(foreign).toHaveLength(8_000);
  });
});
