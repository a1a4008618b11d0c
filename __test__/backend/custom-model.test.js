/**
 * Random calls on a backend that answers late and fails at random (before, halfway through or after its work) against a
 * naive model: what resolved is true, what rejected changed nothing, memory and what is stored agree.
 *
 * `OPSLOG_SEED` repeats a run.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Store } from "../../index.js";
import { diskOf, MemoryBackend } from "../support/memory-backend.js";
import { choices, seedsOf } from "../support/random.js";

const IDS = ["a", "b", "c", "d", "__proto__", "\ud800", "constructor"];
const STEPS = 150;

/** Records, and what they were before each operation that `undo` can take back. */
class Model {
  records = new Map();
  /** @type {Map<string, any>[]} */
  past = [];

  change(apply) {
    this.past.push(new Map(this.records));
    apply(this.records);
  }

  undo() {
    this.records = this.past.pop() ?? this.records;
  }
}

/** One store with its model; `chance`: one call of the backend in so many fails, 0: none. */
class Run {
  model = new Model();
  chance = 0;
  /** Texts of the errors that were made: nothing else may come out. */
  made = new Set();
  written = 0;
  opening = false;

  constructor(seed, writeMode, checkpointThreshold) {
    this.below = choices(seed);
    this.dir = `model ${seed} ${writeMode} ${checkpointThreshold}`;
    this.options = { writeMode, checkpointThreshold, groupCommitSize: 4, groupCommitMs: 5 };
    this.backend = new MemoryBackend({ seed });
    this.backend.fault = (method) => {
      if (this.chance === 0 || this.below(this.chance) > 0) return undefined;
      // Then nobody could give the lock back any more.
      if (method === "releaseLock" && this.opening) return undefined;
      const when = method === "acquireLock" ? "before" : ["before", "half", "after"][this.below(3)];
      const error = new Error(`fault ${this.made.size}`);
      this.made.add(error.message);
      return { when: /** @type {any} */ (when), error };
    };
    this.store = new Store();
  }

  async open() {
    this.opening = true;
    for (;;) {
      const opened = await settled(this.store.open(this.dir, { ...this.options, backend: this.backend }));
      if (!("error" in opened)) break;
      this.expectFault(opened.error);
    }
    this.opening = false;
  }

  expectFault(error) {
    if (!this.made.has(error?.message)) throw error;
  }

  /** A call, and what to do to the model once it has resolved. */
  call() {
    const { store, model } = this;
    const id = IDS[this.below(IDS.length)];
    const set = (target, key, value) => target.change((records) => records.set(key, value));
    // What was acknowledged in a buffer and cannot be done after a failure before it, is dropped and told later.
    const remove = (target, key) => target.records.has(key) && target.change((records) => records.delete(key));
    const value = () => ({ n: ++this.written, text: "x".repeat(this.below(40)) });
    const kind = this.below(20);
    if (kind < 9) {
      const record = value();
      return { name: "set", promise: () => store.set(id, record), done: () => set(model, id, record) };
    }
    if (kind < 12) return { name: "delete", promise: () => store.delete(id), done: () => remove(model, id) };
    if (kind < 15) {
      const writes = Array.from({ length: this.below(5) }, () => /** @type {const} */ ([IDS[this.below(IDS.length)], value()]));
      const promise = () => store.batch(() => writes.forEach(([key, record]) => void store.set(key, record)));
      return { name: "batch", promise, done: () => writes.forEach(([key, record]) => set(model, key, record)) };
    }
    if (kind < 18) return { name: "undo", promise: () => store.undo(), done: (result) => result && model.undo() };
    if (kind === 18) return { name: "compact", promise: () => store.compact(), done: () => (model.past = []) };
    let taken = [];
    const promise = () => store.archive((_value, key) => {
      if (key !== id) return false;
      taken = [key];
      return true;
    }, `S${this.below(2)}`);
    const done = (count) => {
      if (count === 0) return;
      taken.forEach((key) => model.records.delete(key));
      model.past = [];
    };
    return { name: "archive", promise, done };
  }

  /** Some calls, at once or one after another. */
  async step() {
    const calls = Array.from({ length: 1 + this.below(4) }, () => this.call());
    const atOnce = this.below(2) === 0;
    const outcomes = [];
    for (const { promise } of calls) {
      const outcome = settled(promise());
      outcomes.push(outcome);
      if (!atOnce) await outcome;
    }
    for (const [i, outcome] of (await Promise.all(outcomes)).entries()) {
      if (!("error" in outcome)) calls[i].done(outcome.result);
      else if (!/^Record '.*' not found$/s.test(outcome.error?.message)) this.expectFault(outcome.error);
    }
  }

  /** Everything is stored, and nothing fails: memory, model and what is stored agree. */
  async compare() {
    this.chance = 0;
    for (;;) {
      const flushed = await settled(this.store.flush());
      if (!("error" in flushed)) break;
      if (!/^Record '.*' not found$/s.test(flushed.error?.message)) this.expectFault(flushed.error);
    }
    expect(this.store.entries()).toEqual([...this.model.records]);
    const reader = new Store();
    await reader.open(this.dir, { readOnly: true, backend: new MemoryBackend({ delays: false }) });
    // Members in their order as well.
    expect(JSON.stringify(reader.entries())).toBe(JSON.stringify(this.store.entries()));
    expect(JSON.stringify(reader.getOps())).toBe(JSON.stringify(this.store.getOps()));
    await reader.close();
  }

  async reopen() {
    for (;;) {
      const closed = await settled(this.store.close());
      if (!("error" in closed)) break;
      this.expectFault(closed.error);
      // After a failed shutdown it is closed.
      if (this.store.getManifest() === null) break;
    }
    this.model.past = [];
    expect(diskOf(this.dir)?.lock).toBe(null);
    await this.open();
  }
}

/** @returns {Promise<{ result: any } | { error: any }>} */
function settled(promise) {
  return Promise.resolve(promise).then((result) => ({ result }), (error) => ({ error }));
}

describe.each(["immediate", "group", "async"])("a store on a backend that fails at random (%s)", (writeMode) => {
  const cases = seedsOf([1, 2, 3]).flatMap((seed) => [[seed, Infinity], [seed, 5]]);

  it.each(cases)("agrees with a naive model and with what is stored (seed %i, checkpointThreshold %d)", async (seed, threshold) => {
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => told.mockRestore());
    const run = new Run(seed, writeMode, threshold);
    await run.open();
    for (let n = 0; n < STEPS; n++) {
      run.chance = 3 + run.below(12);
      await run.step();
      if (run.below(12) === 0) await sleep(run.below(12));
      if (run.below(4) === 0) await run.compare();
      if (run.below(40) === 0) {
        await run.compare();
        run.chance = 6;
        await run.reopen();
        await run.compare();
      }
    }
    await run.compare();
    await run.reopen();
    await run.compare();
    expect(run.made.size).toBeGreaterThan(20);
  }, 120_000);
});
