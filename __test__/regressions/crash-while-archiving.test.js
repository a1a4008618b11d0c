/**
 * Failure: after a crash between the renames of archive(), the segment and then the manifest, the count of archived
 * records stayed wrong, and records of the segment were counted that nobody had archived.
 * Cause: the next archive() counted from the manifest's number and took the segment that no manifest named for its own.
 */
import { copyFileSync, cpSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { manifestOf } from "../support/files.js";
import { openStore, withStore } from "../support/stores.js";

/** The directory as a crash leaves it after the new segment has its name, before the manifest has. */
async function crashed(dir, predicate) {
  const after = join(temporaryDirectory(), "after");
  cpSync(dir, after, { recursive: true });
  await withStore(after, { durability: "os" }, (store) => store.archive(predicate, "S"));
  copyFileSync(join(after, "archive/archive-S.json"), join(dir, "archive/archive-S.json"));
}

/** Ids in all archive segments. */
async function archivedIn(store) {
  const segments = await Promise.all(store.listArchiveSegments().map((path) => store.loadArchive(path)));
  return segments.flatMap((records) => [...records.keys()]);
}

it("a crash between the renames of the first archive(): nothing is archived, and the next counts what it archives", async () => {
  const dir = temporaryDirectory();
  await withStore(dir, { durability: "os" }, async (store) => {
    for (const id of ["a", "b", "c"]) await store.set(id, { id });
  });
  await crashed(dir, (_value, id) => id !== "c");
  const store = await openStore(dir, { durability: "os" });
  expect(store.entries().map(([id]) => id)).toEqual(["a", "b", "c"]);
  expect(store.listArchiveSegments()).toEqual([]);
  expect(store.stats().archiveSegments).toBe(0);
  await store.delete("a");
  expect(await store.archive((_value, id) => id === "c", "S")).toBe(1);
  expect(await archivedIn(store)).toEqual(["c"]);
  expect(manifestOf(dir).stats).toMatchObject({ activeRecords: 1, archivedRecords: 1 });
});

it("a crash between the renames of a later archive(): counts are those of the segments after the next one", async () => {
  const dir = temporaryDirectory();
  await withStore(dir, { durability: "os" }, async (store) => {
    for (const id of ["x", "a", "b", "c"]) await store.set(id, { id });
    await store.archive((_value, id) => id === "x", "S");
  });
  await crashed(dir, (_value, id) => id !== "c");
  const store = await openStore(dir, { durability: "os" });
  expect(store.entries().map(([id]) => id)).toEqual(["a", "b", "c"]);
  expect(await store.archive((_value, id) => id === "b", "S")).toBe(1);
  const archived = await archivedIn(store);
  expect(archived).toEqual(expect.arrayContaining(["x", "b"]));
  expect(manifestOf(dir).stats).toMatchObject({ activeRecords: 2, archivedRecords: archived.length });
  expect(await store.archive(() => true, "T")).toBe(2);
  expect(new Set(await archivedIn(store))).toEqual(new Set(["x", "a", "b", "c"]));
  expect(manifestOf(dir).stats.archivedRecords).toBe((await archivedIn(store)).length);
});
