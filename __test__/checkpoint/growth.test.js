/** CONTRACT.md 4: what is removed, when, and how much stays. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { filesOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { logPathOf, manifestOf } from "../support/files.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore, stateOf, withStore } from "../support/stores.js";

const HOUR = 3_600_000;

describe("superseded files", () => {
  it("are removed: the previous generation of snapshots stays until the next checkpoint", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    for (let n = 0; n < 5; n++) {
      const previous = manifestOf(dir);
      await store.set("a", { n });
      await store.compact();
      await expect.poll(() => readdirSync(join(dir, "snapshots")).length, { timeout: PATIENCE_MS }).toBeLessThanOrEqual(2);
      expect(existsSync(join(dir, previous.currentSnapshot))).toBe(true);
      expect(existsSync(join(dir, previous.activeOps))).toBe(true);
    }
  });

  it("let a reader that opened before a checkpoint go on reading what it has", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    await store.set("a", { n: 1 });
    const reader = await openStore(dir, { readOnly: true });
    for (let n = 0; n < 4; n++) {
      await store.set("a", { n });
      await store.compact();
    }
    expect(reader.get("a")).toEqual({ n: 1 });
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 3 }]]);
  });

  it("keep the disk within three times the live data of a store that grows", async () => {
    const dir = temporaryDirectory();
    let live = 0;
    await withStore(dir, { durability: "os" }, async (store) => {
      for (let n = 0; n < 2_000; n++) {
        await store.set(`key-${n}`, { n, text: "x".repeat(2_000) });
        live += JSON.stringify({ id: `key-${n}`, data: store.get(`key-${n}`) }).length;
      }
    });
    const used = filesOf(dir).reduce((sum, path) => sum + statSync(join(dir, path)).size, 0);
    expect(used / live).toBeLessThan(3);
  });
});

describe("leftovers of a crash", () => {
  let dir;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
  });

  /** Makes a file of the given age. */
  function leave(path, text, age = HOUR) {
    writeFileSync(join(dir, path), text);
    const when = new Date(Date.now() - age);
    utimesSync(join(dir, path), when, when);
  }

  it("are removed at open: temporary files, and old final-named ones that no manifest names", async () => {
    const left = [
      "snapshots/snap-1000000000000.jsonl.tmp", "manifest.json.tmp", "archive/archive-x.json.tmp",
      "snapshots/snap-1000000000000.jsonl", "ops/ops-1000000000000.jsonl",
    ];
    for (const path of left) leave(path, "{}\n");
    await withStore(dir, {}, (store) => expect(store.entries()).toEqual([["a", { n: 1 }]]));
    expect(filesOf(dir).filter((path) => left.includes(path))).toEqual([]);
  });

  it("are not removed by a reader, nor by an open that is refused", async () => {
    for (const path of ["snapshots/snap-1.jsonl.tmp", "manifest.json.tmp", "ops/ops-1.jsonl"]) leave(path, "{}\n");
    const tree = treeOf(dir);
    await stateOf(dir);
    expect(treeOf(dir)).toEqual(tree);
  });

  it("are kept when they may be somebody's: newer than the manifest, an agent's log with lines, unknown names", async () => {
    const kept = [
      ["ops/agent-x-1000000000000.jsonl", '{"ts":"t","op":"set","id":"x","prev":null,"data":{}}\n', HOUR],
      ["ops/ops-9999999999999.jsonl", "", -HOUR],
      ["snapshots/snap-9999999999999.jsonl", "", -HOUR],
      ["notes.txt", "mine", HOUR],
      ["ops/notes.txt", "mine", HOUR],
      ["snapshots/ops-1.jsonl", "mine", HOUR],
      ["archive/archive-unlisted.json", "mine", HOUR],
    ];
    for (const [path, text, age] of kept) leave(path, text, age);
    mkdirSync(join(dir, "blobs"));
    leave("blobs/one.tmp", "mine");
    await withStore(dir, {}, (store) => store.set("b", { n: 1 }));
    expect(filesOf(dir)).toEqual(expect.arrayContaining([...kept.map(([path]) => path), "blobs/one.tmp"]));
  });

  it("never include the current files or saved tails", async () => {
    await withStore(dir, { checkpointOnClose: false }, (store) => store.set("b", { n: 1 }));
    appendFileSync(logPathOf(dir), "torn");
    for (let round = 0; round < 2; round++) {
      await withStore(dir, { checkpointOnClose: false }, (store) => expect(store.count()).toBe(2));
    }
    expect(filesOf(dir).filter((path) => path.includes(".cut-"))).toHaveLength(1);
  });
});
