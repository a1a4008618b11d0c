/** CONTRACT.md 1: opening with `skipLoad` costs the same whatever the store holds; the first write reads it once. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf, snapshotPathOf } from "../support/files.js";
import { canTrace, readTrace } from "../support/strace.js";
import { PARTIAL, grow } from "./prepare.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

/** Runs a session and adds up what it reads of the snapshot and the log. */
async function bytesRead(dir, session) {
  const output = join(temporaryDirectory(), "trace");
  const wrapper = ["strace", "-f", "-y", "-s", "0", "-e", "trace=read,pread64,readv,preadv", "-e", "signal=none", "-o", output];
  const { code, stderr } = await runChild(SCENARIOS, "session", { dir, ...session }, { wrapper });
  expect([code, stderr]).toEqual([0, ""]);
  const of = (path) => readTrace(output)
    .filter(({ args }) => args.includes(`<${path}>`))
    .reduce((sum, { result }) => sum + Number(result), 0);
  return { snapshot: of(snapshotPathOf(dir)), log: of(logPathOf(dir)) };
}

describe.runIf(canTrace)("what a session reads", () => {
  it("at open does not grow with the store", async () => {
    const read = [];
    for (const count of [20_000, 80_000]) {
      const dir = temporaryDirectory();
      await grow(dir, count);
      for (const readOnly of [false, true]) {
        const loaded = await bytesRead(dir, { options: { readOnly: true } });
        expect(loaded.snapshot).toBeGreaterThanOrEqual(statSync(snapshotPathOf(dir)).size);
        const partial = await bytesRead(dir, { options: { ...PARTIAL, readOnly } });
        expect(partial.snapshot).toBeLessThanOrEqual(1 << 20);
        expect(partial.log).toBeLessThanOrEqual(200_000);
        read.push([readOnly, partial.snapshot]);
      }
    }
    expect(read.slice(2)).toEqual(read.slice(0, 2));
  });

  it("at the first write is everything once, and a line for each write after it", async () => {
    const dir = temporaryDirectory();
    await grow(dir, 20_000);
    const sizes = { snapshot: statSync(snapshotPathOf(dir)).size, log: statSync(logPathOf(dir)).size };
    const one = await bytesRead(dir, { options: PARTIAL, work: [["set", "fresh", { n: 1 }]] });
    expect(one.snapshot).toBeGreaterThanOrEqual(sizes.snapshot);
    expect(one.snapshot).toBeLessThanOrEqual(sizes.snapshot + (1 << 20) + 1000);
    expect(one.log).toBeLessThanOrEqual(sizes.log + 200_000);
    const sets = Array.from({ length: 200 }, (_, n) => ["set", `id ${n} that is not there`, { n }]);
    const unknown = await bytesRead(dir, { options: PARTIAL, work: sets });
    // Ids that are not stored: at most a chance hit on another's hash.
    expect(unknown.snapshot + unknown.log).toBeLessThanOrEqual(one.snapshot + one.log + 25_000);
    const updates = Array.from({ length: 200 }, (_, n) => ["set", `k${n * 7}`, { n }]);
    const known = await bytesRead(dir, { options: PARTIAL, work: updates });
    expect(known.log).toBeGreaterThan(unknown.log);
    expect(known.snapshot + known.log).toBeLessThanOrEqual(one.snapshot + one.log + 200 * 1000 + 60_000);
  });
});

it("memory does not grow with the store, and by a few bytes a record at the first write", async () => {
  const [small, large] = [temporaryDirectory(), temporaryDirectory()];
  await grow(small, 100);
  await grow(large, 150_000);
  const peak = async (dir, args) => (await runChild(SCENARIOS, "memory", { dir, ...args })).reports[0].peak;
  const [base, opened] = [await peak(small, { options: PARTIAL }), await peak(large, { options: PARTIAL })];
  const written = await peak(large, { options: PARTIAL, write: true });
  const loaded = await peak(large, { options: { readOnly: true } });
  // Kilobytes. The store holds 300,000 lines of some 40 MB.
  expect(opened - base).toBeLessThan(8_000);
  expect(written - base).toBeLessThan(16_000);
  expect(loaded - base).toBeGreaterThan(40_000);
});
