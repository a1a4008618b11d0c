/** `@backloghq/agentdb` with `agentId`: several writers of one database. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { openDb, sayAll, TASKS } from "./agentdb.js";
import { watched } from "./context.js";

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = {
  "agents-alone": {
    title: "an agent by itself writes, undoes, checkpoints and opens again",
    needs: ["agentId"],
    async write(context) {
      const db = await openDb(context, { agentId: "ada", checkpointThreshold: 8 });
      const tasks = await db.collection("tasks");
      for (const task of TASKS) await tasks.insert(task);
      await tasks.update({ _id: "t2" }, { $set: { status: "seen" } });
      await tasks.remove({ _id: "t3" });
      context.say("undo", await tasks.undo());
      await sayAll(context, tasks);
      context.say("operations, without their clocks", withoutClock(tasks.getOps()));
      await db.close();
    },
    async read(context) {
      const db = await openDb(context, { agentId: "ada" });
      const tasks = await db.collection("tasks");
      await sayAll(context, tasks);
      await tasks.insert({ _id: "later", title: "after reopening" });
      await db.close();
      const again = await openDb(context, { agentId: "ada" });
      await sayAll(context, await again.collection("tasks"));
    },
  },

  "agents-fresh": {
    title: "the first operation of a fresh store has clock 1, and the clock counts on",
    needs: ["agentId"],
    async write(context) {
      const db = await openDb(context, { agentId: "ada" });
      const tasks = await db.collection("tasks");
      await tasks.insertMany(TASKS.slice(0, 3));
      await tasks.update({ _id: "t1" }, { $set: { status: "seen" } });
      context.say("operations", tasks.getOps());
      // not closed: the next one finds the operations in the log
      cpSync(join(context.dir, "db"), join(context.dir, "copy"), { recursive: true });
      await db.close();
    },
    async read(context) {
      const db = await openDb(context, { agentId: "bob", dir: "copy" });
      const tasks = await db.collection("tasks");
      context.say("operations of ada", tasks.getOps());
      await tasks.insert({ _id: "b1" });
      context.say("operations of both", tasks.getOps().map(({ id, agent, clock }) => [id, agent, clock]));
      await sayAll(context, tasks);
    },
  },

  "agents-in-turn": {
    title: "two agents in one directory, one after the other, see each other's records",
    needs: ["agentId"],
    async write(context) {
      for (const [turn, agentId] of ["ada", "bob", "ada", "bob"].entries()) {
        const db = await openDb(context, { agentId });
        const tasks = await db.collection("tasks");
        await sayAll(context, tasks);
        await tasks.insert({ _id: `${agentId}-${turn}`, turn });
        await tasks.upsert("shared", { by: agentId, turn });
        context.say("own undo", [await tasks.undo(), await tasks.findOne("shared")]);
        await tasks.upsert("shared", { by: agentId, turn, again: true });
        await db.close();
      }
    },
    async read(context) {
      for (const agentId of ["carol", "ada"]) {
        const db = await openDb(context, { agentId });
        const tasks = await db.collection("tasks");
        await sayAll(context, tasks);
        await tasks.insert({ _id: `read by ${agentId}` });
        await db.close();
      }
    },
  },

  "agents-side-by-side": {
    title: "two agents with the store open at once follow each other by refresh, tail and watch",
    needs: ["agentId"],
    async write(context) {
      const options = { checkpointThreshold: 1000 };
      const ada = await (await openDb(context, { ...options, agentId: "ada" })).collection("tasks");
      await ada.insertMany(TASKS.slice(0, 2));
      const bob = await (await openDb(context, { ...options, agentId: "bob" })).collection("tasks");
      await bob.insert(TASKS[2]);
      await ada.refresh();
      await sayAll(context, ada);
      await bob.update({ _id: "t1" }, { $set: { status: "bob's" } });
      context.say("tail", (await ada.tail()).map(({ op, id, agent, clock, data }) => ({ op, id, agent, clock, data })));
      await ada.update({ _id: "t1" }, { $set: { status: "ada's" } });
      await ada.remove({ _id: "t2" });
      const ops = await watched(context, bob);
      context.say("watched", ops.map(({ op, id, agent, clock }) => ({ op, id, agent, clock })));
      await sayAll(context, bob);
      context.say("history", bob.history("t1").map(({ agent, clock }) => [agent, clock]));
    },
    async read(context) {
      const db = await openDb(context, { agentId: "carol" });
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "agents-compacting": {
    title: "no agent's acknowledged write is lost when another one compacts",
    needs: ["agentId"],
    async write(context) {
      const ada = await (await openDb(context, { agentId: "ada", checkpointThreshold: 1000 })).collection("tasks");
      await ada.insert({ _id: "a1" });
      const bob = await (await openDb(context, { agentId: "bob", checkpointThreshold: 3 })).collection("tasks");
      await ada.insert({ _id: "a2" });
      for (let n = 1; n <= 4; n++) await bob.insert({ _id: `b${n}` });
      await ada.insert({ _id: "a3" });
      await bob.refresh();
      const ids = (await bob.findAll()).map(({ _id }) => _id).sort();
      // the original's compaction writes what it has in memory and drops the logs of the others with what is in them
      context.contract("ids", ids, ["a1", "a2", "a3", "b1", "b2", "b3", "b4"]);
    },
  },

  "agents-after-single": {
    title: "a store of a single writer is taken over by agents with its records",
    needs: ["agentId"],
    async write(context) {
      const db = await openDb(context);
      await (await db.collection("tasks")).insertMany(TASKS.slice(0, 4));
      await db.close();
      const agent = await openDb(context, { agentId: "ada" });
      const tasks = await agent.collection("tasks");
      await sayAll(context, tasks);
      await tasks.update({ _id: "t1" }, { $set: { status: "seen" } });
      await agent.close();
    },
    async read(context) {
      const agent = await openDb(context, { agentId: "bob" });
      await sayAll(context, await agent.collection("tasks"));
    },
  },

  "agents-on-disk": {
    title: "two agents with a collection on disk, one after the other, see each other's records",
    needs: ["agentId", "skipLoad"],
    async write(context) {
      for (const [turn, agentId] of ["ada", "bob", "ada"].entries()) {
        const db = await openDb(context, { agentId, storageMode: "disk" });
        const tasks = await db.collection("tasks");
        await sayAll(context, tasks);
        await tasks.insertMany([{ _id: `${agentId}-${turn}`, turn }, { _id: `${agentId}-${turn}-more`, turn }]);
        await tasks.update({ _id: `${agentId}-${turn}` }, { $set: { seen: true } });
        context.say("operations", tasks.getOps().map(({ op, id, agent }) => ({ op, id, agent })));
        await db.close();
      }
    },
    async read(context) {
      const db = await openDb(context, { agentId: "carol", storageMode: "disk" });
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "agents-group": {
    title: "group mode of an agent falls back to immediate and says so",
    needs: ["agentId"],
    async write(context) {
      const { error } = console;
      /** @type {unknown[]} */
      const said = [];
      console.error = (...args) => said.push(args);
      context.atEnd(() => {
        console.error = error;
      });
      const db = await openDb(context, { agentId: "ada", writeMode: "group", groupCommitSize: 1000 });
      const tasks = await db.collection("tasks");
      context.say("said", said);
      await tasks.insertMany(TASKS.slice(0, 3));
      const other = await openDb(context, { agentId: "bob" });
      // written, not buffered: another agent sees it at once
      await sayAll(context, await other.collection("tasks"));
    },
  },
};

/** @param {any[]} ops */
function withoutClock(ops) {
  // a checkpoint starts the original's clock at 0 again at the next open; ours goes on
  return ops.map(({ clock: _clock, ...op }) => op);
}
