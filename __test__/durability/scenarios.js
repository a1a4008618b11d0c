/** What the child processes of the durability tests do. */
import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";

const WORKERS = new URL("./workers.js", import.meta.url);

/** Sets numbered records one after another, for ever, and reports each acknowledged one. */
export async function setForever({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; ; n++) {
    await store.set(`k${n % 50}`, { n, text: "日本語".repeat(n % 20) });
    report({ acknowledged: n });
  }
}

/** Sets new records of some length one after another, for ever, and reports each acknowledged one. */
export async function setLongForever({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; ; n++) {
    await store.set(`k${n}`, { n, text: "x".repeat(300) });
    report({ acknowledged: n });
  }
}

/** Sets numbered records, ten at a time, for ever, and reports each acknowledged ten. */
export async function setManyForever({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; ; n += 10) {
    await Promise.all(Array.from({ length: 10 }, (_, i) => store.set(`k${n + i}`, { n: n + i })));
    report({ acknowledged: n + 9 });
  }
}

/** Sets numbered records and reports each number that flush() or sync() has covered. */
export async function flushForever({ Store, report, dir, options, method }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; ; n++) {
    await store.set(`k${n % 50}`, { n });
    if (n % 7 === 6) {
      await store[method]();
      report({ acknowledged: n });
    }
  }
}

/** Writes batches that set the same ids to the same number, for ever. */
export async function batchForever({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; ; n++) {
    await store.batch(() => {
      for (let i = 0; i < 40; i++) store.set(`k${i}`, { n, text: "x".repeat(n % 300) });
    });
    report({ acknowledged: n });
  }
}

/** Mixes every mutation; the state after each step can be computed from its number. */
export async function mixForever({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; ; n++) {
    await store.set("n", { n });
    await store.set("undone", { n });
    await store.undo();
    await store.set("gone", { n });
    await store.delete("gone");
    if (n % 9 === 8) await store.compact();
    report({ acknowledged: n });
  }
}

/** Buffers writes, then does nothing until it is killed. */
export async function bufferAndIdle({ Store, report, command, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; n < 20; n++) await store.set(`k${n}`, { n });
  // blocks the event loop: what reaches the operating system now does so without JavaScript
  await sleep(1_000);
  report("idle");
  command();
}

/** Starts writes and leaves at once in the way that `how` says, without close(). */
export async function writeAndLeave({ Store, dir, options, how }) {
  const store = new Store();
  await store.open(dir, options);
  const pending = Array.from({ length: 290 }, (_, n) => store.set(`k${n}`, { n }));
  pending.push(store.batch(() => {
    for (let n = 290; n < 300; n++) store.set(`k${n}`, { n });
  }));
  for (let n = 300; n < 310; n++) pending.push(store.set(`k${n}`, { n }));
  void Promise.allSettled(pending);
  if (how === "process.exit") process.exit(7);
  if (how === "exit listener") {
    process.on("exit", () => {
      void store.set("k310", { n: 310 });
    });
    process.exit(7);
  }
  if (how === "uncaught exception") {
    setImmediate(() => {
      throw new Error("nobody catches this");
    });
    // more writes that are pending when it is thrown
    setImmediate(() => void store.set("never", {}));
  }
  if (how === "unhandled rejection") void Promise.reject(new Error("nobody handles this"));
}

/** Starts writes, without close(), and reports when they settle: the process must stay alive until then. */
export async function writeAndReport({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; n < 100; n++) {
    store.set(`k${n}`, { n }).then(() => report(n), (error) => report(String(error)));
  }
}

/** Opens a store, perhaps writes, and does nothing more: the process must end by itself. */
export async function openAndLetGo({ Store, report, dir, options, writes }) {
  const store = new Store();
  await store.open(dir, options);
  for (let n = 0; n < writes; n++) await store.set(`k${n}`, { n });
  globalThis.store = store;
  process.on("exit", () => report("ended by itself"));
}

/** Runs a worker that writes without close(), ends it as `how` says, and opens the store again, also in upstream. */
export async function runWorker({ Store, UpstreamStore, report, dir, options, how }) {
  const worker = new Worker(WORKERS, { workerData: { dir, options, how } });
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  worker.on("error", (error) => report({ error: error.message }));
  if (how === "terminate") {
    await new Promise((resolve) => worker.once("message", resolve));
    await worker.terminate();
  }
  await exited;
  const store = new Store();
  await store.open(dir, { checkpointOnClose: false });
  report({ entries: store.entries() });
  await store.close();
  const upstream = new UpstreamStore();
  await upstream.open(dir, { checkpointOnClose: false });
  report({ upstream: upstream.count() });
  await upstream.close();
}

/** Does what the parent says, one line at a time, and reports how each step ended. For use under strace. */
export async function obey({ Store, report, command, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  report("open");
  const steps = {
    set: (id) => store.set(id, { id }),
    sets: (count) => Promise.all(Array.from({ length: Number(count) }, (_, n) => store.set(`k${n}`, { n }))),
    batch: (count) => store.batch(() => {
      for (let n = 0; n < Number(count); n++) store.set(`k${n}`, { n });
    }),
    get: async (id) => store.get(id) ?? null,
    flush: () => store.flush(),
    sync: () => store.sync(),
    undo: () => store.undo(),
    close: () => store.close(),
    compact: () => store.compact(),
    sleep: (ms) => sleep(Number(ms)),
    reopen: () => store.open(dir, options),
    entries: async () => store.entries(),
  };
  for (let line = command(); line !== "end"; line = command()) {
    const [step, argument] = line.split(" ");
    const outcome = await steps[step](argument).then(
      (result) => ({ result }),
      (error) => ({ error: { message: error.message, code: error.code, path: error.path, syscall: error.syscall } }),
    );
    // a marker that strace sees
    writeSync(2, `done ${line}\n`);
    report({ step: line, ...outcome });
  }
}

/** Writes more than the log may hold (RLIMIT_FSIZE), then a little. */
export async function writeTooMuch({ Store, report, dir }) {
  const store = new Store();
  await store.open(dir, { checkpointOnClose: false });
  const ids = () => store.entries().map(([id]) => id);
  await store.set("small", { n: 1 });
  const set = await store.set("large", { text: "x".repeat(100_000) }).catch((error) => error);
  report({ error: set?.code, entries: ids() });
  const batch = await store.batch(() => {
    for (let n = 0; n < 200; n++) store.set(`k${n}`, { text: "x".repeat(1_000) });
  }).catch((error) => error);
  report({ error: batch?.code, entries: ids() });
  await store.set("after", { n: 1 });
  report({ entries: ids() });
  await store.close();
}

/** Writes past the threshold while checkpoints fail, and again when they do not. */
export async function checkpointsFail({ Store, report, command, dir }) {
  const store = new Store();
  await store.open(dir, { checkpointThreshold: 3 });
  report("open");
  command();
  const outcomes = await Promise.allSettled(Array.from({ length: 6 }, (_, n) => store.set(`k${n}`, { n })));
  // a report may come from the background
  await sleep(300);
  report({ outcomes: outcomes.map(({ status }) => status), entries: store.entries(), stats: store.stats() });
  command();
  for (let n = 0; n < 40; n++) {
    await store.set(`later${n}`, { n });
    await sleep(10);
  }
  await store.close();
  await store.open(dir);
  report({ closed: true, opsCount: store.stats().opsCount });
  await store.close();
}
