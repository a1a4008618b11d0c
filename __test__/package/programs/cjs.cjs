// Run by scripts/smoke.js in a project that holds nothing but the installed package.
const assert = require("node:assert/strict");
const { Store } = require("opslog-native");

async function main() {
  const store = new Store();
  await store.open("./cjs");
  await store.set("a", { n: 1 });
  assert.equal(await store.undo(), true);
  assert.equal(store.get("a"), undefined);
  await store.close();
}

void main();
