/** What `npm run check:agents` would notice: journals of processes that were lied to, and of some that were not. */
import { describe, expect, it } from "vitest";
import { History } from "../../reliability/agents/history.js";
import { judgeArchives, judgeEnd, judgeSights, judgeUpstreamSights } from "../../reliability/agents/judge.js";

const set = (key, n, over) => ({ do: "set", key, name: `a:${n}`, over });
const batch = (...parts) => ({ do: "batch", parts });

/** Lines of a session: calls with their answers, and sights, one after the other. Times are 10, 20, 30, … */
function session(first, ...steps) {
  let at = first;
  const next = () => (at += 10);
  return steps.flatMap((step) => {
    if (step.seen !== undefined) return [{ how: "open", since: next(), at: next(), ...step }];
    if (step.clock !== undefined) return [{ ...step, at: next() }];
    const [call, done = null] = step;
    return done === "never" ? [{ call, at: next() }] : [{ call, at: next() }, { done, at: next() }];
  });
}

const history = (...sessions) => new History("a", sessions);
const historiesOf = (...list) => new Map(list.map((one) => [one.agent, one]));
const sight = (seen, since, at = since + 1) => ({ seen, since, at, how: "refresh", who: "reader" });

describe("an agent's own records", () => {
  it("are as it left them", () => {
    const { problems } = history(session(0, [set("a/0", 1)], [set("a/0", 2)], [{ do: "undo" }, true], { seen: { "a/0": "a:1", "b/0": "b:7" } }));
    expect(problems).toEqual([]);
  });

  it.each([
    ["a lost write", { "a/0": "a:1" }],
    ["a lost batch", { "a/0": "a:2" }],
    ["half of a batch", { "a/0": "a:2", "a/1": "a:3" }],
    ["a record that it removed", { "a/0": "a:2", "a/1": "a:3", "a/2": "a:4", "a/3": "a:5" }],
    ["a value of somebody else's", { "a/0": "b:2", "a/1": "a:3", "a/2": "a:4" }],
  ])("are not: %s", (_what, seen) => {
    const calls = [[set("a/0", 1)], [set("a/3", 5)], [{ do: "delete", key: "a/3", name: "a:6" }], [set("a/0", 2)], [batch(set("a/1", 3), set("a/2", 4))]];
    expect(history(session(0, ...calls, { seen: { "a/0": "a:2", "a/1": "a:3", "a/2": "a:4" } })).problems).toEqual([]);
    expect(history(session(0, ...calls, { seen })).problems).toEqual([expect.stringContaining("other records of its own")]);
  });

  it("after a kill hold the last call or not, a batch as a whole", () => {
    const killed = session(0, [set("a/0", 1)], [batch(set("a/1", 2), set("a/2", 3)), "never"]);
    const found = (seen) => history(killed, session(100, { seen })).problems.length;
    expect(found({ "a/0": "a:1" })).toBe(0);
    expect(found({ "a/0": "a:1", "a/1": "a:2", "a/2": "a:3" })).toBe(0);
    expect(found({ "a/0": "a:1", "a/1": "a:2" })).toBe(1);
    expect(found({})).toBe(1);
  });

  it("after a kill stay what they were found to be", () => {
    const killed = session(0, [set("a/0", 1), "never"]);
    expect(history(killed, session(100, { seen: { "a/0": "a:1" } }, { seen: {} })).problems).toHaveLength(1);
    expect(history(killed, session(100, { seen: {} }, { seen: { "a/0": "a:1" } })).problems).toHaveLength(1);
  });

  it("are taken back by undo one by one, and no further than where it answered false", () => {
    const undo = (answer) => [{ do: "undo" }, answer];
    expect(history(session(0, [set("a/0", 1)], undo(true), undo(false))).problems).toEqual([]);
    expect(history(session(0, [set("a/0", 1)], undo(true), undo(true))).problems).toHaveLength(1);
    expect(history(session(0, [set("a/0", 1)], undo(false), undo(true))).problems).toHaveLength(1);
  });

  it("are archived all or none", () => {
    const archive = [{ do: "archive", segment: "s" }, 1];
    const one = history(session(0, [set("a/old/0", 1)], archive, { seen: {} }));
    expect(one.problems).toEqual([]);
    expect(history(session(0, [set("a/old/0", 1)], [set("a/old/1", 2)], archive)).problems).toHaveLength(1);
    const judge = (records, segments) => judgeArchives(historiesOf(one), records, new Map(Object.entries(segments)));
    expect(judge({}, { s: { "a/old/0": "a:1" } })).toEqual([]);
    expect(judge({}, { s: {} })).toHaveLength(1);
    expect(judge({ "a/old/0": "a:1" }, { s: { "a/old/0": "a:1" } })).toHaveLength(1);
    expect(judge({}, { s: { "a/old/0": "a:1", "a/old/9": "a:9" } })).toHaveLength(1);
  });
});

