/**
 * CONTRACT.md 5: several agents on one store, their backends' steps in an order that a seed decides.
 *
 * `OPSLOG_SCHEDULES=20000` runs that many schedules of each kind, from `OPSLOG_SEED` on. A failure names its seed.
 */
import { expect, it, vi } from "vitest";
import "../support/directory.js";
import { simulate } from "./simulation.js";

const SCHEDULES = Number(process.env.OPSLOG_SCHEDULES ?? 250);
const FIRST = Number(process.env.OPSLOG_SEED ?? 0);

it.each([
  ["nobody fails", {}],
  ["two agents make few calls", { agents: 2, calls: 6 }],
  ["agents are killed and come back", { kills: 50 }],
  ["methods fail before, after or in the middle of their work", { failing: 60 }],
])("no acknowledged operation is lost and nothing comes back when %s", async (_name, how) => {
  // What fails in the background is told there.
  const stderr = vi.spyOn(console, "error").mockImplementation(() => {});
  const failed = [];
  for (let seed = FIRST; seed < FIRST + SCHEDULES; seed++) {
    const { problems } = await simulate(seed, how);
    if (problems.length > 0) failed.push({ seed, problems });
  }
  stderr.mockRestore();
  expect(failed).toEqual([]);
}, 10_000 + SCHEDULES * 200);
