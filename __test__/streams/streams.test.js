/** CONTRACT.md 1: `streamSnapshot`, `getWalOps` and `streamSnapshotFile` give what upstream's give, and hold nothing. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { streamSnapshotFile as upstreamSnapshotFile } from "@backloghq/opslog";
import { describe, expect, it } from "vitest";
import { hasFiles, isNative, isUpstream } from "../support/implementation.js";
import { copyOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logPathOf, manifestOf, snapshotPathOf, withoutStamps } from "../support/files.js";
import { openStore, openUpstream, withStore, withUpstream } from "../support/stores.js";

const { streamSnapshotFile } = await import(isUpstream ? "@backloghq/opslog" : "../../index.js");
const STORES = fileURLToPath(new URL("../fixtures/stores", import.meta.url));
const MANUAL = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };

/** Everything that a generator yields, and what it returns. */
async function drain(generator) {
  const items = [];
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return { items, returned: value };
    items.push(value);
  }
}

const itemsOf = async (generator) => (await drain(generator)).items;

/** Files below a directory that this process holds open, sorted. */
function openFilesIn(dir) {
  const open = [];
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      if (path.startsWith(dir)) open.push(path);
    } catch {
      // the descriptor of the listing itself
    }
  }
  return open.sort();
}

/** Writes records of many kinds, a checkpoint, and operations of every kind after it. */
async function fill(store) {
  await store.batch(() => {
    for (let n = 0; n < 500; n++) store.set(`k${n}`, { n, text: "日本語 \u2028".repeat(n % 9), list: [n, null, { n }] });
  });
  for (const id of ["__proto__", "constructor", "0", "日本", "a b"]) await store.set(id, { id, deep: { "__proto__": 1 } });
  await store.set("numbers", { big: 1795352551940, huge: 1e21, small: 1e-7, zero: 0 });
  await store.delete("k7");
  await store.compact();
  for (let n = 0; n < 20; n++) await store.set(`k${n * 3}`, { n: -n, text: "new", list: [] });
  await store.set("numbers", { big: 1795352551940, huge: 1e21, small: 1e-7, zero: 1 });
  await store.delete("k1");
  await store.batch(() => {
    store.set("k1", { again: true });
    store.delete("k2");
    store.set("k1", { again: 2 });
  });
  await store.set("gone", { n: 1 });
  await store.undo();
}

/** Applies streamed operations to streamed records. */
function applied(records, ops) {
  const state = new Map(records);
  for (const { op, id, data } of ops) {
    if (op === "set") state.set(id, data);
    else state.delete(id);
  }
  return [...state];
}

/** A directory that `fill` has filled, with operations in its log. */
async function filled(write = withStore) {
  const dir = temporaryDirectory();
  await write(dir, MANUAL, fill);
  return dir;
}

