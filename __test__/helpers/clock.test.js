/** The exported clock: upstream's answers for any sequence of calls. */
import * as upstream from "@backloghq/opslog";
import fc from "fast-check";
import { expect, it } from "vitest";
import { LamportClock } from "../../index.js";

const TIME = fc.oneof(fc.nat(), fc.constantFrom(NaN, Infinity, -5, 1.5, undefined, 2 ** 53));

it("LamportClock agrees with upstream's on any sequence of calls", () => {
  const call = fc.oneof(fc.record({ what: fc.constant("tick") }), fc.record({ what: fc.constant("merge"), with: TIME }));
  fc.assert(
    fc.property(TIME, fc.array(call), (initial, calls) => {
      const [ours, theirs] = [new LamportClock(initial), new upstream.LamportClock(initial)];
      expect(ours.current).toBe(theirs.current);
      for (const { what, with: received } of calls) {
        expect(ours[what](received)).toBe(theirs[what](received));
        expect(ours.current).toBe(theirs.current);
      }
    }),
    { numRuns: 1000 },
  );
});

it("LamportClock starts at 0, and current cannot be set", () => {
  const clock = new LamportClock();
  expect(clock.current).toBe(0);
  expect(() => {
    clock.current = 5;
  }).toThrow(TypeError);
  expect(clock.tick()).toBe(1);
});
