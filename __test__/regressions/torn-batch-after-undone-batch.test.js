/**
 * Failure: after a batch of which the last operations were undone, a torn batch took the acknowledged rest of the first
 * one with it when recovery cut it off.
 * Cause: batch markers count the lines that follow; the undone batch's ran into the next batch's lines.
 */
import { rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { copyOf, temporaryDirectory } from "../support/directory.js";
import { logPathOf, logTextOf } from "../support/files.js";
import { openStore, stateOf, withStore } from "../support/stores.js";

it.each([1, 2, 3])("a torn batch leaves what was not undone of the batch before it (%i operations undone)", async (undone) => {
  const source = temporaryDirectory();
  let dir = "";
  const options = { durability: "os", checkpointOnClose: false };
  const ids = ["a", "b", "c", "d"];
  await withStore(source, options, async (store) => {
    await store.batch(() => ids.forEach((id) => store.set(id, { id })));
    for (let n = 0; n < undone; n++) await store.undo();
    await store.batch(() => ["x", "y"].forEach((id) => store.set(id, {})));
    // what is there while the writer runs: a crash comes after no close
    dir = copyOf(source);
    // the pid in it is of a living process, which a crash would not leave
    rmSync(join(dir, ".lock"));
  });
  const left = ids.slice(0, ids.length - undone);
  expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual([...left, "x", "y"]);
  // the crash: the last line of the second batch never reached the disk
  const bytes = Buffer.from(logTextOf(dir));
  truncateSync(logPathOf(dir), bytes.lastIndexOf("\n", bytes.length - 2) + 1);
  const told = vi.spyOn(console, "error").mockImplementation(() => {});
  expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(left);
  const store = await openStore(dir, options);
  expect(store.entries().map(([id]) => id)).toEqual(left);
  await store.set("e", {});
  await store.close();
  expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual([...left, "e"]);
  told.mockRestore();
});