describe.each([
  { by: "this package", write: withStore },
  { by: "upstream", write: withUpstream },
])("streams of a store written by $by", ({ by, write }) => {
  it.runIf(hasFiles)("give the same items as upstream's on the same directory", async () => {
    const dir = await filled(write);
    const upstream = await openUpstream(copyOf(dir), { readOnly: true });
    const store = await openStore(dir, { readOnly: true });
    const records = await itemsOf(store.streamSnapshot());
    expect(records).toEqual(await itemsOf(upstream.streamSnapshot()));
    const ops = await itemsOf(store.getWalOps());
    const theirs = await itemsOf(upstream.getWalOps());
    expect(withoutStamps(ops)).toEqual(withoutStamps(theirs));
    expect(ops.map(({ ts }) => ts)).toEqual(theirs.map(({ ts }) => ts));
    if (by === "upstream") expect(ops).toEqual(theirs);
    expect(ops.filter((op) => "crc" in op || "batch" in op || "write" in op)).toEqual([]);
    expect(ops).toEqual(store.getOps());
    expect(applied(records, ops)).toEqual(store.entries());
  });

  it("give operations after a timestamp, that one excluded, as upstream's", async () => {
    const dir = temporaryDirectory();
    await write(dir, MANUAL, async (store) => {
      for (let n = 0; n < 6; n++) {
        await store.set("a", { n });
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
    });
    const upstream = await openUpstream(copyOf(dir), { readOnly: true });
    const store = await openStore(dir, { readOnly: true });
    const stamps = store.getOps().map(({ ts }) => ts);
    expect(new Set(stamps).size).toBe(6);
    for (const since of [...stamps, undefined, "", "2020-01-01T00:00:00.000Z", "9999-01-01T00:00:00.000Z", "x"]) {
      const ops = await itemsOf(store.getWalOps(since));
      expect(withoutStamps(ops)).toEqual(withoutStamps(await itemsOf(upstream.getWalOps(since))));
      expect(ops).toEqual(store.getOps(since));
    }
    expect((await itemsOf(store.getWalOps(stamps[3]))).map(({ data }) => data.n)).toEqual([4, 5]);
  });

  it.runIf(hasFiles)("give a snapshot file as upstream's streamSnapshotFile does, with its version", async () => {
    const dir = await filled(write);
    const path = manifestOf(dir).currentSnapshot;
    const ours = await drain(streamSnapshotFile(dir, path));
    expect(ours).toEqual(await drain(upstreamSnapshotFile(dir, path)));
    expect(ours.returned).toEqual({ version: 1 });
    expect(ours.items).toHaveLength(505);
  });
});

describe("streams of stores that upstream left", () => {
  const cases = readdirSync(STORES).flatMap((version) => readdirSync(join(STORES, version))
    .filter((name) => !name.endsWith(".json") && name !== "agents")
    .map((name) => ({ version, name })));

  it.runIf(hasFiles).each(cases)("give the state that is expected: $version/$name", async ({ version, name }) => {
    const dir = copyOf(join(STORES, version, name));
    const expected = JSON.parse(readFileSync(join(STORES, version, `${name}.expected.json`), "utf8"));
    const store = await openStore(dir, { readOnly: true });
    const records = await itemsOf(store.streamSnapshot());
    const ops = await itemsOf(store.getWalOps());
    expect(ops).toEqual(expected.ops);
    expect(applied(records, ops)).toEqual(expected.records);
    const path = manifestOf(dir).currentSnapshot;
    expect(await drain(streamSnapshotFile(dir, path))).toEqual(await drain(upstreamSnapshotFile(dir, path)));
    expect(await itemsOf(streamSnapshotFile(dir, path))).toEqual(records);
  });

  it.runIf(hasFiles)("were snapshots of one JSON document in 0.1.4, indented or on one line", async () => {
    const dir = copyOf(join(STORES, "0.1.4/clean"));
    const path = snapshotPathOf(dir);
    const text = readFileSync(path, "utf8");
    expect(Object.keys(JSON.parse(text))).toContain("records");
    const store = await openStore(dir, { readOnly: true });
    const indented = await itemsOf(store.streamSnapshot());
    expect(indented).toHaveLength(11);
    writeFileSync(path, JSON.stringify(JSON.parse(text)));
    expect(await itemsOf(store.streamSnapshot())).toEqual(indented);
    expect(await itemsOf(streamSnapshotFile(dir, manifestOf(dir).currentSnapshot))).toEqual(indented);
  });
});

describe("streams of a store that writes", () => {
  it.each(["group", "async"])("include operations that are still buffered (%s)", async (writeMode) => {
    const dir = temporaryDirectory();
    const buffered = { writeMode, groupCommitSize: 1_000_000, groupCommitMs: 3_600_000 };
    const store = await openStore(dir, { ...MANUAL, ...buffered });
    await store.set("a", { n: 0 });
    await store.compact();
    const calls = Array.from({ length: 300 }, (_, n) => store.set(`k${n % 40}`, { n }));
    calls.push(store.delete("k3"));
    const ops = await itemsOf(store.getWalOps());
    expect(ops).toHaveLength(301);
    expect(ops).toEqual(store.getOps());
    expect(applied(await itemsOf(store.streamSnapshot()), ops)).toEqual(store.entries());
    await Promise.all(calls);
  });

  it("give the current state whatever goes on meanwhile: the operations as of their start, the snapshot whole", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.batch(() => {
      for (let n = 0; n < 20_000; n++) store.set(`k${n}`, { n, text: "x".repeat(60) });
    });
    await store.compact();
    const expected = store.entries();
    await store.set("k0", { n: -1 });
    const snapshot = store.streamSnapshot();
    const operations = store.getWalOps();
    const records = [(await snapshot.next()).value];
    const ops = [(await operations.next()).value];
    for (let n = 0; n < 3; n++) {
      await store.set("k1", { n });
      await store.compact();
    }
    for await (const record of snapshot) records.push(record);
    for await (const op of operations) ops.push(op);
    expect(records).toEqual(expected);
    expect(ops.map(({ id, data }) => [id, data])).toEqual([["k0", { n: -1 }]]);
    expect((await itemsOf(store.streamSnapshot()))[0]).toEqual(["k0", { n: -1 }]);
  });

  it("are empty for an empty store, and reject with OPSLOG_NOT_OPEN on a closed one", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    expect(await itemsOf(store.streamSnapshot())).toEqual([]);
    expect(await itemsOf(store.getWalOps())).toEqual([]);
    await store.close();
    for (const method of ["streamSnapshot", "getWalOps"]) {
      expect((await rejectionOf(drain(store[method]()))).code).toBe("OPSLOG_NOT_OPEN");
    }
  });

  it("give a reader what it has caught up with", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.set("a", { n: 1 });
    const reader = await openStore(dir, { readOnly: true });
    await store.set("a", { n: 2 });
    await store.compact();
    await store.set("b", { n: 3 });
    await reader.refresh();
    expect(await itemsOf(reader.streamSnapshot())).toEqual([["a", { n: 2 }]]);
    expect(await itemsOf(reader.getWalOps())).toEqual(store.getOps());
  });
});

