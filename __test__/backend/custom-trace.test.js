/** CONTRACT.md 2 and 5: a custom backend's methods are called in upstream's order, with upstream's arguments. */
import { Store as UpstreamStore } from "@backloghq/opslog";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Store } from "../../index.js";
import { diskOf, MemoryBackend } from "../support/memory-backend.js";

/** What may be read besides: for safety, and to count the records of a segment that is added to. */
const MORE = ["getManifestVersion", "readManifest", "readOps", "loadArchiveSegment"];

/** Names that no directory has: a backend may give them any meaning. */
let directories = 0;

/**
 * The calls of a script, with names numbered in the order of their appearance and times taken out.
 *
 * @param {typeof Store} Implementation who is to call
 * @param {(open: (options?: object) => Promise<any>) => Promise<void>} script what to do
 * @returns {Promise<{ method: string, args: any[] }[]>} the calls
 */
async function traceOf(Implementation, script) {
  const dir = `mem://trace ${++directories}/../x`;
  const calls = [];
  await script(async (options) => {
    const backend = new MemoryBackend({ delays: false, records: true });
    backend.calls = calls;
    const store = new Implementation();
    await store.open(dir, { ...options, backend });
    return store;
  });
  expect(existsSync(dir)).toBe(false);
  const names = new Map();
  const text = JSON.stringify(calls)
    .replaceAll(JSON.stringify(dir).slice(1, -1), "DIR")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/(\w+)-\d{13}\b/g, (name, kind) => {
      if (!names.has(name)) names.set(name, `${kind}-${names.size}`);
      return names.get(name);
    });
  return JSON.parse(text, (key, value) => (key === "previous" ? undefined : value));
}

/** Ours without the reads that upstream does not make. */
function withoutMore(ours, theirs) {
  const texts = theirs.map((call) => JSON.stringify(call));
  return ours.filter((call) => {
    if (JSON.stringify(call) !== texts[0]) return !MORE.includes(call.method);
    texts.shift();
    return true;
  });
}

const BIG = { text: "a text that is long enough for a delta", n: 0 };

/** Steps whose effect on the store is awaited one by one. */
const STEPS = {
  async "set, update, delete"(store) {
    await store.set("a", BIG);
    await store.set("a", { ...BIG, n: 1 });
    await store.set("b", { n: 1 });
    await store.delete("b");
  },
  async "a batch"(store) {
    await store.set("a", { n: 0 });
    await store.flush();
    await store.batch(() => {
      store.set("a", { n: 1 });
      store.set("b", { n: 2 });
      store.delete("a");
    });
    await store.batch(() => {});
  },
  async undo(store) {
    await store.set("a", { n: 0 });
    await store.set("b", { n: 0 });
    await store.flush();
    await store.undo();
    await store.undo();
    await store.undo();
  },
  // (upstream counts a record twice that takes the place of another in its segment)
  async archive(store, session) {
    for (const id of ["a", "b", "c"]) await store.set(id + session, { id });
    await store.flush();
    await store.archive((_value, id) => id.startsWith("b"), "S");
    await store.archive(() => false, "S");
    await store.archive((_value, id) => id.startsWith("c"), "T");
    await store.loadArchive("T");
  },
  async compact(store) {
    await store.set("a", { n: 0 });
    await store.compact();
    await store.compact();
    await store.set("a", { n: 1 });
  },
  async "more than a buffer holds"(store) {
    for (let n = 0; n < 7; n++) await store.set(`k${n}`, { n });
    await store.flush();
    await store.set("last", { n: 1 });
  },
};

const OPTIONS = [
  { writeMode: "immediate" },
  { writeMode: "immediate", checkpointThreshold: 3 },
  { writeMode: "immediate", checkpointOnClose: false },
  { writeMode: "group", groupCommitSize: 3, groupCommitMs: 3_600_000 },
  { writeMode: "group", groupCommitSize: 3, groupCommitMs: 3_600_000, checkpointThreshold: 4, checkpointOnClose: false },
  // (upstream makes no checkpoints by threshold in async mode)
  { writeMode: "async", groupCommitSize: 3, groupCommitMs: 3_600_000 },
];

describe.each(OPTIONS)("the calls of a store with %j", (options) => {
  it.each(Object.entries(STEPS))("are upstream's: %s, on a fresh store and on one that exists", async (_name, steps) => {
    const script = async (open) => {
      for (let session = 0; session < 2; session++) {
        const store = await open(options);
        await steps(store, session);
        await store.close();
      }
    };
    const theirs = await traceOf(/** @type {any} */ (UpstreamStore), script);
    const ours = await traceOf(Store, script);
    expect(withoutMore(ours, theirs)).toEqual(theirs);
    expect(theirs.length).toBeGreaterThan(10);
  });
});

describe("the calls", () => {
  it.each([
    ["a read-only store", { readOnly: true }, async () => {}],
    ["a store that loads nothing", { skipLoad: true }, async (store) => {
      await store.set("b", { n: 1 });
      await store.set("b", { n: 2 });
    }],
    ["a store that is opened and closed", {}, async () => {}],
  ])("of %s are upstream's", async (_name, options, steps) => {
    const script = async (open) => {
      const first = await open({ checkpointOnClose: false });
      await first.set("a", { n: 1 });
      await first.close();
      const store = await open(options);
      await steps(store);
      await store.close();
    };
    const theirs = await traceOf(/** @type {any} */ (UpstreamStore), script);
    expect(withoutMore(await traceOf(Store, script), theirs)).toEqual(theirs);
  });

  it("of immediate writes that nobody awaits are one append each, of a group commit one", async () => {
    for (const [options, sizes] of /** @type {const} */ ([
      [{ writeMode: "immediate" }, [1, 1, 1, 1, 1, 1]],
      [{ writeMode: "group", groupCommitSize: 3 }, [3, 3]],
      [{ writeMode: "async", groupCommitSize: 3 }, [3, 3]],
    ])) {
      const trace = await traceOf(Store, async (open) => {
        const store = await open(options);
        await Promise.all(Array.from({ length: 6 }, (_, n) => store.set(`k${n}`, { n })));
        await store.close();
      });
      expect(trace.filter(({ method }) => method === "appendOps").map(({ args }) => args[1].length)).toEqual(sizes);
    }
  });

  it("give the directory as it is and operations with upstream's members in upstream's order", async () => {
    const backend = new MemoryBackend({ records: true });
    const store = new Store();
    await store.open("./no/such/../directory", { backend, checkpointOnClose: false });
    await store.set("a", BIG);
    await store.set("a", { ...BIG, n: 1 });
    await store.delete("a");
    await store.close();
    expect(backend.calls?.[0]).toEqual({ method: "initialize", args: ["./no/such/../directory", { readOnly: false }] });
    expect(existsSync("./no")).toBe(false);
    const texts = [...(diskOf("./no/such/../directory")?.logs.values() ?? [])].flat();
    expect(texts.map((text) => Object.keys(JSON.parse(text)))).toEqual([
      ["ts", "op", "id", "prev", "data"],
      ["ts", "op", "id", "prev", "data", "encoding"],
      ["ts", "op", "id", "prev"],
    ]);
  });
});
