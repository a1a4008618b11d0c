// A transfer between two accounts: both records change, or none does.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

/** @type {Store<{ balance: number }>} */
const accounts = new Store();
await accounts.open("./accounts");

/** @param {string} id */
const balance = (id) => accounts.get(id)?.balance ?? 0;

/**
 * @param {string} from
 * @param {string} to
 * @param {number} amount
 */
async function transfer(from, to, amount) {
  await accounts.batch(() => {
    accounts.set(from, { balance: balance(from) - amount });
    accounts.set(to, { balance: balance(to) + amount });
    // reads inside a batch see its own writes; what is thrown here takes them all back
    if (balance(from) < 0) throw new Error(`${from} has not enough`);
  });
}

await accounts.set("alice", { balance: 100 });
await transfer("alice", "bob", 60);
console.log(balance("alice"), balance("bob")); // 40 60

await assert.rejects(transfer("alice", "bob", 60), /alice has not enough/);
console.log(balance("alice"), balance("bob")); // 40 60

// undo takes back one operation at a time, the last one first: a batch is as many as it has writes
await accounts.undo();
await accounts.undo();
console.log(balance("alice"), accounts.has("bob")); // 100 false

// it reaches back to the last checkpoint, not further
await accounts.compact();
console.log(await accounts.undo()); // false

await accounts.close();
