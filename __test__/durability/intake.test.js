/**
 * CONTRACT.md 2: what is acknowledged when. Buffered sets mostly need no call of the engine (lib/intake.js): nobody may
 * notice, whatever the caller does next.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logLinesOf } from "../support/files.js";
import { isNative } from "../support/implementation.js";
import { openStore, openUpstream, stateOf, WRITE_MODES } from "../support/stores.js";

const BUFFERED = WRITE_MODES.filter(({ options }) => options.writeMode !== "immediate");
const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };
const PACKAGE = JSON.stringify(new URL("../../index.js", import.meta.url).href);

/** A program with an open store, run to its end or until it is killed. */
const program = (dir, options, body) => `
  import { writeSync } from "node:fs";
  const { Store } = await import(${PACKAGE});
  const store = new Store();
  await store.open(${JSON.stringify(dir)}, ${JSON.stringify({ ...options, ...KEEP_LOG, checkpointThreshold: 1e9 })});
  ${body}`;

describe.each(BUFFERED)("buffered sets ($mode)", ({ options }) => {
  it("are what was called, whatever is in the texts, however long they are", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, ...KEEP_LOG });
    const ids = ["plain", "with \"quotes\" and \\", "line\nbreak", "\u0000\u001f\u007f", "ÿ", "日本語", "🙂", "half \ud83d", "1733000000000", "x".repeat(64), "y".repeat(65), "é".repeat(5_000)];
    const values = [{ n: 1 }, "text\n1733000000000\n", "🙂 日本語 \ud83d", [1, [2]], 0, false, { text: "z".repeat(20_000) }, "ü".repeat(70_000), "w".repeat(66_000), { " ": "\u2028" }];
    const expected = new Map();
    for (let round = 0; round < 3; round++) {
      for (const [n, id] of ids.entries()) {
        const value = values[(n + round) % values.length];
        await store.set(id, value);
        expected.set(id, JSON.parse(JSON.stringify(value)));
      }
    }
    expect(store.entries()).toEqual([...expected]);
    expect(store.getOps()).toHaveLength(3 * ids.length);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([...expected]);
    expect((await openUpstream(dir)).entries()).toEqual([...expected]);
  });

  it("take their turn among all other calls", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, ...KEEP_LOG });
    for (let n = 0; n < 5; n++) await store.set(`a${n}`, { n });
    await store.delete("a0");
    await store.set("a5", { n: 5 });
    await store.batch(() => {
      store.set("b", { n: 6 });
      store.delete("a1");
      expect(store.count()).toBe(5);
    });
    await store.set("a1", { n: 7 });
    await store.set("gone", { n: 8 });
    expect(await store.undo()).toBe(true);
    await store.set("a2", { n: 9 });
    expect(store.getHistory("a2")).toHaveLength(2);
    expect(store.stats().activeRecords).toBe(6);
    const archived = store.archive((value) => value.n === 9, "2020-Q1");
    await store.set("a3", { n: 10 });
    expect(await archived).toBe(1);
    await store.set("a4", { n: 11 });
    await store.compact();
    await store.set("c", { n: 12 });
    await store.flush();
    expect(logLinesOf(dir).map(({ id }) => id)).toEqual(["c"]);
    const wanted = [["a3", 10], ["a4", 11], ["a5", 5], ["b", 6], ["a1", 7], ["c", 12]].map(([id, n]) => [id, { n }]);
    expect(new Map(store.entries())).toEqual(new Map(wanted));
    await store.close();
    expect(new Map((await stateOf(dir)).entries)).toEqual(new Map(wanted));
  });

  it("that cannot be are refused, and change nothing", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, ...KEEP_LOG });
    for (const id of ["a", "b", "c"]) await store.set(id, { id });
    await expect(store.set("", {})).rejects.toThrow("Argument 'id'");
    await expect(store.set(/** @type {any} */ (7), {})).rejects.toThrow("Argument 'id'");
    await expect(store.set("d", undefined)).rejects.toThrow("Argument 'value'");
    const cause = new Error("mine");
    await expect(store.set("d", { toJSON() { throw cause; } })).rejects.toBe(cause);
    expect(store.count()).toBe(3);
    const closing = store.close();
    expect(() => store.set("d", {})).toThrow("not open");
    await closing;
    expect((await stateOf(dir)).entries).toHaveLength(3);
  });

  it.runIf(isNative)("survive kill -9 soon after they were acknowledged, although the event loop never gets its turn", async () => {
    const dir = temporaryDirectory();
    const body = `
      for (let n = 0; n < 500; n++) await store.set("k" + n, { n });
      await Promise.resolve();
      writeSync(1, "acknowledged");
      for (;;);`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program(dir, options, body)], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    // The contract says 10 ms; a busy machine needs more until the writer has its turn.
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.kill("SIGKILL");
    await once(child, "exit");
    expect((await stateOf(dir)).entries).toHaveLength(500);
  });

  it.runIf(isNative).each([
    ["process.exit()", "process.exit(0);"],
    ["process.exit() in an exit listener that sets", 'process.on("exit", () => void store.set("late", {})); process.exit(0);'],
    ["an exception", "setTimeout(() => { throw new Error('expected'); });"],
  ])("of the turn in which the process ends by %s are stored", async (_how, end) => {
    const dir = temporaryDirectory();
    const body = `for (let n = 0; n < 500; n++) await store.set("k" + n, { n });\n${end}`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program(dir, options, body)], { stdio: "ignore" });
    await once(child, "exit");
    const { entries } = await stateOf(dir);
    expect(entries.filter(([id]) => id !== "late")).toHaveLength(500);
  });
});

