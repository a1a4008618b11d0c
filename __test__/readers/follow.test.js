/** CONTRACT.md 1, 4 and 5: `readOnly` stores that follow a living writer: `refresh`, `tail`, `watch`, `unwatch`. */
import {
  appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync, truncateSync, writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setImmediate as yieldOnce, setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { runChild, startChild } from "../support/child.js";
import { copyOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf, thrownBy } from "../support/errors.js";
import { logPathOf, logTextOf, manifestOf, snapshotPathOf } from "../support/files.js";
import { hasFiles, isNative } from "../support/implementation.js";
import { eventually } from "../support/patience.js";
import { openStore, stateIn, stateOf, withStore } from "../support/stores.js";
import { keyOf, randomSource, writeAtRandom } from "./scenarios.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
/** Where somebody else keeps the files, a look reads a whole log. */
const COUNT = isNative ? 3_000 : 240;
const MANUAL = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };

/** How a writer in another process is started: always on native files, whoever reads them. */
const NATIVE = { spawn: { env: { ...process.env, OPSLOG_BACKEND: "native" } } };

/** Waits until `isIt` is true. */
const until = (isIt) => eventually(() => expect(isIt()).toBe(true), 5);

/**
 * Ways to follow: each reads until `isOver`, then what is left, and adds what it got to `seen`.
 *
 * @type {Record<string, (reader: any, isOver: () => boolean, below: (n: number) => number, seen: any[]) => Promise<void>>}
 */
const WAYS = {
  async "tail() one after another"(reader, isOver, below, seen) {
    for (let last = false; !last;) {
      last = isOver();
      seen.push(...await reader.tail());
      await pause(below);
    }
  },
  async "overlapping tail()s"(reader, isOver, below, seen) {
    for (let last = false; !last;) {
      last = isOver();
      const calls = Array.from({ length: 1 + below(5) }, () => reader.tail());
      for (const ops of await Promise.all(calls)) seen.push(...ops);
      await pause(below);
    }
  },
  async "watch()"(reader, isOver, below, seen) {
    reader.watch((ops) => seen.push(...ops), 1 + below(4));
    await until(isOver);
    await sleep(250);
    reader.unwatch();
    // on a busy machine the last looks take longer than any pause
    seen.push(...await reader.tail());
  },
  async "tail() and refresh() at random"(reader, isOver, below, seen) {
    for (let last = false; !last;) {
      last = isOver();
      const calls = Array.from({ length: 1 + below(3) }, () => (below(2) ? reader.tail() : reader.refresh()));
      for (const ops of await Promise.all(calls)) seen.push(...(ops ?? []));
      await pause(below);
    }
  },
};

async function pause(below) {
  const kind = below(4);
  if (kind === 0) await sleep(below(25));
  else if (kind === 1) await yieldOnce();
}

/**
 * Opens a reader and lets it follow.
 *
 * @param {string} dir store directory
 * @param {string} way one of `WAYS`
 * @param {number} seed for its choices
 * @param {() => boolean} isOver whether the writer has written its last
 */
async function follow(dir, way, seed, isOver) {
  const reader = await openStore(dir, { readOnly: true });
  const start = stateIn(reader);
  const seen = [];
  await WAYS[way](reader, isOver, randomSource(seed), seen);
  return { way, start, seen, end: stateIn(reader) };
}

/** Asserts that a reader that followed has seen what it should, given what the writer did since `initial`. */
function expectFollowed({ way, start, seen, end }, { lasting, undone }, initial, final) {
  const context = `reader by ${way}`;
  expect(end.entries, context).toEqual(final.entries);
  expect(end.ops, context).toEqual(final.ops);
  const mayBeGone = new Set(undone);
  const keys = seen.map(keyOf);
  expect(keys.length, `${context}: no operation twice`).toBe(new Set(keys).size);
  const known = new Set([...lasting, ...undone]);
  expect(keys.filter((key) => !known.has(key)), `${context}: nothing that was never written`).toEqual([]);
  const survivors = keys.filter((key) => !mayBeGone.has(key));
  if (way.includes("refresh")) return;
  const first = lasting.length - survivors.length;
  if (way.startsWith("overlapping")) expect(survivors.sort(), context).toEqual(lasting.slice(first).sort());
  else expect(survivors, context).toEqual(lasting.slice(first));
  // the state at the start and what was seen are the whole, unless the start held an operation that was undone then
  if (start.ops.some((op) => mayBeGone.has(keyOf(op)))) return;
  const expected = new Map(initial);
  for (const key of lasting.slice(0, first)) {
    const [op, id, n] = key.split(" ");
    if (op === "delete") expected.delete(id);
    else expected.set(id, Number(n));
  }
  expect(start.entries.map(([id, { n }]) => [id, n]), `${context}: nothing is missed at the start`).toEqual([...expected]);
  // what is still in the log is what was told
  const told = new Set(seen.map((op) => JSON.stringify(op)));
  const inLog = final.ops.filter((op) => lasting.indexOf(keyOf(op)) >= first).map((op) => JSON.stringify(op));
  expect(inLog.filter((text) => !told.has(text)), context).toEqual([]);
}

