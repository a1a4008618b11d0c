// Run by scripts/smoke.js and check-runtimes.js in a project that holds nothing but the installed package: buffered writes
// are flushed and the lock is given back however the process ends, and a pending write keeps it alive.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Store } from "opslog-native";

/** @type {Record<string, () => void>} */
const ends = {
  "by itself": () => {},
  "by process.exit()": () => process.exit(0),
  "by an exception": () => setTimeout(() => {
    throw new Error("on purpose");
  }, 0),
};

const [, file, how] = process.argv;
const store = new Store();
if (how === undefined) {
  const run = "Deno" in globalThis ? ["run", "--allow-all"] : [];
  for (const end of Object.keys(ends)) {
    const { status, stderr } = spawnSync(process.execPath, [...run, fileURLToPath(import.meta.url), end], { encoding: "utf8" });
    assert.equal(status === 0, end !== "by an exception", `${end}: status ${status} ${stderr}`);
    assert.ok(status === 0 || stderr.includes("on purpose"), stderr);
    // as a writer: a lock that stayed would refuse it
    await store.open(`./data/${end}`);
    assert.equal(store.count(), 100, `${file} ended ${end}`);
    await store.close();
  }
} else {
  await store.open(`./data/${how}`, { writeMode: "async" });
  for (let n = 0; n < 100; n += 1) void store.set(`id-${n}`, { n });
  ends[how]?.();
}
