/** CONTRACT.md 5: one `FsBackend` object, subclassed, wrapped or with replaced methods, serves many stores at once. */
import { Store as UpstreamStore } from "@backloghq/opslog";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { FsBackend, Store } from "../../index.js";
import { runChild } from "../support/child.js";
import { filesOf, temporaryDirectory } from "../support/directory.js";
import { logLinesOf } from "../support/files.js";
import { choices } from "../support/random.js";
import { closedAtEnd, stateIn } from "../support/stores.js";

const below = choices(7);

/** Private members, and a wait in front of everything. */
class Counting extends FsBackend {
  #calls = 0;
  async wait() {
    this.#calls++;
    await sleep((this.#calls + below(3)) % 3);
  }
}
for (const method of Object.getOwnPropertyNames(FsBackend.prototype)) {
  if (method === "constructor" || method === "shutdown") continue;
  const original = FsBackend.prototype[method];
  Counting.prototype[method] = async function (...args) {
    await this.wait();
    return original.apply(this, args);
  };
}

/** An object that has nothing of FsBackend but hands everything on to one. */
function wrapperOf(inner) {
  const wrapper = { log: /** @type {string[]} */ ([]) };
  for (const method of Object.getOwnPropertyNames(FsBackend.prototype)) {
    if (method === "constructor") continue;
    wrapper[method] = async (...args) => {
      wrapper.log.push(method);
      await sleep(below(2));
      return inner[method](...args);
    };
  }
  return wrapper;
}

function withReplacedMethod() {
  const backend = new FsBackend();
  const { appendOps } = backend;
  backend.appendOps = async function (path, ops) {
    await sleep(below(3));
    return appendOps.call(this, path, ops);
  };
  return backend;
}

describe.each([
  ["a subclass", () => new Counting()],
  ["an object that hands on to an FsBackend", () => wrapperOf(new FsBackend())],
  ["an FsBackend with a method replaced", withReplacedMethod],
  ["an object made of an FsBackend", () => Object.create(new FsBackend())],
])("one object for several stores: %s", (_name, make) => {
  it("keeps each store in its own directory, whatever goes on at once", async () => {
    const root = temporaryDirectory();
    const backend = make();
    const dirs = Array.from({ length: 5 }, (_, n) => join(root, `store${n}`));
    const stores = dirs.map(() => closedAtEnd(new Store()));
    await Promise.all(stores.map((store, i) => store.open(dirs[i], { backend, checkpointThreshold: 6 })));
    const work = async (store, i) => {
      for (let n = 0; n < 8; n++) {
        await Promise.all([store.set(`k${n}`, { i, n }), store.set("same", { i, n })]);
        if (n === 3) await store.undo();
      }
      await store.batch(() => ["x", "y"].forEach((id) => store.set(id, { i })));
      await store.archive((_value, id) => id === "k0", "S");
    };
    await Promise.all(stores.map(work));
    const states = stores.map(stateIn);
    const readers = dirs.map(() => closedAtEnd(new Store()));
    await Promise.all(readers.map((reader, i) => reader.open(dirs[i], { backend, readOnly: true })));
    for (const [i, reader] of readers.entries()) expect(stateIn(reader)).toEqual(states[i]);
    await Promise.all(stores.map((store, i) => store.set("last", { i })));
    await Promise.all(readers.map((reader) => reader.refresh()));
    for (const [i, reader] of readers.entries()) expect(reader.get("last")).toEqual({ i });
    await Promise.all([...stores, ...readers].map((store) => store.close()));
    for (const [i, dir] of dirs.entries()) {
      for (const Implementation of [Store, /** @type {any} */ (UpstreamStore)]) {
        const plain = new Implementation();
        await plain.open(dir, { readOnly: true });
        expect(new Set(plain.all().map((record) => record.i))).toEqual(new Set([i]));
        expect(plain.count()).toBe(11);
        expect((await plain.loadArchive("S")).get("k0")).toEqual({ i, n: 0 });
        await plain.close();
      }
    }
    // the lock files went with their stores
    expect(filesOf(root).filter((path) => path.endsWith(".lock"))).toEqual([]);
  });

  it("refuses a second writer of one directory, and lets others go on", async () => {
    const dir = temporaryDirectory();
    const backend = make();
    const store = closedAtEnd(new Store());
    await store.open(dir, { backend });
    await expect(new Store().open(dir, { backend })).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    await expect(new Store().open(dir)).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    await store.set("a", { n: 1 });
    await store.close();
    const again = closedAtEnd(new Store());
    await again.open(dir);
    expect(again.entries()).toEqual([["a", { n: 1 }]]);
  });
});

describe("a method replaced", () => {
  it("on FsBackend.prototype before open is called, with the store's log and operations", async () => {
    const spy = vi.spyOn(FsBackend.prototype, "appendOps");
    onTestFinished(() => spy.mockRestore());
    const dir = temporaryDirectory();
    const store = closedAtEnd(new Store());
    await store.open(dir, { backend: new FsBackend() });
    await store.set("a", { n: 1 });
    expect(spy.mock.calls).toEqual([[store.getManifest()?.activeOps, store.getOps()]]);
    spy.mockRejectedValueOnce("mine");
    await expect(store.set("b", { n: 1 })).rejects.toBe("mine");
    expect(logLinesOf(dir).map(({ id }) => id)).toEqual(["a"]);
  });

  it("on the object is called", async () => {
    const backend = new FsBackend();
    const spy = vi.spyOn(backend, "writeManifest");
    const store = closedAtEnd(new Store());
    await store.open(temporaryDirectory(), { backend });
    expect(spy).toHaveBeenCalledTimes(1);
  });
});

describe("what crosses the border", () => {
  it("is nobody else's object: neither side sees what the other does to it", async () => {
    const given = [];
    class Spoiling extends FsBackend {
      async appendOps(path, ops) {
        given.push(...ops);
        await super.appendOps(path, ops);
        for (const op of ops) Object.assign(op, { id: "spoiled", data: null });
        ops.length = 0;
      }
      async writeSnapshot(records, version) {
        const path = await super.writeSnapshot(records, version);
        for (const value of records.values()) value.n = "spoiled";
        records.clear();
        return path;
      }
      async writeManifest(manifest) {
        await super.writeManifest(manifest);
        Object.assign(manifest, { activeOps: "spoiled", archiveSegments: ["spoiled"], stats: null });
      }
      async readManifest() {
        return (this.last = await super.readManifest());
      }
    }
    const dir = temporaryDirectory();
    for (let session = 0; session < 2; session++) {
      const backend = new Spoiling();
      const store = closedAtEnd(new Store());
      await store.open(dir, { backend, checkpointOnClose: false });
      if (backend.last) Object.assign(backend.last, { activeOps: "spoiled", stats: null });
      const mine = { n: session };
      await store.set(`k${session}`, mine);
      expect(store.get(`k${session}`)).toEqual({ n: session });
      expect(store.get(`k${session}`)).not.toBe(mine);
      await store.compact();
      await store.set("after", { n: session });
      expect(store.getOps().map(({ id }) => id)).toEqual(["after"]);
      expect(given.every(({ data }) => data === null)).toBe(true);
      await store.close();
    }
    const plain = closedAtEnd(new Store());
    await plain.open(dir);
    expect(plain.entries()).toEqual([["k0", { n: 0 }], ["after", { n: 1 }], ["k1", { n: 1 }]]);
  });

  it.each([
    ["__proto__", JSON.parse('{"__proto__":{"a":1},"b":2}')],
    ["lone \ud800 surrogate", { "\udfff": "\ud800 and \u2028" }],
    ["array", [1, [2, { n: 3 }], "four"]],
    ["text", "just a text"],
    ["number", 1e21],
    ["truth", false],
    ["big", { text: "é".repeat(3_000_000) }],
  ])("holds %s through log, snapshot, archive and undo", async (id, value) => {
    const dir = temporaryDirectory();
    const check = async (Implementation, options, ops) => {
      const store = closedAtEnd(new Implementation());
      await store.open(dir, { checkpointOnClose: false, ...options });
      expect(JSON.stringify(store.get(id))).toBe(JSON.stringify(value));
      expect(store.getOps()).toHaveLength(ops);
      return store;
    };
    const first = closedAtEnd(new Store());
    await first.open(dir, { backend: new Counting(), checkpointOnClose: false });
    await first.set(id, value);
    await first.set(id, { other: 1 });
    await first.undo();
    await first.close();
    await (await check(Store, {}, 1)).close();
    const second = await check(Store, { backend: new Counting() }, 1);
    await second.compact();
    await second.close();
    await (await check(Store, {}, 0)).close();
    const third = await check(Store, { backend: new Counting() }, 0);
    await third.archive(() => true, "S");
    expect(JSON.stringify((await third.loadArchive("S")).get(id))).toBe(JSON.stringify(value));
    await third.close();
  });
});

describe("a store of several agents", () => {
  async function agents() {
    const dir = temporaryDirectory();
    const stores = ["one", "two"].map((agentId) => ({ agentId, store: new UpstreamStore() }));
    for (const { agentId, store } of stores) await store.open(dir, { agentId, checkpointOnClose: false });
    for (let n = 0; n < 3; n++) for (const { agentId, store } of stores) await store.set(`${agentId}${n}`, { n, by: agentId });
    for (const { store } of stores) await store.close();
    const upstream = new UpstreamStore();
    await upstream.open(dir, { readOnly: true, agentId: "three" });
    const expected = upstream.entries();
    await upstream.close();
    return { dir, expected };
  }

  it("is read in the order of its clocks, and folded into one log by a single writer", async () => {
    const { dir, expected } = await agents();
    const reader = closedAtEnd(new Store());
    await reader.open(dir, { backend: new Counting(), readOnly: true });
    expect(reader.entries()).toEqual(expected);
    expect(reader.getOps()).toHaveLength(6);
    const writer = closedAtEnd(new Store());
    await writer.open(dir, { backend: new Counting() });
    expect(writer.entries()).toEqual(expected);
    await writer.set("new", { n: 1, by: "me" });
    await reader.refresh();
    expect(reader.entries()).toEqual(writer.entries());
    await writer.close();
    const upstream = new UpstreamStore();
    await upstream.open(dir, { readOnly: true });
    expect(upstream.entries()).toEqual([...expected, ["new", { n: 1, by: "me" }]]);
    await upstream.close();
  });
});

describe("migrate", () => {
  /** A store of version 1 with records in snapshot, log and archive. */
  async function old() {
    const dir = temporaryDirectory();
    const store = new Store();
    await store.open(dir, { backend: new Counting(), checkpointOnClose: false });
    for (const id of ["archived", "a"]) await store.set(id, { v: 1 });
    await store.archive((_value, id) => id === "archived", "S");
    await store.set("b", { v: 1 });
    await store.close();
    return dir;
  }

  const migrate = (record, from) => ({ ...record, v: record.v + 1, from });

  it("covers snapshot, log and archive, once", async () => {
    const dir = await old();
    for (let session = 0; session < 2; session++) {
      const store = closedAtEnd(new Store());
      await store.open(dir, { backend: new Counting(), version: 2, migrate });
      const migrated = { v: 2, from: 1 };
      expect(store.entries()).toEqual([["a", migrated], ["b", migrated]]);
      expect([...(await store.loadArchive("S"))]).toEqual([["archived", migrated]]);
      await store.close();
    }
    await expect(new Store().open(dir, { backend: new Counting() })).rejects.toMatchObject({ code: "OPSLOG_INVALID" });
    await expect(new Store().open(dir)).rejects.toMatchObject({ code: "OPSLOG_INVALID" });
  });

  it.each(["writeArchiveSegment", "writeSnapshot", "createOpsFile", "writeManifest"])(
    "that fails in %s, before or after its work, leaves the store as it was: nothing is migrated twice",
    async (method) => {
      for (const when of ["before", "after"]) {
        const dir = await old();
        const backend = new Counting();
        const original = backend[method];
        const spy = vi.spyOn(backend, method).mockImplementationOnce(async (...args) => {
          if (when === "after") await original.apply(backend, args);
          throw "mine";
        });
        const inPlace = (record) => Object.assign(record, { v: record.v + 1 });
        await expect(new Store().open(dir, { backend, version: 2, migrate: inPlace })).rejects.toBe("mine");
        spy.mockRestore();
        const before = closedAtEnd(new Store());
        await before.open(dir, { backend, readOnly: true });
        expect(before.entries()).toEqual([["a", { v: 1 }], ["b", { v: 1 }]]);
        expect((await before.loadArchive("S")).get("archived")).toEqual({ v: 1 });
        const store = closedAtEnd(new Store());
        await store.open(dir, { backend, version: 2, migrate: inPlace });
        expect(store.all()).toEqual([{ v: 2 }, { v: 2 }]);
        expect((await store.loadArchive("S")).get("archived")).toEqual({ v: 2 });
      }
    },
  );

  it.each([
    ["throws", () => { throw new Error("mine"); }],
    ["returns undefined", () => undefined],
    ["returns a promise", async (record) => record],
  ])("that %s rejects, and the store can be opened as it was", async (_what, bad) => {
    const dir = await old();
    await expect(new Store().open(dir, { backend: new Counting(), version: 2, migrate: bad })).rejects.toThrow();
    const store = closedAtEnd(new Store());
    await store.open(dir, { backend: new Counting() });
    expect(store.entries()).toEqual([["a", { v: 1 }], ["b", { v: 1 }]]);
  });
});

describe("a process", () => {
  const SCENARIOS = new URL("./scenarios.js", import.meta.url);

  it("ends by itself though a method never settles", async () => {
    const { code, reports, stderr } = await runChild(SCENARIOS, "neverSettles", { dir: temporaryDirectory() });
    expect({ code, reports, stderr }).toEqual({ code: 0, reports: ["waiting", "exit"], stderr: "" });
  });

  it("stays alive until a pending write and a buffered one are stored", async () => {
    const dir = temporaryDirectory();
    const { code, reports } = await runChild(SCENARIOS, "pendingWrites", { dir });
    expect({ code, reports }).toEqual({ code: 0, reports: ["stored 1", "stored 1", "exit"] });
  });
});
