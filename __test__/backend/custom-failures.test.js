/** CONTRACT.md 2 and 5: each method of a custom backend failing: before, halfway through or after its work. */
import { describe, expect, it, vi } from "vitest";
import { Store } from "../../index.js";
import { rejectionOf } from "../support/errors.js";
import { diskOf, MemoryBackend, METHOD_NAMES } from "../support/memory-backend.js";
import { eventually } from "../support/patience.js";
import { closedAtEnd, stateIn } from "../support/stores.js";

let directories = 0;

/** Opens a store in memory; it is closed when the test ends. */
async function openOn(dir, options = {}) {
  const backend = new MemoryBackend({ seed: ++directories });
  const store = closedAtEnd(new Store());
  await store.open(dir, { backend, checkpointOnClose: false, ...options });
  return { store, backend };
}

/** What a directory holds for who opens it. */
async function stateOf(dir) {
  const { store } = await openOn(dir, { readOnly: true });
  const state = stateIn(store);
  await store.close();
  return state;
}

/** Lets a method fail once. */
function failOnce(backend, method, when, error) {
  let failed = 0;
  backend.fault = (called) => {
    if (called !== method || failed > 0) return undefined;
    failed++;
    return { when, error, sync: when === "sync" };
  };
  return () => failed;
}

const WHEN = ["before", "half", "after", "sync"];

const CALLS = [
  ["appendOps", "set", (store) => store.set("c", { n: 1 })],
  ["appendOps", "an update", (store) => store.set("a", { n: 1 })],
  ["appendOps", "delete", (store) => store.delete("a")],
  ["appendOps", "batch", (store) => store.batch(() => ["c", "d", "e", "a"].forEach((id) => store.set(id, { n: 2 })))],
  ["truncateLastOp", "undo", (store) => store.undo()],
  ["writeSnapshot", "compact", (store) => store.compact()],
  ["createOpsFile", "compact", (store) => store.compact()],
  ["writeManifest", "compact", (store) => store.compact()],
  ["writeArchiveSegment", "archive", (store) => store.archive(() => true, "S")],
  ["writeSnapshot", "archive", (store) => store.archive((_value, id) => id === "a", "S")],
  ["createOpsFile", "archive", (store) => store.archive((_value, id) => id === "a", "S")],
  ["writeManifest", "archive", (store) => store.archive((_value, id) => id === "a", "S")],
  ["loadArchiveSegment", "loadArchive", (store) => store.loadArchive("old")],
  ["loadSnapshot", "streamSnapshot", (store) => store.streamSnapshot().next()],
  ["readOps", "getWalOps", (store) => store.getWalOps().next()],
];

describe.each(CALLS)("%s failing in %s", (method, _name, call) => {
  it.each(WHEN)("(%s) rejects with that very error; nothing has changed, the store goes on", async (when) => {
    const dir = `failing ${++directories}`;
    const { store, backend } = await openOn(dir);
    await store.set("archived", { n: 0 });
    await store.archive(() => true, "old");
    for (const id of ["a", "b"]) await store.set(id, { n: 0 });
    await store.set("b", { n: 1 });
    const before = stateIn(store);
    const manifest = store.getManifest();
    for (const error of [new Error("mine"), "a string", undefined, Object.freeze({ code: "MINE" })]) {
      const failed = failOnce(backend, method, when, error);
      expect(await rejectionOf(call(store))).toBe(error);
      expect(failed()).toBe(1);
      expect(stateIn(store)).toEqual(before);
      expect(store.getManifest()).toEqual(manifest);
    }
    // the look at what has become of it is over when something else has been stored
    await store.set("c", { n: 9 });
    expect(await stateOf(dir)).toEqual(stateIn(store));
    await store.undo();
    expect(await stateOf(dir)).toEqual(before);
    await call(store);
    expect(await stateOf(dir)).toEqual(stateIn(store));
    const after = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(after);
    const { store: again } = await openOn(dir);
    expect(stateIn(again)).toEqual(after);
    const segments = await Promise.all(again.listArchiveSegments().map((path) => again.loadArchive(path)));
    expect(again.getManifest()?.stats.archivedRecords).toBe(segments.reduce((sum, { size }) => sum + size, 0));
  });
});

