/**
 * Failure: after a crash while a store was being made, the files of that attempt stayed beside the new store until some
 * later writer opened it.
 * Cause: leftovers were removed only where a manifest was found at open, and a first open that crashed has left none.
 */
import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { filesOf, temporaryDirectory } from "../support/directory.js";
import { openStore } from "../support/stores.js";

const LEFT = [".lock.77-0.tmp", "manifest.json.77-2.tmp", "snapshots/snap-5.jsonl", "snapshots/snap-5.jsonl.77-1.tmp", "ops/ops-5.jsonl"];

it("a first open removes what an earlier one left that crashed", async () => {
  const dir = temporaryDirectory();
  for (const path of LEFT.map((name) => join(dir, name))) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, "");
    utimesSync(path, 1, 1);
  }
  const store = await openStore(dir);
  expect(filesOf(dir).filter((path) => LEFT.includes(path))).toEqual([]);
  await store.close();
});