describe("what others see", () => {
  // Acknowledged at 20, 40, 60 and 80.
  const histories = historiesOf(history(session(0, [set("a/0", 1)], [batch(set("a/0", 2), set("a/1", 3))], [{ do: "undo" }, true], [set("a/1", 4)])));

  it.each([
    ["the state of that time", { "a/0": "a:1" }, 22, true],
    ["one that is being made", { "a/0": "a:2", "a/1": "a:3" }, 31, true],
    ["one that comes later", { "a/0": "a:2", "a/1": "a:4" }, 31, false],
    ["one that was acknowledged to be over", { "a/0": "a:1" }, 45, false],
    ["half of a batch", { "a/0": "a:2" }, 31, false],
    ["the same after an undo", { "a/0": "a:2" }, 62, true],
    ["nothing", {}, 45, false],
    ["what nobody wrote", { "a/0": "a:1", "x/0": "x:1" }, 22, false],
  ])("%s", (_what, seen, since, right) => expect(judgeSights(histories, [sight(seen, since)]).length === 0).toBe(right));

  it("through upstream may be old or half a batch, but never older than before", () => {
    const judge = (...seen) => judgeUpstreamSights(histories, seen.map((one, i) => ({ ...sight(one, 90 + i), how: "open" }))).length;
    expect(judge({}, { "a/0": "a:1" }, { "a/0": "a:2" }, { "a/0": "a:2", "a/1": "a:3" })).toBe(0);
    expect(judge({ "a/0": "a:2", "a/1": "a:3" }, { "a/0": "a:2" })).toBe(0);
    expect(judge({ "a/0": "a:2", "a/1": "a:3" }, { "a/0": "a:1" })).toBe(1);
    expect(judge({ "a/1": "a:3" })).toBe(1);
  });

  it("through upstream may lack a line while another one is taken back", () => {
    const judge = (since, at) => judgeUpstreamSights(histories, [{ ...sight({ "a/1": "a:4" }, since, at), how: "open" }]).length;
    expect([judge(45, 95), judge(55, 95), judge(65, 95)]).toEqual([0, 0, 1]);
    expect(judgeUpstreamSights(histories, [{ ...sight({ "a/1": "a:9" }, 45, 95), how: "open" }])).toHaveLength(1);
  });
});

describe("a record that all write", () => {
  const call = (agent, n, over) => [{ do: "set", key: "shared/0", name: `${agent}:${n}`, over }];
  const agent = (id, ...steps) => new History(id, [session(0, ...steps)]);

  it("has somebody's last value", () => {
    const histories = historiesOf(agent("a", call("a", 1), call("a", 2)), agent("b", call("b", 1)));
    const judge = (name) => judgeEnd(histories, name === undefined ? {} : { "shared/0": name }).length > 0;
    expect(["a:2", "b:1", "a:1", "b:2", undefined].map(judge)).toEqual([false, false, true, true, true]);
  });

  it("has none that was written over by who had seen it", () => {
    const histories = historiesOf(agent("a", call("a", 1)), agent("b", call("b", 1, "a:1")));
    expect(judgeEnd(histories, { "shared/0": "b:1" })).toEqual([]);
    expect(judgeEnd(histories, { "shared/0": "a:1" })).toHaveLength(1);
    expect(judgeSights(histories, [sight({ "shared/0": "a:1" }, 15)])).toEqual([]);
    expect(judgeSights(histories, [sight({ "shared/0": "a:1" }, 25)])).toHaveLength(1);
  });

  it("has the old one again once what was written over it is taken back", () => {
    const histories = historiesOf(agent("a", call("a", 1)), agent("b", call("b", 1, "a:1"), [{ do: "undo" }, true]));
    expect(judgeEnd(histories, { "shared/0": "a:1" })).toEqual([]);
  });

  it("has the one of the greatest clock, of the greater agent where clocks are the same", () => {
    const clocks = (first, second) =>
      historiesOf(agent("a", call("a", 1), { clock: first, name: "a:1" }), agent("b", call("b", 1), { clock: second, name: "b:1" }));
    const judge = (histories) => ["a:1", "b:1"].map((name) => judgeEnd(histories, { "shared/0": name }).length);
    expect(judge(clocks(3, 2))).toEqual([0, 1]);
    expect(judge(clocks(2, 3))).toEqual([1, 0]);
    expect(judge(clocks(2, 2))).toEqual([1, 0]);
  });
});
