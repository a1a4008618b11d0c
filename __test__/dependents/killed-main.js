/** Writes records and says each number once it is acknowledged, until it is killed: `node killed-main.js DIR OPTIONS`. */
import { writeSync } from "node:fs";
import { AgentDB } from "@backloghq/agentdb";

const [dir = "", options = "{}"] = process.argv.slice(2);
const db = await AgentDB.open(dir, JSON.parse(options));
const tasks = await db.collection("tasks");
for (let n = 0; ; n++) {
  await tasks.insert({ _id: `n${n}`, n, text: "x".repeat(200) });
  writeSync(1, `${n}\n`);
}
