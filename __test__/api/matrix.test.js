/** Every method of `Store` in every state of a store: what it answers, throws or rejects with. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf, thrownBy } from "../support/errors.js";
import { isNative, Store } from "../support/implementation.js";
import { closedAtEnd, openStore, withStore } from "../support/stores.js";

const RECORDS = [["a", { n: 1 }], ["b", { n: 2 }]];
const NOT_OPEN = { message: "Store is not open. Call open() first.", code: "OPSLOG_NOT_OPEN" };
const READ_ONLY = { message: "Store is read-only. Cannot perform mutations.", code: "OPSLOG_READ_ONLY" };

/** Synchronous reads: [method, call, what it answers on a store that holds RECORDS, checkpointed]. */
const READS = [
  ["get", (store) => store.get("a"), { n: 1 }],
  ["has", (store) => store.has("a"), true],
  ["count", (store) => store.count(), 2],
  ["all", (store) => store.all(), RECORDS.map(([, value]) => value)],
  ["entries", (store) => store.entries(), RECORDS],
  ["filter", (store) => store.filter(() => true), RECORDS.map(([, value]) => value)],
  ["getHistory", (store) => store.getHistory("a"), []],
  ["getOps", (store) => store.getOps(), []],
  ["stats", (store) => ({ ...store.stats() }), expect.objectContaining({ activeRecords: 2, opsCount: 0, archiveSegments: 1 })],
  ["listArchiveSegments", (store) => store.listArchiveSegments(), ["archive/archive-s.json"]],
];

/** Mutations whose state errors are thrown: [method, call]. */
const HOT_MUTATIONS = [
  ["set", (store) => store.set("c", { n: 3 })],
  ["delete", (store) => store.delete("a")],
];

/** Mutations whose state errors reject: [method, call, what it resolves with on the checkpointed store]. */
const ASYNC_MUTATIONS = [
  ["batch", (store) => store.batch(() => store.set("c", { n: 3 })), undefined],
  ["undo", (store) => store.undo(), false],
  ["compact", (store) => store.compact(), undefined],
  ["archive", (store) => store.archive((_value, id) => id === "a", "s"), 1],
];

/** Other asynchronous methods: [method, call, what it resolves with]. */
const ASYNC_OTHERS = [
  ["loadArchive", (store) => store.loadArchive("s"), new Map([["z", { n: 26 }]])],
  ["flush", (store) => store.flush(), undefined],
  ["sync", (store) => store.sync(), undefined],
];

const ASYNC = [...ASYNC_MUTATIONS, ...ASYNC_OTHERS];
const MUTATIONS = [...HOT_MUTATIONS, ...ASYNC_MUTATIONS];

let dir;

beforeEach(async () => {
  dir = temporaryDirectory();
  await withStore(dir, {}, async (store) => {
    await store.set("z", { n: 26 });
    await store.archive(() => true, "s");
    for (const [id, value] of RECORDS) await store.set(id, value);
  });
});

/**
 * Checks that every method is refused as on a store that is not open.
 *
 * @param {any} store a store that is not open
 */
async function expectNotOpen(store) {
  for (const [, call] of [...READS, ...HOT_MUTATIONS]) expect(thrownBy(() => call(store))).toMatchObject(NOT_OPEN);
  for (const [, call] of ASYNC) expect(await rejectionOf(call(store))).toMatchObject(NOT_OPEN);
}

describe("a store that was never opened", () => {
  it.each([...READS, ...HOT_MUTATIONS])("throws from %s", (_name, call) => {
    expect(thrownBy(() => call(new Store()))).toMatchObject(NOT_OPEN);
  });

  it.each(ASYNC)("rejects from %s", async (_name, call) => {
    expect(await rejectionOf(call(new Store()))).toMatchObject(NOT_OPEN);
  });

  it("rejects from close", async () => {
    expect(await rejectionOf(new Store().close())).toMatchObject(NOT_OPEN);
  });

  it("answers null from getManifest", () => {
    expect(new Store().getManifest()).toBe(null);
  });
});

describe("a store that is opening", () => {
  it("is not open yet for any method, and opens undisturbed", async () => {
    const store = closedAtEnd(new Store());
    const opening = store.open(dir);
    const errors = [...READS, ...HOT_MUTATIONS].map(([, call]) => thrownBy(() => call(store)));
    const rejections = ASYNC.map(([, call]) => rejectionOf(call(store)));
    const second = rejectionOf(store.open(dir));
    for (const error of [...errors, ...(await Promise.all(rejections))]) expect(error).toMatchObject(NOT_OPEN);
    expect(await second).toBeInstanceOf(Error);
    await opening;
    expect(store.entries()).toEqual(RECORDS);
    await store.set("c", { n: 3 });
  });
});

