/**
 * CONTRACT.md 5: agents in processes of their own, some of them killed.
 *
 * `OPSLOG_ROUNDS=100` runs that many rounds of each kind, from `OPSLOG_SEED` on.
 */
import { join } from "node:path";
import { expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { copyOf, temporaryDirectory } from "../support/directory.js";
import { openStore, openUpstream } from "../support/stores.js";
import { randomSource } from "./memory-files.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const ROUNDS = Number(process.env.OPSLOG_ROUNDS ?? 2);
const FIRST = Number(process.env.OPSLOG_SEED ?? 1);

/** @param {any} store @returns {[string, any][]} entries by id */
const sorted = (store) => store.entries().sort(([a], [b]) => (a < b ? -1 : 1));

it.each([
  { agents: 3, kill: false, upstream: 0 },
  { agents: 4, kill: true, upstream: 0 },
  { agents: 3, kill: false, upstream: 1 },
])("nothing that $agents agents acknowledged is lost (killed: $kill, of upstream: $upstream)", async ({ agents, kill, upstream }) => {
  for (let round = FIRST; round < FIRST + ROUNDS; round++) {
    const random = randomSource(round);
    const dir = join(temporaryDirectory(), "store");
    // Agents of upstream know no lock when they make a store.
    await (await openStore(dir, { agentId: "first" })).close();
    const work = [];
    for (let agent = 0; agent < agents; agent++) {
      const theirs = agent < upstream;
      work.push(
        (async () => {
          const reports = [];
          for (let run = 0; run < 2; run++) {
            const args = { dir, id: `agent ${agent}`, seed: round * 1000 + agent * 10 + run, calls: 40, upstream: theirs };
            const child = startChild(SCENARIOS, "work", args);
            if (kill && run === 0) setTimeout(() => child.process.kill("SIGKILL"), 150 + random(400));
            const { code, signal, stderr, reports: said } = await child.ended;
            if (!theirs && !(kill && run === 0)) expect({ code, signal, stderr }).toMatchObject({ code: 0, signal: null });
            if (!theirs) reports.push(...said, { ended: true });
          }
          return reports;
        })(),
      );
    }
    const reports = await Promise.all(work);
    const fresh = await openStore(copyOf(dir), { agentId: "observer", checkpointOnClose: false });
    const reader = await openStore(dir, { readOnly: true });
    const other = await openUpstream(copyOf(dir), { agentId: "observer", checkpointOnClose: false });
    const archived = new Set((await Promise.all(reader.listArchiveSegments().map((name) => reader.loadArchive(name)))).flatMap((map) => [...map.keys()]));
    const lost = [];
    const back = [];
    const over = new Set();
    for (const said of reports) {
      const undone = new Set(said.map(({ undone }) => undone));
      said.forEach(({ set, over: before }, i) => {
        if (before !== undefined) over.add(before);
        if (set === undefined) return;
        // Killed while it was undoing: either.
        const open = said[i + 1]?.undoing === set && said[i + 2]?.ended;
        if (undone.has(set) && reader.has(set)) back.push(set);
        if (!undone.has(set) && !open && !reader.has(set) && !archived.has(set)) lost.push(set);
      });
    }
    expect({ round, lost, back }).toEqual({ round, lost: [], back: [] });
    if (upstream === 0) expect(over).not.toContain(reader.get("shared")?.by);
    expect(sorted(fresh)).toEqual(sorted(reader));
    expect(sorted(other)).toEqual(sorted(reader));
    for (const store of [fresh, reader, other]) await store.close();
  }
}, 60_000 + ROUNDS * 30_000);
