/**
 * `@backloghq/agentdb` with its collections on disk: the store is opened with `skipLoad`, agentdb reads its Parquet and
 * JSONL files through the backend's blobs, and the log is what was written since.
 */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { defineSchema } from "@backloghq/agentdb";
import { openDb, sayAll, TASKS } from "./agentdb.js";

const DISK = { storageMode: "disk" };

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = {
  "disk-basics": {
    title: "a collection on disk takes inserts, updates and removals over several sessions",
    needs: ["skipLoad"],
    async write(context) {
      const first = await openDb(context, DISK);
      const tasks = await first.collection("tasks");
      await tasks.insertMany(TASKS);
      await tasks.update({ _id: "t2" }, { $set: { status: "seen" } });
      await tasks.remove({ _id: "t9" });
      await sayAll(context, tasks);
      context.say("operations", tasks.getOps());
      await first.close();

      const second = await openDb(context, DISK);
      const again = await second.collection("tasks");
      context.say("findOne", await again.findOne("t2"));
      context.say("update of a record that is not loaded", await again.update({ _id: "t3" }, { $inc: { priority: 100 } }));
      context.say("upsert", await again.upsert("t4", { title: "Replaced" }));
      context.say("remove", await again.remove({ _id: "t5" }));
      await again.insert({ _id: "late", title: "second session" });
      context.say("history", again.history("late"));
      await sayAll(context, again);
      await second.close();
    },
    async read(context) {
      for (const session of ["first", "second"]) {
        const db = await openDb(context, DISK);
        const tasks = await db.collection("tasks");
        await sayAll(context, tasks);
        context.say("open", await tasks.find({ filter: { status: "open" }, sort: "-priority", limit: 4 }));
        context.say("count", await tasks.count({ status: "open" }));
        await tasks.insert({ _id: session, title: `inserted by the ${session} reader` });
        await db.close();
      }
    },
  },

  "disk-unclosed": {
    title: "what a process with a collection on disk left open is read from the log",
    needs: ["skipLoad"],
    async write(context) {
      const first = await openDb(context, { ...DISK, dir: "live" });
      await (await first.collection("tasks")).insertMany(TASKS.slice(0, 6));
      await first.close();
      const second = await openDb(context, { ...DISK, dir: "live" });
      const tasks = await second.collection("tasks");
      await tasks.insertMany(TASKS.slice(6));
      await tasks.update({ _id: "t1" }, { $set: { status: "seen" } });
      await tasks.remove({ _id: "t7" });
      // as a process that was killed leaves it: the file of the lock is gone with its holder
      cpSync(join(context.dir, "live"), join(context.dir, "db"), { recursive: true });
      rmSync(join(context.dir, "db/collections/tasks/.lock"), { force: true });
      await second.close();
    },
    async read(context) {
      const db = await openDb(context, DISK);
      const tasks = await db.collection("tasks");
      for (const id of ["t1", "t6", "t7", "t8"]) context.say(id, await tasks.findOne(id));
      await db.close();
    },
  },

  "disk-undo": {
    title: "undo on disk takes back what this session wrote",
    needs: ["skipLoad"],
    async write(context) {
      const db = await openDb(context, DISK);
      const tasks = await db.collection("tasks");
      context.say("nothing to undo", await tasks.undo());
      await tasks.insert(TASKS[0]);
      await tasks.insert(TASKS[1]);
      await tasks.update({ _id: "t1" }, { $set: { status: "seen" } });
      context.say("undo of the update", await tasks.undo());
      context.say("undo of the insert", await tasks.undo());
      await sayAll(context, tasks);
      context.say("operations", tasks.getOps());
      await db.close();
    },
    async read(context) {
      const db = await openDb(context, DISK);
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "disk-group": {
    title: "group and async mode on disk keep every record once the database is closed",
    needs: ["skipLoad"],
    async write(context) {
      for (const writeMode of ["group", "async"]) {
        const db = await openDb(context, { ...DISK, dir: writeMode, writeMode, groupCommitSize: 4, groupCommitMs: 20 });
        const tasks = await db.collection("tasks");
        for (const task of TASKS) await tasks.insert(task);
        await tasks.update({ _id: "t2" }, { $set: { status: "seen" } });
        await sayAll(context, tasks);
        await db.close();
      }
    },
    async read(context) {
      for (const dir of ["group", "async"]) {
        const db = await openDb(context, { ...DISK, dir });
        await sayAll(context, await db.collection("tasks"));
        await db.close();
      }
    },
  },

  "disk-schema": {
    title: "a schema on disk finds by indexes, array indexes and text, before and after a merge of its files",
    needs: ["skipLoad"],
    async write(context) {
      for (let session = 0; session < 4; session++) {
        const db = await openDb(context, { ...DISK, mergeParquetThreshold: 2, mergeJsonlThreshold: 2, rowGroupSize: 8 });
        const events = await db.collection(eventsSchema());
        await events.insertMany(
          Array.from({ length: 12 }, (_, n) => ({
            _id: `e${session}-${n}`,
            kind: n % 3 === 0 ? "alarm" : "notice",
            text: `event ${n} of session ${session}`,
            tags: [`s${session}`, `n${n}`],
          })),
        );
        await sayEvents(context, events);
        await db.close();
      }
    },
    async read(context) {
      const db = await openDb(context, DISK);
      await sayEvents(context, await db.collection(eventsSchema()));
    },
  },

  "disk-after-memory": {
    title: "a collection that was kept in memory goes to disk with its snapshot and its log",
    needs: ["skipLoad"],
    async write(context) {
      const first = await openDb(context, { checkpointThreshold: 4, dir: "live" });
      const tasks = await first.collection("tasks");
      for (const task of TASKS) await tasks.insert(task);
      await tasks.remove({ _id: "t1" });
      // the log still holds what came after the last checkpoint
      cpSync(join(context.dir, "live"), join(context.dir, "db"), { recursive: true });
      rmSync(join(context.dir, "db/collections/tasks/.lock"), { force: true });
      await first.close();
    },
    async read(context) {
      const db = await openDb(context, DISK);
      const tasks = await db.collection("tasks");
      context.say("count", await tasks.count());
      for (const { _id } of TASKS) context.say(_id, await tasks.findOne(_id));
      await tasks.update({ _id: "t2" }, { $set: { status: "seen" } });
      await db.close();
      const again = await openDb(context, DISK);
      await sayAll(context, await again.collection("tasks"));
    },
  },

  "disk-auto": {
    title: "a collection that has grown past diskThreshold is on disk after the next open",
    needs: ["skipLoad"],
    async write(context) {
      for (let session = 0; session < 3; session++) {
        const db = await openDb(context, { storageMode: "auto", diskThreshold: 15 });
        const tasks = await db.collection("tasks");
        await tasks.insertMany(TASKS.map((task) => ({ ...task, _id: `${session}-${task._id}` })));
        context.say("on disk", tasks.getDiskStore() !== null);
        await sayAll(context, tasks);
        await db.close();
      }
    },
    async read(context) {
      const db = await openDb(context, { storageMode: "auto", diskThreshold: 15 });
      const tasks = await db.collection("tasks");
      context.say("on disk", tasks.getDiskStore() !== null);
      await sayAll(context, tasks);
    },
  },

  "disk-reader": {
    title: "a read-only database reads a collection on disk beside its writer",
    needs: ["skipLoad"],
    async write(context) {
      const first = await openDb(context, DISK);
      await (await first.collection("tasks")).insertMany(TASKS.slice(0, 4));
      await first.close();
      const writer = await openDb(context, DISK);
      const tasks = await writer.collection("tasks");
      await tasks.insertMany(TASKS.slice(4, 6));
      const reader = await openDb(context, { ...DISK, readOnly: true });
      const seen = await reader.collection("tasks");
      for (const id of ["t1", "t5", "t9"]) context.say(id, await seen.findOne(id));
      await context.rejects("a reader that writes", seen.insert({ _id: "no" }));
      await writer.close();
    },
    async read(context) {
      const db = await openDb(context, DISK);
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "disk-blobs": {
    title: "vectors and blobs of a collection on disk survive, and there is nothing to archive where nothing matches",
    needs: ["skipLoad"],
    async write(context) {
      const db = await openDb(context, DISK);
      const points = await db.collection("points");
      for (let n = 0; n < 12; n++) await points.insertVector(`p${n}`, [Math.sin(n), Math.cos(n)], { n });
      await points.writeBlob("p1", "a.txt", "blob");
      const { records, scores } = await points.searchByVector([1, 0], { limit: 4 });
      context.say("nearest", [records.map(({ _id }) => _id), scores]);
      context.say("archive nothing", await points.archive({ n: 99 }, "s"));
      await db.close();
    },
    async read(context) {
      const db = await openDb(context, DISK);
      const points = await db.collection("points");
      await sayAll(context, points);
      context.say("blob", String(await points.readBlob("p1", "a.txt")));
      context.say("archive nothing", await points.archive({ n: 99 }, "s"));
    },
  },
};

function eventsSchema() {
  return defineSchema({
    name: "events",
    storageMode: "disk",
    textSearch: true,
    fields: {
      kind: { type: "enum", values: ["alarm", "notice"] },
      text: { type: "string" },
      tags: { type: "string[]" },
    },
    indexes: ["kind"],
    arrayIndexes: ["tags"],
  });
}

async function sayEvents(context, events) {
  await sayAll(context, events);
  context.say("alarms", (await events.find({ filter: { kind: "alarm" } })).records);
  context.say("count of alarms", await events.count({ kind: "alarm" }));
  context.say("by tag", (await events.find({ filter: { tags: { $contains: "n5" } } })).records);
  context.say("search", (await events.search("session 1")).records.map(({ _id }) => _id));
}