describe.runIf(isNative)("buffered sets", () => {
  it("carry the time of their call, although nobody asks for them for a while", async () => {
    const store = await openStore(temporaryDirectory(), { ...BUFFERED.at(-1)?.options, ...KEEP_LOG });
    const spans = [];
    for (let n = 0; n < 4; n++) {
      const before = Date.now();
      await store.set("k", { n });
      spans.push([before, Date.now()]);
      const end = Date.now() + 7;
      while (Date.now() < end);
    }
    const times = store.getOps().map(({ ts }) => Date.parse(ts));
    expect(times.map((time, n) => spans[n][0] <= time && time <= spans[n][1])).toEqual([true, true, true, true]);
  });

  it("carry real times, although Date was somebody else's when the package was imported", () => {
    const body = `
      for (const id of ["a", "b", "c"]) await store.set(id, {});
      console.log(JSON.stringify(store.getOps().map(({ ts }) => Date.parse(ts))));
      await store.close();`;
    for (const fake of ["1e12", "1e14"]) {
      const text = `const { now } = Date;\nDate.now = () => ${fake};\nprocess.nextTick(() => { Date.now = now; });\n${program(temporaryDirectory(), { writeMode: "async" }, body)}`;
      const before = Date.now();
      const times = JSON.parse(execFileSync(process.execPath, ["--input-type=module", "--eval", text], { encoding: "utf8" }));
      expect(times.map((time) => time >= before && time <= Date.now())).toEqual([true, true, true]);
    }
  });

  it("are all there after a recursion that ends in a stack overflow", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { writeMode: "async", durability: "os", ...KEEP_LOG });
    let n = 0;
    const acknowledged = [];
    for (let round = 0; round < 20; round++) {
      const recurse = () => {
        const id = `k${n++}`;
        const done = store.set(id, { id });
        acknowledged.push(id);
        done.catch(() => {});
        recurse();
      };
      expect(recurse).toThrow(RangeError);
      await store.set(`after${round}`, { id: `after${round}` });
      acknowledged.push(`after${round}`);
    }
    const state = new Map(store.entries());
    expect(acknowledged.filter((id) => state.get(id)?.id !== id)).toEqual([]);
    await store.close();
    const stored = new Map((await stateOf(dir)).entries);
    expect(stored).toEqual(state);
  }, 60_000);
});
