/**
 * CONTRACT.md 1: `set` records the JSON value at the call. Whatever a `toJSON`, a getter or a predicate of the caller's
 * does to the store meanwhile, each call takes its place in order, and a plain Map agrees before and after a restart.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, stateOf } from "../support/stores.js";

const RUNS = Number(process.env.OPSLOG_RUNS ?? 60);
const KEEP_LOG = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };

const id = fc.constantFrom("a", "b", "c", "__proto__", "constructor");
const value = fc.oneof(fc.integer(), fc.constant({ n: 1, text: "some text that is longer" }), fc.constant([1, { x: null }]));

/** Steps; `inner` of a `set` run while its value is read, in one of four ways. */
const { step } = fc.letrec((tie) => ({
  step: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc.record({ call: fc.constant("delete"), id }),
    fc.record({ call: fc.constant("set"), id, value, how: fc.constant("plain"), inner: fc.constant([]) }),
    fc.record({ call: fc.constant("undo") }),
    fc.record({ call: fc.constant("compact") }),
    fc.record({
      call: fc.constant("set"),
      id,
      value,
      how: fc.constantFrom("toJSON", "getter", "proxy", "throws"),
      inner: fc.array(tie("step"), { maxLength: 3 }),
    }),
    fc.record({ call: fc.constant("batch"), inner: fc.array(tie("step"), { maxLength: 4 }), fails: fc.boolean() }),
    fc.record({ call: fc.constant("archive"), id, inner: fc.array(tie("step"), { maxLength: 2 }) }),
  ),
}));

/** What a store should be: a Map, and the states that undo goes back to. */
class Model {
  records = new Map();
  past = [];
  batching = false;

  change(apply) {
    this.past.push(new Map(this.records));
    apply();
  }
}

/** Runs steps on a store and on a model at once. Every promise goes to `calls`. */
function run(store, model, steps, calls) {
  const call = (made) => calls.push(Promise.resolve(made).then(() => "ok", (error) => error));
  for (const one of steps) {
    if (one.call === "set") {
      const hostile = hostileValue(one, () => run(store, model, one.inner, calls));
      try {
        call(store.set(one.id, hostile.value));
      } catch (error) {
        // inside a batch arguments are refused by throwing
        if (!model.batching) throw error;
      }
      if (!hostile.throws) model.change(() => model.records.set(one.id, JSON.stringify(one.value)));
    } else if (one.call === "delete") {
      try {
        call(store.delete(one.id));
      } catch (error) {
        if (!model.batching) throw error;
      }
      if (model.records.has(one.id)) model.change(() => model.records.delete(one.id));
    } else if (model.batching) {
      // other calls are put off until the batch has been made: __test__/api/batch.test.js
      continue;
    } else if (one.call === "undo") {
      call(store.undo());
      model.records = model.past.pop() ?? model.records;
    } else if (one.call === "compact") {
      call(store.compact());
      model.past = [];
    } else if (one.call === "batch") {
      const before = { records: new Map(model.records), past: [...model.past] };
      call(store.batch(() => {
        model.batching = true;
        run(store, model, one.inner, calls);
        if (one.fails) throw new Error("given up");
      }));
      model.batching = false;
      if (one.fails) Object.assign(model, before);
    } else {
      // what the predicate does comes first: the records are taken afterwards, those of them that are still there
      let asked = false;
      const found = [];
      call(store.archive((_value, key) => {
        if (!asked) {
          asked = true;
          run(store, model, one.inner, calls);
        }
        if (key === one.id) found.push(key);
        return key === one.id;
      }, "s"));
      if (found.length > 0) {
        for (const key of found) model.records.delete(key);
        model.past = [];
      }
    }
  }
}

function hostileValue({ value, how }, inner) {
  switch (how) {
    case "toJSON":
      return { value: { toJSON: () => (inner(), value) } };
    case "getter":
      // a getter that runs code beside the value that is recorded
      return { value: { toJSON: () => ({ get toJSON() { inner(); return () => value; } }).toJSON() } };
    case "proxy":
      return { value: new Proxy({}, { get: (_target, key) => (key === "toJSON" ? (inner(), () => value) : undefined) }) };
    case "throws":
      return { throws: true, value: { get member() { inner(); throw new Error("a getter of the caller's"); } } };
    default:
      return { value };
  }
}

const entriesOf = (records) => [...records].map(([key, text]) => [key, JSON.parse(text)]);

describe("a value that calls the store while it is read", () => {
  it("leaves what a Map would hold, now and after a restart, whatever it calls", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const dir = temporaryDirectory();
        const store = await openStore(dir, KEEP_LOG);
        const model = new Model();
        const calls = [];
        run(store, model, steps, calls);
        expect(store.entries()).toEqual(entriesOf(model.records));
        await Promise.all(calls);
        expect(store.entries()).toEqual(entriesOf(model.records));
        await store.close();
        expect((await stateOf(dir)).entries).toEqual(entriesOf(model.records));
      }),
      { numRuns: RUNS, ...(process.env.OPSLOG_SEED === undefined ? {} : { seed: Number(process.env.OPSLOG_SEED) }) },
    );
  });

  it("by closing it: the set is refused, and what was set before is stored", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const before = store.set("a", { n: 1 });
    let closing;
    const value = { toJSON: () => ((closing = store.close()), { n: 2 }) };
    expect(() => store.set("b", value)).toThrow("Store is not open. Call open() first.");
    await Promise.all([before, closing]);
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
  });

  it("by closing it inside a batch: nothing hangs, and a batch is there whole or not at all", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const calls = [];
    const batch = store.batch(() => {
      void store.set("a", { n: 1 });
      void store.set("b", { toJSON: () => (calls.push(store.close()), { n: 2 }) });
    });
    const ended = await Promise.allSettled([batch, ...calls]);
    await store.close().catch(() => {});
    const { entries } = await stateOf(dir);
    expect(entries).toEqual(ended[0].status === "fulfilled" ? [["a", { n: 1 }], ["b", { n: 2 }]] : []);
  });

  it("by reading it: it sees what was set before", async () => {
    const store = await openStore(temporaryDirectory(), KEEP_LOG);
    await store.set("a", { n: 1 });
    await store.set("a", { toJSON: () => ({ n: store.get("a").n + 1, all: store.entries(), ops: store.getOps().length }) });
    expect(store.get("a")).toEqual({ n: 2, all: [["a", { n: 1 }]], ops: 1 });
  });
});
