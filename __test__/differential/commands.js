/**
 * Random operation sequences for the differential tests, and how each step is done and observed on one store.
 *
 * What the contract changes on purpose is left out here: values that are no objects, members named as those of
 * `Object.prototype` (upstream loses them in deltas), automatic checkpoints in async mode (upstream makes none), and a
 * buffer that still holds operations when `batch` or `undo` is called (upstream then spoils its log), hence `flush`. Where
 * text is not ASCII there is no `undo`: upstream's cuts its log at the wrong byte then.
 */
import fc from "fast-check";

const ASCII_IDS = ["a", "b", "c", "10", "9", "__proto__", "constructor", "\ud800", "new\nline"];
const WIDE_IDS = ["a", "b", "10", "__proto__", "日本語", "é", "\u2028"];

/**
 * Sequences of commands, with the options of the stores.
 *
 * @param {boolean} ascii whether all text is ASCII, and `undo` among the commands
 * @returns {fc.Arbitrary<any>} the sequences
 */
function sequencesOf(ascii) {
  const ids = ascii ? ASCII_IDS : WIDE_IDS;
  const id = fc.constantFrom(...ids);
  const member = fc.constantFrom("n", "text", "list", "nested", "7", "3", "", "$set", "quote\"", ...(ascii ? [] : ["é"]));
  const leaf = fc.oneof(
    fc.integer({ min: -3, max: 3 }),
    fc.constantFrom(1795352551940, 1e21, 1e-7, 0.1, 5e-324, true, false, null, "", "\ud800", "\u0000", "\n"),
    fc.string({ unit: ascii ? "grapheme-ascii" : "grapheme", maxLength: 8 }),
    fc.constantFrom("a text that is long enough to make patches pay", ascii ? "x" : "日本語\u2028".repeat(10)),
  );
  const value = fc.dictionary(member, fc.oneof(
    { weight: 4, arbitrary: leaf },
    { weight: 1, arbitrary: fc.array(leaf, { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.dictionary(member, leaf, { maxKeys: 3, noNullPrototype: true }) },
  ), { maxKeys: 5, noNullPrototype: true });
  const write = fc.oneof(
    { weight: 4, arbitrary: fc.record({ type: fc.constant("set"), id, value }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("delete"), id }) },
  );
  const batch = fc.record({
    type: fc.constant("batch"),
    writes: fc.array(write, { maxLength: 6 }),
    end: fc.constantFrom("return", "return", "return", "throw"),
    catches: fc.boolean(),
  });
  const segment = fc.constantFrom("s", "t");
  const command = fc.oneof(
    { weight: 12, arbitrary: write },
    { weight: 4, arbitrary: batch },
    { weight: ascii ? 5 : 0, arbitrary: fc.constant({ type: "undo" }) },
    { weight: 1, arbitrary: fc.constant({ type: "compact" }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("archive"), ids: fc.subarray(ids), segment }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("getHistory"), id }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("loadArchive"), segment: fc.constantFrom("s", "t", "none") }) },
    { weight: 1, arbitrary: fc.constant({ type: "flush" }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("reopen"), checkpointOnClose: fc.boolean(), swap: fc.boolean() }) },
  );
  return fc.record({
    commands: fc.array(command, { minLength: 1, maxLength: 22, size: "max" }),
    writeMode: fc.constantFrom("immediate", "immediate", "group", "async"),
    groupCommitSize: fc.integer({ min: 1, max: 5 }),
    checkpointThreshold: fc.constantFrom(1, 2, 3, 5, 8, 1000, 1000, 1000),
    checkpointOnClose: fc.boolean(),
    durability: fc.constantFrom("os", "os", "os", "fsync"),
  });
}

/** Sequences of commands, with the options of the stores. */
export const sequences = fc.oneof({ weight: 3, arbitrary: sequencesOf(true) }, { weight: 1, arbitrary: sequencesOf(false) });

/**
 * The options of `open` for a sequence.
 *
 * @param {any} sequence one of `sequences`
 * @returns {object} options that mean the same to both
 */
export function optionsOf({ writeMode, groupCommitSize, checkpointThreshold, checkpointOnClose, durability }) {
  return {
    writeMode,
    groupCommitSize,
    groupCommitMs: 3_600_000,
    checkpointThreshold: writeMode === "async" ? 1_000 : checkpointThreshold,
    checkpointOnClose,
    durability,
  };
}

/** The members of an operation that both must agree on: upstream shows those that we add to our lines. */
const plain = ({ ts: _ts, crc: _crc, batch: _batch, write: _write, ...op }) => op;

/**
 * Does one command on one store.
 *
 * @param {any} store an open store, upstream's or ours
 * @param {any} step the command (not "reopen")
 * @returns {Promise<any>} what a caller sees: a result, or an error's message
 */
export async function perform(store, step) {
  const seen = [];
  const once = (write) => (write.type === "set" ? store.set(write.id, write.value) : store.delete(write.id));
  const actions = {
    set: () => once(step),
    delete: () => once(step),
    batch: async () => {
      await store.flush();
      return store.batch(() => {
        for (const write of step.writes) {
          try {
            seen.push(once(write));
          } catch (error) {
            seen.push(error.message);
            if (!step.catches) throw error;
          }
          seen.push(store.count(), store.has(write.id));
        }
        if (step.end === "throw") throw new Error("the batch throws");
      });
    },
    undo: async () => {
      await store.flush();
      return store.undo();
    },
    compact: () => store.compact(),
    archive: () => store.archive((_value, id) => step.ids.includes(id), step.segment),
    getHistory: async () => store.getHistory(step.id).map(plain),
    loadArchive: async () => [...(await store.loadArchive(step.segment))].sort(([a], [b]) => (a < b ? -1 : 1)),
    flush: () => store.flush(),
  };
  const outcome = await actions[step.type]().then((result) => ({ result }), (error) => ({ error: error.message }));
  return { ...outcome, seen };
}

/**
 * What a caller can read from a store.
 *
 * @param {any} store an open store
 * @returns {any} records in order, operations, counts, segments
 */
export function observe(store) {
  const { activeRecords, opsCount, archiveSegments } = store.stats();
  const entries = store.entries();
  return {
    entries,
    all: store.all(),
    odd: store.filter((_value, id) => id.length % 2 === 1),
    count: store.count((value) => "n" in value),
    got: entries.map(([id]) => store.get(id)),
    ops: store.getOps().map(plain),
    stats: { activeRecords, opsCount, archiveSegments },
    segments: [...store.listArchiveSegments()].sort(),
  };
}
