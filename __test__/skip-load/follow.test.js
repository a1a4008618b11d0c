/** CONTRACT.md 1 and 5: readers with `skipLoad` follow as upstream's, and never load the records. */
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { copyOf, temporaryDirectory } from "../support/directory.js";
import { manifestOf } from "../support/files.js";
import { openStore, openUpstream } from "../support/stores.js";
import { keyOf, writeAtRandom } from "../readers/scenarios.js";
import { MANUAL, openPartial, prepare } from "./prepare.js";

const PARTIAL_READER = { readOnly: true };

describe("a reader without the records", () => {
  it("sees the log's operations at its first look, as upstream's, and then what is new", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const theirs = await openUpstream(copyOf(dir), { skipLoad: true, readOnly: true });
    const reader = await openPartial(dir, PARTIAL_READER);
    const first = await reader.tail();
    const expected = await theirs.tail();
    expect(first.map(({ op, id, data }) => ({ op, id, data }))).toEqual(expected.map(({ op, id, data }) => ({ op, id, data })));
    expect(reader.entries()).toEqual(theirs.entries());
    expect(reader.getOps()).toEqual(first);
    expect(reader.count()).toBe(3);
    const writer = await openStore(dir, MANUAL);
    await writer.set("b", { n: 3 });
    await writer.set("x", { n: 1 });
    expect((await reader.tail()).map(({ id }) => id)).toEqual(["b", "x"]);
    await writer.undo();
    await writer.delete("list");
    expect((await reader.tail()).map(({ op, id }) => [op, id])).toEqual([["delete", "list"]]);
    expect(reader.has("x")).toBe(false);
    await reader.refresh();
    expect(reader.entries().map(([id]) => id)).toEqual(["日本", "b", "new"]);
    expect(await reader.tail()).toEqual([]);
  });

  it("follows a writer across checkpoints, undos and archives: each lasting operation once", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const writer = await openStore(dir, { durability: "os", checkpointThreshold: 7 });
    const reader = await openPartial(dir, PARTIAL_READER);
    const seen = (await reader.tail()).map(keyOf);
    let busy = true;
    const told = [];
    const following = (async () => {
      while (busy) {
        told.push(...(await reader.tail()));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    const { lasting, undone } = await writeAtRandom(writer, { seed: 7, count: 300 });
    busy = false;
    await following;
    told.push(...(await reader.tail()));
    const keys = told.map(keyOf);
    expect(keys.filter((key) => lasting.includes(key))).toEqual(lasting);
    expect(keys.filter((key) => !lasting.includes(key) && !undone.includes(key))).toEqual([]);
    expect(seen.length).toBeGreaterThan(0);
    // What was written since the reader was opened is as the writer has it; what was not is not there.
    for (const [id, value] of reader.entries()) expect(value).toEqual(writer.get(id));
    await writer.set("archived", { n: -1 });
    await writer.archive((_value, id) => id === "archived", "s");
    await writer.set("after", { n: -2 });
    expect((await reader.tail()).map(({ id }) => id)).toEqual(["archived", "after"]);
    expect(reader.listArchiveSegments()).toEqual(["archive/archive-s.json"]);
    expect(reader.has("list")).toBe(false);
  });

  it("goes on with the new log where the way to it is gone, and does not load the records", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const reader = await openPartial(dir, PARTIAL_READER);
    await reader.tail();
    const before = reader.entries();
    const upstream = await openUpstream(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
    // Upstream's manifest does not say where its log came from.
    await upstream.set("unseen", { n: 1 });
    const { activeOps: superseded } = upstream.getManifest();
    await upstream.compact();
    unlinkSync(join(dir, superseded));
    await upstream.set("x", { n: 2 });
    expect((await reader.tail()).map(({ id }) => id)).toEqual(["x"]);
    expect(reader.entries()).toEqual([...before, ["x", { n: 2 }]]);
    expect(reader.has("unseen")).toBe(false);
    expect(reader.has("list")).toBe(false);
    await upstream.set("y", { n: 3 });
    expect((await reader.tail()).map(({ id }) => id)).toEqual(["y"]);
    expect(reader.getOps().map(({ id }) => id)).toEqual(["x", "y"]);
    expect(reader.getManifest().activeOps).toBe(manifestOf(dir).activeOps);
  });

  it("watches a writer without the records", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const reader = await openPartial(dir, PARTIAL_READER);
    const told = [];
    const all = new Promise((resolve) => {
      reader.watch((ops) => {
        told.push(...ops.map(({ op, id }) => `${op} ${id}`));
        if (told.includes("delete b")) resolve(undefined);
      }, 2);
    });
    const writer = await openPartial(dir);
    await writer.set("x", { n: 1 });
    await writer.delete("b");
    await all;
    reader.unwatch();
    expect(told).toEqual(["set 日本", "set b", "delete a", "set new", "set x", "delete b"]);
  });
});