describe("an open store", () => {
  let store;

  beforeEach(async () => {
    store = await openStore(dir);
  });

  it.each(READS)("answers %s", (_name, call, answer) => {
    expect(call(store)).toEqual(answer);
  });

  it.each(HOT_MUTATIONS)("takes %s", async (_name, call) => {
    expect(await call(store)).toBe(undefined);
    expect(store.getOps()).toHaveLength(1);
  });

  it.each(ASYNC)("takes %s", async (_name, call, result) => {
    expect(await call(store)).toEqual(result);
  });

  it("refuses open and is not disturbed by it", async () => {
    await expect(store.open(dir)).rejects.toThrow("Store is already open. Call close() first.");
    await expect(store.open(temporaryDirectory(), { readOnly: true })).rejects.toThrow("Store is already open. Call close() first.");
    await store.set("c", { n: 3 });
    expect(store.count()).toBe(3);
    await store.close();
    await withStore(dir, {}, (again) => expect(again.count()).toBe(3));
  });

  it("closes", async () => {
    expect(await store.close()).toBe(undefined);
  });
});

describe("a read-only store", () => {
  let store;

  beforeEach(async () => {
    store = await openStore(dir, { readOnly: true });
  });

  it.each(READS)("answers %s", (_name, call, answer) => {
    expect(call(store)).toEqual(answer);
  });

  it.each(HOT_MUTATIONS)("throws from %s", (_name, call) => {
    expect(thrownBy(() => call(store))).toMatchObject(READ_ONLY);
  });

  it.each(ASYNC_MUTATIONS)("rejects from %s", async (_name, call) => {
    expect(await rejectionOf(call(store))).toMatchObject(READ_ONLY);
  });

  it.each(ASYNC_OTHERS)("takes %s", async (_name, call, result) => {
    expect(await call(store)).toEqual(result);
  });

  it("does not call the function of a batch or the predicate of an archive", async () => {
    const never = () => expect.fail("must not be called");
    expect(await rejectionOf(store.batch(never))).toMatchObject(READ_ONLY);
    expect(await rejectionOf(store.archive(never))).toMatchObject(READ_ONLY);
  });

  it("refuses open, closes, and is closed then", async () => {
    await expect(store.open(dir)).rejects.toThrow("Store is already open. Call close() first.");
    expect(await store.close()).toBe(undefined);
    await expectNotOpen(store);
  });
});

describe("a store that was opened without its records", () => {
  const nothing = { get: undefined, has: false, count: 0, all: [], entries: [], filter: [], getHistory: [], getOps: [] };
  const stats = expect.objectContaining({ activeRecords: 0, opsCount: 0, archiveSegments: 1 });
  const answers = { ...nothing, stats, listArchiveSegments: ["archive/archive-s.json"] };
  const compactMessage = "Cannot compact in skipLoad mode — in-memory Map is incomplete";
  let store;

  beforeEach(async () => {
    store = await openStore(dir, { skipLoad: true });
  });

  it.each(READS)("answers %s", (name, call) => {
    expect(Object.keys(answers)).toContain(name);
    expect(call(store)).toEqual(answers[name]);
  });

  it.each(HOT_MUTATIONS)("takes %s", async (name, call) => {
    if (name === "delete" && !isNative) {
      // Where somebody else keeps the files only what this session wrote is known.
      await expect(call(store)).rejects.toMatchObject({ message: "Record 'a' not found", code: "OPSLOG_NOT_FOUND" });
      return;
    }
    expect(await call(store)).toBe(undefined);
    expect(store.getOps()).toHaveLength(1);
  });

  it.each([
    ...ASYNC.filter(([name]) => name !== "compact" && name !== "archive"),
    // The record that matches is not visible.
    ["archive", (open) => open.archive((_value, id) => id === "a", "s"), 0],
  ])("takes %s", async (_name, call, result) => {
    expect(await call(store)).toEqual(result);
  });

  it("rejects from compact, and from archive where something visible matches", async () => {
    await store.set("c", { n: 3 });
    for (const call of [() => store.compact(), () => store.archive(() => true, "s")]) {
      expect(await rejectionOf(call())).toMatchObject({ message: compactMessage, code: "OPSLOG_INVALID" });
    }
    expect(store.entries()).toEqual([["c", { n: 3 }]]);
  });

  it("refuses open, closes, and is closed then", async () => {
    await expect(store.open(dir)).rejects.toThrow("Store is already open. Call close() first.");
    expect(await store.close()).toBe(undefined);
    await expectNotOpen(store);
    await withStore(dir, {}, (again) => expect(again.entries()).toEqual(RECORDS));
  });
});

