/** CONTRACT.md 1 and 5: readers beside a writer of upstream's, whose manifest does not say what a checkpoint superseded. */
import { readdirSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
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
  return { dir, writer, reader };
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

it.runIf(isNative).each([{}, { skipLoad: true }])("so it is across several checkpoints (%j)", async (options) => {
  const { writer, reader } = await pair(options);
  const expected = [];
  for (let n = 1; n <= 12; n++) {
    const id = n % 3 === 0 ? "b" : "a";
    await writer.set(id, { n });
    expected.push(["set", id, n]);
    if (n % 3 === 1) await writer.compact();
  }
  expect(await told(reader)).toEqual(expected);
  expect(new Map(reader.entries())).toEqual(new Map(writer.entries()));
});

it.runIf(isNative)("where logs are gone it gets one operation for each record that differs", async () => {
  const { dir, writer, reader } = await pair({});
  await writer.set("b", { n: 1 });
  await writer.compact();
  for (const name of readdirSync(join(dir, "ops"))) {
    if (`ops/${name}` !== writer.getManifest().activeOps) unlinkSync(join(dir, "ops", name));
  }
  await writer.set("c", { n: 2 });
  expect((await told(reader)).sort()).toEqual([["set", "b", 1], ["set", "c", 2]]);
});

it.runIf(isNative)("a log that nobody reads any more, between the known one and the current one, stops no refresh", async () => {
  const { dir, writer, reader } = await pair({});
  const superseded = writer.getManifest().activeOps;
  await writer.set("b", { n: 1 });
  await writer.compact();
  const number = Number(/\d+/.exec(superseded)?.[0]);
  const line = (n) => `{"ts":"t","op":"set","id":"bad","prev":null,"data":{"n":${n}},"crc":"00000000"}\n`;
  writeFileSync(join(dir, `ops/ops-${number + 1}.jsonl`), line(1) + '{"ts":"t","op":"set","id":"ok","prev":null,"data":{"n":2}}\n');
  await writer.set("c", { n: 2 });
  expect((await told(reader)).sort()).toEqual([["set", "b", 1], ["set", "c", 2]]);
  expect(new Map(reader.entries())).toEqual(new Map(writer.entries()));
});

it.runIf(isNative).each([{}, { skipLoad: true }])("lines that a log of ours carried on are not told twice (%j)", async (options) => {
  const dir = temporaryDirectory();
  const ours = await openStore(dir, QUIET);
  await ours.set("a", { n: 0 });
  const reader = await openStore(dir, { readOnly: true, ...options });
  await reader.refresh();
  const compacted = ours.compact();
  await Promise.all([compacted, ours.set("beside", { n: 1 })]);
  await ours.close();
  const upstream = await openUpstream(dir, QUIET);
  await upstream.set("u", { n: 2 });
  await upstream.compact();
  expect(await told(reader)).toEqual([["set", "beside", 1], ["set", "u", 2]]);
});
