// What is bundled: a store that is written and read again.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Store } from "opslog-native";

const dir = mkdtempSync(join(tmpdir(), "opslog-bundled-"));

async function main() {
  const store = new Store();
  await store.open(dir, { version: 2, migrate: (record) => record });
  await store.set("a", { n: 1 });
  await store.close();
  await store.open(dir, { version: 2, readOnly: true });
  assert.deepEqual(store.entries(), [["a", { n: 1 }]]);
  await store.close();
  console.log("works");
}

void main().finally(() => rmSync(dir, { recursive: true }));
