/** Files that try to change `Object.prototype`: members of any name are members, and nobody else's objects change. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { applyDelta, createDelta, FsBackend, Store, streamSnapshotFile, validateManifest, validateOp, validateSnapshot } from "../../index.js";
import { temporaryDirectory } from "../support/directory.js";
import { manifestOf, upstreamLine, writeParts } from "../support/files.js";

const POLLUTION = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"toJSON":"x","then":"y"}';
const RECORD = `{"n":1,${POLLUTION.slice(1)}`;
const HEADER = '{"version":1,"timestamp":"t","__proto__":{"polluted":3},"constructor":{"prototype":{"polluted":4}}}\n';

afterEach(() => {
  for (const name of ["polluted", "n", "version", "op", "id", "records", "$set"]) {
    expect(Object.prototype).not.toHaveProperty(name);
    expect({}[name]).toBe(undefined);
  }
  expect(Object.getPrototypeOf({})).toBe(Object.prototype);
});

/** A store whose files hold such members wherever there may be any. */
function hostileStore() {
  const dir = temporaryDirectory();
  const prev = JSON.parse(RECORD);
  const lines = [
    `{"ts":"t","op":"set","id":"__proto__","prev":null,"data":${RECORD}}\n`,
    `{"ts":"t","op":"set","id":"constructor","prev":null,"data":${RECORD}}\n`,
    `{"ts":"t","op":"set","id":"constructor","prev":{"$set":{"__proto__":{"polluted":5},"n":1},"$unset":["__proto__","constructor"]},"data":{"n":2},"encoding":"delta"}\n`,
    upstreamLine({ op: "delete", id: "toString", prev }),
  ];
  const snapshot = `{"version":1,"timestamp":"t"}\n{"id":"toString","data":${RECORD}}\n{"id":"hasOwnProperty","data":${RECORD},"__proto__":{"polluted":6}}\n`;
  mkdirSync(join(dir, "archive"));
  writeFileSync(
    join(dir, "archive/archive-s.json"),
    `{"version":1,"period":"s","timestamp":"t","records":{"__proto__":${RECORD},"b":${RECORD}},"__proto__":{"polluted":7}}`,
  );
  writeParts(dir, { log: lines.join(""), snapshot, activeRecords: 2, manifest: { archiveSegments: ["archive/archive-s.json"] } });
  const manifest = JSON.stringify(manifestOf(dir));
  writeFileSync(
    join(dir, "manifest.json"),
    `${manifest.slice(0, -1)},"__proto__":{"polluted":8,"activeAgentOps":{"x":"ops/x"}},"previous":{"__proto__":{"polluted":9},"ops":[]}}`,
  );
  return dir;
}

const own = () => JSON.parse(RECORD);

describe.each([
  ["the engine", () => undefined],
  ["an FsBackend", () => new FsBackend()],
  ["a subclass of FsBackend", () => new (class extends FsBackend { async readOps(path) { return super.readOps(path); } })()],
])("a store with hostile members, read by %s", (_name, backend) => {
  it("opens to its own members and changes no prototype, through every call", async () => {
    const dir = hostileStore();
    const store = new Store();
    await store.open(dir, { backend: backend(), durability: "os" });
    expect(store.entries()).toEqual([["hasOwnProperty", own()], ["__proto__", own()], ["constructor", { n: 2 }]]);
    expect(Object.hasOwn(store.get("__proto__"), "__proto__")).toBe(true);
    const segment = await store.loadArchive("s");
    expect([...segment]).toEqual([["__proto__", own()], ["b", own()]]);
    expect(store.getOps()).toHaveLength(4);
    for await (const _record of store.streamSnapshot());
    for await (const _op of store.getWalOps());
    expect(await store.undo()).toBe(true);
    expect(await store.undo()).toBe(true);
    expect(store.get("constructor").constructor).toEqual({ prototype: { polluted: 2 } });
    await store.set("__proto__", own());
    await store.archive((_value, id) => id === "__proto__", "s");
    await store.compact();
    await store.close();
    const again = new Store();
    await again.open(dir, { readOnly: true });
    expect(again.has("__proto__")).toBe(false);
    expect((await again.loadArchive("s")).get("__proto__")).toEqual(own());
    await again.close();
  });
});

describe("functions that read files or take objects", () => {
  it("change no prototype", async () => {
    const dir = hostileStore();
    const { currentSnapshot } = manifestOf(dir);
    const found = [];
    for await (const record of streamSnapshotFile(dir, currentSnapshot)) found.push(record);
    expect(found).toHaveLength(2);
    const patch = JSON.parse('{"$set":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}}},"$unset":["__proto__"]}');
    expect(Object.getPrototypeOf(applyDelta({ n: 1 }, patch))).toBe(Object.prototype);
    expect(createDelta(own(), { n: 1 })).toBeTypeOf("object");
    validateManifest(JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8")));
    validateOp(JSON.parse(`{"ts":"t","op":"set","id":"a","prev":null,"data":${RECORD},"__proto__":{"polluted":1}}`));
    validateSnapshot(JSON.parse(`{"version":1,"timestamp":"t","records":${POLLUTION}}`));
  });

  it("a snapshot's header with a member that no reader knows is refused, whatever its name", async () => {
    const dir = temporaryDirectory();
    writeParts(dir, { snapshot: HEADER });
    await expect(new Store().open(dir)).rejects.toMatchObject({ code: "OPSLOG_CORRUPT" });
  });
});
