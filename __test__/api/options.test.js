/** CONTRACT.md 1: the options of `open`, their defaults and limits. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { Store } from "../support/implementation.js";
import { closedAtEnd, openStore, stateOf } from "../support/stores.js";

const SIZES = ["checkpointThreshold", "groupCommitSize", "groupCommitMs"];
const BAD_SIZES = [0, -1, 1.5, NaN, -Infinity, 2 ** 53, "5", {}];
const GOOD_SIZES = [1, 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, Infinity];

const INVALID = [
  ...SIZES.flatMap((option) => BAD_SIZES.map((value) => [option, value])),
  ...[0, -1, 1.5, NaN, "1", {}].map((value) => ["version", value]),
  ...["fast", "", "Immediate", 1, {}].map((value) => ["writeMode", value]),
  ...["none", "", "FSYNC", true, 1].map((value) => ["durability", value]),
  ...["ignore", "", 1].map((value) => ["recovery", value]),
  ...["function", 1, {}].map((value) => ["migrate", value]),
];

describe("an invalid option", () => {
  it.each(INVALID)("rejects with a TypeError that names it, and makes nothing: %s: %j", async (option, value) => {
    const dir = join(temporaryDirectory(), "store");
    const store = closedAtEnd(new Store());
    const error = await rejectionOf(store.open(dir, { [option]: value }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(option);
    expect(existsSync(dir)).toBe(false);
    await store.open(dir);
    await store.set("a", { n: 1 });
    expect(store.get("a")).toEqual({ n: 1 });
  });

  it.each([undefined, null, 7, {}])("rejects a directory that is no string with a TypeError that names it: %j", async (dir) => {
    const error = await rejectionOf(new Store().open(dir));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/\bdir/);
  });
});

describe("a valid option", () => {
  it.each(SIZES.flatMap((option) => GOOD_SIZES.map((value) => [option, value])))(
    "may be any integer from 1 to MAX_SAFE_INTEGER, or Infinity: %s: %s",
    async (option, value) => {
      for (const writeMode of ["immediate", "group", "async"]) {
        const dir = temporaryDirectory();
        const store = await openStore(dir, { durability: "os", writeMode, [option]: value });
        // a group commit that waits for more calls is ended by flush()
        const pending = [store.set("a", { n: 1 }), store.set("b", { n: 2 })];
        await store.flush();
        await Promise.all(pending);
        await store.close();
        expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
      }
    },
  );

  it("undefined means the default, for every option", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, {
      checkpointThreshold: undefined, checkpointOnClose: undefined, version: undefined, migrate: undefined,
      readOnly: undefined, skipLoad: undefined, backend: undefined, agentId: undefined, writeMode: undefined,
      groupCommitSize: undefined, groupCommitMs: undefined, durability: undefined, recovery: undefined,
    });
    for (let n = 1; n <= 99; n++) await store.set(`k${n}`, { n });
    expect(store.stats().opsCount).toBe(99);
    await store.set("k100", { n: 100 });
    expect(store.stats().opsCount).toBe(0);
    await store.set("k101", { n: 101 });
    await store.close();
    expect((await stateOf(dir)).ops).toEqual([]);
  });

  it("checkpointOnClose: true, the default, leaves no operations in the log", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir);
    await store.set("a", { n: 1 });
    await store.close();
    expect(await stateOf(dir)).toEqual({ entries: [["a", { n: 1 }]], ops: [] });
  });

  it("checkpointOnClose: false leaves them", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { checkpointOnClose: false });
    await store.set("a", { n: 1 });
    await store.close();
    expect(await stateOf(dir)).toMatchObject({ entries: [["a", { n: 1 }]], ops: [{ id: "a" }] });
  });

  it("a group commit by size makes the set that fills it settle, without flush()", async () => {
    const store = await openStore(temporaryDirectory(), { writeMode: "group", groupCommitSize: 3, groupCommitMs: Infinity });
    await Promise.all(["a", "b", "c"].map((id) => store.set(id, { id })));
    expect(store.count()).toBe(3);
  });

  it("a set that is only buffered settles at once, in group and in async mode", async () => {
    for (const writeMode of ["group", "async"]) {
      const store = await openStore(temporaryDirectory(), { writeMode, groupCommitSize: 50, groupCommitMs: Infinity });
      await store.set("a", { n: 1 });
      expect(store.get("a")).toEqual({ n: 1 });
    }
  });
});
