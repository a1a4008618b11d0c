/** What `custom-sharing.test.js` and `compaction-lock.test.js` have child processes do. */
import { FsBackend, Store } from "../../index.js";

/** A write that never ends, and nothing else to do. */
export async function neverSettles({ dir, report }) {
  process.on("exit", () => report("exit"));
  const backend = new FsBackend();
  const store = new Store();
  await store.open(dir, { backend: Object.assign(backend, { appendOps: () => new Promise(() => {}) }) });
  void Promise.resolve(store.set("a", { n: 1 })).then(() => report("stored"));
  report("waiting");
}

/** Writes that nobody awaits, one of them buffered. */
export async function pendingWrites({ dir, report }) {
  process.on("exit", () => report("exit"));
  class Reporting extends FsBackend {
    async appendOps(path, ops) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await super.appendOps(path, ops);
      report(`stored ${ops.length}`);
    }
  }
  const backend = new Reporting();
  for (const [name, writeMode] of [["one", "immediate"], ["two", "async"]]) {
    const store = new Store();
    await store.open(`${dir}/${name}`, { backend, writeMode, groupCommitMs: 50 });
    void store.set("a", { n: 1 });
  }
}

/** Takes the compaction lock and keeps it until the process ends. */
export async function holdCompactionLock({ dir, report }) {
  const backend = new FsBackend();
  await backend.initialize(dir, { readOnly: false });
  await backend.acquireCompactionLock();
  process.stdin.resume();
  report("held");
}