describe("a failed look at what a failed call left", () => {
  it.each(["readOps", "truncateLastOp"])("(%s) makes the next write fail, until it can be had", async (method) => {
    const dir = `looking ${++directories}`;
    const { store, backend } = await openOn(dir);
    await store.set("a", { n: 0 });
    const broken = new Error("broken");
    backend.fault = (called) => {
      if (called === "appendOps") return { when: "half", error: new Error("append") };
      return called === method ? { when: "before", error: broken } : undefined;
    };
    const batch = store.batch(() => ["b", "c", "d"].forEach((id) => void store.set(id, { n: 1 })));
    await expect(batch).rejects.toThrow("append");
    expect(await rejectionOf(/** @type {Promise<void>} */ (store.set("e", { n: 1 })))).toBe(broken);
    expect(store.entries()).toEqual([["a", { n: 0 }]]);
    backend.fault = () => undefined;
    await store.set("e", { n: 2 });
    expect(store.entries()).toEqual([["a", { n: 0 }], ["e", { n: 2 }]]);
    expect(await stateOf(dir)).toEqual(stateIn(store));
  });

  it("in a store that loads nothing is not misled by equal operations of one millisecond", async () => {
    const dir = `equal ${++directories}`;
    await openOn(dir).then(({ store }) => store.close());
    const { store, backend } = await openOn(dir, { skipLoad: true });
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      for (let n = 0; n < 3; n++) await store.set("a", { n: 0 });
      failOnce(backend, "appendOps", "before", new Error("mine"));
      await expect(store.set("a", { n: 0 })).rejects.toThrow("mine");
      await store.set("b", { n: 0 });
    } finally {
      vi.useRealTimers();
    }
    expect((await stateOf(dir)).ops.map(({ id }) => id)).toEqual(["a", "a", "a", "b"]);
  });
});

describe("open", () => {
  const EXISTING = ["initialize", "acquireLock", "readManifest", "loadSnapshot", "readOps", "getManifestVersion"];
  const FRESH = ["initialize", "writeSnapshot", "createOpsFile", "writeManifest", "getManifestVersion"];
  const cases = [
    ...EXISTING.map((method) => ["existing", method]),
    ...FRESH.map((method) => ["fresh", method]),
  ];

  it.each(cases)("of a store that is %s: %s failing rejects with its error, gives the lock back, and can be retried", async (kind, method) => {
    for (const when of WHEN) {
      // A lock that was taken by a call that failed is nobody's to give back.
      if (method === "acquireLock" && (when === "after" || when === "half")) continue;
      for (const error of [new Error("mine"), "a string", undefined]) {
        const dir = `opening ${++directories}`;
        if (kind === "existing") {
          const { store } = await openOn(dir);
          await store.set("a", { n: 1 });
          await store.close();
        }
        const backend = new MemoryBackend({ seed: directories, records: true });
        const failed = failOnce(backend, method, when, error);
        const store = closedAtEnd(new Store());
        expect(await rejectionOf(store.open(dir, { backend }))).toBe(error);
        expect(failed()).toBe(1);
        expect(diskOf(dir)?.lock ?? null).toBe(null);
        expect(store.getManifest()).toBe(null);
        await store.open(dir, { backend, checkpointOnClose: false });
        expect(store.entries()).toEqual(kind === "existing" ? [["a", { n: 1 }]] : []);
        await store.close();
      }
    }
  });

  it("of a reader gives nothing back that it never took", async () => {
    const dir = `reading ${++directories}`;
    const { store: writer } = await openOn(dir);
    const backend = new MemoryBackend({ records: true });
    failOnce(backend, "loadSnapshot", "before", new Error("mine"));
    await expect(new Store().open(dir, { backend, readOnly: true })).rejects.toThrow("mine");
    expect(backend.calls?.map(({ method }) => method)).not.toContain("releaseLock");
    expect(diskOf(dir)?.lock).not.toBe(null);
    await writer.set("a", { n: 1 });
  });

  it("whose backend answers with what makes no manifest rejects, and stores none", async () => {
    for (const method of ["writeSnapshot", "createOpsFile"]) {
      const dir = `nonsense ${++directories}`;
      const backend = new MemoryBackend();
      backend[method] = async () => undefined;
      await expect(new Store().open(dir, { backend })).rejects.toThrow(/Invalid manifest/);
      expect(diskOf(dir)).toMatchObject({ manifest: null, lock: null });
    }
  });
});

