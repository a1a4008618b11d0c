/** CONTRACT.md 1 and 5: on disk a session with `skipLoad` is as any other, and nothing makes a checkpoint of it. */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { UpstreamStore } from "../support/implementation.js";
import { copyOf, filesOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logLinesOf, logPathOf, logTextOf, manifestOf, withoutStamps, writeParts, upstreamLine } from "../support/files.js";
import { WRITE_MODES, openStore, openUpstream, stateOf, withStore, withUpstream } from "../support/stores.js";
import { runChild } from "../support/child.js";
import { MANUAL, PARTIAL, STORED, openPartial, prepare, withPartial } from "./prepare.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

/** Changes of all kinds, of records in the snapshot, in the log, in neither. */
async function change(store) {
  await store.set("b", { n: 3, text: "changed by the log, long enough for a patch" });
  await store.set("b", { n: 4, text: "changed by the log, long enough for a patch" });
  await store.delete("list");
  await store.set("list", "no list any more");
  await store.batch(() => {
    store.set("__proto__", { n: 5 });
    store.delete("new");
    store.set("a", [0]);
  });
  await store.undo();
  await store.set("x", { n: 1 });
  await store.undo();
  await store.delete("日本");
}

describe.each([
  { by: "this package", write: withStore },
  { by: "upstream", write: withUpstream },
])("a store written by $by", ({ write }) => {
  it("is after a session without its records what it is after one with them, line by line", async () => {
    const dir = temporaryDirectory();
    await prepare(dir, write);
    const twin = copyOf(dir);
    await withStore(twin, MANUAL, change);
    await withPartial(dir, {}, change);
    expect(withoutStamps(logLinesOf(dir))).toEqual(withoutStamps(logLinesOf(twin)));
    expect(manifestOf(dir)).toEqual(manifestOf(twin));
    const { entries, ops } = await stateOf(dir);
    expect(entries).toEqual((await stateOf(twin)).entries);
    expect(ops).toHaveLength(4 + 7);
    expect((await stateOf(dir, UpstreamStore)).entries).toEqual(entries);
    // What was logged leads back as well.
    const store = await openStore(dir, MANUAL);
    for (let n = 0; n < 7; n++) await store.undo();
    expect(store.entries()).toEqual(STORED);
  });
});

describe("nothing makes a checkpoint of what is visible", () => {
  it("neither a threshold of 1 nor close", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const [manifest, files] = [manifestOf(dir), filesOf(dir)];
    await withPartial(dir, { checkpointThreshold: 1, checkpointOnClose: true }, async (store) => {
      for (let n = 0; n < 250; n++) await store.set("b", { n });
      await store.batch(() => {
        for (let n = 0; n < 250; n++) store.set(`x${n}`, { n });
      });
      expect(store.stats()).toMatchObject({ opsCount: 500, activeRecords: 251 });
    });
    expect(manifestOf(dir)).toEqual(manifest);
    expect(filesOf(dir)).toEqual(files);
    expect((await stateOf(dir)).entries).toHaveLength(STORED.length + 250);
  });

  it("not compact, which rejects with upstream's words", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const theirs = await openUpstream(copyOf(dir), { skipLoad: true });
    const store = await openPartial(dir);
    const { message } = await rejectionOf(theirs.compact());
    expect(message).toContain("Cannot compact in skipLoad mode");
    await store.set("b", { n: 1 });
    expect(await rejectionOf(store.compact())).toMatchObject({ message, code: "OPSLOG_INVALID" });
    let inBatch;
    await store.batch(() => {
      store.set("b", { n: 2 });
      inBatch = rejectionOf(store.compact());
    });
    expect(await inBatch).toMatchObject({ message });
    const reader = await openPartial(dir, { readOnly: true });
    expect(await rejectionOf(reader.compact())).toMatchObject({ code: "OPSLOG_READ_ONLY" });
  });

  it("not archive: 0 where nothing visible matches, refused otherwise", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const files = filesOf(dir);
    const store = await openPartial(dir);
    const asked = [];
    expect(await store.archive((_value, id) => asked.push(id))).toBe(0);
    await store.set("b", { n: 1 });
    expect(await store.archive((value) => value.n === 2, "s")).toBe(0);
    expect(asked).toEqual([]);
    expect(await rejectionOf(store.archive(() => true, "s"))).toMatchObject({
      message: expect.stringContaining("Cannot compact in skipLoad mode"),
      code: "OPSLOG_INVALID",
    });
    expect(store.entries()).toEqual([["b", { n: 1 }]]);
    await store.close();
    expect(filesOf(dir)).toEqual(files);
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(STORED.map(([id]) => id));
  });

  it("not refresh, tail or watch of the writer, which change nothing", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const store = await openPartial(dir);
    await store.set("b", { n: 1 });
    await store.refresh();
    expect(await store.tail()).toEqual([]);
    const told = [];
    store.watch((ops) => told.push(...ops), 5);
    await store.set("x", { n: 1 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    store.unwatch();
    expect(told).toEqual([]);
    expect(store.entries()).toEqual([["b", { n: 1 }], ["x", { n: 1 }]]);
    expect(store.getOps()).toHaveLength(2);
  });

  it("but archived segments can be read", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    await withStore(dir, MANUAL, (store) => store.archive((_value, id) => id === "list", "s"));
    const store = await openPartial(dir);
    expect(store.listArchiveSegments()).toEqual(["archive/archive-s.json"]);
    expect(await store.loadArchive("s")).toEqual(new Map([["list", [1, 2, 3]]]));
    // An archived record is not stored any more.
    expect(await rejectionOf(store.delete("list"))).toMatchObject({ code: "OPSLOG_NOT_FOUND" });
  });
});

