/** CONTRACT.md 1: `stats`, `getManifest`, `flush`, `sync`. */
import { beforeEach, describe, expect, it } from "vitest";
import { filesOf, temporaryDirectory } from "../support/directory.js";
import { Store } from "../support/implementation.js";
import { logLinesOf, manifestOf } from "../support/files.js";
import { openStore, stateOf, WRITE_MODES } from "../support/stores.js";

describe("getManifest", () => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { durability: "os" });
  });

  /** The names that it gives are those of the manifest, and of files that exist. */
  function expectCurrent() {
    const { currentSnapshot, activeOps, archiveSegments, stats } = manifestOf(dir);
    expect(store.getManifest()).toEqual({ currentSnapshot, activeOps, archiveSegments, stats });
    expect(filesOf(dir)).toEqual(expect.arrayContaining([currentSnapshot, activeOps, ...archiveSegments]));
  }

  it("is null before open", () => {
    expect(new Store().getManifest()).toBe(null);
  });

  it("names the current files after open, a write, a checkpoint and an archive", async () => {
    expectCurrent();
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    expectCurrent();
    const { currentSnapshot, activeOps } = store.getManifest();
    await store.compact();
    expectCurrent();
    expect(store.getManifest().currentSnapshot).not.toBe(currentSnapshot);
    expect(store.getManifest().activeOps).not.toBe(activeOps);
    await store.archive((_value, id) => id === "a", "s");
    expectCurrent();
  });

  it("names the current files after a checkpoint by threshold", async () => {
    await store.close();
    store = await openStore(dir, { checkpointThreshold: 3 });
    for (const id of ["a", "b", "c"]) await store.set(id, { id });
    expectCurrent();
    expect(store.getManifest().stats).toMatchObject({ activeRecords: 3, opsCount: 0 });
  });

  it("follows upstream's patterns of names and has its members", () => {
    const manifest = store.getManifest();
    expect(manifest.currentSnapshot).toMatch(/^snapshots\/snap-\d+\.jsonl$/);
    expect(manifest.activeOps).toMatch(/^ops\/ops-\d+\.jsonl$/);
    expect(Object.keys(manifest.stats)).toEqual(["activeRecords", "archivedRecords", "opsCount", "created", "lastCheckpoint"]);
  });

  it("keeps stats.created for the store's life", async () => {
    const { created } = store.getManifest().stats;
    await store.set("a", { n: 1 });
    await store.close();
    store = await openStore(dir);
    expect(store.getManifest().stats.created).toBe(created);
    await store.compact();
    expect(store.getManifest().stats.created).toBe(created);
  });

  it("cannot be used to change the store", async () => {
    await store.set("a", { n: 1 });
    const manifest = store.getManifest();
    Reflect.set(manifest, "activeOps", "ops/none.jsonl");
    Reflect.set(manifest.archiveSegments, 0, "archive/none.json");
    Reflect.set(manifest.stats, "created", "never");
    await store.compact();
    expectCurrent();
  });

  it("works on a read-only store", async () => {
    await store.close();
    store = await openStore(dir, { readOnly: true });
    expectCurrent();
  });
});

describe("stats", () => {
  it("counts active records, operations since the checkpoint and archive segments", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    expect(store.stats()).toMatchObject({ activeRecords: 0, opsCount: 0, archiveSegments: 0 });
    const pending = [store.set("a", { n: 1 }), store.set("b", { n: 1 }), store.delete("a")];
    expect(store.stats()).toMatchObject({ activeRecords: 1, opsCount: 3, archiveSegments: 0 });
    await Promise.all(pending);
    await store.undo();
    expect(store.stats()).toMatchObject({ activeRecords: 2, opsCount: 2, archiveSegments: 0 });
    await store.archive((_value, id) => id === "a", "s");
    expect(store.stats()).toMatchObject({ activeRecords: 1, opsCount: 0, archiveSegments: 1 });
  });
});

describe.each(WRITE_MODES)("flush and sync ($mode)", ({ options }) => {
  it.each(["flush", "sync"])("%s hands all earlier writes to the operating system", async (method) => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, checkpointThreshold: Infinity });
    const pending = [];
    for (let n = 0; n < 100; n++) pending.push(store.set(`k${n}`, { n }));
    expect(await store[method]()).toBe(undefined);
    expect(logLinesOf(dir).map((op) => op.id)).toEqual(Array.from({ length: 100 }, (_, n) => `k${n}`));
    await Promise.all(pending);
    expect((await stateOf(dir)).entries).toHaveLength(100);
  });

  it.each(["flush", "sync"])("%s resolves when there is nothing to do", async (method) => {
    const store = await openStore(temporaryDirectory(), options);
    expect(await store[method]()).toBe(undefined);
    await store.set("a", { n: 1 });
    await store[method]();
    expect(await store[method]()).toBe(undefined);
  });
});