const INITIAL = Array.from({ length: 30 }, (_, n) => /** @type {[string, number]} */ ([`first${n}`, -1 - n]));

describe.each([
  { threshold: "7", options: { checkpointThreshold: 7 } },
  { threshold: "the default", options: {} },
  { threshold: "none but compact()", options: { checkpointThreshold: Infinity } },
])("readers beside a writer (checkpointThreshold: $threshold)", ({ options }) => {
  const writerOptions = { durability: "os", checkpointOnClose: false, ...options };

  it.runIf(hasFiles).each([1, 20260102])("in another process get each lasting operation once and its state (seed %i)", async (seed) => {
    const dir = temporaryDirectory();
    const result = join(temporaryDirectory(), "written.json");
    const child = startChild(SCENARIOS, "writer", { dir, options: writerOptions, seed, count: COUNT, result }, NATIVE);
    await child.next((report) => report === "open");
    const isOver = () => child.reports.includes("closed");
    const readers = Object.keys(WAYS).map((way, i) => follow(dir, way, seed + i, isOver));
    child.send("go");
    for (const [i, way] of Object.keys(WAYS).entries()) {
      // some readers come late
      await child.next((report) => report.lasting > 0);
      readers.push(follow(dir, way, seed + 10 + i, isOver));
    }
    const followed = await Promise.all(readers);
    expect(await child.ended).toMatchObject({ code: 0, stderr: "" });
    const written = JSON.parse(readFileSync(result, "utf8"));
    const final = await stateOf(dir);
    for (const one of followed) expectFollowed(one, written, INITIAL, final);
  });

  it("in the same process get each lasting operation once and its state", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, writerOptions);
    for (const [id, n] of INITIAL) await store.set(id, { n });
    let over = false;
    const isOver = () => over;
    const readers = Object.keys(WAYS).map((way, i) => follow(dir, way, 77 + i, isOver));
    let late = 0;
    const written = await writeAtRandom(store, { seed: 77, count: COUNT }, () => {
      if (late++ % (COUNT / 4) === COUNT / 8) readers.push(...Object.keys(WAYS).map((way, i) => follow(dir, way, late + i, isOver)));
    });
    await store.close();
    over = true;
    const followed = await Promise.all(readers);
    const final = await stateOf(dir);
    expect(followed).toHaveLength(20);
    for (const one of followed) expectFollowed(one, written, INITIAL, final);
  });

  it("see what group and async writers have flushed", async () => {
    for (const writeMode of ["group", "async"]) {
      const dir = temporaryDirectory();
      const store = await openStore(dir, { ...writerOptions, writeMode });
      const reader = await openStore(dir, { readOnly: true });
      const seen = [];
      for (let round = 0; round < 40; round++) {
        for (let n = 0; n < 5; n++) await store.set(`k${n}`, { n: round * 5 + n });
        await store.flush();
        seen.push(...await reader.tail());
        expect(reader.entries()).toEqual(store.entries());
      }
      expect(seen.map(({ data }) => data.n)).toEqual(Array.from({ length: 200 }, (_, n) => n));
    }
  });
});

