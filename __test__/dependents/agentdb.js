/** What the scenarios with `@backloghq/agentdb` share. */
import { join } from "node:path";
import { AgentDB } from "@backloghq/agentdb";

/** Records with ids of their own: generated ones differ from run to run. */
export const TASKS = Array.from({ length: 10 }, (_, n) => ({
  _id: `t${n + 1}`,
  title: `Task ${n + 1}`,
  status: n % 3 === 0 ? "done" : "open",
  priority: n + 1,
  owner: { name: n % 2 === 0 ? "Ada" : "Grace", since: 1900 + n },
  tags: ["all", n % 2 === 0 ? "even" : "odd"],
}));

/**
 * Opens a database below the scenario's folder; it is closed at the end, if it was not before.
 *
 * @param {import("./context.js").Context} context
 * @param {Record<string, unknown> & { dir?: string }} [options] of AgentDB, and the folder (default: "db")
 */
export async function openDb(context, { dir = "db", ...options } = {}) {
  const db = await AgentDB.open(join(context.dir, dir), options);
  context.atEnd(() => db.close());
  return db;
}

/**
 * Says what a collection holds, in its order.
 *
 * @param {import("./context.js").Context} context
 * @param {any} collection
 */
export async function sayAll(context, collection) {
  context.say(`records of ${collection.name}`, await collection.findAll());
  context.say(`count of ${collection.name}`, await collection.count());
}
