/** streamSnapshotFile: upstream's records and version, bounded memory, damage noticed. */
import * as upstream from "@backloghq/opslog";
import { appendFileSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { streamSnapshotFile } from "../../index.js";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { manifestOf, snapshotPathOf } from "../support/files.js";
import { openUpstream, withStore } from "../support/stores.js";

/** Everything that a generator yields and returns. */
async function drain(generator) {
  const records = [];
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return { records, returned: value };
    records.push(value);
  }
}

let dir;

beforeEach(() => {
  dir = temporaryDirectory();
  mkdirSync(join(dir, "snapshots"));
});

const HEADER = { version: 3, timestamp: "t" };
const RECORDS = { b: { x: 1 }, 10: [1], 9: "text", "é\u2028": { "日本": null } };

describe("agrees with upstream on", () => {
  it.each([
    ["lines", `${JSON.stringify(HEADER)}\n{"id":"a","data":{"n":1}}\n\n  {"id":"b","data":2}  \n`],
    ["lines without the last newline", `${JSON.stringify(HEADER)}\n{"id":"a","data":{"n":1}}`],
    ["lines that end with CR LF", `${JSON.stringify(HEADER)}\r\n{"id":"a","data":{"n":1}}\r\n`],
    ["no records", `${JSON.stringify(HEADER)}\n`],
    ["a document on one line", JSON.stringify({ ...HEADER, records: RECORDS })],
    ["a document, indented", JSON.stringify({ ...HEADER, records: RECORDS }, null, 2)],
  ])("%s", async (_name, text) => {
    writeFileSync(join(dir, "snapshots/s"), text);
    const ours = await drain(streamSnapshotFile(dir, "snapshots/s"));
    expect(ours).toStrictEqual(await drain(upstream.streamSnapshotFile(dir, "snapshots/s")));
    expect(ours.returned).toEqual({ version: 3 });
  });

  it("snapshots of stores of either", async () => {
    await withStore(dir, { version: 2 }, (store) => store.set("a", { n: 1 }));
    const path = manifestOf(dir).currentSnapshot;
    const ours = await drain(streamSnapshotFile(dir, path));
    expect(ours).toStrictEqual({ records: [["a", { n: 1 }]], returned: { version: 2 } });
    expect(await drain(upstream.streamSnapshotFile(dir, path))).toStrictEqual(ours);
    const other = temporaryDirectory();
    const store = await openUpstream(other);
    await store.set("a", { n: 1 });
    await store.compact();
    const theirs = await drain(streamSnapshotFile(other, manifestOf(other).currentSnapshot));
    expect(theirs).toStrictEqual({ records: [["a", { n: 1 }]], returned: { version: 1 } });
  });

  it("a path form that needs to be put in order, and a missing file", async () => {
    writeFileSync(join(dir, "snapshots/s"), `${JSON.stringify(HEADER)}\n`);
    for (const path of ["./snapshots//s", "/snapshots/s", "snapshots/../snapshots/s"]) {
      expect((await drain(streamSnapshotFile(dir, path))).returned).toEqual({ version: 3 });
    }
    const missing = { code: "ENOENT", path: join(dir, "snapshots/none") };
    expect(await rejectionOf(streamSnapshotFile(dir, "snapshots/none").next())).toMatchObject(missing);
    expect(await rejectionOf(upstream.streamSnapshotFile(dir, "snapshots/none").next())).toMatchObject(missing);
  });
});

describe("refuses", () => {
  it("a path that leads out of the directory", async () => {
    for (const path of ["..", "../s", "snapshots/../../s", "a\0", 7, undefined]) {
      expect(await rejectionOf(streamSnapshotFile(dir, path).next())).toMatchObject({ code: "OPSLOG_INVALID", name: "TypeError" });
    }
  });

  it("a snapshot whose checksum is wrong, at its end at the latest", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const path = snapshotPathOf(dir);
    writeFileSync(path, readFileSync(path, "utf8").replace('"n":1', '"n":2'));
    const error = await rejectionOf(drain(streamSnapshotFile(dir, manifestOf(dir).currentSnapshot)));
    expect(error).toMatchObject({ code: "OPSLOG_CORRUPT", path });
  });

  it("a file without a header, and a line that is no record", async () => {
    for (const text of ["", "[]", '{"id":"a","data":1}\n', `${JSON.stringify(HEADER)}\n{"id":`]) {
      writeFileSync(join(dir, "snapshots/s"), text);
      expect(await rejectionOf(drain(streamSnapshotFile(dir, "snapshots/s")))).toMatchObject({ code: "OPSLOG_CORRUPT" });
    }
  });
});

it("does nothing before the first record is asked for", () => {
  expect(() => streamSnapshotFile(dir, "none")).not.toThrow();
});

it("leaving the loop early closes the file", async () => {
  const path = join(dir, "snapshots/s");
  writeFileSync(path, `${JSON.stringify(HEADER)}\n`);
  appendFileSync(path, '{"id":"a","data":"some text"}\n'.repeat(200_000));
  for await (const [id] of streamSnapshotFile(dir, "snapshots/s")) {
    expect(id).toBe("a");
    break;
  }
  const open = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  expect(open).not.toContain(path);
});

it("streams 200 MB in a small part of that memory", async () => {
  const file = openSync(join(dir, "snapshots/s"), "w");
  const line = `{"id":"a","data":{"text":"${"x".repeat(1000)}"}}\n`;
  writeSync(file, `${JSON.stringify(HEADER)}\n`);
  for (let part = 0; part < 200; part++) writeSync(file, line.repeat(1000));
  closeSync(file);
  const before = process.memoryUsage().rss;
  let [count, most] = [0, 0];
  for await (const [, { text }] of streamSnapshotFile(dir, "snapshots/s")) {
    if (text.length === 1000) count++;
    if (count % 10_000 === 0) most = Math.max(most, process.memoryUsage().rss - before);
  }
  expect(count).toBe(200_000);
  expect(most).toBeLessThan(150e6);
});