describe("what streams hold", () => {
  async function large() {
    const dir = temporaryDirectory();
    const store = await openStore(dir, MANUAL);
    await store.batch(() => {
      for (let n = 0; n < 20_000; n++) store.set(`k${n}`, { n, text: "x".repeat(100) });
    });
    await store.compact();
    await store.batch(() => {
      for (let n = 0; n < 20_000; n++) store.set(`k${n}`, { n: -n });
    });
    return { dir, store };
  }

  it.runIf(isNative)("is given back at the end, by an early break, by return() and by an error in the loop", async () => {
    const { dir, store } = await large();
    const before = openFilesIn(dir);
    const path = manifestOf(dir).currentSnapshot;
    const sources = [() => store.streamSnapshot(), () => store.getWalOps(), () => streamSnapshotFile(dir, path)];
    for (const source of sources) {
      let seen = 0;
      for await (const _ of source()) {
        seen++;
        if (source !== sources[1]) expect(openFilesIn(dir).length).toBe(before.length + 1);
        break;
      }
      expect([seen, openFilesIn(dir)]).toEqual([1, before]);

      const generator = source();
      await generator.next();
      await generator.return();
      expect(openFilesIn(dir)).toEqual(before);
      expect((await generator.next()).done).toBe(true);

      const error = await rejectionOf((async () => {
        for await (const _ of source()) throw new Error("the loop's own");
      })());
      expect([error.message, openFilesIn(dir)]).toEqual(["the loop's own", before]);

      expect(await itemsOf(source())).toHaveLength(20_000);
      expect(openFilesIn(dir)).toEqual(before);
      // nothing is opened for one that nobody reads
      source();
      expect(openFilesIn(dir)).toEqual(before);
    }
  });

  it("does not stand in the way of close()", async () => {
    const { dir, store } = await large();
    const snapshot = store.streamSnapshot();
    await snapshot.next();
    await store.close();
    await snapshot.return();
    expect(openFilesIn(dir)).toEqual([]);
    await withStore(dir, MANUAL, (again) => expect(again.count()).toBe(20_000));
  });

  it.runIf(isNative)("is no copy of the file", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, MANUAL, async (store) => {
      for (let part = 0; part < 20; part++) {
        await store.batch(() => {
          for (let n = 0; n < 100; n++) store.set(`k${part}-${n}`, { text: "x".repeat(160_000) });
        });
      }
      await store.compact();
    });
    const path = manifestOf(dir).currentSnapshot;
    const base = process.memoryUsage().rss;
    let most = 0;
    let count = 0;
    for await (const _ of streamSnapshotFile(dir, path)) {
      if (++count % 20 === 0) most = Math.max(most, process.memoryUsage().rss - base);
    }
    expect(count).toBe(2000);
    // the file has 320 MB; a buffer and what the collector has not yet freed stay well below
    expect(most).toBeLessThan(160 * 1024 * 1024);
  });

  it.runIf(isNative)("is given back with the store at the end of `await using`", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    await store.set("a", { n: 1 });
    expect(openFilesIn(dir)).not.toEqual([]);
    expect(await store[Symbol.asyncDispose]()).toBe(undefined);
    expect(openFilesIn(dir)).toEqual([]);
    expect((await rejectionOf(store.flush())).code).toBe("OPSLOG_NOT_OPEN");
    // a store that is closed or was never opened is disposed of without an error
    await store[Symbol.asyncDispose]();
    await new store.constructor()[Symbol.asyncDispose]();
    await withStore(dir, {}, (again) => expect(again.entries()).toEqual([["a", { n: 1 }]]));
  });
});

