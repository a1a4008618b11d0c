/** `@backloghq/agentdb` with its collections in memory: every method that reaches the store. */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { defineSchema, FsBackend } from "@backloghq/agentdb";
import { getTools } from "@backloghq/agentdb/tools";
import { openDb, sayAll, TASKS } from "./agentdb.js";
import { errorOf, watched } from "./context.js";

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = {
  "memory-basics": {
    title: "inserts, queries, updates, upserts and removals give the same records and operations",
    async write(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      context.say("insert", await tasks.insert({ _id: "first", title: "Alone", tags: [] }, { agent: "planner", reason: "why not" }));
      context.say("insertMany", await tasks.insertMany(TASKS));
      context.say("update one", await tasks.update({ _id: "t3" }, { $set: { status: "done" }, $inc: { priority: 5 } }));
      context.say("update many", await tasks.update({ status: "open" }, { $push: { tags: "seen" } }, { agent: "worker" }));
      context.say("update none", await tasks.update({ _id: "nobody" }, { $set: { status: "done" } }));
      context.say("$unset", await tasks.update({ _id: "t4" }, { $unset: { owner: true } }));
      context.say("upsert new", await tasks.upsert("u1", { title: "Upserted", status: "open" }));
      context.say("upsert old", await tasks.upsert("u1", { title: "Upserted again", status: "open", more: { deep: [1, { x: null }] } }));
      context.say("upsertMany", await tasks.upsertMany([{ _id: "u2", title: "Two" }, { _id: "t1", title: "Replaced" }]));
      context.say("remove", await tasks.remove({ _id: "t5" }));
      context.say("remove many", await tasks.remove({ priority: { $gt: 8 } }));
      await context.rejects("a version that is not there", tasks.update({ _id: "t2" }, { $set: { a: 1 } }, { expectedVersion: 99 }));
      await sayAll(context, tasks);
      context.say("history", tasks.history("u1"));
      context.say("stats", tasks.stats());
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await sayAll(context, tasks);
      context.say("by status", await tasks.find({ filter: { status: "open" }, sort: "-priority", limit: 3 }));
      context.say("findOne", await tasks.findOne("u1"));
      context.say("findOne, none", await tasks.findOne("t5"));
      context.say("distinct", tasks.distinct("status"));
      context.say("schema", tasks.schema());
      context.say("stats", await db.stats());
      context.say("collections", await db.listCollections());
      await tasks.insert({ _id: "later", title: "after reopening" });
      await db.close();
      const again = await openDb(context);
      await sayAll(context, await again.collection("tasks"));
    },
  },

  "memory-undo": {
    title: "undo takes back inserts, updates, removals and the operations of a batch, one by one",
    async write(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await tasks.insertMany(TASKS.slice(0, 3));
      await tasks.update({ _id: "t2" }, { $set: { title: "Grüße, 世界 🎉" } });
      await tasks.remove({ _id: "t3" });
      for (const what of ["the removal", "the update", "the last insert"]) {
        context.say(`undo of ${what}`, await tasks.undo());
        context.say(`records after undo of ${what}`, await tasks.findAll());
      }
      await tasks.insert({ _id: "t9", title: "instead" });
      context.say("operations", tasks.getOps());

      const order = await db.collection("order");
      await order.insertMany(TASKS.slice(0, 3));
      await order.remove({ _id: "t1" });
      await order.undo();
      // the original puts it at the end until the next open
      context.contract("order after undo of a removal", idsOf(await order.findAll()), ["t1", "t2", "t3"]);
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await sayAll(context, tasks);
      context.say("nothing to undo", await tasks.undo());
    },
  },

  "memory-unclosed": {
    title: "what a process left open is there for the next one, and undo goes on where it was",
    async write(context) {
      const db = await openDb(context, { dir: "live" });
      const tasks = await db.collection("tasks");
      await tasks.insertMany(TASKS);
      await tasks.update({ _id: "t1" }, { $set: { status: "done" } });
      // as a process that was killed leaves it: the file of the lock is gone with its holder
      cpSync(join(context.dir, "live"), join(context.dir, "db"), { recursive: true });
      rmSync(join(context.dir, "db/collections/tasks/.lock"), { force: true });
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      context.say("operations", tasks.getOps());
      await sayAll(context, tasks);
      context.say("undo", await tasks.undo());
      await sayAll(context, tasks);
      await db.close();
      const again = await openDb(context);
      await sayAll(context, await again.collection("tasks"));
    },
  },

  "memory-checkpoints": {
    title: "a checkpoint comes after exactly checkpointThreshold operations",
    async write(context) {
      const db = await openDb(context, { checkpointThreshold: 7 });
      const tasks = await db.collection("tasks");
      const counts = [];
      for (let n = 0; n < 20; n++) {
        await tasks.upsert(`r${n % 5}`, { n });
        counts.push(tasks.stats().opsCount);
      }
      context.say("operations since the last checkpoint", counts);
      await tasks.insertMany(Array.from({ length: 30 }, (_, n) => ({ _id: `b${n}`, n })));
      context.say("after a batch that is larger than the threshold", tasks.stats());
      await tasks.insert({ _id: "last", n: -1 });
      context.say("operations", tasks.getOps());
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "memory-group": {
    title: "group and async mode keep every record once the database is closed",
    async write(context) {
      for (const writeMode of ["group", "async"]) {
        const db = await openDb(context, { dir: writeMode, writeMode, groupCommitSize: 4, groupCommitMs: 20 });
        const tasks = await db.collection("tasks");
        for (const task of TASKS) await tasks.insert(task);
        await tasks.remove({ _id: "t2" });
        await tasks.update({ status: "open" }, { $set: { status: "seen" } });
        context.say(`undo, ${writeMode}`, await tasks.undo());
        await sayAll(context, tasks);
        context.say(`operations, ${writeMode}`, tasks.getOps());
        await db.close();
      }
    },
    async read(context) {
      for (const dir of ["group", "async"]) {
        const db = await openDb(context, { dir });
        await sayAll(context, await db.collection("tasks"));
        await db.close();
      }
    },
  },

  "memory-schema": {
    title: "a schema with indexes, counters, views, text search and hooks finds the same",
    async write(context) {
      const db = await openDb(context);
      const tickets = await db.collection(ticketsSchema());
      for (const [n, title] of ["Printer on fire", "Printer out of paper", "Coffee is cold", "Fire drill"].entries()) {
        await tickets.insert({ _id: `k${n}`, title, priority: n % 2 === 0 ? "H" : "L", tags: ["office", `floor${n}`] });
      }
      await context.rejects("a record that breaks the schema", tickets.insert({ _id: "bad", title: "x".repeat(300) }));
      await sayTickets(context, tickets);
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tickets = await db.collection(ticketsSchema());
      await sayTickets(context, tickets);
      await tickets.insert({ _id: "k9", title: "Printer again" });
      context.say("the counter goes on", await tickets.findOne("k9"));
      await tickets.update({ _id: "k9" }, { $set: { title: "Coffee again" } });
      context.say("undo", await tickets.undo());
      await sayTickets(context, tickets);
      context.say("persisted schema", await db.loadPersistedSchema("tickets"));
    },
  },

  "memory-archive": {
    title: "archived records leave the collection and can be loaded from their segments",
    async write(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await tasks.insertMany(TASKS);
      context.say("archive", await tasks.archive({ status: "done" }, "old"));
      context.say("archive nothing", await tasks.archive({ status: "nothing" }, "none"));
      context.say("archive into the same segment", await tasks.archive({ _id: "t2" }, "old"));
      context.say("archive into another", await tasks.archive({ _id: "t5" }, "other"));
      await sayArchive(context, tasks);
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await sayArchive(context, tasks);
      context.say("archive more", await tasks.archive({ _id: "t8" }, "other"));
      await context.rejects("a segment that does not exist", tasks.loadArchive("missing"));
      await sayArchive(context, tasks);
    },
  },

  "memory-expiry": {
    title: "records that have expired are hidden, and cleaned up when that is asked for",
    async write(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await tasks.insert({ _id: "stays" });
      await tasks.insert({ _id: "goes" }, { ttl: 0.02 });
      await tasks.insert({ _id: "later" }, { ttl: 3600 });
      await new Promise((resolve) => setTimeout(resolve, 50));
      await sayAll(context, tasks);
      context.say("stats", tasks.stats());
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await sayAll(context, tasks);
      context.say("cleaned up", await tasks.cleanup());
      context.say("cleaned up again", await tasks.cleanup());
      context.say("stats", tasks.stats());
    },
  },

  "memory-text-rebuilt": {
    title: "a text index is rebuilt from the records, and refreshed with them",
    async write(context) {
      const db = await openDb(context);
      const notes = await db.collection("notes", { textSearch: true });
      await notes.insertMany([{ _id: "a", text: "red apple" }, { _id: "b", text: "green apple" }, { _id: "c", text: "red car" }]);
      await notes.remove({ _id: "a" });
      context.say("undo", await notes.undo());
      await notes.batch(() => {
        void notes.deleteById("c");
      });
      context.say("search", (await notes.search("red")).records);
      await notes.refresh();
      context.say("search after refresh", (await notes.search("apple")).records.map(({ _id }) => _id).sort());
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      context.say("indexed", await db.rebuildTextIndex("notes"));
      const notes = await db.collection("notes", { textSearch: true });
      context.say("search", (await notes.search("red")).records);
    },
  },

  "memory-blobs": {
    title: "blobs beside the records are written, read, listed and removed",
    async write(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await tasks.insertMany(TASKS.slice(0, 3));
      await tasks.writeBlob("t1", "plan.md", "# Plan\n");
      await tasks.writeBlob("t1", "bytes.bin", Buffer.from([0, 255, 10, 13, 128]));
      await tasks.writeBlob("t2", "gone.txt", "gone");
      await tasks.writeBlob("t3", "note.txt", "goes with its record");
      await tasks.deleteBlob("t2", "gone.txt");
      await tasks.deleteBlobsForRecord("t3");
      await sayAll(context, tasks);
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const tasks = await db.collection("tasks");
      await sayAll(context, tasks);
      for (const id of ["t1", "t2", "t3", "t4"]) {
        const names = await tasks.listBlobs(id);
        context.say(`blobs of ${id}`, names.sort());
        for (const name of names) context.say(`${id}/${name}`, (await tasks.readBlob(id, name)).toString("hex"));
      }
      // the message is the system's
      context.say("a blob that is gone", (await errorOf(tasks.readBlob("t2", "gone.txt"))).message.startsWith("ENOENT"));
    },
  },

  "memory-vectors": {
    title: "vectors are found by their likeness, before and after a restart",
    async write(context) {
      const db = await openDb(context);
      const points = await db.collection("points");
      for (let n = 0; n < 24; n++) await points.insertVector(`p${n}`, [Math.sin(n), Math.cos(n), n / 24], { n });
      await sayNearest(context, points);
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const points = await db.collection("points");
      await sayNearest(context, points);
      await points.remove({ _id: "p3" });
      await sayNearest(context, points);
    },
  },

  "memory-collections": {
    title: "collections are made, listed, evicted, dropped, exported and imported",
    async write(context) {
      const db = await openDb(context, { maxOpenCollections: 2 });
      for (const name of ["a", "b", "c", "d"]) {
        const collection = await db.collection(name);
        await collection.insertMany(TASKS.slice(0, 2));
      }
      // all but two were closed in between
      for (const name of ["a", "b", "c", "d"]) {
        const collection = await db.collection(name);
        await collection.insert({ _id: "again", name });
        await sayAll(context, collection);
      }
      await db.dropCollection("b");
      context.say("collections", await db.listCollections());
      context.say("exported", await db.export(["a", "c"]));
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      context.say("collections", await db.listCollections());
      const copy = await openDb(context, { dir: "copy" });
      context.say("imported", await copy.import(await db.export()));
      context.say("imported again", await copy.import(await db.export()));
      context.say("imported over", await copy.import(await db.export(), { overwrite: true }));
      for (const name of ["a", "c", "d"]) await sayAll(context, await copy.collection(name));
    },
  },

  "memory-reader": {
    title: "a read-only database follows a writer by tail, watch and refresh",
    async write(context) {
      const writer = await openDb(context, { checkpointThreshold: 1000 });
      const tasks = await writer.collection("tasks");
      await tasks.insertMany(TASKS.slice(0, 2));
      const reader = await openDb(context, { readOnly: true });
      const seen = await reader.collection("tasks");
      await sayAll(context, seen);
      context.say("nothing new", await seen.tail());
      await tasks.insert(TASKS[2]);
      await tasks.update({ _id: "t1" }, { $set: { status: "seen" } });
      context.say("tail", await seen.tail());
      await sayAll(context, seen);
      await context.rejects("a reader that writes", seen.insert({ _id: "no", title: "no" }));

      await tasks.insert(TASKS[4]);
      await seen.refresh();
      await sayAll(context, seen);
      await tasks.insert(TASKS[3]);
      await tasks.remove({ _id: "t2" });
      context.say("watched", await watched(context, seen));
      await sayAll(context, seen);
      await reader.close();
      await writer.close();
    },
    async read(context) {
      const reader = await openDb(context, { readOnly: true });
      await sayAll(context, await reader.collection("tasks"));
      const nowhere = await openDb(context, { readOnly: true, dir: "nowhere" });
      await context.rejects("a reader of nothing", nowhere.collection("tasks"));
    },
  },

  "memory-reader-behind": {
    title: "a reader gets each operation once, also across an undo and a checkpoint of the writer",
    async write(context) {
      const writer = await openDb(context, { checkpointThreshold: 1000 });
      const tasks = await writer.collection("tasks");
      await tasks.insertMany(TASKS.slice(0, 3));
      const reader = await openDb(context, { readOnly: true });
      const seen = await reader.collection("tasks");
      await tasks.undo();
      await tasks.insert({ _id: "instead", title: "of t3" });
      // the original counts lines: as many as before means nothing new to it
      context.contract("ids after an undo", (await seen.tail(), idsOf(await seen.findAll())), ["t1", "t2", "instead"]);
      await writer.close();
      const next = await openDb(context);
      await (await next.collection("tasks")).insert({ _id: "after", title: "the checkpoint" });
      // the original stays with the log that it knew at open
      context.contract("new ids after a checkpoint", idsOf((await seen.tail()).filter((op) => op.op === "set")), ["after"]);
      context.contract("ids after a checkpoint", idsOf(await seen.findAll()), ["t1", "t2", "instead", "after"]);
      await reader.close();
      await next.close();
    },
    async read(context) {
      const db = await openDb(context);
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "memory-locked": {
    title: "a second writer is refused, and the first one's end lets it in",
    async write(context) {
      const first = await openDb(context);
      await (await first.collection("tasks")).insert(TASKS[0]);
      const second = await openDb(context);
      const { message } = await errorOf(second.collection("tasks"));
      // what follows the pid is for people
      context.say("locked", /^Store is locked by process \d+/.exec(message)?.[0] ?? message);
      await first.close();
      await (await second.collection("tasks")).insert(TASKS[1]);
      await second.close();
    },
    async read(context) {
      const db = await openDb(context);
      await sayAll(context, await db.collection("tasks"));
    },
  },

  "memory-tools": {
    title: "the tools that agentdb hands to language models answer the same",
    async write(context) {
      const db = await openDb(context);
      const use = userOf(context, db);
      await use("db_insert", { collection: "notes", record: { _id: "n1", text: "one", n: 1 } });
      await use("db_batch", { collection: "notes", operations: [{ op: "insert", record: { _id: "n2", n: 2 } }, { op: "insert", record: { _id: "n3", n: 3 } }] });
      await use("db_update", { collection: "notes", filter: { _id: "n2" }, update: { $inc: { n: 40 } } });
      await use("db_undo", { collection: "notes" });
      await use("db_delete", { collection: "notes", filter: { _id: "n3" } });
      await use("db_history", { collection: "notes", id: "n2" });
      await use("db_archive", { collection: "notes", filter: { _id: "n1" }, segment: "s" });
      await use("db_find", { collection: "notes" });
      await db.close();
    },
    async read(context) {
      const db = await openDb(context);
      const use = userOf(context, db);
      await use("db_find", { collection: "notes", filter: { n: { $gte: 1 } } });
      await use("db_count", { collection: "notes" });
      await use("db_archive_list", { collection: "notes" });
      await use("db_archive_load", { collection: "notes", segment: "s" });
      await use("db_stats", {});
    },
  },

  "memory-fs-backend": {
    title: "an FsBackend object of the package's own serves the collections of a database",
    async write(context) {
      const db = await openDb(context, { backend: new FsBackend() });
      const tasks = await db.collection("tasks");
      await tasks.insertMany(TASKS.slice(0, 3));
      await tasks.update({ _id: "t1" }, { $set: { status: "seen" } });
      await sayAll(context, tasks);
      await db.close();

      const shared = await openDb(context, { backend: new FsBackend(), dir: "shared" });
      const a = await shared.collection("a");
      await a.insert({ _id: "a1" });
      const b = await shared.collection("b");
      await b.insert({ _id: "b1" });
      await a.insert({ _id: "a2" });
      await shared.close();
      const again = await openDb(context, { dir: "shared" });
      // the original's object knows one directory: what `a` writes after `b` was opened goes to b's, under a's file name
      context.contract("records of a", (await again.collection("a").then((c) => c.findAll(), () => [])).map(({ _id }) => _id), ["a1", "a2"]);
    },
    async read(context) {
      const db = await openDb(context);
      await sayAll(context, await db.collection("tasks"));
    },
  },
};

function ticketsSchema() {
  return defineSchema({
    name: "tickets",
    version: 1,
    description: "Tickets",
    textSearch: true,
    fields: {
      number: { type: "autoIncrement" },
      title: { type: "string", required: true, maxLength: 200 },
      status: { type: "enum", values: ["open", "closed"], default: "open" },
      priority: { type: "enum", values: ["H", "L"], default: "L" },
      tags: { type: "string[]" },
    },
    indexes: ["status", "priority"],
    compositeIndexes: [["status", "priority"]],
    arrayIndexes: ["tags"],
    virtualFilters: { "+URGENT": (record) => record.priority === "H" && record.status === "open" },
    hooks: { beforeInsert: (record) => ({ ...record, source: "hook" }) },
  });
}

async function sayTickets(context, tickets) {
  await sayAll(context, tickets);
  context.say("+URGENT", await tickets.find({ filter: { "+URGENT": true } }));
  context.say("by two fields", await tickets.find({ filter: { status: "open", priority: "H" } }));
  context.say("by tag", await tickets.find({ filter: { tags: { $contains: "floor1" } } }));
  context.say("search", (await tickets.search("printer fire")).records);
  tickets.defineView({ name: "high", filter: { priority: "H" } });
  context.say("view", await tickets.queryView("high"));
}

async function sayArchive(context, tasks) {
  await sayAll(context, tasks);
  context.say("segments", tasks.listArchiveSegments());
  context.say("segments, counted", await tasks.listArchiveSegmentsDetailed());
  for (const segment of ["old", "other"]) context.say(`segment ${segment}`, await tasks.loadArchive(segment));
}

async function sayNearest(context, points) {
  const { records, scores } = await points.searchByVector([1, 0, 0.5], { limit: 5 });
  context.say("nearest", idsOf(records, "_id"));
  context.say("scores", scores);
  context.say("count", await points.count());
}

function userOf(context, db) {
  const tools = new Map(getTools(db).map((tool) => [tool.name, tool]));
  return async (name, args) => context.say(name, (await tools.get(name).execute(args)).content);
}

/**
 * @param {any[]} items
 * @param {string} [member]
 */
function idsOf(items, member = items[0]?._id === undefined ? "id" : "_id") {
  return items.map((item) => item[member]);
}
