/**
 * Failure: what an agent left that crashed while it took a lock or replaced the manifest stayed for ever.
 * Cause: recovery did not know `.compact-lock.<pid>-<n>.tmp` and the locks of agents, and `FsBackend` gave temporary
 * manifests the names of temporary blobs, which are nobody's to remove.
 */
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ownTemporary } from "../../lib/durable.js";
import { filesOf, temporaryDirectory } from "../support/directory.js";
import { openStore, withStore } from "../support/stores.js";

it("a writer removes the temporary files of agents that crashed, but no lock that may just be being taken", async () => {
  const dir = temporaryDirectory();
  await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
  const old = [ownTemporary("manifest.json"), ".compact-lock.77-0.tmp", ".agent-a-0123abcd.lock.77-1.tmp"];
  const young = ".compact-lock.77-2.tmp";
  for (const name of [...old, young]) writeFileSync(join(dir, name), "77");
  for (const name of old) utimesSync(join(dir, name), 1, 1);
  const store = await openStore(dir);
  expect(filesOf(dir).filter((path) => path.endsWith(".tmp"))).toEqual([young]);
  await store.close();
});
