/** What the child processes of the life-cycle tests do. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Counts of this process: open files, and threads once those that are ending have ended. */
async function counts() {
  globalThis.gc?.();
  await sleep(500);
  return { files: readdirSync("/proc/self/fd").length, threads: readdirSync("/proc/self/task").length };
}

/** Opens and closes stores, some of them in vain, and reports the counts after each half. */
export async function cycle({ Store, report, dir, cycles }) {
  const modes = ["immediate", "group", "async"];
  let n = 0;
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < cycles; i++, n++) {
      const store = new Store();
      await store.open(dir, { writeMode: modes[n % 3] });
      await store.set("n", { n });
      await new Store().open(dir).catch(() => {});
      await store.close();
      if (n % 10 !== 9) continue;
      const manifest = join(dir, "manifest.json");
      const text = readFileSync(manifest);
      writeFileSync(manifest, "{");
      await store.open(dir).catch(() => {});
      writeFileSync(manifest, text);
    }
    report(await counts());
  }
}