describe("a damaged snapshot", () => {
  const DAMAGES = [
    { what: "a record that is no JSON", damage: (lines) => lines.map((line, n) => (n === 300 ? "{garbage" : line)) },
    { what: "a changed value", damage: (lines) => lines.map((line) => line.replace('"n":300,', '"n":301,')) },
    { what: "a record that is gone", damage: (lines) => lines.filter((_, n) => n !== 300) },
    { what: "an end that is gone", damage: (lines) => lines.slice(0, 300) },
    { what: "a last line that is cut", damage: (lines) => [...lines.slice(0, -2), lines.at(-2).slice(0, -9)] },
    { what: "no header", damage: (lines) => lines.slice(1) },
    { what: "nothing at all", damage: () => [] },
  ];

  it.runIf(hasFiles).each(DAMAGES)("makes the streams throw OPSLOG_CORRUPT, close the file and change nothing: $what", async ({ damage }) => {
    const dir = await filled();
    const store = await openStore(dir, { readOnly: true });
    const path = snapshotPathOf(dir);
    writeFileSync(path, damage(readFileSync(path, "utf8").split("\n")).join("\n"));
    const tree = treeOf(dir);
    for (const source of [() => store.streamSnapshot(), () => streamSnapshotFile(dir, manifestOf(dir).currentSnapshot)]) {
      const error = await rejectionOf(drain(source()));
      expect([error.code, error.message]).toEqual(["OPSLOG_CORRUPT", expect.stringContaining(path)]);
      expect(openFilesIn(dir)).toEqual([]);
    }
    expect(treeOf(dir)).toEqual(tree);
    expect(store.count()).toBeGreaterThan(500);
  });

  it("makes streamSnapshotFile reject: a file that is missing, or outside of the folder", async () => {
    const dir = await filled();
    expect((await rejectionOf(drain(streamSnapshotFile(dir, "snapshots/snap-0.jsonl")))).code).toMatch(/^(ENOENT|OPSLOG_NOT_FOUND)$/);
    expect((await rejectionOf(drain(streamSnapshotFile(dir, "../snap-0.jsonl")))).code).toBe("OPSLOG_INVALID");
    expect(openFilesIn(dir)).toEqual([]);
  });

  it.runIf(hasFiles)("does not concern getWalOps", async () => {
    const dir = await filled();
    const store = await openStore(dir, { readOnly: true });
    writeFileSync(snapshotPathOf(dir), "");
    expect(await itemsOf(store.getWalOps())).toEqual(store.getOps());
    expect(readFileSync(logPathOf(dir), "utf8")).not.toBe("");
  });
});
