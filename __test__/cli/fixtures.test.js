/** The reading commands on stores that upstream left: what they say, and that they change nothing. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { copyOf, treeOf } from "../support/directory.js";
import { json, output, ROOT } from "./run.js";

const STORES = `${ROOT}__test__/fixtures/stores/`;
const CASES = readdirSync(STORES).flatMap((version) =>
  readdirSync(STORES + version).filter((name) => !name.endsWith(".json")).map((name) => `${version}/${name}`),
);

describe("a store of upstream's is read as it is", () => {
  it.each(CASES)("%s", (name) => {
    const dir = copyOf(STORES + name);
    const before = treeOf(dir);
    const expected = JSON.parse(readFileSync(`${STORES}${name}.expected.json`, "utf8"));

    expect(json(["list", dir]).map(({ id, data }) => [id, data])).toEqual(expected.records);
    const info = json(["info", dir]);
    expect(info.records.active).toBe(expected.records.length);
    expect(info.problem).toBe(null);
    expect(info.log.operations).toBe(expected.opsCount);
    const verified = json(["verify", dir]);
    expect(verified.ok).toBe(true);
    expect(verified.counts.unfinished).toBe(name.endsWith("torn") ? 1 : 0);
    expect(info.snapshot.format).toBe(/^0\.[1-6]/.test(name) ? "document" : "lines");
    expect(treeOf(dir)).toEqual(before);
  });
});

describe("what people see", () => {
  const shown = (args, dir) => output(args).replaceAll(dir, "DIR");

  it.each(["wal", "agents", "archive"])("of 0.8.1/%s", (name) => {
    const dir = `${STORES}0.8.1/${name}`;
    for (const command of ["info", "verify", "log"]) expect(shown([command, dir], dir)).toMatchSnapshot(command);
    expect(shown(["list", dir, "--ids"], dir)).toMatchSnapshot("list --ids");
  });

  it("of a record and its history", () => {
    const dir = `${STORES}0.8.1/wal`;
    const ids = new Set(json(["log", dir]).map(({ id }) => id));
    for (const id of ids) expect(shown(["history", dir, id], dir)).toMatchSnapshot(id);
    const [{ id, data }] = json(["list", dir]);
    expect(JSON.parse(shown(["get", dir, id], dir))).toEqual(data);
    expect(json(["get", dir, id])).toEqual({ id, data });
  });

  it("of a record whose name a terminal would obey", () => {
    const dir = `${STORES}0.8.1/wal`;
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    for (const command of ["list", "log"]) expect(output([command, dir])).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
  });
});

it("repair has nothing to do but to take off what a crash cut off", () => {
  for (const name of ["0.1.4/wal", "0.4.1/agents", "0.8.1/archive"]) expect(json(["repair", STORES + name, "--dry-run"]).steps).toEqual([]);
  expect(json(["repair", `${STORES}0.8.1/torn`, "--dry-run"]).steps).toMatchObject([{ action: "cut" }]);
});

describe("list --where and --limit", () => {
  const dir = `${STORES}0.8.1/clean`;
  const all = json(["list", dir]);
  const where = (...conditions) => json(["list", dir, ...conditions.flatMap((text) => ["--where", text])]);

  it("compare members, by path", () => {
    const first = all.find(({ data }) => data.owner?.name !== undefined);
    expect(first).toBeDefined();
    const same = all.filter(({ data }) => data.owner?.name === first.data.owner.name);
    expect(where(`owner.name=${first.data.owner.name}`)).toEqual(same);
    expect(where(`owner.name="${first.data.owner.name}"`, `owner.id=${first.data.owner.id}`)).toContainEqual(first);
    expect(where(`owner=${JSON.stringify(first.data.owner)}`)).toContainEqual(first);
    expect(where(`tags.0=${first.data.tags[0]}`)).toContainEqual(first);
    expect(where("constructor=1")).toEqual([]);
    expect(where("owner.name=nobody at all")).toEqual([]);
  });

  it("end after so many", () => {
    expect(json(["list", dir, "--limit", "2"])).toEqual(all.slice(0, 2));
    expect(output(["list", dir, "--ids", "--limit", "1"])).toBe(`${all[0].id}\n`);
  });
});

it("there are stores with agents and archives among the fixtures", () => {
  expect(CASES.length).toBeGreaterThan(25);
  expect(existsSync(`${STORES}0.8.1/agents/manifest.json`)).toBe(true);
});
