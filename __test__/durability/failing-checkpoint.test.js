/** CONTRACT.md 2: a failing automatic checkpoint does not reject a `set` that is safely in the log. */
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { filesOf, temporaryDirectory } from "../support/directory.js";
import { manifestOf } from "../support/files.js";
import { openStore, stateIn, stateOf } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

let dir;

beforeEach(() => {
  dir = temporaryDirectory();
});

/** Makes snapshots impossible: a file is in place of their folder. */
function block() {
  renameSync(join(dir, "snapshots"), join(dir, "elsewhere"));
  writeFileSync(join(dir, "snapshots"), "");
}

/** Undoes `block`. */
function unblock() {
  renameSync(join(dir, "snapshots"), join(dir, "was-in-the-way"));
  renameSync(join(dir, "elsewhere"), join(dir, "snapshots"));
}

describe("a checkpoint that fails", () => {
  it("by threshold is reported on stderr and in stats(), retried later, and rejects nothing", async () => {
    const child = startChild(SCENARIOS, "checkpointsFail", { dir });
    expect(await child.next()).toBe("open");
    block();
    const { currentSnapshot } = manifestOf(dir);
    child.send("go");
    const failed = await child.next();
    expect(failed.outcomes).toEqual(Array(6).fill("fulfilled"));
    expect(failed.entries).toHaveLength(6);
    expect(JSON.stringify(failed.stats)).toContain("ENOTDIR");
    expect(manifestOf(dir).currentSnapshot).toBe(currentSnapshot);
    unblock();
    child.send("go");
    const retried = await child.next();
    expect(retried).toEqual({ closed: true, opsCount: 0 });
    const { code, stderr } = await child.ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(/checkpoint/i);
    expect(stderr).toMatch(/ENOTDIR|Not a directory/);
    expect(filesOf(dir).filter((path) => path.includes("tmp"))).toEqual([]);
    expect((await stateOf(dir)).entries).toHaveLength(46);
  });

  it("by compact() rejects with the cause, changes nothing, and can be repeated", async () => {
    const store = await openStore(dir, { checkpointThreshold: Infinity });
    await store.set("a", { n: 1 });
    const state = stateIn(store);
    block();
    await expect(store.compact()).rejects.toMatchObject({ code: "ENOTDIR", path: expect.stringContaining("snapshots") });
    await expect(store.archive(() => true, "s")).rejects.toMatchObject({ code: "ENOTDIR" });
    expect(stateIn(store)).toEqual(state);
    expect(store.listArchiveSegments()).toEqual([]);
    await store.set("b", { n: 1 });
    unblock();
    await store.compact();
    expect(store.getOps()).toEqual([]);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 1 }]]);
  });

  it("at close makes close reject with the cause; the store stays open and can be closed later", async () => {
    const store = await openStore(dir);
    await store.set("a", { n: 1 });
    block();
    await expect(store.close()).rejects.toMatchObject({ code: "ENOTDIR" });
    expect(store.get("a")).toEqual({ n: 1 });
    await store.set("b", { n: 1 });
    expect(existsSync(join(dir, ".lock"))).toBe(true);
    unblock();
    await store.close();
    expect(await stateOf(dir)).toEqual({ entries: [["a", { n: 1 }], ["b", { n: 1 }]], ops: [] });
  });
});
