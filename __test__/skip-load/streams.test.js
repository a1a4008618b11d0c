/** CONTRACT.md 1: the streams of a store that was opened with `skipLoad` give what is stored and what is queued. */
import { describe, expect, it } from "vitest";
import { UpstreamStore } from "../support/implementation.js";
import { copyOf, temporaryDirectory } from "../support/directory.js";
import { withoutStamps } from "../support/files.js";
import { openStore, openUpstream, stateOf, withStore, withUpstream } from "../support/stores.js";
import { MANUAL, STORED, grow, itemsOf, openPartial, prepare, sorted, streamedState } from "./prepare.js";

describe.each([
  { by: "this package", write: withStore },
  { by: "upstream", write: withUpstream },
])("streams of a store written by $by", ({ write }) => {
  it.each([true, false])("give the same items as upstream's, and as a store with its records (readOnly: %s)", async (readOnly) => {
    const dir = temporaryDirectory();
    await prepare(dir, write);
    const theirs = await openUpstream(copyOf(dir), { skipLoad: true });
    const loaded = await openStore(copyOf(dir), { readOnly: true });
    const store = await openPartial(dir, { readOnly });
    expect(await itemsOf(store.streamSnapshot())).toEqual(await itemsOf(theirs.streamSnapshot()));
    const ops = await itemsOf(store.getWalOps());
    expect(withoutStamps(ops)).toEqual(withoutStamps(await itemsOf(theirs.getWalOps())));
    expect(ops).toEqual(loaded.getOps());
    for (const since of [ops[1].ts, ops[3].ts, "2020-01-01T00:00:00.000Z", "9999-01-01T00:00:00.000Z", ""]) {
      expect(await itemsOf(store.getWalOps(since))).toEqual(loaded.getOps(since));
    }
    expect(await streamedState(store)).toEqual(sorted(STORED));
    expect(store.entries()).toEqual([]);
  });
});

it.each(["immediate", "group", "async"])("give the present state while operations are queued (%s)", async (writeMode) => {
  const dir = temporaryDirectory();
  await prepare(dir);
  const store = await openPartial(dir, { writeMode, groupCommitSize: 1_000_000, groupCommitMs: 3_600_000 });
  const calls = [store.set("x", { n: 1 }), store.delete("list"), store.set("b", 2), store.set("y", 1), store.undo()];
  const expected = [...STORED.filter(([id]) => id !== "list" && id !== "b"), ["b", 2], ["x", { n: 1 }]];
  expect(await streamedState(store)).toEqual(sorted(expected));
  await Promise.all(calls);
  expect(await streamedState(store)).toEqual(sorted(expected));
  // What is called while a stream runs is not part of it, and does not disturb it.
  const running = store.getWalOps();
  await running.next();
  await store.undo();
  expect((await itemsOf(running)).map(({ id }) => id)).toEqual(["b", "a", "new", "x", "list", "b"]);
  expect((await itemsOf(store.getWalOps())).map(({ id }) => id)).toEqual(["日本", "b", "a", "new", "x", "list"]);
});

it("hold a part of a long log only", async () => {
  const dir = temporaryDirectory();
  await grow(dir, 60_000);
  const store = await openPartial(dir);
  const before = process.resourceUsage().maxRSS;
  let count = 0;
  for await (const { data } of store.getWalOps()) count += data.text === "another text" ? 1 : 0;
  expect(count).toBe(60_000);
  // Kilobytes; the log has some 14 MB, which as objects are several times as many.
  expect(process.resourceUsage().maxRSS - before).toBeLessThan(60_000);
});

it("of a reader go on beside a writer that appends and undoes", async () => {
  const dir = temporaryDirectory();
  await grow(dir, 3_000);
  const writer = await openStore(dir, MANUAL);
  const reader = await openPartial(dir, { readOnly: true });
  for (let round = 0; round < 15; round++) {
    const stream = reader.getWalOps();
    const first = await stream.next();
    await writer.set("w", { round, text: "x".repeat(100 * round) });
    await writer.set("v", { round });
    if (round % 3 === 0) await writer.undo();
    const ops = [first.value, ...(await itemsOf(stream))];
    expect(ops.slice(0, 3_000).map(({ data }) => data.n)).toEqual(Array.from({ length: 3_000 }, (_, n) => n));
    expect(ops.slice(3_000).every(({ id }) => id === "w" || id === "v")).toBe(true);
  }
  expect(await streamedState(reader)).toEqual(sorted(writer.entries()));
  await writer.close();
  expect(sorted((await stateOf(dir, UpstreamStore)).entries)).toEqual(await streamedState(reader));
});
