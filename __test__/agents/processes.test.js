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
  { agents: 3, kill: false, upstream: 1, comesBack: true },
])("nothing that $agents agents acknowledged is lost (killed: $kill, of upstream: $upstream, which comes back: $comesBack)", async ({ agents, kill, upstream, comesBack = false }) => {
  for (let round = FIRST; round < FIRST + ROUNDS; round++) {
    const random = randomSource(round);
    const dir = join(temporaryDirectory(), "store");
    // Agents of upstream know no lock when they make a store.
    await (await openStore(dir, { agentId: "first" })).close();
    const start = (agent, run) =>
      startChild(SCENARIOS, "work", { dir, id: `agent ${agent}`, seed: round * 1000 + agent * 10 + run, calls: 40, upstream: agent < upstream, comesBack });
    const early = [];
    for (let agent = 0; agent < (comesBack ? 0 : upstream); agent++) {
      // It writes the manifest when it opens, and not any more afterwards.
      const child = start(agent, 0);
      await child.next((report) => report.opened);
      early.push(child.ended);
    }
    const work = [];
    for (let agent = early.length; agent < agents; agent++) {
      const theirs = agent < upstream;
      work.push(
        (async () => {
          const reports = [];
          for (let run = 0; run < 2; run++) {
            const child = start(agent, run);
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
    await Promise.all(early);
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
    // Whoever opens with upstream writes the manifest that it has read a while ago, and may undo what was done since by
    // agents that have gone. The directory stays readable all the same, and everybody sees the same.
    if (!comesBack) expect({ round, lost, back }).toEqual({ round, lost: [], back: [] });
    if (upstream === 0) expect(over).not.toContain(reader.get("shared")?.by);
    expect(sorted(fresh)).toEqual(sorted(reader));
    expect(sorted(other)).toEqual(sorted(reader));
    for (const store of [fresh, reader, other]) await store.close();
  }
}, 60_000 + ROUNDS * 30_000);
