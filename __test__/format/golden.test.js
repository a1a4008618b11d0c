/** Every store that upstream 0.1.4 to 0.8.1 left (`__test__/fixtures/stores`) opens to exactly what it holds. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { copyOf, treeOf } from "../support/directory.js";
import { openStore, openUpstream } from "../support/stores.js";

const STORES = fileURLToPath(new URL("../fixtures/stores", import.meta.url));
const CASES = ["clean", "wal", "torn", "archive"];
const FIXTURES = readdirSync(STORES).sort().flatMap((version) => CASES.map((name) => [version, name]));

/** Reads what a store must open to: lone surrogates and all. */
function expectedOf(version, name) {
  return JSON.parse(readFileSync(join(STORES, version, `${name}.expected.json`), "utf8"));
}

/**
 * Checks records in order, with the order of their members, operations and archived records.
 *
 * @param {any} store an open store
 * @param {any} expected what `expectedOf` gives
 */
async function expectHolds(store, expected) {
  expect(store.entries()).toStrictEqual(expected.records);
  expect(JSON.stringify(store.entries())).toBe(JSON.stringify(expected.records));
  for (const [id, value] of expected.records) expect(store.get(id)).toStrictEqual(value);
  expect(store.getOps()).toStrictEqual(expected.ops);
  expect(store.stats()).toMatchObject({ activeRecords: expected.records.length, opsCount: expected.opsCount });
  await expectArchived(store, expected);
}

/** Checks the archived records. */
async function expectArchived(store, { archive = {} }) {
  expect([...store.listArchiveSegments()].sort()).toEqual(Object.keys(archive).sort());
  for (const [segment, pairs] of Object.entries(archive)) {
    expect([...(await store.loadArchive(segment))]).toStrictEqual(pairs);
  }
}

describe.each(FIXTURES)("the store of upstream %s, case %s", (version, name) => {
  const expected = expectedOf(version, name);
  const fixture = join(STORES, version, name);

  it("opens read-only to exactly what it holds, and is not changed by that", async () => {
    const dir = copyOf(fixture);
    const tree = treeOf(dir);
    const store = await openStore(dir, { readOnly: true });
    await expectHolds(store, expected);
    await store.close();
    expect(treeOf(dir)).toEqual(tree);
  });

  it("opens for writing to exactly what it holds", async () => {
    await expectHolds(await openStore(copyOf(fixture), { checkpointOnClose: false }), expected);
  });

  it("is read by upstream 0.8.1 to the same records after our checkpoint", async () => {
    const dir = copyOf(fixture);
    const store = await openStore(dir);
    await store.compact();
    expect(store.getOps()).toEqual([]);
    await store.close();
    const upstream = await openUpstream(dir);
    expect(JSON.stringify(upstream.entries())).toBe(JSON.stringify(expected.records));
    expect(upstream.getOps()).toEqual([]);
    await expectArchived(upstream, expected);
    const again = await openStore(copyOf(dir), { readOnly: true });
    expect(JSON.stringify(again.entries())).toBe(JSON.stringify(expected.records));
  });

  it("is read by upstream 0.8.1 to the same records after we appended to its log", async () => {
    const dir = copyOf(fixture);
    const store = await openStore(dir, { checkpointOnClose: false });
    await store.set("added", { n: 1 });
    await store.batch(() => {
      store.set("added", { n: 2 });
      store.set("more", { n: 3 });
    });
    await store.undo();
    await store.close();
    const upstream = await openUpstream(dir);
    expect(JSON.stringify(upstream.entries())).toBe(JSON.stringify([...expected.records, ["added", { n: 2 }]]));
    expect(upstream.getOps()).toHaveLength(expected.opsCount + 2);
  });

  it("can be undone to its last checkpoint, operation by operation", async () => {
    const store = await openStore(copyOf(fixture), { checkpointOnClose: false });
    for (let left = expected.opsCount; left > 0; left--) {
      expect(await store.undo()).toBe(true);
      expect(store.stats().opsCount).toBe(left - 1);
    }
    expect(await store.undo()).toBe(false);
  });
});
