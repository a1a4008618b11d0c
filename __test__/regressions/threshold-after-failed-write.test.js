/**
 * Failure: a write that failed and was rolled back started a checkpoint that was not due.
 * Cause: the threshold was compared when the write was accepted, not when it was in the log.
 */
import { chmodSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logPathOf, manifestOf } from "../support/files.js";
import { openStore } from "../support/stores.js";

it("the threshold counts operations that are in the log, not one that failed", async () => {
  const dir = temporaryDirectory();
  const store = await openStore(dir, { durability: "os", checkpointThreshold: 3, checkpointOnClose: false });
  const log = logPathOf(dir);
  await store.set("a", {});
  await store.set("b", {});
  chmodSync(log, 0o444);
  expect((await rejectionOf(store.set("c", {}))).code).toBe("EACCES");
  expect((await rejectionOf(store.batch(() => ["c", "d"].forEach((id) => store.set(id, {}))))).code).toBe("EACCES");
  await sleep(200);
  expect(store.stats()).toMatchObject({ activeRecords: 2, opsCount: 2 });
  expect(logPathOf(dir)).toBe(log);
  chmodSync(log, 0o644);
  await store.set("d", {});
  expect(logPathOf(dir)).not.toBe(log);
  expect(manifestOf(dir).stats.activeRecords).toBe(3);
  expect(store.stats().opsCount).toBe(0);
  await store.set("e", {});
  await store.set("f", {});
  expect(store.stats().opsCount).toBe(2);
});
