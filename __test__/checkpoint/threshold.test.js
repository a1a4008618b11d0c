/** CONTRACT.md 4: when a checkpoint is made. */
import { describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { logLinesOf, manifestOf, snapshotLinesOf } from "../support/files.js";
import { isNative } from "../support/implementation.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore, openUpstream, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

const WAITING = WRITE_MODES.filter(({ options }) => options.writeMode !== "async");

describe.each(WAITING)("checkpointThreshold ($mode)", ({ options }) => {
  it.each([1, 2, 3, 7, 100])("given, is honoured exactly: %i", async (checkpointThreshold) => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, checkpointThreshold });
    const last = checkpointThreshold * 2 + 1;
    for (let n = 1; n <= last; n++) {
      const before = manifestOf(dir).currentSnapshot;
      await store.set(`k${n}`, { n });
      expect(store.stats().opsCount).toBe(n % checkpointThreshold);
      // the call that reaches it settles once the checkpoint has ended
      expect(manifestOf(dir).currentSnapshot !== before).toBe(n % checkpointThreshold === 0);
    }
    await store.flush();
    expect(snapshotLinesOf(dir)).toHaveLength(1 + last - (last % checkpointThreshold));
    expect(logLinesOf(dir)).toHaveLength(last % checkpointThreshold);
  });

  it.each([[1, 5], [2, 7], [3, 7], [3, 9], [5, 23], [10, 9], [100, 250]])(
    "given, is honoured exactly by calls that nobody awaits, as upstream: %i for %i calls",
    async (checkpointThreshold, calls) => {
      const dir = temporaryDirectory();
      const store = await openStore(dir, { ...options, checkpointThreshold, checkpointOnClose: false });
      const upstream = await openUpstream(temporaryDirectory(), { checkpointThreshold });
      for (const each of [upstream, store]) {
        await Promise.all(Array.from({ length: calls }, (_, n) => each.set(`k${n}`, { n })));
      }
      expect(store.stats().opsCount).toBe(upstream.stats().opsCount);
      expect(store.stats().opsCount).toBe(calls % checkpointThreshold);
      const entries = store.entries();
      expect(entries).toHaveLength(calls);
      await store.close();
      expect((await stateOf(dir)).entries).toEqual(entries);
    },
  );

  it("counts delete and batch, and not what was undone", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, checkpointThreshold: 4 });
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    await store.undo();
    await store.delete("a");
    expect(store.stats().opsCount).toBe(2);
    await store.batch(() => {
      store.set("c", { n: 1 });
      expect(store.stats().opsCount).toBeLessThanOrEqual(3);
    });
    expect(store.stats().opsCount).toBe(3);
    await store.batch(() => {
      for (const id of ["d", "e", "f"]) store.set(id, { n: 1 });
    });
    expect(store.stats().opsCount).toBe(0);
    expect(snapshotLinesOf(dir).slice(1).map(({ id }) => id)).toEqual(["c", "d", "e", "f"]);
  });

  it("counts the operations that were in the log at open", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, { ...options, checkpointOnClose: false }, async (store) => {
      await store.set("a", { n: 1 });
      await store.set("b", { n: 1 });
    });
    const store = await openStore(dir, { ...options, checkpointThreshold: 3 });
    expect(store.stats().opsCount).toBe(2);
    await store.set("c", { n: 1 });
    expect(store.stats().opsCount).toBe(0);
  });

  it("of Infinity never makes one", async () => {
    const store = await openStore(temporaryDirectory(), { ...options, checkpointThreshold: Infinity });
    await Promise.all(Array.from({ length: 500 }, (_, n) => store.set("k", { n })));
    expect(store.stats().opsCount).toBe(500);
  });
});

describe("checkpointThreshold not given", () => {
  it("is 100 for a store with fewer records", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    for (let n = 1; n <= 99; n++) await store.set(`k${n % 5}`, { n });
    expect(store.stats().opsCount).toBe(99);
    await store.set("k0", { n: 100 });
    expect(store.stats().opsCount).toBe(0);
  });

  it.runIf(isNative)("is the number of active records at the last checkpoint for a store with more", async () => {
    const dir = temporaryDirectory();
    const options = { durability: "os" };
    await withStore(dir, options, (store) => store.batch(() => {
      for (let n = 0; n < 250; n++) store.set(`k${n}`, { n });
    }));
    await withStore(dir, options, async (store) => {
      // deletions since then do not count
      for (let n = 0; n < 249; n++) await store.delete(`k${n}`);
      expect(store.stats().opsCount).toBe(249);
      await store.set("k0", { n: 0 });
      expect(store.stats().opsCount).toBe(0);
      for (let n = 0; n < 99; n++) await store.set("k0", { n });
      expect(store.stats().opsCount).toBe(99);
      await store.set("k0", { n: 0 });
      expect(store.stats().opsCount).toBe(0);
    });
  });

  it("is not replaced by a given 100 on a store with more records", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, {}, (store) => store.batch(() => {
      for (let n = 0; n < 250; n++) store.set(`k${n}`, { n });
    }));
    const store = await openStore(dir, { durability: "os", checkpointThreshold: 100 });
    for (let n = 0; n < 99; n++) await store.set("k0", { n });
    expect(store.stats().opsCount).toBe(99);
    await store.set("k0", { n: 99 });
    expect(store.stats().opsCount).toBe(0);
  });
});

describe("in async mode", () => {
  it.each(["fsync", "os"])("a checkpoint by threshold is made, and no set waits for it (%s)", async (durability) => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { writeMode: "async", durability, checkpointThreshold: 3 });
    const { currentSnapshot } = manifestOf(dir);
    for (let n = 0; n < 7; n++) await store.set(`k${n}`, { n });
    await expect.poll(() => manifestOf(dir).currentSnapshot, { timeout: PATIENCE_MS }).not.toBe(currentSnapshot);
    await expect.poll(() => store.stats().opsCount, { timeout: PATIENCE_MS }).toBeLessThan(3);
    expect(store.count()).toBe(7);
    await store.close();
    expect((await stateOf(dir)).entries).toHaveLength(7);
  });
});

describe("close", () => {
  it.each(WRITE_MODES)("checkpoints what is in the log ($mode)", async ({ options }) => {
    const dir = temporaryDirectory();
    const { currentSnapshot } = await openStore(dir, options).then(async (store) => {
      await store.set("a", { n: 1 });
      const manifest = store.getManifest();
      await store.close();
      return manifest;
    });
    expect(manifestOf(dir).currentSnapshot).not.toBe(currentSnapshot);
    expect(manifestOf(dir).stats).toMatchObject({ activeRecords: 1, opsCount: 0 });
    expect(logLinesOf(dir)).toEqual([]);
  });

  it("makes no checkpoint when there is nothing to do, and writes nothing", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const tree = treeOf(dir);
    await withStore(dir, {}, (store) => store.get("a"));
    expect(treeOf(dir)).toEqual(tree);
  });

  it("writes nothing afterwards", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { writeMode: "async", groupCommitMs: 5 });
    for (let n = 0; n < 100; n++) void store.set(`k${n}`, { n });
    await store.close();
    const tree = treeOf(dir);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(treeOf(dir)).toEqual(tree);
    expect(Object.keys(tree)).not.toContain(".lock");
  });
});
