/** The compaction lock is the kernel's: it is free as soon as its holder is gone, which upstream's `.compact-lock` is not. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { FsBackend } from "../../index.js";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";

it("a compactor that was killed keeps the compaction lock from nobody", async () => {
  const dir = temporaryDirectory();
  const child = startChild(new URL("./scenarios.js", import.meta.url), "holdCompactionLock", { dir });
  await child.next();
  const backend = new FsBackend();
  await backend.initialize(dir, { readOnly: false });
  const expected = { message: "Compaction lock held by another agent", code: "OPSLOG_LOCKED" };
  expect(await rejectionOf(backend.acquireCompactionLock())).toMatchObject(expected);
  child.process.kill("SIGKILL");
  await child.ended;
  expect(existsSync(join(dir, ".compact-lock"))).toBe(true);
  await backend.releaseCompactionLock(await backend.acquireCompactionLock());
});
