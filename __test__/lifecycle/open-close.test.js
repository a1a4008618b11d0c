/** CONTRACT.md 1: `open` and `close`. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { runChild } from "../support/child.js";
import { filesOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { manifestOf } from "../support/files.js";
import { hasFiles, isNative, Store } from "../support/implementation.js";
import { closedAtEnd, openStore, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

let dir;

beforeEach(() => {
  dir = temporaryDirectory();
});

/** The open files of this process below `dir`. */
function openFiles() {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      // the descriptor that listed the folder
      return [];
    }
  }).filter((path) => path.startsWith(dir));
}

describe("open", () => {
  it.runIf(hasFiles)("creates the directory, its folders and upstream's files", async () => {
    const path = join(dir, "made", "on", "the way");
    await withStore(path, {}, (store) => expect(store.entries()).toEqual([]));
    const { currentSnapshot, activeOps } = manifestOf(path);
    expect(filesOf(path)).toEqual(["manifest.json", activeOps, currentSnapshot].sort());
    expect(readdirSync(path).sort()).toEqual(["archive", "manifest.json", "ops", "snapshots"]);
    expect(readFileSync(join(path, "manifest.json"), "utf8")).toBe(JSON.stringify(manifestOf(path), null, 2));
    expect(manifestOf(path)).toMatchObject({ version: 1, archiveSegments: [], stats: { activeRecords: 0, archivedRecords: 0, opsCount: 0 } });
  });

  it("loads what is there, and resolves with undefined", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const store = closedAtEnd(new Store());
    expect(await store.open(dir)).toBe(undefined);
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
  });

  it("makes no directory for a reader", async () => {
    const path = join(dir, "missing");
    await expect(new Store().open(path, { readOnly: true })).rejects.toThrow("Cannot open in readOnly mode");
    expect(existsSync(path)).toBe(false);
  });

  it.runIf(hasFiles)("resolves a relative directory once: a later chdir changes nothing", async () => {
    const cwd = process.cwd();
    onTestFinished(() => process.chdir(cwd));
    const store = await openStore(relative(cwd, dir), { checkpointThreshold: 4 });
    await store.set("a", { n: 1 });
    process.chdir(temporaryDirectory());
    for (const id of ["b", "c", "d", "e"]) await store.set(id, { n: 1 });
    await store.archive((_value, id) => id === "a", "s");
    expect((await store.loadArchive("s")).get("a")).toEqual({ n: 1 });
    await store.close();
    expect(readdirSync(process.cwd())).toEqual([]);
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(["b", "c", "d", "e"]);
  });

  it.runIf(hasFiles).each([{}, { agentId: "a" }])("is where a relative directory was when it was called (%j)", async (options) => {
    const cwd = process.cwd();
    onTestFinished(() => process.chdir(cwd));
    process.chdir(dir);
    const store = closedAtEnd(new Store());
    const opened = store.open("relative", options);
    process.chdir(temporaryDirectory());
    await opened;
    await store.set("a", { n: 1 });
    await store.close();
    expect(readdirSync(process.cwd())).toEqual([]);
    expect(readdirSync(join(dir, "relative"))).toContain("manifest.json");
  });

  it.runIf(hasFiles)("that fails releases all it took, so that the same instance and others can retry", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const manifest = join(dir, "manifest.json");
    const text = readFileSync(manifest);
    writeFileSync(manifest, "{");
    const store = closedAtEnd(new Store());
    for (let attempt = 0; attempt < 20; attempt++) await expect(store.open(dir)).rejects.toMatchObject({ code: "OPSLOG_CORRUPT" });
    expect(openFiles()).toEqual([]);
    if (hasFiles) expect(existsSync(join(dir, ".lock"))).toBe(false);
    await expect(store.close()).rejects.toThrow("Store is not open. Call open() first.");
    writeFileSync(manifest, text);
    await withStore(dir, {}, (other) => expect(other.count()).toBe(1));
    await store.open(dir);
    expect(store.get("a")).toEqual({ n: 1 });
  });

  it("that fails because the store is locked disturbs neither the holder nor its lock", async () => {
    const holder = await openStore(dir);
    for (let attempt = 0; attempt < 5; attempt++) await expect(new Store().open(dir)).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    if (hasFiles) expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(String(process.pid));
    await holder.set("a", { n: 1 });
    await holder.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
  });

  it("of an open instance is refused without disturbing it, also with bad arguments", async () => {
    const store = await openStore(dir);
    await store.set("a", { n: 1 });
    for (const args of [[dir], [temporaryDirectory()], [dir, { readOnly: true }], [undefined], [dir, { version: 0 }]]) {
      expect(await rejectionOf(store.open(...args))).toBeInstanceOf(Error);
    }
    await store.set("b", { n: 1 });
    expect(store.entries()).toEqual([["a", { n: 1 }], ["b", { n: 1 }]]);
    await store.close();
    expect((await stateOf(dir)).entries).toHaveLength(2);
  });

  it("may be called on a closed instance, on any directory, with fresh defaults", async () => {
    const store = closedAtEnd(new Store());
    const other = temporaryDirectory();
    await store.open(dir, { checkpointThreshold: 2, checkpointOnClose: false, writeMode: "group", groupCommitSize: 7, version: 3 });
    await store.set("a", { n: 1 });
    await store.close();
    await store.open(other);
    expect(store.entries()).toEqual([]);
    expect(store.getOps()).toEqual([]);
    expect(store.listArchiveSegments()).toEqual([]);
    for (let n = 0; n < 3; n++) await store.set(`k${n}`, { n });
    expect(store.stats().opsCount).toBe(3);
    await store.close();
    expect((await stateOf(other)).ops).toEqual([]);
    await store.open(other, { readOnly: true });
    expect(() => store.set("x", {})).toThrow("Store is read-only. Cannot perform mutations.");
    await store.close();
    await store.open(other);
    await store.set("x", { n: 1 });
    await store.close();
    await expect(store.open(dir)).rejects.toThrow(/version/);
    await store.open(dir, { version: 3 });
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
  });
});