describe("a reader that follows", () => {
  let dir;
  let store;
  let reader;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, MANUAL);
    for (const id of ["a", "b", "c"]) await store.set(id, { id, n: 0, text: "a long text that does not change" });
    reader = await openStore(dir, { readOnly: true });
  });

  it("sees an acknowledged operation at its next look, with the members that the writer has", async () => {
    await store.set("a", { id: "a", n: 1, text: "a long text that does not change" });
    await store.delete("b");
    expect(reader.get("a").n).toBe(0);
    expect(await reader.tail()).toEqual(store.getOps().slice(3));
    expect(stateIn(reader)).toEqual(stateIn(store));
    expect(reader.getHistory("a")).toEqual(store.getHistory("a"));
    expect(reader.stats()).toEqual(store.stats());
    expect(await reader.tail()).toEqual([]);
    expect(await reader.refresh()).toBe(undefined);
  });

  it("answers with the same object until the record changes", async () => {
    const [a, b] = [reader.get("a"), reader.get("b")];
    await store.set("b", { n: 1 });
    await reader.refresh();
    expect(reader.get("a")).toBe(a);
    expect(reader.get("b")).not.toBe(b);
    expect(reader.get("b")).toEqual({ n: 1 });
  });

  it("takes back what was undone, without an operation for it", async () => {
    await store.set("a", { n: 1 });
    await store.set("d", { n: 1 });
    expect(await reader.tail()).toHaveLength(2);
    await store.undo();
    await store.undo();
    expect(await reader.tail()).toEqual([]);
    expect(stateIn(reader)).toEqual(stateIn(store));
    await store.set("a", { n: 2 });
    expect((await reader.tail()).map(({ data }) => data)).toEqual([{ n: 2 }]);
    await store.delete("a");
    await reader.tail();
    await store.undo();
    await reader.refresh();
    expect(reader.entries()).toEqual(store.entries());
  });

  it("tells an operation that took the place of an undone one of the same length", async () => {
    for (let n = 10; n < 40; n++) {
      await store.set("p", { n });
      const ops = await reader.tail();
      expect(ops.map(({ id, data }) => [id, data.n])).toEqual([["p", n]]);
      await store.undo();
    }
  });

  it("sees a batch whole", async () => {
    await store.batch(() => {
      for (let n = 0; n < 3_000; n++) store.set(`k${n % 1_000}`, { n });
    });
    expect((await reader.tail()).map(({ data }) => data.n)).toEqual(Array.from({ length: 3_000 }, (_, n) => n));
    expect(stateIn(reader)).toEqual(stateIn(store));
  });

  it("follows archive(): the records go, and the segment can be loaded", async () => {
    await store.archive((_value, id) => id === "b", "S");
    await store.set("d", { n: 1 });
    const ops = await reader.tail();
    expect(ops.map(({ op, id }) => [op, id])).toContainEqual(["set", "d"]);
    expect(stateIn(reader)).toEqual(stateIn(store));
    expect(reader.listArchiveSegments()).toEqual(store.listArchiveSegments());
    expect([...(await reader.loadArchive("S")).keys()]).toEqual(["b"]);
    expect(reader.stats()).toEqual(store.stats());
    expect(reader.getManifest()).toEqual(store.getManifest());
  });

  it("gives every operation to one of many calls at once", async () => {
    for (let n = 0; n < 200; n++) await store.set("a", { n });
    const pages = await Promise.all(Array.from({ length: 12 }, () => reader.tail()));
    expect(pages.flat().map(({ data }) => data.n).sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, n) => n));
  });

  it("takes no lock and goes on when the writer closes and another takes its place", async () => {
    await store.set("a", { n: 1 });
    await store.close();
    const next = await openStore(dir, { durability: "os", checkpointThreshold: 2 });
    for (let n = 2; n < 7; n++) await next.set("a", { n });
    await next.close();
    expect((await reader.tail()).map(({ data }) => data.n)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(stateIn(reader)).toEqual(await stateOf(dir));
  });

  it("rejects calls after close() with OPSLOG_NOT_OPEN", async () => {
    await reader.close();
    for (const method of ["tail", "refresh"]) {
      const error = await rejectionOf(reader[method]());
      expect([error.code, error.message]).toEqual(["OPSLOG_NOT_OPEN", "Store is not open. Call open() first."]);
    }
    expect(thrownBy(() => reader.watch(() => {})).code).toBe("OPSLOG_NOT_OPEN");
    expect(reader.unwatch()).toBe(undefined);
  });

  it("settles calls that close() overtakes", async () => {
    for (let n = 0; n < 50; n++) await store.set("a", { n });
    const [ops, closed] = await Promise.allSettled([reader.tail(), reader.close(), reader.tail()]);
    if (ops.status === "fulfilled") expect(ops.value).toHaveLength(50);
    else expect(ops.reason.code).toBe("OPSLOG_NOT_OPEN");
    expect(closed).toEqual({ status: "fulfilled", value: undefined });
  });

  it("leaves a writer as it is: tail() and refresh() on it change nothing", async () => {
    const before = stateIn(store);
    const tree = treeOf(dir);
    expect(await store.tail()).toEqual([]);
    expect(await store.refresh()).toBe(undefined);
    const pending = store.set("d", { n: 1 });
    expect(await store.tail()).toEqual([]);
    await pending;
    await store.undo();
    expect(stateIn(store)).toEqual(before);
    expect(treeOf(dir)).toEqual(tree);
    const calls = [];
    store.watch((ops) => calls.push(ops), 1);
    await store.set("d", { n: 1 });
    await sleep(40);
    store.unwatch();
    expect(calls).toEqual([]);
  });
});