describe("close", () => {
  it.each(WHEN)("whose releaseLock fails (%s) rejects; nothing is written any more, and it can be repeated", async (when) => {
    const dir = `unlocking ${++directories}`;
    const { store, backend } = await openOn(dir);
    await store.set("a", { n: 1 });
    const error = new Error("mine");
    failOnce(backend, "releaseLock", when, error);
    expect(await rejectionOf(store.close())).toBe(error);
    expect(store.get("a")).toEqual({ n: 1 });
    await expect(store.set("b", { n: 1 })).rejects.toThrow("takes no more writes");
    await store.close();
    expect(diskOf(dir)?.lock).toBe(null);
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    expect(() => store.get("a")).toThrow("Store is not open");
  });

  it.each(WHEN)("whose shutdown fails (%s) rejects, and the store is closed", async (when) => {
    const dir = `shutting ${++directories}`;
    const { store, backend } = await openOn(dir);
    failOnce(backend, "shutdown", when, undefined);
    expect(await rejectionOf(store.close())).toBe(undefined);
    expect(() => store.get("a")).toThrow("Store is not open");
    expect(diskOf(dir)?.lock).toBe(null);
    await store.open(dir, { backend });
    await store.close();
  });

  it.each(["writeSnapshot", "createOpsFile", "writeManifest"])("whose checkpoint fails (%s) leaves the store open", async (method) => {
    for (const when of WHEN) {
      const dir = `closing ${++directories}`;
      const { store, backend } = await openOn(dir, { checkpointOnClose: true });
      await store.set("a", { n: 1 });
      const error = new Error("mine");
      failOnce(backend, method, when, error);
      expect(await rejectionOf(store.close())).toBe(error);
      await store.set("b", { n: 1 });
      expect(await stateOf(dir)).toEqual(stateIn(store));
      await store.close();
      expect(await stateOf(dir)).toEqual({ entries: [["a", { n: 1 }], ["b", { n: 1 }]], ops: [] });
    }
  });

  it("waits for an append that is slow, and calls nothing after shutdown", async () => {
    const { store, backend } = await openOn(`slow ${++directories}`);
    backend.calls = [];
    const { appendOps, loadSnapshot } = backend;
    const order = [];
    for (const [name, method] of Object.entries({ appendOps, loadSnapshot })) {
      backend[name] = async (...args) => {
        await new Promise((resolve) => setTimeout(resolve, 40));
        const result = await method.apply(backend, args);
        order.push(name);
        return result;
      };
    }
    const pending = [store.set("a", { n: 1 }), store.streamSnapshot().next()];
    await store.close();
    expect(order.sort()).toEqual(["appendOps", "loadSnapshot"]);
    await Promise.all(pending);
    expect(backend.calls?.at(-1)?.method).toBe("shutdown");
  });
});