describe.each(WRITE_MODES)("in mode $mode", ({ options }) => {
  it.each(["close", "exit"])("everything is stored when the process ends by %s", async (end) => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const work = [["set", "b", { n: 9 }], ["delete", "list"], ["set", "x", { n: 1 }], ["undo"], ["set", "y", { n: 2 }]];
    const { code, stderr } = await runChild(SCENARIOS, "session", { dir, options: { ...PARTIAL, ...options }, work, end });
    expect([code, stderr]).toEqual([0, ""]);
    const { entries } = await stateOf(dir);
    const expected = STORED.filter(([id]) => id !== "list").map(([id, value]) => [id, id === "b" ? { n: 9 } : value]);
    expect(entries).toEqual([...expected, ["y", { n: 2 }]]);
    expect((await stateOf(dir, UpstreamStore)).entries).toEqual(entries);
  });
});

it("nothing acknowledged is lost when the process is killed", async () => {
  const dir = temporaryDirectory();
  await prepare(dir);
  const work = [["set", "b", { n: 9 }], ["delete", "list"], ["set", "x", { n: 1 }], ["undo"]];
  const { signal, reports } = await runChild(SCENARIOS, "session", { dir, options: PARTIAL, work, end: "kill" });
  expect(signal).toBe("SIGKILL");
  expect(reports.at(-1)).toEqual({ done: "undo", result: true });
  const { entries } = await stateOf(dir);
  expect(entries).toEqual(STORED.filter(([id]) => id !== "list").map(([id, value]) => [id, id === "b" ? { n: 9 } : value]));
});

describe("the end of the log is looked at when the store is opened", () => {
  it.each([
    { what: "half a line", tail: (line) => line.slice(0, 20), kept: false },
    { what: "a foreign line", tail: () => "foreign\n", kept: false },
    { what: "a whole line without its newline", tail: (line) => line.trimEnd(), kept: true },
  ])("and $what at its end is mended before anything is appended", async ({ tail, kept }) => {
    const dir = temporaryDirectory();
    await prepare(dir, withUpstream);
    const before = logTextOf(dir);
    const line = upstreamLine({ op: "set", id: "z", prev: null, data: { n: 26 } });
    appendFileSync(logPathOf(dir), tail(line));
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => told.mockRestore());
    await withPartial(dir, {}, (store) => store.set("y", { n: 25 }));
    expect(told.mock.calls.length).toBe(kept ? 0 : 1);
    expect(logTextOf(dir).startsWith(before + (kept ? line : ""))).toBe(true);
    const ids = (await stateOf(dir)).entries.map(([id]) => id);
    expect(ids).toEqual([...STORED.map(([id]) => id), ...(kept ? ["z"] : []), "y"]);
    expect(filesOf(dir).filter((file) => file.includes(".cut-"))).toHaveLength(kept ? 0 : 1);
  });

  it("but damage further up is found when that is read, and not before", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const text = logTextOf(dir);
    const [first, second] = text.split("\n");
    const damaged = text.replace(second, second.replace('"n":1', '"n":8'));
    expect(damaged).not.toBe(text);
    writeFileSync(logPathOf(dir), damaged);
    const corrupt = { code: "OPSLOG_CORRUPT", path: logPathOf(dir), byte: Buffer.byteLength(first) + 1 };
    expect(await rejectionOf(openStore(dir))).toMatchObject(corrupt);
    const tree = treeOf(dir);
    const store = await openPartial(dir);
    for (const call of [
      () => store.set("b", { n: 1 }),
      () => store.delete("list"),
      () => store.batch(() => store.set("x", { n: 1 })),
      async () => {
        for await (const _ of store.getWalOps());
      },
    ]) {
      expect(await rejectionOf(call())).toMatchObject(corrupt);
    }
    expect(store.entries()).toEqual([]);
    expect(store.getOps()).toEqual([]);
    await store.close();
    expect(treeOf(dir)).toEqual(tree);
    // With `recovery: "skip"` the valid lines count, as at any other open.
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => told.mockRestore());
    await withPartial(dir, { recovery: "skip" }, (open) => open.set("x", { n: 1 }));
    expect(told).toHaveBeenCalledWith(`opslog: skipped 1 malformed line(s) in ${logPathOf(dir)}`);
    expect(logLinesOf(dir)).toHaveLength(5);
  });

  it("and in a log of upstream's a bad line is skipped and told when it is read", async () => {
    const dir = temporaryDirectory();
    const set = (id, n, prev) => upstreamLine({ op: "set", id, prev, data: { n } });
    writeParts(dir, { log: [set("a", 1, null), "foreign\n", set("a", 2, { n: 1 })].join("") });
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => told.mockRestore());
    const store = await openPartial(dir);
    expect(told).not.toHaveBeenCalled();
    await store.set("a", { n: 3 });
    expect(told.mock.calls).toEqual([[`opslog: skipped 1 malformed line(s) in ${logPathOf(dir)}`]]);
    expect(store.getOps()[0].prev).toEqual({ n: 2 });
    await store.set("a", { n: 4 });
    expect(told).toHaveBeenCalledTimes(1);
  });

  it("a damaged snapshot is found by the first write, which changes nothing", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const path = `${dir}/${manifestOf(dir).currentSnapshot}`;
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"n":4', '"n":5'));
    const tree = treeOf(dir);
    const store = await openPartial(dir);
    expect(await rejectionOf(store.set("new id", {}))).toMatchObject({ code: "OPSLOG_CORRUPT", path });
    expect(await rejectionOf(store.delete("b"))).toMatchObject({ code: "OPSLOG_CORRUPT", path });
    await store.close();
    expect(treeOf(dir)).toEqual(tree);
  });
});

