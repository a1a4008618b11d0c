/**
 * Failure: a reader that opened while the writer undid operations was told OPSLOG_CORRUPT, or got a state that never
 * was: the first half of a line from before the undo with the second half of the one that took its place.
 * Cause: an undo shortens the log under a reader that is in the middle of it.
 */
import { expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { openStore } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

it.each([
  { lines: "of equal length", awaited: true },
  { lines: "of many lengths", awaited: false },
])("readers that open beside a writer that undoes, lines $lines, find a sound and possible state", async ({ awaited }) => {
  const dir = temporaryDirectory();
  const child = startChild(SCENARIOS, "writeAndUndo", { dir, ms: 1_800, count: 10_000, awaited });
  await child.next((report) => report === "open");
  const failures = [];
  const follower = await openStore(dir, { readOnly: true });
  let opened = 0;
  const check = (who, reader) => {
    const ops = reader.getOps();
    const [p, q] = ["p", "q"].map((id) => ops.filter((op) => op.id === id));
    const possible = p.length <= 1 && q.length <= p.length && (q.length === 0 || p[0].data.n === q[0].data.n);
    if (!possible) failures.push({ who, p: p.map(({ data }) => data.n), q: q.map(({ data }) => data.n) });
    if (reader.get("q") !== undefined && reader.get("q").n !== reader.get("p")?.n) failures.push({ who, p: reader.get("p") });
    if (reader.count() < 10_000) failures.push({ who, count: reader.count() });
  };
  while (!child.reports.some((report) => report.rounds)) {
    try {
      const reader = await openStore(dir, { readOnly: true });
      opened++;
      check("opened", reader);
      await reader.close();
      await follower.refresh();
      check("followed", follower);
    } catch (error) {
      failures.push({ code: error.code, message: error.message });
    }
  }
  expect(failures).toEqual([]);
  expect(opened).toBeGreaterThan(3);
  expect((await child.ended).code).toBe(0);
});
