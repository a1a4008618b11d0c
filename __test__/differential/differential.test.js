/**
 * Random operation sequences on upstream 0.8.1 and on ours: the same results at every step, and each reads the other's
 * directory to the same records, order and log. `FC_RUNS` sets how many, `FC_SEED` repeats a run.
 */
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { copyTo, makeTemporaryDirectory, removeDirectory } from "../support/directory.js";
import { logLinesOf } from "../support/files.js";
import { isNative, isUpstream, Store, UpstreamStore } from "../support/implementation.js";
import { observe, optionsOf, perform, sequences } from "./commands.js";

const RUNS = Number(process.env.FC_RUNS ?? (isNative ? 320 : 60));
// a run of 320 takes about 20 s on two cores
const TIME_LIMIT_MS = Math.max(300_000, RUNS * 1_000);
const SEED = process.env.FC_SEED ? { seed: Number(process.env.FC_SEED) } : {};

/**
 * Tells whether upstream's memory loses the order of records in this step: it puts what an undone delete or a rolled back
 * batch brings back at the end, while ours, as a reopening by either, has it in its old place.
 *
 * @param {any} upstream upstream's store, before the step
 * @param {any} step the command
 * @returns {boolean} whether the orders may differ from here on
 */
function losesOrder(upstream, step) {
  if (step.type === "undo") return upstream.getOps().at(-1)?.op === "delete";
  return step.type === "batch" && step.writes.some(({ type }) => type === "delete");
}

/**
 * Tells whether the last line of a log belongs to a batch of ours. Upstream's `undo` does not know of batches: it would
 * take the blank line that seals an undone one for an operation, and leave a whole one as if it had been torn.
 */
function endsInOurBatch(dir) {
  return "batch" in (logLinesOf(dir).at(-1) ?? {});
}

/** The same observation with everything that depends on the order of records sorted. */
function unordered(observation) {
  const byText = (list) => list.map((item) => JSON.stringify(item)).sort();
  const { entries, all, odd, got, ...rest } = observation;
  // member order is lost where upstream applies a patch, so texts are made with sorted members
  const sorted = (list) => byText(JSON.parse(JSON.stringify(list, sortMembers)));
  return { ...rest, entries: sorted(entries), all: sorted(all), odd: sorted(odd), got: sorted(got) };
}

/** A `JSON.stringify` replacer that sorts members, keeping one named `__proto__`. */
function sortMembers(_key, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Opens a directory with an implementation. */
async function open(Implementation, dir, options) {
  const store = new Implementation();
  await store.open(dir, options);
  return store;
}

/** What an implementation reads from a copy of a directory. */
async function readBy(Implementation, dir, copy) {
  copyTo(dir, copy);
  const store = await open(Implementation, copy, { readOnly: true });
  const segments = [...store.listArchiveSegments()].sort();
  const archived = [];
  for (const segment of segments) archived.push([...(await store.loadArchive(segment))].sort(([a], [b]) => (a < b ? -1 : 1)));
  // upstream passes on the members that we add to our lines
  const ops = store.getOps().map(({ crc: _crc, batch: _batch, write: _write, ...op }) => op);
  const state = { entries: store.entries(), ops, stats: { ...store.stats() }, segments, archived };
  await store.close();
  return state;
}

/** Runs one sequence on both, in a folder of its own. */
async function runSequence(root, sequence) {
  const options = optionsOf(sequence);
  let [upstreamDir, oursDir] = [join(root, "one"), join(root, "two")];
  let upstream = await open(UpstreamStore, upstreamDir, options);
  let ours = await open(Store, oursDir, options);
  let orderLost = false;
  const compare = () => {
    const [theirs, mine] = [observe(upstream), observe(ours)];
    if (orderLost) expect(unordered(mine)).toEqual(unordered(theirs));
    else expect(mine).toEqual(theirs);
  };
  try {
    for (const step of sequence.commands) {
      if (step.type === "reopen") {
        const before = observe(ours);
        await upstream.close();
        await ours.close();
        if (step.swap) [upstreamDir, oursDir] = [oursDir, upstreamDir];
        const reopening = { ...options, checkpointOnClose: step.checkpointOnClose };
        upstream = await open(UpstreamStore, upstreamDir, reopening);
        ours = await open(Store, oursDir, reopening);
        // what was ours reads as it was, whoever opens it
        const again = observe(step.swap ? upstream : ours);
        if (!isUpstream) expect(JSON.stringify(again.entries)).toBe(JSON.stringify(before.entries));
      } else {
        if (step.type === "undo" && endsInOurBatch(upstreamDir)) continue;
        orderLost ||= losesOrder(upstream, step);
        const theirs = await perform(upstream, step);
        const mine = await perform(ours, step);
        expect(mine).toEqual(theirs);
      }
      compare();
    }
  } finally {
    await upstream.close();
    await ours.close();
  }
  for (const [n, dir] of [upstreamDir, oursDir].entries()) {
    const mine = await readBy(Store, dir, join(root, `mine-${n}`));
    const theirs = await readBy(UpstreamStore, dir, join(root, `theirs-${n}`));
    expect(mine).toMatchObject(theirs);
    expect(JSON.stringify(mine.entries)).toBe(JSON.stringify(theirs.entries));
    expect(JSON.stringify(mine.ops)).toBe(JSON.stringify(theirs.ops));
  }
}

it(`gives the same results as upstream for ${RUNS} random sequences, and each reads what the other wrote`, async () => {
  const property = fc.asyncProperty(sequences, async (sequence) => {
    const root = makeTemporaryDirectory();
    try {
      await runSequence(root, sequence);
    } finally {
      removeDirectory(root);
    }
  });
  await fc.assert(property, { numRuns: RUNS, endOnFailure: false, interruptAfterTimeLimit: TIME_LIMIT_MS, markInterruptAsFailure: true, ...SEED });
}, 2 * TIME_LIMIT_MS);
