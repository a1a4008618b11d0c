// What the child processes and workers of reliability/lifecycle.js do: `node lifecycle-scenarios.js NAME JSON`.
// A report is one JSON line on stdout.

import { Store } from "../index.js";
import { exec, fork, spawn } from "node:child_process";
import { readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";

const SELF = fileURLToPath(import.meta.url);
const MODES = /** @type {const} */ (["immediate", "group", "async"]);

/** @param {unknown} value any JSON value */
const report = (value) => void writeSync(1, `${JSON.stringify(value)}\n`);

/**
 * Memory, descriptors and threads of this process, once what is ending has ended. Threads of the addon's pool end when
 * they have had nothing to do for ten seconds: so it waits, up to a minute, until there are no more than before.
 *
 * @param {{ threads: number }} [before]
 */
async function counts(before) {
  let found;
  for (let n = 0; n < 120; n++) {
    globalThis.gc?.();
    await sleep(n < 3 ? 100 : 500);
    found = {
      rss: Math.round(process.memoryUsage.rss() / 1024),
      files: readdirSync("/proc/self/fd").length,
      threads: readdirSync("/proc/self/task").length,
    };
    if (n >= 3 && found.threads <= (before?.threads ?? Infinity)) break;
  }
  return found;
}

/** @type {Record<string, (args: any) => Promise<void>>} */
const scenarios = {
  /** Opens and closes one directory again and again, with writes, failing opens and readers in between. */
  async cycles({ dir, cycles }) {
    /** @param {number} n */
    const cycle = async (n) => {
      const store = new Store();
      await store.open(dir, { writeMode: MODES[n % 3], durability: "os", ...(n % 7 === 3 ? { checkpointThreshold: 2 } : {}) });
      for (let i = 0; i < 5; i++) await store.set(`k${i}`, { n });
      await new Store().open(dir).catch(() => {});
      const reader = new Store();
      await reader.open(dir, { readOnly: true });
      if (n % 5 === 1) reader.watch(() => {}, 1);
      await reader.close();
      if (n % 4 === 2) await store.compact();
      await store.close();
    };
    // what is filled once (pools of threads, compiled code) is filled by then
    const warm = Math.max(20, cycles / 5);
    for (let n = 0; n < warm; n++) await cycle(n);
    const before = await counts();
    for (let n = 0; n < cycles; n++) await cycle(n);
    report({ before, after: await counts(before) });
  },

  /** Leaves many stores to the garbage collector, with buffered writes; then all directories can be opened again. */
  async collected({ dir, stores }) {
    // the first store brings the threads that stay
    const first = new Store();
    await first.open(join(dir, "first"));
    await first.close();
    const before = await counts();
    await (async () => {
      for (let n = 0; n < stores; n++) {
        const store = new Store();
        await store.open(join(dir, String(n)), { writeMode: MODES[n % 3] });
        void store.set("a", { n });
      }
    })();
    let free = 0;
    for (let n = 0; n < stores; n++) {
      const store = new Store();
      for (let attempt = 0; attempt < 100; attempt++) {
        if (await store.open(join(dir, String(n))).then(() => true, () => false)) break;
        globalThis.gc?.();
        await sleep(20);
      }
      if (store.get("a")?.n === n) free++;
      await store.close();
    }
    report({ free, before, after: await counts(before) });
  },

  /** Terminates workers that write; each number that a worker was told is stored is in shared memory. */
  async workers({ dir, workers }) {
    let lost = 0;
    let refused = 0;
    let late = 0;
    const round = async (/** @type {number} */ n) => {
      const told = new Int32Array(new SharedArrayBuffer(8));
      const worker = new Worker(SELF, { workerData: { dir, told, mode: MODES[n % 3], base: n * 1_000_000 } });
      worker.on("error", (error) => report({ error: String(error) }));
      // not before its modules are loaded: Node leaves the file open that a terminated worker was reading
      while (Atomics.load(told, 1) === 0) await sleep(1);
      // at times it is still opening
      await sleep((n * 7) % 60);
      await worker.terminate();
      const store = new Store();
      // The end of a worker frees its locks, except that of a store which is just being opened on a thread of the pool:
      // that one is closed as soon as it is open.
      let opened = false;
      for (let attempt = 0; attempt < 200 && !opened; attempt++) {
        if (attempt > 0) await sleep(25);
        opened = await store.open(dir, { durability: "os" }).then(() => true, () => false);
        if (!opened && attempt === 0) late++;
      }
      if (!opened) {
        refused++;
        return;
      }
      // buffered modes are flushed at the end of a worker, so all that was acknowledged is there
      for (let i = 1; i <= told[0]; i++) if (store.get(`w${i}`)?.n !== n * 1_000_000 + i) lost++;
      await store.batch(() => {
        for (const [id] of store.entries()) void store.delete(id);
      });
      await store.close();
    };
    for (let n = 0; n < 6; n++) await round(n);
    const before = await counts();
    for (let n = 6; n < workers + 6; n++) await round(n);
    report({ lost, refused, late, before, after: await counts(before) });
  },

  /** Calls process.exit where callers run code; what was acknowledged before was reported. */
  async exit({ dir, where, mode }) {
    const store = new Store();
    await store.open(dir, { writeMode: mode, ...(where === "migrate" ? { version: 2, migrate: (/** @type {any} */ value) => value } : {}) });
    await store.set("told", { n: 1 });
    report("told");
    const leave = () => process.exit(7);
    if (where === "then") void Promise.resolve(store.set("b", { n: 2 })).then(leave);
    if (where === "after the call") {
      void store.set("b", { n: 2 });
      leave();
    }
    if (where === "batch") void store.batch(() => (void store.set("half", { n: 3 }), leave()));
    if (where === "toJSON") void store.set("b", { toJSON: leave });
    if (where === "predicate") void store.archive(leave, "s");
    if (where === "filter") store.filter(leave);
    if (where === "compact") {
      void store.compact();
      setImmediate(leave);
    }
    if (where === "close") {
      void store.close();
      leave();
    }
    if (where === "exception") setImmediate(() => {
      process.on("uncaughtException", leave);
      throw new Error("of the caller");
    });
    if (where === "migrate") {
      await store.close();
      await new Store().open(dir, { version: 3, migrate: leave });
    }
    if (where === "watch") {
      const reader = new Store();
      await reader.open(dir, { readOnly: true });
      reader.watch(leave, 1);
      await store.set("b", { n: 2 });
      await store.flush();
    }
    if (where === "iterator") {
      const { value } = await store.streamSnapshot().next();
      void value;
      for await (const _op of store.getWalOps()) leave();
      leave();
    }
  },

  /** Starts children of every kind while the store is open, says so, and waits to be killed. */
  async children({ dir }) {
    const store = new Store();
    await store.open(dir);
    await store.set("a", { n: 1 });
    const compacting = store.compact();
    const children = [
      spawn("sleep", ["60"], { stdio: "ignore", detached: true }),
      spawn("sleep", ["60"], { stdio: "inherit", detached: true }),
      exec("exec sleep 60"),
      fork(SELF, ["idle", "{}"], { stdio: "ignore" }),
    ];
    await compacting;
    await store.set("b", { n: 2 });
    report({ pids: children.map(({ pid }) => pid) });
    await sleep(60_000);
  },

  async idle() {
    await sleep(60_000);
  },

  /** Ends when nothing is pending: the store is idle, and not closed. */
  async drained({ dir, what }) {
    const store = new Store();
    await store.open(dir, { writeMode: what === "buffered" ? "async" : "immediate", checkpointThreshold: 3 });
    if (what === "pending") for (let n = 0; n < 50; n++) void Promise.resolve(store.set(`k${n}`, { n })).then(() => n === 49 && report("last"));
    if (what === "buffered") for (let n = 0; n < 50; n++) void store.set(`k${n}`, { n });
    if (what === "compacting") void store.compact().then(() => report("compacted"));
    if (what === "unwatched") {
      store.watch(() => {}, 1000);
      store.unwatch();
    }
    if (what === "closing") void store.close().then(() => report("closed"));
    if (what === "failed open") await new Store().open(dir).catch(() => {});
    if (what === "reader") {
      const reader = new Store();
      await reader.open(dir, { readOnly: true });
      await reader.refresh();
    }
  },

  /** In a worker: writes and says how far it was told. */
  async writer({ dir, told, mode, base }) {
    Atomics.store(told, 1, 1);
    const store = new Store();
    await store.open(dir, { writeMode: mode, durability: "os", checkpointThreshold: 50 });
    for (let i = 1; ; i++) {
      await store.set(`w${i}`, { n: base + i });
      Atomics.store(told, 0, i);
    }
  },
};

if (isMainThread) {
  const [name = "", args = "{}"] = process.argv.slice(2);
  await scenarios[name](JSON.parse(args));
} else {
  await scenarios.writer(workerData);
}
