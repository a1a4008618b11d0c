/**
 * Failure: a process that writes 100 records without waiting reported the 100th before the 99 others ("stays alive until
 * its pending writes have settled", on a busy machine).
 * Cause: the write that reaches the checkpoint threshold is told by itself. Where one wake-up brought its end and that of
 * earlier writes, calls that are told by themselves were settled first.
 */
import { expect, it } from "vitest";
import { Calls } from "../../lib/calls.js";

it("calls that end with one wake-up settle in the order in which they were made", async () => {
  const calls = new Calls();
  const settled = [];
  const note = (ticket) => [() => settled.push(ticket), () => settled.push(-ticket)];
  for (const ticket of [1, 2, 4, 5, 7]) void calls.write(ticket).then(...note(ticket));
  for (const ticket of [3, 6, 8]) void calls.other(ticket).then(...note(ticket));
  const failure = { kind: "FAILED", message: "it failed" };
  // the engine tells them in the order in which they ended
  calls.tell(/** @type {any} */ ({ through: 7, ended: [{ ticket: 8 }, { ticket: 3 }, { ticket: 5, failure }, { ticket: 6 }] }));
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toEqual([1, 2, 3, 4, -5, 6, 7, 8]);
  expect(calls.isEmpty).toBe(true);
});

it("a call that ended before writes in front of it does not wait for them", async () => {
  const calls = new Calls();
  const settled = [];
  for (const ticket of [1, 2]) void calls.write(ticket).then(() => settled.push(ticket));
  void calls.other(3).then(() => settled.push(3));
  calls.tell(/** @type {any} */ ({ through: 1, ended: [{ ticket: 3 }] }));
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toEqual([1, 3]);
  expect(calls.isEmpty).toBe(false);
});
