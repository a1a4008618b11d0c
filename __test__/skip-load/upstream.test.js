/** Every store that upstream 0.1.4 to 0.8.1 left (`__test__/fixtures/stores`) can be written without its records. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { UpstreamStore } from "../support/implementation.js";
import { copyOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { stateOf } from "../support/stores.js";
import { openPartial, sorted, streamedState } from "./prepare.js";

const STORES = fileURLToPath(new URL("../fixtures/stores", import.meta.url));
const CASES = ["clean", "wal", "torn", "archive"];
const FIXTURES = readdirSync(STORES).sort().flatMap((version) => CASES.map((name) => [version, name]));

describe.each(FIXTURES)("the store of upstream %s, case %s", (version, name) => {
  const expected = JSON.parse(readFileSync(join(STORES, version, `${name}.expected.json`), "utf8"));

  it("streams exactly what it holds, and every record is replaced and deleted with what it was", async () => {
    const told = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => told.mockRestore());
    const dir = copyOf(join(STORES, version, name));
    const store = await openPartial(dir, { durability: "os" });
    expect(store.entries()).toEqual([]);
    expect(await streamedState(store)).toEqual(sorted(expected.records));
    for (const [n, [id, value]] of expected.records.entries()) {
      if (n % 2 === 0) await store.delete(id);
      else await store.set(id, n);
      expect(store.getHistory(id).map(({ prev, data }) => [prev, data])).toEqual([[value, n % 2 === 0 ? undefined : n]]);
    }
    expect(await rejectionOf(store.delete("none of them"))).toMatchObject({ code: "OPSLOG_NOT_FOUND" });
    await store.close();
    const left = expected.records.map(([id], n) => [id, n]).filter(([, n]) => n % 2 === 1);
    expect((await stateOf(dir)).entries).toEqual(left);
    expect((await stateOf(dir, UpstreamStore)).entries).toEqual(left);
  });
});
