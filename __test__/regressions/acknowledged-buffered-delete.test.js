/**
 * Failure: a delete that a buffered mode had acknowledged came undone when an archive and an undo before it failed.
 * Cause: their rollback rejected everything that was queued behind them, also what had been acknowledged already.
 */
import { chmodSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf } from "../support/files.js";
import { openStore, stateOf } from "../support/stores.js";

it("an acknowledged buffered delete is not dropped when calls before it fail", async () => {
  const dir = temporaryDirectory();
  const store = await openStore(dir, { writeMode: "async", checkpointThreshold: Infinity, durability: "os", checkpointOnClose: false });
  await store.set("a", { v: 1 });
  await store.set("k0", { v: 1 });
  await store.flush();
  const log = logPathOf(dir);
  renameSync(join(dir, "snapshots"), join(dir, "aside"));
  chmodSync(log, 0o444);
  const [archived, undone, deleted] = await Promise.allSettled([
    store.archive((_value, id) => id === "a"), store.undo(), store.delete("k0"),
  ]);
  chmodSync(log, 0o644);
  renameSync(join(dir, "aside"), join(dir, "snapshots"));
  expect(archived.status).toBe("rejected");
  expect(undone.status).toBe("rejected");
  expect(deleted).toEqual({ status: "fulfilled", value: undefined });
  expect(store.has("k0")).toBe(false);
  // the failure of the background may be told once
  await store.flush().catch((error) => expect(error.code).toBe("EACCES"));
  await store.flush();
  expect(store.entries()).toEqual([["a", { v: 1 }]]);
  await store.close();
  expect((await stateOf(dir)).entries).toEqual([["a", { v: 1 }]]);
});
