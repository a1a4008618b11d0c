/** CONTRACT.md 2: a write that fails rejects that call. In a burst of writes the log's path is not followed before each. */
import { appendFileSync, chmodSync, copyFileSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logPathOf } from "../support/files.js";
import { openStore, stateIn, stateOf } from "../support/stores.js";

const OPTIONS = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };

/** [what happens to the log, how, the error's code, whether it can be mended by writing its text again]. */
const DAMAGES = [
  ["was deleted", (log) => rmSync(log), "ENOENT", false],
  ["was replaced by a copy", replaceByCopy, "OPSLOG_FAILED", false],
  ["was protected", (log) => chmodSync(log, 0o444), "EACCES", true],
  ["was appended to", (log) => appendFileSync(log, "foreign\n"), "OPSLOG_FAILED", true],
  ["was cut", (log) => truncateSync(log, 10), "OPSLOG_FAILED", true],
];

function replaceByCopy(log) {
  copyFileSync(log, `${log}.copy`);
  renameSync(`${log}.copy`, log);
}

describe("a burst of writes", () => {
  let dir;
  let log;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, OPTIONS);
    log = logPathOf(dir);
    for (let n = 0; n < 500; n++) await store.set(`id-${n % 7}`, { n });
  });

  it.each(DAMAGES)("ends with a rejection at once when the log %s, and nothing has changed", async (_what, damage, code, mendable) => {
    const state = stateIn(store);
    const text = readFileSync(log, "utf8");
    damage(log);
    const error = await rejectionOf(store.set("new", { n: 1 }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(log);
    expect(stateIn(store)).toEqual(state);
    if (!mendable) return;
    chmodSync(log, 0o644);
    writeFileSync(log, text);
    await store.set("new", { n: 2 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([...state.entries, ["new", { n: 2 }]]);
  });

  it("goes on for a moment in a log that was renamed, as if that had been done later, and then rejects", async () => {
    renameSync(log, `${log}.away`);
    let stored = 0;
    const failed = async () => {
      for (;;) {
        await store.set("new", { n: stored });
        stored++;
      }
    };
    expect(await rejectionOf(failed())).toMatchObject({ code: "ENOENT" });
    const lines = readFileSync(`${log}.away`, "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(500 + stored);
    renameSync(`${log}.away`, log);
    await store.set("new", { n: "back" });
    await store.close();
    expect(new Map((await stateOf(dir)).entries).get("new")).toEqual({ n: "back" });
  });

  it("that has paused follows the path again", async () => {
    renameSync(log, `${log}.away`);
    await sleep(5);
    expect(await rejectionOf(store.set("new", { n: 1 }))).toMatchObject({ code: "ENOENT" });
    expect(readFileSync(`${log}.away`, "utf8")).not.toContain('"new"');
  });
});
