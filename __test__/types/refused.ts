/** What our declarations must refuse; `tsc` is the test, nothing here runs. */
import { Store, createDelta, type StorageBackend, type StoreOptions } from "../../index.js";

interface Task {
  title: string;
}

declare const store: Store<Task>;

// @ts-expect-error a member is missing
void store.set("a", {});
// @ts-expect-error ids are strings
store.get(1);
// @ts-expect-error it may be undefined
void store.get("a").title;
// @ts-expect-error batch functions are synchronous in what they are handed
void store.batch((_argument: string) => {});

// @ts-expect-error no such mode
export const mode: StoreOptions = { writeMode: "later" };
// @ts-expect-error no such option
export const option: StoreOptions = { checkpoint: 1 };
// @ts-expect-error a backend has all methods
export const backend: StorageBackend = { async shutdown() {} };
// @ts-expect-error the new record is not null
createDelta({}, null);
