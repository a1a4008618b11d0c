/**
 * Failure: `open` removed files of its user that had names like `notes.tmp`.
 * Cause: whatever ended in `.tmp` was taken for a leftover of a crash; only names of the engine's own pattern are.
 */
import { existsSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore } from "../support/stores.js";

const FILES = [
  "notes.tmp", ".lock.tmp", "manifest.json.bak.tmp", "manifest.json.old", "manifest.json.tmp.txt", "ops/export.tmp",
  "ops/ops-backup.jsonl", "ops/agent-x-1.jsonl", "snapshots/x.tmp", "snapshots/snap-copy.jsonl", "archive/my-notes.tmp",
  "archive/archive-old.json", "archive/archive-2026-Q1.json.mine.tmp",
];

it("files of the user are never removed, whatever ends in .tmp, in open, checkpoints and close", async () => {
  const dir = temporaryDirectory();
  const store = await openStore(dir, { durability: "os", checkpointThreshold: 2 });
  await store.set("a", {});
  await store.close();
  for (const file of FILES) {
    const path = join(dir, file);
    writeFileSync(path, "my data\n");
    utimesSync(path, 1, 1);
  }
  for (let life = 0; life < 2; life++) {
    await store.open(dir, { durability: "os", checkpointThreshold: 2 });
    for (let n = 0; n < 7; n++) await store.set("a", { n });
    await store.compact();
    await store.close();
  }
  expect(FILES.filter((file) => !existsSync(join(dir, file)))).toEqual([]);
  for (const file of FILES) expect(readFileSync(join(dir, file), "utf8")).toBe("my data\n");
});