describe.each(WRITE_MODES)("close ($mode)", ({ options }) => {
  it("waits for everything called before it", async () => {
    const store = await openStore(dir, { ...options, checkpointOnClose: false });
    const settled = [];
    const note = (name) => () => settled.push(name);
    const calls = [
      store.set("a", { n: 1 }).then(note("set")),
      store.batch(() => store.set("b", { n: 1 })).then(note("batch")),
      store.set("c", { n: 1 }).then(note("set")),
      store.undo().then(note("undo")),
      store.compact().then(note("compact")),
      store.set("d", { n: 1 }).then(note("set")),
      store.archive((_value, id) => id === "a", "s").then(note("archive")),
      store.set("e", { n: 1 }).then(note("set")),
    ];
    await store.close();
    expect(settled).toHaveLength(calls.length);
    await Promise.all(calls);
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(["b", "d", "e"]);
    if (hasFiles) expect(existsSync(join(dir, ".lock"))).toBe(false);
  });

  it("called concurrently settles every call without harm", async () => {
    const store = await openStore(dir, options);
    void store.set("a", { n: 1 });
    expect(await Promise.all([store.close(), store.close(), store.close()])).toEqual([undefined, undefined, undefined]);
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
  });

  it("called again on a closed store rejects as upstream, and harms nobody who has opened it since", async () => {
    const store = await openStore(dir, options);
    await store.close();
    const next = await openStore(dir, options);
    await expect(store.close()).rejects.toThrow("Store is not open. Call open() first.");
    if (hasFiles) expect(existsSync(join(dir, ".lock"))).toBe(true);
    await expect(new Store().open(dir)).rejects.toThrow("Store is locked by process");
    await next.set("a", { n: 1 });
  });
});

describe("many cycles of open and close", () => {
  it.runIf(hasFiles)("grow neither open files nor threads, with failing ones among them", async () => {
    const { code, stderr, reports } = await runChild(SCENARIOS, "cycle", { dir, cycles: 60 });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [{ files, threads }, later] = reports;
    expect(later.files).toBeLessThanOrEqual(files);
    // thread pools of Node and of the addon may still be filling, up to the number of cores
    expect(later.threads).toBeLessThan(threads + 10);
    expect((await stateOf(dir)).entries).toEqual([["n", { n: 119 }]]);
  });

  it.runIf(isNative)("leave no growing number of files in the directory", async () => {
    for (let n = 0; n < 12; n++) await withStore(dir, { durability: "os" }, (store) => store.set("a", { n }));
    expect(readdirSync(join(dir, "snapshots")).length).toBeLessThanOrEqual(2);
    expect(filesOf(dir).filter((path) => /tmp|lock/.test(path))).toEqual([]);
  });

  it("of many stores at once work side by side", async () => {
    const stores = await Promise.all(Array.from({ length: 25 }, (_, n) => openStore(join(dir, String(n)))));
    await Promise.all(stores.map((store, n) => store.set("n", { n })));
    await Promise.all(stores.map((store) => store.close()));
    for (let n = 0; n < 25; n++) expect((await stateOf(join(dir, String(n)))).entries).toEqual([["n", { n }]]);
    expect(openFiles()).toEqual([]);
  });
});

describe("a read-only open", () => {
  it("works on a directory that may not be written, writes nothing, and sees acknowledged writes", async () => {
    const writer = await openStore(dir);
    await writer.set("a", { n: 1 });
    const tree = treeOf(dir);
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    expect(treeOf(dir)).toEqual(tree);
    await writer.set("a", { n: 2 });
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 2 }]]);
    await writer.close();
    if (!hasFiles) return;
    mkdirSync(join(dir, "extra"));
    chmodSync(dir, 0o555);
    onTestFinished(() => chmodSync(dir, 0o755));
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 2 }]]);
  });

  it("during the writer's checkpoints always finds a whole store", async () => {
    const writer = await openStore(dir, { durability: "os" });
    await writer.batch(() => {
      for (let n = 0; n < 50; n++) writer.set(`k${n}`, { round: 0 });
    });
    let running = true;
    const writing = (async () => {
      for (let round = 1; running; round++) {
        await writer.batch(() => {
          for (let n = 0; n < 50; n++) writer.set(`k${n}`, { round });
        });
        await writer.compact();
      }
    })();
    let last = 0;
    for (let n = 0; n < 60; n++) {
      const { entries } = await stateOf(dir);
      const rounds = new Set(entries.map(([, { round }]) => round));
      expect(entries).toHaveLength(50);
      expect(rounds.size).toBe(1);
      expect([...rounds][0]).toBeGreaterThanOrEqual(last);
      [last] = rounds;
    }
    running = false;
    await writing;
    expect(last).toBeGreaterThan(0);
  });
});
