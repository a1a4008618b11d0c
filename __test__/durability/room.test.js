/**
 * Space written ahead in a log that is synced set by set (src/log/room.rs): every reader finds in it what it finds in
 * any other log, at every moment.
 */
import { cpSync, readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { describe, expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf } from "../support/files.js";
import { openStore, openUpstream } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };
const TEXT = "x".repeat(300);

/** Ids in the order of the lines of a log, by the plainest reader there is. */
function idsOf(path) {
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line).id);
}

/** Sets so many records that the log has room. */
async function untilRoom(store, path) {
  const ids = [];
  while (!readFileSync(path, "utf8").endsWith("\t\n")) {
    expect(ids.length).toBeLessThan(200);
    ids.push(`k${ids.length}`);
    await store.set(ids.at(-1), { text: TEXT });
  }
  return ids;
}

describe("a log that is synced set by set", () => {
  it("has the length that it has for some time, and each line is a line", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const path = logPathOf(dir);
    const ids = await untilRoom(store, path);
    const lengths = new Set();
    for (let n = 0; n < 100; n++) {
      ids.push(`n${n}`);
      await store.set(`n${n}`, { n, text: TEXT });
      expect(idsOf(path)).toEqual(ids);
      lengths.add(statSync(path).size);
    }
    expect(lengths.size).toBeLessThan(20);
    expect(store.getOps()).toHaveLength(ids.length);
    await store.close();
    expect(idsOf(path)).toEqual(ids);
    expect((await openStore(dir)).entries()).toHaveLength(ids.length);
  });

  it("has none before many sets came one by one, and none for others", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const path = logPathOf(dir);
    for (let n = 0; n < 40; n++) await store.set(`k${n}`, { n, text: TEXT });
    for (let n = 0; n < 60; n++) await Promise.all([store.set("a", { n, text: TEXT }), store.set("b", { n, text: TEXT })]);
    expect(readFileSync(path, "utf8")).not.toContain("\t");
    await store.close();
    for (const options of [{ durability: "os" }, { writeMode: "group" }, { writeMode: "async" }, { agentId: "A" }]) {
      const other = temporaryDirectory();
      const writer = await openStore(other, { ...KEEP_LOG, ...options });
      for (let n = 0; n < 150; n++) await writer.set(`k${n}`, { n, text: TEXT });
      await writer.sync();
      expect(readFileSync(logPathOf(other), "utf8")).not.toContain("\t");
    }
  });

  it("is followed by readers: each operation once, undone ones and batches among them", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const path = logPathOf(dir);
    const ids = await untilRoom(store, path);
    const reader = await openStore(dir, { readOnly: true });
    const follower = await openStore(dir, { readOnly: true, skipLoad: true });
    expect(reader.count()).toBe(ids.length);
    const upstream = await openUpstream(dir, { readOnly: true });
    const told = [];
    for (let n = 0; n < 120; n++) {
      await store.set(`n${n}`, { n, text: TEXT });
      if (n % 40 === 39) {
        await store.set("undone", { n });
        await store.undo();
        await store.batch(() => [1, 2, 3].forEach((k) => void store.set(`b${n}-${k}`, { n })));
        await untilRoomAgain(store, path, n);
      }
      if (n % 3 === 0) {
        const news = (await reader.tail()).map(({ id }) => id);
        expect((await follower.tail()).map(({ id }) => id)).toEqual(expect.arrayContaining(news));
        told.push(...news);
        expect(reader.entries()).toEqual(store.entries());
      }
    }
    told.push(...(await reader.tail()).map(({ id }) => id));
    const expected = store.getOps().map(({ id }) => id).slice(ids.length);
    expect(told).toEqual(expected);
    await upstream.refresh();
    expect(upstream.entries()).toEqual(store.entries());
    const streamed = [];
    for await (const { id } of reader.getWalOps()) streamed.push(id);
    expect(streamed).toEqual([...ids, ...expected]);
  });

  it("is carried over by a checkpoint, whose log begins with lines that end as any others", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const path = logPathOf(dir);
    const ids = await untilRoom(store, path);
    for (let n = 0; n < 30; n++) {
      ids.push(`n${n}`, `m${n}`);
      const checkpoint = store.compact();
      await store.set(`n${n}`, { n, text: TEXT });
      await checkpoint;
      await store.set(`m${n}`, { n, text: TEXT });
      expect(idsOf(logPathOf(dir))).toEqual(store.getOps().map(({ id }) => id));
    }
    const expected = store.entries();
    expect(expected.map(([id]) => id)).toEqual(ids);
    await store.close();
    expect((await openUpstream(dir, { readOnly: true })).entries()).toEqual(expected);
  });

  it.each(["ours", "upstream"])("is opened by %s after a kill -9, and undo takes off the last operation", async (who) => {
    const dir = temporaryDirectory();
    const child = startChild(SCENARIOS, "setLongForever", { dir, options: KEEP_LOG });
    for (let n = 0; n < 150; n++) await child.next();
    child.process.kill("SIGKILL");
    const { reports } = await child.ended;
    const path = logPathOf(dir);
    expect(readFileSync(path, "utf8")).toMatch(/\t\n$/);
    const ids = idsOf(path);
    expect(ids.length).toBeGreaterThan(reports.at(-1).acknowledged);
    const store = await (who === "ours" ? openStore : openUpstream)(dir, KEEP_LOG);
    expect(store.count()).toBe(ids.length);
    expect(await store.undo()).toBe(true);
    expect(idsOf(path)).toEqual(ids.slice(0, -1));
    await store.set("after", { n: 1 });
    await store.close();
    expect(idsOf(path)).toEqual([...ids.slice(0, -1), "after"]);
    for (const open of [openStore, openUpstream]) {
      const again = await open(dir, { readOnly: true });
      expect(again.entries().map(([id]) => id)).toEqual([...ids.slice(0, -1), "after"]);
    }
  });
});

it("upstream's undo takes off the last operation and no other, wherever in its room a log stands", async () => {
  const dir = temporaryDirectory();
  const store = await openStore(dir, KEEP_LOG);
  const ids = await untilRoom(store, logPathOf(dir));
  for (let n = 0; n < 40; n++) {
    ids.push(`n${n}`);
    await store.set(`n${n}`, { text: "x".repeat((n * 37) % 600) });
    const copy = temporaryDirectory();
    cpSync(dir, copy, { recursive: true, filter: (path) => !basename(path).startsWith(".") });
    const upstream = await openUpstream(copy, KEEP_LOG);
    expect(await upstream.undo()).toBe(true);
    await upstream.close();
    expect(idsOf(logPathOf(copy))).toEqual(ids.slice(0, -1));
  }
});

/** Room is to be earned again after anything else. */
async function untilRoomAgain(store, path, n) {
  for (let k = 0; !readFileSync(path, "utf8").endsWith("\t\n"); k++) {
    expect(k).toBeLessThan(200);
    await store.set(`again${n}-${k}`, { text: TEXT });
  }
}