describe("what cannot be written without having been loaded is refused, with the remedy", () => {
  it("records of an older version: their log must not hold two", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const tree = treeOf(dir);
    const migrate = (record) => (Array.isArray(record) ? record : { ...record, migrated: true });
    const options = { version: 2, migrate };
    expect(await rejectionOf(openPartial(dir, options))).toMatchObject({
      message: expect.stringMatching(/version 1 .*migrated to 2.*Open the store once without `skipLoad`/),
      code: "OPSLOG_INVALID",
    });
    expect(treeOf(dir)).toEqual(tree);
    const reader = await openPartial(dir, { ...options, readOnly: true });
    expect(reader.entries()).toEqual([]);
    await reader.close();
    await withStore(dir, options, () => {});
    await withPartial(dir, options, (store) => store.set("b", { n: 1, migrated: true }));
    const loaded = await openStore(dir, options);
    expect(loaded.get("b")).toEqual({ n: 1, migrated: true });
    expect(loaded.get("new")).toEqual({ n: 5, migrated: true });
    await loaded.close();
    expect(await rejectionOf(openPartial(dir, { version: 1 }))).toMatchObject({
      message: expect.stringContaining("newer than the requested version 1"),
    });
  });

  it("logs of several writers, which a reader may open", async () => {
    const dir = temporaryDirectory();
    await withUpstream(dir, { agentId: "one", checkpointOnClose: false }, (store) => store.set("a", { n: 1 }));
    await withUpstream(dir, { agentId: "two", checkpointOnClose: false }, (store) => store.set("b", { n: 2 }));
    const tree = treeOf(dir);
    expect(await rejectionOf(openPartial(dir))).toMatchObject({
      message: expect.stringContaining("Open the store once without `skipLoad`"),
      code: "OPSLOG_INVALID",
    });
    const reader = await openPartial(dir, { readOnly: true });
    expect(reader.entries()).toEqual([]);
    expect((await reader.tail()).map(({ id }) => id)).toEqual(["a", "b"]);
    expect(await reader.tail()).toEqual([]);
    expect(reader.entries()).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
    expect(treeOf(dir)).toEqual(tree);
  });

  it("a store whose snapshot or log is missing", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const { currentSnapshot, activeOps } = manifestOf(dir);
    for (const readOnly of [true, false]) {
      writeFileSync(`${dir}/manifest.json`, JSON.stringify({ ...manifestOf(dir), currentSnapshot: "snapshots/snap-1.jsonl", activeOps }));
      expect(await rejectionOf(openPartial(dir, { readOnly }))).toMatchObject({
        message: expect.stringContaining("Snapshot file not found: snapshots/snap-1.jsonl"),
        code: "OPSLOG_CORRUPT",
      });
      writeFileSync(`${dir}/manifest.json`, JSON.stringify({ ...manifestOf(dir), currentSnapshot, activeOps: "ops/ops-1.jsonl" }));
      expect(await rejectionOf(openPartial(dir, { readOnly }))).toMatchObject({ code: "ENOENT", path: `${dir}/ops/ops-1.jsonl` });
    }
  });
});
