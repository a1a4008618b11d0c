/** CONTRACT.md 1 and 3: `archive`, `loadArchive`, `listArchiveSegments`. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { validateArchiveSegment } from "@backloghq/opslog";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf, thrownBy } from "../support/errors.js";
import { manifestOf } from "../support/files.js";
import { hasFiles } from "../support/implementation.js";
import { openStore, openUpstream, stateIn, stateOf } from "../support/stores.js";

describe("archive", () => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { durability: "os" });
    for (const id of ["a", "b", "c"]) await store.set(id, { id });
  });

  it("resolves with the count once committed, and the records are in the segment only", async () => {
    expect(await store.archive((_value, id) => id !== "b", "2026-Q1")).toBe(2);
    expect(store.entries()).toEqual([["b", { id: "b" }]]);
    expect(store.listArchiveSegments()).toEqual(["archive/archive-2026-Q1.json"]);
    expect(manifestOf(dir)).toMatchObject({
      archiveSegments: ["archive/archive-2026-Q1.json"],
      stats: { activeRecords: 1, archivedRecords: 2, opsCount: 0 },
    });
    expect((await stateOf(dir)).entries).toEqual([["b", { id: "b" }]]);
  });

  it("gives the predicate (value, id)", async () => {
    expect(await store.archive((value, id) => value.id === "a" && id === "a", "s")).toBe(1);
  });

  it.runIf(hasFiles)("writes the segment as upstream reads it", async () => {
    await store.archive(() => true, "2026-Q1");
    const segment = JSON.parse(readFileSync(join(dir, "archive/archive-2026-Q1.json"), "utf8"));
    expect(segment).toMatchObject({ version: 1, period: "2026-Q1", records: { a: { id: "a" }, b: { id: "b" } } });
    expect(new Date(segment.timestamp).toISOString()).toBe(segment.timestamp);
    await store.close();
    const upstream = await openUpstream(dir);
    expect([...(await upstream.loadArchive("2026-Q1"))]).toEqual(["a", "b", "c"].map((id) => [id, { id }]));
  });

  it("of nothing resolves 0 and changes nothing", async () => {
    const tree = treeOf(dir);
    const ops = store.getOps();
    expect(await store.archive(() => false, "s")).toBe(0);
    expect(store.listArchiveSegments()).toEqual([]);
    expect(store.getOps()).toEqual(ops);
    expect(treeOf(dir)).toEqual(tree);
  });

  it("names the segment YYYY-QN by default", async () => {
    await store.archive((_value, id) => id === "a");
    const [segment] = store.listArchiveSegments();
    expect(segment).toMatch(/^archive\/archive-\d{4}-Q[1-4]\.json$/);
    const now = new Date();
    expect(segment).toBe(`archive/archive-${now.getFullYear()}-Q${Math.ceil((now.getMonth() + 1) / 3)}.json`);
    expect((await store.loadArchive(segment)).get("a")).toEqual({ id: "a" });
  });

  it("adds to a segment that exists, and the newer record wins", async () => {
    await store.archive((_value, id) => id === "a", "s");
    await store.set("a", { id: "newer" });
    await store.archive(() => true, "s");
    expect(store.listArchiveSegments()).toEqual(["archive/archive-s.json"]);
    expect([...(await store.loadArchive("s"))].sort()).toEqual([["a", { id: "newer" }], ["b", { id: "b" }], ["c", { id: "c" }]]);
  });

  it("keeps stats.archivedRecords the number of records in all segments", async () => {
    await store.archive((_value, id) => id === "a", "s");
    await store.set("a", { id: "newer" });
    await store.archive((_value, id) => id !== "b", "s");
    expect(manifestOf(dir).stats.archivedRecords).toBe(2);
    await store.archive(() => true, "t");
    expect(manifestOf(dir).stats.archivedRecords).toBe(3);
    expect(store.getManifest().stats.archivedRecords).toBe(3);
    expect(store.stats().archiveSegments).toBe(2);
  });

  it("whose predicate throws rejects with that error and archives nothing", async () => {
    const tree = treeOf(dir);
    const state = stateIn(store);
    const error = new RangeError("stop");
    const failing = store.archive((_value, id) => {
      if (id === "b") throw error;
      return true;
    }, "s");
    await expect(failing).rejects.toBe(error);
    expect(stateIn(store)).toEqual(state);
    expect(store.listArchiveSegments()).toEqual([]);
    expect(treeOf(dir)).toEqual(tree);
  });

  it("refuses a predicate that is no function", async () => {
    await expect(store.archive(undefined, "s")).rejects.toThrow(TypeError);
    await expect(store.archive("all", "s")).rejects.toThrow(TypeError);
    expect(store.count()).toBe(3);
  });

  it("takes its place in the order of the calls when nobody awaits them", async () => {
    const results = await Promise.all([
      store.set("d", { id: "d" }),
      store.archive((_value, id) => id !== "b", "s"),
      store.set("e", { id: "e" }),
      store.undo(),
      store.undo(),
      store.archive(() => true, "t"),
    ]);
    expect(results).toEqual([undefined, 3, undefined, true, false, 1]);
    expect(store.entries()).toEqual([]);
    expect([...(await store.loadArchive("s"))].map(([id]) => id).sort()).toEqual(["a", "c", "d"]);
    expect([...(await store.loadArchive("t"))]).toEqual([["b", { id: "b" }]]);
  });

  it("cannot be undone", async () => {
    await store.archive((_value, id) => id === "a", "s");
    expect(await store.undo()).toBe(false);
    expect(store.getOps()).toEqual([]);
  });

  it.each([
    "../outside", "..", ".", "a/b", "/absolute", "../../manifest", "x/../../y", "nul\u0000byte", "", 7, {}, "a".repeat(300),
  ])("refuses a segment name that would leave the archive folder or is none: %j", async (segment) => {
    const tree = treeOf(dir);
    const state = stateIn(store);
    await expect(store.archive(() => true, segment)).rejects.toThrow();
    expect(stateIn(store)).toEqual(state);
    expect(treeOf(dir)).toEqual(tree);
    await store.set("d", { id: "d" });
    expect(store.count()).toBe(4);
  });

  it.each(["2026-Q1", "with space", "日本語", "a.b", "-"])("takes any plain segment name: %j", async (segment) => {
    expect(await store.archive(() => true, segment)).toBe(3);
    expect(store.listArchiveSegments()).toEqual([`archive/archive-${segment}.json`]);
    expect((await store.loadArchive(segment)).size).toBe(3);
    await store.close();
    const upstream = await openUpstream(dir);
    expect((await upstream.loadArchive(segment)).size).toBe(3);
  });

  it("adds to a segment that upstream wrote", async () => {
    await store.close();
    const upstream = await openUpstream(dir);
    await upstream.archive((_value, id) => id === "a", "s");
    await upstream.close();
    store = await openStore(dir);
    await store.archive((_value, id) => id === "b", "s");
    expect([...(await store.loadArchive("s"))]).toEqual([["a", { id: "a" }], ["b", { id: "b" }]]);
    expect(manifestOf(dir).stats.archivedRecords).toBe(2);
  });
});

describe("loadArchive", () => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { durability: "os" });
    for (const [id, segment] of [["a", "2026-Q1"], ["b", "2026-Q10"], ["c", "6-Q1"]]) {
      await store.set(id, { id });
      await store.archive(() => true, segment);
    }
  });

  it("takes what listArchiveSegments returns", async () => {
    const found = await Promise.all(store.listArchiveSegments().map((name) => store.loadArchive(name)));
    expect(found.map((map) => [...map.keys()])).toEqual([["a"], ["b"], ["c"]]);
  });

  it("takes the bare segment name, exactly", async () => {
    const found = await Promise.all(["2026-Q10", "2026-Q1", "6-Q1"].map((name) => store.loadArchive(name)));
    expect(found.map((map) => [...map.keys()])).toEqual([["b"], ["a"], ["c"]]);
    expect(found[0]).toBeInstanceOf(Map);
  });

  it("throws on an ambiguous name", async () => {
    await expect(store.loadArchive("2026")).rejects.toThrow(/2026/);
    await expect(store.loadArchive("Q1")).rejects.toThrow(/Q1/);
  });

  it("throws on a missing one: Archive segment 'NAME' not found", async () => {
    const error = await rejectionOf(store.loadArchive("1999-Q1"));
    expect(error.message).toBe("Archive segment '1999-Q1' not found");
    expect(error.code).toBe("OPSLOG_NOT_FOUND");
  });

  it.each(["../manifest.json", "archive/../manifest.json", "../../etc/passwd", ""])("reads nothing else: %j", async (name) => {
    await expect(store.loadArchive(name)).rejects.toThrow();
  });

  it("gives a map of the caller's own", async () => {
    (await store.loadArchive("6-Q1")).get("c").id = "changed";
    expect((await store.loadArchive("6-Q1")).get("c")).toEqual({ id: "c" });
  });

  it("works on a read-only store and after a restart", async () => {
    await store.close();
    const reader = await openStore(dir, { readOnly: true });
    expect(reader.listArchiveSegments()).toHaveLength(3);
    expect((await reader.loadArchive("6-Q1")).get("c")).toEqual({ id: "c" });
  });

  it.runIf(hasFiles).each([
    ["no object", []],
    ["version", { version: 0, period: "p", timestamp: "t", records: {} }],
    ["period", { version: 1, period: "", timestamp: "t", records: {} }],
    ["timestamp", { version: 1, period: "p", records: {} }],
    ["records", { version: 1, period: "p", timestamp: "t", records: [] }],
  ])("rejects a damaged segment in upstream's words: %s", async (_name, segment) => {
    writeFileSync(join(dir, "archive/archive-6-Q1.json"), JSON.stringify(segment));
    const { message } = thrownBy(() => validateArchiveSegment(segment));
    expect(message).toMatch(/^Invalid archive segment: /);
    const error = await rejectionOf(store.loadArchive("6-Q1"));
    expect(error.message).toContain(message);
    expect(error.code).toMatch(/^OPSLOG_/);
  });

  it.runIf(hasFiles)("rejects a segment that is no JSON or is missing, and the file stays", async () => {
    writeFileSync(join(dir, "archive/archive-6-Q1.json"), '{"version":1,"per');
    expect((await rejectionOf(store.loadArchive("6-Q1"))).code).toMatch(/^OPSLOG_/);
    expect(readFileSync(join(dir, "archive/archive-6-Q1.json"), "utf8")).toBe('{"version":1,"per');
    rmSync(join(dir, "archive/archive-2026-Q1.json"));
    const error = await rejectionOf(store.loadArchive("2026-Q1"));
    expect(error).toMatchObject({ code: "ENOENT", path: join(dir, "archive/archive-2026-Q1.json") });
  });

  it.runIf(hasFiles)("archive into a damaged segment rejects, archives nothing and leaves the file", async () => {
    await store.set("d", { id: "d" });
    writeFileSync(join(dir, "archive/archive-6-Q1.json"), '{"version":1,"per');
    await expect(store.archive(() => true, "6-Q1")).rejects.toThrow();
    expect(store.entries()).toEqual([["d", { id: "d" }]]);
    expect(readFileSync(join(dir, "archive/archive-6-Q1.json"), "utf8")).toBe('{"version":1,"per');
  });
});
