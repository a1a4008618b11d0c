// One case of reliability/sizes.js, in a process of its own: `node sizes-scenario.js NAME JSON`.
//
// Each case fills a store, closes it, opens it again and checks what is there. The report is one JSON line: the largest
// files, how long the steps took, and the greatest use of memory (VmHWM of the process that filled, and of the one that
// only opens).

import * as upstream from "@backloghq/opslog";
import * as ours from "../index.js";
import { readdirSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";

const [name = "", args = "{}"] = process.argv.slice(2);
const { dir, scale, again, rival } = /** @type {{ dir: string, scale: number, again: boolean, rival: boolean }} */ (JSON.parse(args));

/** @type {Record<string, number>} */
const seconds = {};

/**
 * @template T
 * @param {string} step what is timed
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function timed(step, work) {
  const began = performance.now();
  const result = await work();
  seconds[step] = Math.round(performance.now() - began) / 1000;
  return result;
}

/**
 * @param {boolean} holds
 * @param {string} what
 * @returns {asserts holds}
 */
function check(holds, what) {
  if (!holds) throw new Error(what);
}

const KEEP_LOG = { durability: /** @type {const} */ ("os"), checkpointThreshold: Infinity, checkpointOnClose: false };
const count = (/** @type {number} */ full) => Math.max(1, Math.ceil(full * scale));
const text = (/** @type {number} */ n, /** @type {number} */ length) => `${n}:`.padEnd(length, "0123456789abcdef");

/** Records of 30 KB: 21,000 of them are more than 600 MB, over V8's longest string (2^29 - 24 characters). */
const LARGE = 30_000;
const LARGE_COUNT = count(21_000);

/** @typedef {{ fill: (store: ours.Store<any>) => Promise<void>, options: object, verify: (store: ours.Store<any>) => void | Promise<void> }} Case */

/** @type {Record<string, Case>} */
const cases = {
  "a log": {
    options: KEEP_LOG,
    async fill(store) {
      // few records, so that it is the log that is large
      for (let n = 0; n < LARGE_COUNT; n += 100) {
        await Promise.all(Array.from({ length: Math.min(100, LARGE_COUNT - n) }, async (_, i) => store.set(`k${(n + i) % 500}`, { text: text(n + i, LARGE) })));
      }
    },
    async verify(store) {
      check(store.count() === Math.min(500, LARGE_COUNT), "records");
      const last = LARGE_COUNT - 1;
      check(store.get(`k${last % 500}`).text === text(last, LARGE), "the last record");
      let streamed = 0;
      for await (const _op of store.getWalOps()) streamed++;
      check(streamed === LARGE_COUNT, `${streamed} operations`);
      check(await store.undo(), "undo");
      await timed("checkpoint", () => store.compact());
    },
  },
  "a snapshot": {
    options: { durability: "os" },
    async fill(store) {
      for (let n = 0; n < LARGE_COUNT; n += 100) {
        await Promise.all(Array.from({ length: Math.min(100, LARGE_COUNT - n) }, async (_, i) => store.set(`k${n + i}`, { text: text(n + i, LARGE) })));
      }
      await timed("checkpoint", () => store.compact());
    },
    async verify(store) {
      check(store.count() === LARGE_COUNT, "records");
      for (let n = 0; n < LARGE_COUNT; n += 997) check(store.get(`k${n}`).text === text(n, LARGE), `record ${n}`);
      let streamed = 0;
      for await (const _record of store.streamSnapshot()) streamed++;
      check(streamed === LARGE_COUNT, `${streamed} records in the stream`);
    },
  },
  "a batch": {
    options: KEEP_LOG,
    async fill(store) {
      await timed("batch", () =>
        store.batch(() => {
          for (let n = 0; n < count(200_000); n++) void store.set(`k${n}`, { n });
        }),
      );
    },
    async verify(store) {
      check(store.count() === count(200_000), "records");
      check(store.getOps().length === count(200_000), "operations");
      check(await store.undo(), "undo");
      check(store.count() === count(200_000) - 1, "records after undo");
      await timed("checkpoint", () => store.compact());
    },
  },
  "one record": {
    options: KEEP_LOG,
    async fill(store) {
      await store.set("large", { text: text(1, count(100_000_000)) });
      await store.set("large", { text: text(2, count(100_000_000)) });
    },
    async verify(store) {
      check(store.get("large").text === text(2, count(100_000_000)), "the record");
      check(await store.undo(), "undo");
      await timed("checkpoint", () => store.compact());
      check(store.get("large").text === text(1, count(100_000_000)), "the record before");
      check((await store.archive(() => true, "s")) === 1, "archive");
    },
  },
  "many records": {
    options: { durability: "os" },
    async fill(store) {
      const all = count(1_000_000);
      for (let n = 0; n < all; n += 10_000) {
        await store.batch(() => {
          for (let i = n; i < Math.min(all, n + 10_000); i++) void store.set(`k${i}`, { n: i, name: `record ${i}` });
        });
      }
      await timed("checkpoint", () => store.compact());
    },
    async verify(store) {
      check(store.count() === count(1_000_000), "records");
      for (let n = 0; n < count(1_000_000); n += 9973) check(store.get(`k${n}`).n === n, `record ${n}`);
      await store.delete("k0");
    },
  },
};

const { fill, options, verify } = cases[name];
const store = /** @type {ours.Store<any>} */ (rival ? new upstream.Store() : new ours.Store());
// upstream's default of a checkpoint after 100 operations would write the whole store thousands of times
await timed("open", () => store.open(dir, rival ? { ...options, checkpointThreshold: 1e9 } : options));
await (again ? verify(store) : timed("fill", () => fill(store)));
await timed("close", () => store.close());

const largest = Math.max(
  ...["ops", "snapshots", "archive"].flatMap((folder) => readdirSync(join(dir, folder)).map((file) => statSync(join(dir, folder, file)).size)),
);
const peak = Number(/VmHWM:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;
writeSync(1, `${JSON.stringify({ seconds, largest, peak: Math.round(peak) })}\n`);
