/** `AbortSignal` on open, compact, archive and the streams: a call that has not begun never happens. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FsBackend, Store } from "../../index.js";
import { temporaryDirectory } from "../support/directory.js";

/** A subclass goes the way of any custom backend. */
class Slow extends FsBackend {
  async appendOps(path, ops) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    return super.appendOps(path, ops);
  }
}

const reason = new Error("no longer wanted");
const aborted = AbortSignal.abort(reason);

async function opened(options) {
  const dir = join(temporaryDirectory(), "store");
  const store = new Store();
  await store.open(dir, options);
  return { dir, store };
}

describe.each([
  ["native files", () => ({})],
  ["a custom backend", () => ({ backend: new Slow() })],
])("a signal, on %s", (_name, options) => {
  it("that is aborted already makes open reject with its reason, and nothing is held", async () => {
    const { dir, store } = await opened(options());
    await store.close();
    await expect(store.open(dir, { ...options(), signal: aborted })).rejects.toBe(reason);
    await store.open(dir, options());
    await store.close();
  });

  it("that is aborted while the store is loading makes open reject, and the lock is given back", async () => {
    const { dir, store } = await opened(options());
    await store.set("a", { n: 1 });
    await store.close();
    const controller = new AbortController();
    const opening = store.open(dir, { ...options(), signal: controller.signal });
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
    await store.open(dir, options());
    expect(store.get("a")).toEqual({ n: 1 });
    await store.close();
  });

  it("that is aborted already makes compact and archive reject, and nothing changes", async () => {
    const { store } = await opened(options());
    await store.set("a", { n: 1 });
    const before = store.getManifest();
    await expect(store.compact({ signal: aborted })).rejects.toBe(reason);
    await expect(store.archive(() => true, "s", { signal: aborted })).rejects.toBe(reason);
    expect(store.getManifest()).toEqual(before);
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
    await store.close();
  });

  it("that is not aborted changes nothing", async () => {
    const { store } = await opened(options());
    const { signal } = new AbortController();
    await store.set("a", { n: 1 });
    await store.set("b", { n: 2 });
    await store.compact({ signal });
    await store.set("c", { n: 3 });
    const streamed = [];
    for await (const [id] of store.streamSnapshot({ signal })) streamed.push(id);
    expect(streamed).toEqual(["a", "b"]);
    expect(await store.archive((value) => value.n > 1, "s", { signal })).toBe(2);
    expect([...(await store.loadArchive("s")).keys()]).toEqual(["b", "c"]);
    await store.close();
  });

  it("ends the streams between two items", async () => {
    const { store } = await opened(options());
    for (let i = 0; i < 5; i++) await store.set(`r${i}`, { i });
    await store.compact();
    for (let i = 0; i < 5; i++) await store.set(`r${i}`, { i: i + 1 });
    for (const stream of [(signal) => store.streamSnapshot({ signal }), (signal) => store.getWalOps(undefined, { signal })]) {
      const controller = new AbortController();
      const seen = [];
      const reading = (async () => {
        for await (const item of stream(controller.signal)) {
          seen.push(item);
          if (seen.length === 2) controller.abort(reason);
        }
      })();
      await expect(reading).rejects.toBe(reason);
      expect(seen).toHaveLength(2);
    }
    await store.close();
  });

  it.each([[1], ["signal"], [null], [{}]])("that is %j is refused by name", async (signal) => {
    const { dir, store } = await opened(options());
    const invalid = { code: "OPSLOG_INVALID", message: expect.stringContaining("'signal'") };
    await expect(new Store().open(dir, { signal })).rejects.toMatchObject(invalid);
    await expect(store.compact({ signal })).rejects.toMatchObject(invalid);
    await expect(store.archive(() => true, "s", { signal })).rejects.toMatchObject(invalid);
    await expect(store.streamSnapshot({ signal }).next()).rejects.toMatchObject(invalid);
    await expect(store.getWalOps(undefined, { signal }).next()).rejects.toMatchObject(invalid);
    await store.close();
  });
});

it("an archive call that waits behind a slow append is taken back when its signal is aborted", async () => {
  const { dir, store } = await opened({ backend: new Slow() });
  const controller = new AbortController();
  const written = store.set("a", { n: 1 });
  const archived = store.archive(() => true, "s", { signal: controller.signal });
  const later = store.set("b", { n: 2 });
  expect(store.has("a")).toBe(false);
  controller.abort(reason);
  expect(store.entries()).toEqual([
    ["a", { n: 1 }],
    ["b", { n: 2 }],
  ]);
  await expect(archived).rejects.toBe(reason);
  await Promise.all([written, later]);
  expect(store.listArchiveSegments()).toEqual([]);
  await store.close();
  await store.open(dir);
  expect(store.count()).toBe(2);
  await store.close();
});

it("a checkpoint that waits behind a slow append is taken back, and undo reaches behind it again", async () => {
  const { store } = await opened({ backend: new Slow() });
  const controller = new AbortController();
  const before = store.getManifest();
  const written = store.set("a", { n: 1 });
  const compacted = store.compact({ signal: controller.signal });
  controller.abort(reason);
  await expect(compacted).rejects.toBe(reason);
  await written;
  expect(store.getManifest()).toEqual(before);
  expect(await store.undo()).toBe(true);
  expect(store.count()).toBe(0);
  await store.close();
});

describe("store.backend", () => {
  it("is undefined before open, then what keeps the files", async () => {
    const store = new Store();
    expect(store.backend).toBeUndefined();
    const backend = new Slow();
    await store.open(temporaryDirectory(), { backend });
    expect(store.backend).toBe(backend);
    await store.close();
  });

  it("is an FsBackend on the directory where none was given", async () => {
    const { store } = await opened({});
    expect(store.backend).toBeInstanceOf(FsBackend);
    expect((await store.backend.readManifest()).activeOps).toBe(store.getManifest().activeOps);
    expect(store.backend).toBe(store.backend);
    await store.close();
  });

  it("is the given FsBackend", async () => {
    const backend = new FsBackend();
    const { store } = await opened({ backend });
    expect(store.backend).toBe(backend);
    await store.close();
  });
});
