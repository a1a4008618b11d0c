/**
 * Failure: flush(), undo() and compact() that were called inside a batch's function after close() never settled.
 * Cause: calls inside a batch wait for its end; those behind the close were handed to a store that was gone.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, stateOf, WRITE_MODES } from "../support/stores.js";

it.each(WRITE_MODES)("calls inside a batch's function after close() all settle ($mode)", async ({ options }) => {
  const dir = temporaryDirectory();
  const store = await openStore(dir, options);
  /** @type {Record<string, string>} */
  const outcomes = {};
  const tracked = [];
  const track = (name, promise) => {
    outcomes[name] = "pending";
    tracked.push(promise.then(() => {
      outcomes[name] = "resolved";
    }, (error) => {
      outcomes[name] = error.code;
    }));
  };
  track("batch", store.batch(() => {
    store.set("a", { n: 1 });
    track("close", store.close());
    track("flush", store.flush());
    track("sync", store.sync());
    track("undo", store.undo());
    track("compact", store.compact());
    track("archive", store.archive(() => true));
    track("tail", store.tail());
    track("close again", store.close());
  }));
  await Promise.race([Promise.all(tracked), sleep(5_000, undefined, { ref: false })]);
  expect(Object.values(outcomes)).not.toContain("pending");
  expect(outcomes).toMatchObject({ batch: "resolved", close: "resolved", "close again": "resolved" });
  expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
  await store.open(dir);
  expect(store.entries()).toEqual([["a", { n: 1 }]]);
});
