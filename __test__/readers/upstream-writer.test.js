/** CONTRACT.md 1 and 5: readers beside a writer of upstream's, whose manifest does not say what a checkpoint superseded. */
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { isNative } from "../support/implementation.js";
import { openStore, openUpstream } from "../support/stores.js";

const QUIET = { checkpointThreshold: Infinity, checkpointOnClose: false };
const told = async (reader) => (await reader.tail()).map(({ op, id, data }) => [op, id, data?.n]);

async function pair(options) {
  const dir = temporaryDirectory();
  const writer = await openUpstream(dir, QUIET);
  await writer.set("a", { n: 0 });
  const reader = await openStore(dir, { readOnly: true, ...options });
  await reader.refresh();
  return { writer, reader };
}

describe.runIf(isNative).each([{}, { skipLoad: true }])("%j", (options) => {
  it("every operation is told across a checkpoint: those before it as well, and those that change nothing", async () => {
    const { writer, reader } = await pair(options);
    await writer.set("a", { n: 1 });
    await writer.set("b", { n: 2 });
    await writer.delete("b");
    await writer.compact();
    await writer.set("a", { n: 3 });
    await writer.set("a", { n: 3 });
    expect(await told(reader)).toEqual([["set", "a", 1], ["set", "b", 2], ["delete", "b", undefined], ["set", "a", 3], ["set", "a", 3]]);
    expect(await told(reader)).toEqual([]);
    expect(reader.entries()).toEqual([["a", { n: 3 }]]);
    await writer.compact();
    await writer.set("c", { n: 4 });
    expect(await told(reader)).toEqual([["set", "c", 4]]);
  });
});

it.runIf(isNative)("across two checkpoints the first log is told, and the rest as one operation per record", async () => {
  const { writer, reader } = await pair({});
  await writer.set("a", { n: 1 });
  await writer.compact();
  await writer.set("a", { n: 2 });
  await writer.set("b", { n: 3 });
  await writer.compact();
  await writer.set("c", { n: 4 });
  expect(await told(reader)).toEqual([["set", "a", 1], ["set", "a", 2], ["set", "b", 3], ["set", "c", 4]]);
  expect(reader.entries()).toEqual(writer.entries());
});