describe("a reader that fell behind", () => {
  /** What can be lost on the way: each needs the reader to load everything again. */
  const LOSSES = [
    { what: "the logs before the last checkpoint", lose: (dir) => removeOldLogs(dir) },
    {
      what: "these and the manifest's list of them",
      lose: (dir) => {
        removeOldLogs(dir);
        removePrevious(dir);
      },
    },
  ];

  function removeOldLogs(dir) {
    const current = basename(logPathOf(dir));
    for (const name of readdirSync(join(dir, "ops"))) if (name !== current) rmSync(join(dir, "ops", name));
  }

  function removePrevious(dir) {
    const { previous: _previous, ...manifest } = manifestOf(dir);
    writeFileSync(join(dir, "manifest.json"), JSON.stringify(manifest, null, 2));
  }

  it.runIf(hasFiles).each(LOSSES)("gets one operation for each changed id, and the state ($what lost)", async ({ lose }) => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    for (const id of ["a", "b", "c", "d", "e"]) await store.set(id, { id, n: 0 });
    const reader = await openStore(dir, { readOnly: true });
    const kept = reader.get("c");
    expect(reader.entries()).toHaveLength(5);
    for (let n = 1; n < 6; n++) {
      await store.set("a", { id: "a", n });
      await store.set(`new${n}`, { n });
      await store.compact();
    }
    await store.delete("b");
    await store.delete("new1");
    // the same value in another place: no change of a record, but of the order
    await store.delete("d");
    await store.set("d", { id: "d", n: 0 });
    await store.close();
    lose(dir);

    const ops = await reader.tail();
    const told = Object.fromEntries(ops.map(({ op, id, data }) => [id, op === "set" ? data.n : op]));
    expect(told).toEqual({ a: 5, b: "delete", new2: 2, new3: 3, new4: 4, new5: 5 });
    expect(ops).toHaveLength(6);
    for (const op of ops) expect(Object.keys(op).every((name) => ["ts", "op", "id", "prev", "data", "encoding"].includes(name))).toBe(true);
    const final = await stateOf(dir);
    expect(final.entries.map(([id]) => id)).toEqual(["a", "c", "e", "new2", "new3", "new4", "new5", "d"]);
    expect(reader.entries()).toEqual(final.entries);
    expect(reader.getOps()).toEqual(final.ops);
    expect(reader.get("c")).toEqual(kept);
    expect(reader.count()).toBe(8);
    expect(await reader.tail()).toEqual([]);

    // and follows on
    const next = await openStore(dir, { ...MANUAL, checkpointThreshold: 3 });
    await next.set("c", { id: "c", n: 1 });
    await next.set("c", { id: "c", n: 2 });
    expect((await reader.tail()).map(({ data }) => data.n)).toEqual([1, 2]);
    expect(stateIn(reader)).toEqual(stateIn(next));
  });

  it.runIf(hasFiles)("gets operations whose prev leads back to what it had", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    const reader = await openStore(dir, { readOnly: true });
    await store.set("a", { n: 2 });
    await store.delete("b");
    await store.set("c", { n: 2 });
    await store.compact();
    await store.close();
    removeOldLogs(dir);
    const ops = await reader.tail();
    expect(Object.fromEntries(ops.map(({ id, prev }) => [id, prev]))).toEqual({ a: { n: 1 }, b: { n: 1 }, c: null });
  });

  it.runIf(hasFiles)("gets none where nothing differs", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.set("a", { n: 1 });
    const reader = await openStore(dir, { readOnly: true });
    await store.set("b", { n: 1 });
    await store.undo();
    await store.compact();
    await store.close();
    removeOldLogs(dir);
    expect(await reader.tail()).toEqual([]);
    expect(stateIn(reader)).toEqual({ entries: [["a", { n: 1 }]], ops: [] });
  });

  it("is not made to by checkpoints in a row: superseded logs stay for a while", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os", checkpointThreshold: 1, checkpointOnClose: false });
    const reader = await openStore(dir, { readOnly: true });
    for (let n = 0; n < 60; n++) await store.set("a", { n });
    expect((await reader.tail()).map(({ data }) => data.n)).toEqual(Array.from({ length: 60 }, (_, n) => n));
  });
});

