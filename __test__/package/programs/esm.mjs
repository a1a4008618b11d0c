// Run by scripts/smoke.js in a project that holds nothing but the installed package.
import assert from "node:assert/strict";
import { Store } from "opslog-native";

const store = new Store();
await store.open("./esm");
await store.set("a", { n: 1 });
await store.batch(() => {
  void store.set("b", { n: 2 });
  void store.delete("a");
});
await store.close();
await store.open("./esm", { readOnly: true });
assert.deepEqual(store.entries(), [["b", { n: 2 }]]);
await store.close();