describe("a store in a batch", () => {
  let store;

  beforeEach(async () => {
    store = await openStore(dir);
  });

  it.each(READS.filter(([name]) => !["getHistory", "getOps", "stats"].includes(name)))("answers %s", async (_name, call, answer) => {
    await store.batch(() => expect(call(store)).toEqual(answer));
  });

  it.each(HOT_MUTATIONS)("applies %s at once and returns undefined", async (_name, call) => {
    await store.batch(() => expect(call(store)).toBe(undefined));
    expect(store.getOps()).toHaveLength(1);
  });

  it.each([
    ["batch", (open) => open.batch(() => open.set("c", { n: 3 })), undefined],
    ["undo", (open) => open.undo(), true],
    ["compact", (open) => open.compact(), undefined],
    ["archive", (open) => open.archive((_value, id) => id === "in batch", "s"), 1],
    ...ASYNC_OTHERS,
    ["close", (open) => open.close(), undefined],
  ])("queues %s to right after the batch", async (_name, call, result) => {
    let queued;
    const batch = store.batch(() => {
      store.set("in batch", { n: 0 });
      queued = call(store);
      expect(queued).toBeInstanceOf(Promise);
      expect(store.has("in batch")).toBe(true);
    });
    await batch;
    expect(await queued).toEqual(result);
  });

  it("refuses open", async () => {
    let opening;
    await store.batch(() => {
      opening = rejectionOf(store.open(dir));
    });
    expect((await opening).message).toBe("Store is already open. Call close() first.");
  });
});

describe("a store that is closing", () => {
  let store;
  let closing;

  beforeEach(async () => {
    store = await openStore(dir);
    closing = undefined;
  });

  afterEach(async () => {
    await closing;
  });

  it.each(READS)("answers %s", (_name, call, answer) => {
    closing = store.close();
    expect(call(store)).toEqual(answer);
  });

  it.each(MUTATIONS)("refuses %s as one that is not open", async (name, call) => {
    closing = store.close();
    const isHot = name === "set" || name === "delete";
    const error = isHot ? thrownBy(() => call(store)) : await rejectionOf(call(store));
    expect(error).toMatchObject(NOT_OPEN);
    await closing;
    await withStore(dir, {}, (again) => expect(again.entries()).toEqual(RECORDS));
  });

  it("refuses open, and lets everything called before end first", async () => {
    const pending = [store.set("c", { n: 3 }), store.batch(() => store.set("d", { n: 4 })), store.undo(), store.delete("c")];
    closing = store.close();
    expect(await rejectionOf(store.open(dir))).toBeInstanceOf(Error);
    expect(await Promise.all(pending)).toEqual([undefined, undefined, true, undefined]);
    await closing;
    await withStore(dir, {}, (again) => expect(again.entries()).toEqual(RECORDS));
  });

  it("a second close settles without harm, and so do many", async () => {
    await store.set("c", { n: 3 });
    closing = store.close();
    expect(await Promise.all([closing, store.close(), store.close()])).toEqual([undefined, undefined, undefined]);
    await withStore(dir, {}, (again) => expect(again.count()).toBe(3));
  });
});

describe("a closed store", () => {
  let store;

  beforeEach(async () => {
    store = await openStore(dir);
    await store.close();
  });

  it.each([...READS, ...HOT_MUTATIONS])("throws from %s", (_name, call) => {
    expect(thrownBy(() => call(store))).toMatchObject(NOT_OPEN);
  });

  it.each(ASYNC)("rejects from %s", async (_name, call) => {
    expect(await rejectionOf(call(store))).toMatchObject(NOT_OPEN);
  });

  it("rejects from close", async () => {
    expect(await rejectionOf(store.close())).toMatchObject(NOT_OPEN);
  });

  it("opens again", async () => {
    await store.open(dir);
    expect(store.entries()).toEqual(RECORDS);
    await store.set("c", { n: 3 });
    expect(store.count()).toBe(3);
  });
});