describe("a reader never writes", () => {
  /** Contents, modes and times of everything in a directory, and of itself. */
  function traceOf(dir) {
    const tree = treeOf(dir);
    for (const path of ["", ...Object.keys(tree)]) {
      const { mtimeNs, ctimeNs, size } = statSync(join(dir, path), { bigint: true });
      tree[path] = `${tree[path]} ${mtimeNs} ${ctimeNs} ${size}`;
    }
    return tree;
  }

  async function readAll(dir) {
    const reader = await openStore(dir, { readOnly: true });
    reader.watch(() => {}, 1);
    await Promise.all([reader.tail(), reader.refresh(), reader.tail()]);
    for await (const record of reader.streamSnapshot()) expect(record).toHaveLength(2);
    for await (const op of reader.getWalOps()) expect(op.id).toBeTypeOf("string");
    for (const segment of reader.listArchiveSegments()) await reader.loadArchive(segment);
    for (const method of ["set", "delete"]) {
      expect(thrownBy(() => reader[method]("a", { n: 1 })).code).toBe("OPSLOG_READ_ONLY");
    }
    await sleep(15);
    await reader.close();
  }

  it.runIf(hasFiles)("where all is well", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, MANUAL, async (store) => {
      for (const id of ["a", "b", "c"]) await store.set(id, { id });
      await store.archive((_value, id) => id === "a", "S");
      await store.set("d", { n: 1 });
    });
    rmSync(join(dir, ".lock"), { force: true });
    const before = traceOf(dir);
    await readAll(dir);
    expect(traceOf(dir)).toEqual(before);
  });

  it.runIf(hasFiles)("where there are a torn tail and leftovers of a crash", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, MANUAL, (store) => store.set("a", { n: 1 }));
    appendFileSync(logPathOf(dir), '{"ts":"2026-01-02T03:04:05.678Z","op":"se');
    writeFileSync(join(dir, "ops/ops-1.jsonl"), "old");
    writeFileSync(join(dir, "snapshots/snap-1.jsonl.1-2.tmp"), "part");
    writeFileSync(join(dir, ".lock"), "999999999");
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    const before = traceOf(dir);
    await readAll(dir);
    expect(traceOf(dir)).toEqual(before);
    told.mockRestore();
  });

  it.runIf(hasFiles)("beside a writer, whose lock stays its own", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.set("a", { n: 1 });
    const before = traceOf(dir);
    await readAll(dir);
    expect(traceOf(dir)).toEqual(before);
    expect((await rejectionOf(openStore(dir))).code).toBe("OPSLOG_LOCKED");
    await store.set("b", { n: 1 });
  });
});