describe.each(["group", "async"])("a background flush (%s)", (writeMode) => {
  it.each(WHEN)("that fails (%s) is retried; the error reaches the next call; nothing is lost or doubled", async (when) => {
    for (const error of [new Error("mine"), undefined]) {
      const dir = `flushing ${++directories}`;
      const { store, backend } = await openOn(dir, { writeMode, groupCommitSize: 1_000, groupCommitMs: 5 });
      const failed = failOnce(backend, "appendOps", when, error);
      await Promise.all(Array.from({ length: 7 }, (_, n) => store.set(`k${n}`, { n })));
      await eventually(() => expect(failed()).toBe(1), 2);
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect(await rejectionOf(Promise.resolve(store.set("refused", { n: 0 })))).toBe(error);
      expect(store.has("refused")).toBe(false);
      await eventually(() => expect(store.getOps()).toHaveLength(diskOf(dir)?.logs.get(store.getManifest()?.activeOps ?? "")?.length ?? -1));
      await store.set("k7", { n: 7 });
      await store.flush();
      expect((await stateOf(dir)).entries).toEqual(Array.from({ length: 8 }, (_, n) => [`k${n}`, { n }]));
      expect(await stateOf(dir)).toEqual(stateIn(store));
    }
  });
});

describe("an automatic checkpoint that fails", () => {
  it.each([new Error("mine"), "a string", undefined, null])("with %s is told on stderr, rejects no write, and is made later", async (error) => {
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    try {
      const dir = `threshold ${++directories}`;
      const { store, backend } = await openOn(dir, { checkpointThreshold: 2 });
      failOnce(backend, "writeSnapshot", "before", error);
      for (const id of ["a", "b", "c"]) await store.set(id, { id });
      expect(told).toHaveBeenCalledTimes(1);
      expect(await stateOf(dir)).toEqual(stateIn(store));
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      await store.set("d", { id: "d" });
      expect(store.getOps()).toEqual([]);
    } finally {
      told.mockRestore();
    }
  });
});

describe("a watch", () => {
  it.each([new Error("mine"), undefined, "a string"])("goes on after a look that failed with %s", async (error) => {
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    try {
      const dir = `watching ${++directories}`;
      const { store } = await openOn(dir);
      const { store: reader, backend } = await openOn(dir, { readOnly: true });
      const failed = failOnce(backend, "readManifest", "before", error);
      const seen = [];
      reader.watch((ops) => seen.push(...ops), 1);
      await eventually(() => expect(failed()).toBe(1));
      await store.set("a", { n: 1 });
      await eventually(() => expect(seen.map(({ id }) => id)).toEqual(["a"]));
      expect(told).toHaveBeenCalledTimes(1);
    } finally {
      told.mockRestore();
    }
  });
});

describe("a backend without some methods", () => {
  const OPTIONAL = METHOD_NAMES.filter((name) => /Blob|Agent|Compaction|listArchive|listOps/.test(name));

  it("for blobs, agents and lists serves a store all the same", async () => {
    const dir = `bare ${++directories}`;
    const backend = new MemoryBackend();
    for (const name of OPTIONAL) backend[name] = undefined;
    const store = closedAtEnd(new Store());
    await store.open(dir, { backend });
    await store.set("a", { n: 1 });
    await store.archive(() => true, "S");
    await store.close();
    await store.open(dir, { backend });
    expect([...(await store.loadArchive("S")).keys()]).toEqual(["a"]);
  });

  it("that a call needs is refused by name, and the store goes on", async () => {
    const { store, backend } = await openOn(`bare ${++directories}`);
    await store.set("a", { n: 1 });
    backend.truncateLastOp = undefined;
    await expect(store.undo()).rejects.toThrow("no method 'truncateLastOp'");
    expect(store.get("a")).toEqual({ n: 1 });
    await store.set("b", { n: 1 });
  });
});

describe("a method that never settles", () => {
  it("blocks its store only", async () => {
    const backend = new MemoryBackend();
    const store = new Store();
    await store.open(`stuck ${++directories}`, { backend });
    const { store: other } = await openOn(`free ${++directories}`);
    backend.appendOps = () => new Promise(() => {});
    let settled = false;
    void Promise.allSettled([store.set("a", { n: 1 }), store.flush()]).then(() => (settled = true));
    for (let n = 0; n < 20; n++) await other.set("a", { n });
    await other.close();
    expect(settled).toBe(false);
    expect(store.get("a")).toEqual({ n: 1 });
  });
});
