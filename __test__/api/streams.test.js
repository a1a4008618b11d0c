/** CONTRACT.md 1: `streamSnapshot` and `getWalOps` together give the current state, whatever comes between them. */
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { isNative } from "../support/implementation.js";
import { openStore } from "../support/stores.js";

const QUIET = { checkpointThreshold: Infinity, checkpointOnClose: false };

/**
 * What both streams lead to, with `between` called after the first.
 *
 * @param {any} store
 * @param {() => unknown} [between]
 */
async function streamed(store, between = () => {}) {
  const state = new Map();
  for await (const [id, value] of store.streamSnapshot()) state.set(id, value);
  await between();
  const ops = [];
  for await (const operation of store.getWalOps()) {
    ops.push(operation);
    if (operation.op === "set") state.set(operation.id, operation.data);
    else state.delete(operation.id);
  }
  return { state, ops };
}

it.runIf(isNative).each([
  ["immediate", { writeMode: "immediate" }],
  ["group", { writeMode: "group" }],
  ["async", { writeMode: "async" }],
  ["with checkpoints of its own", { checkpointThreshold: 7 }],
])("checkpoints between the two take nothing away: %s", async (_what, options) => {
  const store = await openStore(temporaryDirectory(), { ...QUIET, ...options });
  await store.set("first", { n: 0 });
  await store.compact();
  await store.set("second", { n: 1 });
  const { state } = await streamed(store, async () => {
    for (let round = 0; round < 4; round++) {
      for (let n = 0; n < 10; n++) void store.set(`k${n}`, { round, n });
      await store.delete(`k${round}`);
      await Promise.all([store.compact(), store.set("beside", { round })]);
    }
  });
  expect(state).toEqual(new Map(store.entries()));
  // Once: later calls tell what came after the last checkpoint, as ever.
  const later = [];
  for await (const operation of store.getWalOps()) later.push(operation);
  expect(later).toEqual(store.getOps());
});

it.runIf(isNative).each([{}, { skipLoad: true }])("nor does what a reader follows between them (%j)", async (options) => {
  const dir = temporaryDirectory();
  const writer = await openStore(dir, QUIET);
  await writer.set("first", { n: 0 });
  const reader = await openStore(dir, { readOnly: true, ...options });
  const { state } = await streamed(reader, async () => {
    for (const id of ["x", "y", "z"]) {
      await writer.set(id, { n: 1 });
      await writer.compact();
    }
    await writer.set("last", { n: 2 });
    await reader.refresh();
  });
  expect(state).toEqual(new Map(writer.entries()));
});

it.runIf(isNative)("operations that were told before are not told again without a snapshot", async () => {
  const store = await openStore(temporaryDirectory(), QUIET);
  await store.set("x", { n: 1 });
  const { ops } = await streamed(store);
  expect(ops.map(({ id }) => id)).toEqual(["x"]);
  await store.compact();
  const { state, ops: none } = await streamed(store);
  expect([...state.keys()]).toEqual(["x"]);
  expect(none).toEqual([]);
});