describe("a failing refresh", () => {
  let dir;
  let reader;
  let before;

  beforeEach(async () => {
    dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    reader = await openStore(dir, { readOnly: true });
    before = { ...stateIn(reader), manifest: reader.getManifest(), stats: reader.stats() };
    await store.set("a", { n: 2 });
    await store.compact();
    await store.delete("b");
    await store.set("c", { n: 3 });
    await store.close();
  });

  /** Breaks something, expects failures that change nothing, mends it, and expects that nothing was lost. */
  async function expectNoHarm(breakIt, mend, expected) {
    breakIt();
    for (const method of ["tail", "refresh", "tail"]) {
      expect(await rejectionOf(reader[method]())).toMatchObject(expected);
      expect({ ...stateIn(reader), manifest: reader.getManifest(), stats: reader.stats() }).toEqual(before);
      expect(reader.get("a")).toEqual({ n: 1 });
    }
    const outcomes = await Promise.allSettled([reader.tail(), reader.tail(), reader.refresh()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    mend();
    expect((await reader.tail()).map(({ op, id }) => [op, id])).toEqual([["set", "a"], ["delete", "b"], ["set", "c"]]);
    expect(stateIn(reader)).toEqual(await stateOf(dir));
  }

  it.runIf(hasFiles).each(["manifest.json", "the log"])("rejects, leaves the state, and works again: a folder in place of %s", async (what) => {
    const path = what === "manifest.json" ? join(dir, what) : logPathOf(dir);
    const aside = join(temporaryDirectory(), "aside");
    await expectNoHarm(() => {
      renameSync(path, aside);
      mkdirSync(path);
    }, () => {
      rmdirSync(path);
      renameSync(aside, path);
    }, { code: "EISDIR", path });
  });

  // (who keeps files himself may answer that there is nothing in a log that is missing)
  it.runIf(hasFiles).each(["manifest.json", ...(isNative ? ["the log"] : [])])("rejects, leaves the state, and works again: %s is gone", async (what) => {
    const path = what === "manifest.json" ? join(dir, what) : logPathOf(dir);
    const aside = join(temporaryDirectory(), "aside");
    await expectNoHarm(() => renameSync(path, aside), () => renameSync(aside, path), { code: expect.stringMatching(/^(ENOENT|OPSLOG_)/) });
  });

  it.runIf(hasFiles)("rejects, leaves the state, and works again: the manifest is damaged", async () => {
    const path = join(dir, "manifest.json");
    const text = readFileSync(path);
    await expectNoHarm(() => writeFileSync(path, '{"version":1,'), () => writeFileSync(path, text), { code: expect.any(String) });
  });

  it.runIf(hasFiles)("rejects, leaves the state, and works again: a good line after a damaged one", async () => {
    const path = logPathOf(dir);
    const text = readFileSync(path, "utf8");
    await expectNoHarm(
      () => writeFileSync(path, text.replace('"delete"', '"delate"')),
      () => writeFileSync(path, text),
      { code: "OPSLOG_CORRUPT" },
    );
  });

  it.runIf(hasFiles)("rejects and leaves the state where everything must be loaded again from a damaged snapshot", async () => {
    const { previous: _previous, ...manifest } = manifestOf(dir);
    writeFileSync(join(dir, "manifest.json"), JSON.stringify(manifest, null, 2));
    const path = snapshotPathOf(dir);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"n":1', '"n":7'));
    expect(await rejectionOf(reader.tail())).toMatchObject({ code: "OPSLOG_CORRUPT" });
    expect(stateIn(reader)).toEqual({ entries: before.entries, ops: before.ops });
    writeFileSync(path, text);
    expect((await reader.tail()).map(({ op, id }) => [op, id]).sort()).toEqual([["delete", "b"], ["set", "a"], ["set", "c"]]);
    expect(stateIn(reader)).toEqual(await stateOf(dir));
  });

  it.runIf(hasFiles)("does not end a watch: it is told once on stderr, and the watch goes on", async () => {
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    const path = join(dir, "manifest.json");
    const aside = join(temporaryDirectory(), "aside");
    renameSync(path, aside);
    mkdirSync(path);
    const seen = [];
    reader.watch((ops) => seen.push(...ops), 2);
    await until(() => told.mock.calls.length > 0);
    await sleep(50);
    // Before it is mended: there is no manifest at all for a moment then, which is another error.
    expect(told.mock.calls).toHaveLength(1);
    rmdirSync(path);
    renameSync(aside, path);
    await until(() => seen.length === 3);
    told.mockRestore();
  });
});

describe("a write that is under way", () => {
  it.runIf(hasFiles).each([
    { what: "an operation", count: 1, write: (store) => store.set("k0", { n: 0, text: "日本語" }) },
    {
      what: "a batch",
      count: 3,
      write: (store) => store.batch(() => {
        for (let n = 0; n < 3; n++) store.set(`k${n}`, { n, text: "日本語" });
      }),
    },
  ])("is seen when it is complete, not before, wherever it is cut: $what", async ({ count, write }) => {
    const dir = temporaryDirectory();
    await withStore(dir, MANUAL, (store) => store.set("a", { n: 1 }));
    const log = logPathOf(dir);
    const start = statSync(log).size;
    const whole = copyOf(dir);
    await withStore(whole, MANUAL, write);
    const text = Buffer.from(logTextOf(whole));
    const reader = await openStore(dir, { readOnly: true });
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    for (let size = start; size < text.length - 1; size += 7) {
      writeFileSync(log, text.subarray(0, size));
      expect(await reader.tail()).toEqual([]);
      expect(reader.entries()).toEqual([["a", { n: 1 }]]);
      // and to one that opens now
      if (size % 5 === 0) expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    }
    writeFileSync(log, text);
    expect((await reader.tail()).map(({ id }) => id)).toEqual(Array.from({ length: count }, (_, n) => `k${n}`));
    expect(reader.entries()).toEqual((await stateOf(whole)).entries);
    // taken back by a writer that failed, and written again
    truncateSync(log, start);
    expect(await reader.tail()).toEqual([]);
    expect(reader.entries()).toEqual([["a", { n: 1 }]]);
    writeFileSync(log, text);
    expect(await reader.tail()).toHaveLength(count);
    told.mockRestore();
  });
});

describe("watch", () => {
  let dir;
  let store;
  let reader;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, MANUAL);
    await store.set("a", { n: 0 });
    reader = await openStore(dir, { readOnly: true });
  });

  it("calls back with new operations only, after the state has taken them", async () => {
    const calls = [];
    expect(reader.watch((ops) => calls.push([ops, reader.get("a")]), 2)).toBe(undefined);
    await sleep(30);
    expect(calls).toEqual([]);
    await store.set("a", { n: 1 });
    await until(() => calls.length > 0);
    expect(calls).toEqual([[store.getOps().slice(1), { n: 1 }]]);
    reader.unwatch();
  });

  it("looks every second unless told otherwise, and takes any number of milliseconds from 0 to Infinity", async () => {
    const seen = [];
    const begun = performance.now();
    let after = 0;
    reader.watch((ops) => {
      after = performance.now() - begun;
      seen.push(...ops);
    });
    await store.set("a", { n: 1 });
    await until(() => seen.length === 1);
    // timers are rounded to whole milliseconds
    expect(after).toBeGreaterThanOrEqual(999);
    for (const interval of [0, 0.5, 1e9, 2 ** 31, Infinity, undefined]) reader.watch((ops) => seen.push(...ops), interval);
    reader.watch((ops) => seen.push(...ops), 0);
    await store.set("a", { n: 2 });
    await until(() => seen.length === 2);
  });

  it("refuses what is no function and no interval with a TypeError, and leaves the running watch alone", async () => {
    const seen = [];
    reader.watch((ops) => seen.push(...ops), 2);
    for (const callback of [undefined, null, "callback", {}, 1]) {
      expect(thrownBy(() => reader.watch(callback, 2))).toBeInstanceOf(TypeError);
    }
    for (const interval of [-1, NaN, -Infinity, "10", null, {}, 10n]) {
      expect(thrownBy(() => reader.watch(() => {}, interval))).toBeInstanceOf(TypeError);
    }
    await store.set("a", { n: 1 });
    await until(() => seen.length === 1);
  });

  it("replaces the watch before it, and loses none of its operations", async () => {
    const seen = [];
    let current = 0;
    const late = [];
    let over = false;
    const writing = (async () => {
      for (let n = 1; n <= 600; n++) {
        await store.set("a", { n });
        if (n % 3 === 0) await sleep(1);
      }
      over = true;
    })();
    while (!over) {
      const mine = ++current;
      reader.watch((ops) => {
        if (mine !== current) late.push(mine);
        seen.push(...ops);
      }, 1);
      await sleep(mine % 4);
      await yieldOnce();
    }
    await writing;
    // looks that were overtaken may still be waiting for their turn
    await until(() => seen.length >= 600);
    await sleep(300);
    expect(late).toEqual([]);
    expect(seen.map(({ data }) => data.n)).toEqual(Array.from({ length: 600 }, (_, n) => n + 1));
  });

  it("leaves to tail() what it has not delivered when unwatch() ends it", async () => {
    const seen = [];
    for (let n = 1; n <= 150; n++) {
      reader.watch((ops) => seen.push(...ops), 1);
      await store.set("a", { n });
      await sleep(n % 3);
      reader.unwatch();
      seen.push(...await reader.tail());
    }
    expect(seen.map(({ data }) => data.n)).toEqual(Array.from({ length: 150 }, (_, n) => n + 1));
  });

  it("shares operations with tail() calls, each delivered once", async () => {
    const seen = [];
    reader.watch((ops) => seen.push(...ops), 1);
    for (let n = 1; n <= 300; n++) {
      await store.set("a", { n });
      if (n % 2) seen.push(...(await Promise.all([reader.tail(), reader.tail()])).flat());
      else await yieldOnce();
    }
    await until(() => seen.length >= 300);
    await sleep(50);
    expect(seen.map(({ data }) => data.n).sort((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, n) => n + 1));
  });

  it("delivers each operation once when the callback is slower than the interval", async () => {
    const seen = [];
    reader.watch((ops) => {
      const end = Date.now() + 15;
      while (Date.now() < end);
      seen.push(...ops);
    }, 1);
    for (let n = 1; n <= 200; n++) {
      await store.set("a", { n });
      if (n % 40 === 0) await store.compact();
    }
    await until(() => seen.length >= 200);
    await sleep(60);
    expect(seen.map(({ data }) => data.n)).toEqual(Array.from({ length: 200 }, (_, n) => n + 1));
  });

  it.each(["unwatch", "close"])("calls nothing after %s()", async (method) => {
    const calls = [];
    reader.watch((ops) => calls.push(ops), 1);
    await sleep(10);
    await reader[method]();
    await store.set("a", { n: 1 });
    await sleep(40);
    expect(calls).toEqual([]);
  });

  it("may be ended and begun again in its own callback", async () => {
    const seen = [];
    reader.watch((first) => {
      seen.push(...first);
      reader.unwatch();
      reader.watch((second) => seen.push(...second), 1);
    }, 1);
    for (let n = 1; n <= 20; n++) {
      await store.set("a", { n });
      await sleep(2);
    }
    await until(() => seen.length >= 20);
    expect(seen.map(({ data }) => data.n)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));
  });

  it.runIf(hasFiles)("lets what the callback throws surface as an uncaught exception, which ends the process", async () => {
    const child = startChild(SCENARIOS, "watchAndThrow", { dir, handled: false });
    await child.next((report) => report === "watching");
    await store.set("x", {});
    const { code, stderr } = await child.ended;
    expect(code).toBe(1);
    expect(stderr).toContain("Error: callback fails at x");
  });

  it.runIf(hasFiles)("goes on after an exception that the process survives", async () => {
    const child = startChild(SCENARIOS, "watchAndThrow", { dir, handled: true });
    await child.next((report) => report === "watching");
    for (const id of ["x", "y", "stop"]) {
      await store.set(id, {});
      const expected = id === "stop" ? { stopped: [id] } : { uncaught: `callback fails at ${id}`, origin: "uncaughtException" };
      expect(await child.next()).toEqual(expected);
    }
    expect(await child.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it.runIf(hasFiles).each([
    { how: "unwatch", interval: 20 },
    { how: "close", interval: 20 },
    { how: "unwatch", interval: 1_500 },
  ])("keeps the process alive until $how() (every $interval ms)", async ({ how, interval }) => {
    const child = startChild(SCENARIOS, "watchUntilStop", { dir, how, interval });
    await child.next((report) => report === "ready");
    await sleep(500);
    expect(child.process.exitCode).toBe(null);
    await store.set("b", {});
    await child.next((report) => report.seen?.includes("b"));
    await sleep(100);
    expect(child.process.exitCode).toBe(null);
    await store.set("stop", {});
    const { code, reports } = await child.ended;
    expect(code).toBe(0);
    expect(reports.at(-1)).toBe("ended by itself");
  });

  it.runIf(hasFiles)("is what keeps it alive: an open reader alone does not", async () => {
    const { code, reports } = await runChild(SCENARIOS, "watchUntilStop", { dir, how: "never watch" });
    expect([code, reports]).toEqual([0, ["ready", "ended by itself"]]);
  });
});
