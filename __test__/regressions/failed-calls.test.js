/**
 * Failures, each by one system call that failed once (found by `npm run check:io-errors`):
 *
 * - `open` failed, and every later `open` in this process was told that the process itself had the store. Cause: the lock
 *   file had its name already when `stat` or `fstat` of it failed, and was left there with our pid in it.
 * - After a `close` that could not remove the lock file this process could not open the store again. Cause: what says
 *   that the file is nobody's was removed before it.
 * - A temporary snapshot or manifest stayed. Cause: `fstat` of the file just made failed, and the caller, who got no file,
 *   had none to remove.
 * - An `archive` that was rejected because the disk was full left its records in the segment as well. Cause: the segment
 *   got its name before the manifest was written; that failed, and so did writing the old segment back.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { buildShim, runNode, shimmed } from "../../reliability/shim.js";
import { prepare } from "../../reliability/stores.js";
import { chosen } from "../../reliability/workloads.js";

const { EACCES, EIO } = constants.errno;

beforeAll(() => {
  if (process.platform === "linux") buildShim();
}, 180_000);

it.skipIf(process.platform !== "linux").each([
  ["first", `fail-at stat /.lock$ ${EIO}`],
  ["first", `fail-at stat .tmp ${EIO}`],
  ["immediate", `fail-at stat /.lock$ ${EACCES}`],
  ["migrate", `fail-at unlink /.lock$ ${EACCES}`],
  ["compact", `fail-at stat .jsonl. ${EIO}`],
  ...Array.from({ length: 30 }, (_, n) => ["archive", `budget ${1_500 + n * 120}`]),
])("%s: after one call that fails (%s) the store is as it was, and nothing is held or left", async (name, command) => {
  const [workload] = chosen(name);
  const place = mkdtempSync(join(tmpdir(), "opslog-test-"));
  try {
    const [template, dir, control, trace, cases, results] = ["template", "store", "control", "trace", "cases", "results"].map((file) => join(place, file));
    mkdirSync(template);
    await prepare(workload, template);
    for (const file of [control, trace, results]) writeFileSync(file, "");
    writeFileSync(cases, JSON.stringify([command]));
    const env = shimmed({ DIR: dir, MODE: "control", CONTROL: control, TRACE: trace });
    const { code, stderr } = await runNode("io-driver.js", [name, template, dir, control, trace, cases, results], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const result = JSON.parse(readFileSync(results, "utf8").trim().split("\n").at(-1));
    expect(result).toMatchObject({ command, done: true });
    expect(result.hits.length).toBeGreaterThan(0);
    expect(result.problem).toBeUndefined();
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});
