/** `@backloghq/opslog-s3`, a custom backend, over a stand-in for S3. */
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand, DeleteObjectCommand } from "@aws-sdk/client-s3";
import { AgentDB } from "@backloghq/agentdb";
import { Store } from "@backloghq/opslog";
import { S3Backend } from "@backloghq/opslog-s3";
import { until, watched } from "./context.js";

/** @typedef {import("./context.js").Context} Context */

/** @param {number} n */
const value = (n) => ({ n, text: `Grüße ${n} 世界`, tags: ["a", String(n)] });

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = {
  "s3-stand-in": {
    title: "the stand-in for S3 answers as S3 does",
    async write(context) {
      const { server, client } = await context.s3();
      const Bucket = "bucket";
      const put = (Key, Body, more = {}) => client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
      const get = async (Key, more = {}) => (await client.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body.transformToString();
      await put("a b/ü&<.txt", "hello");
      context.say("get", await get("a b/ü&<.txt"));
      context.say("ranges", [await get("a b/ü&<.txt", { Range: "bytes=1-2" }), await get("a b/ü&<.txt", { Range: "bytes=3-99" })]);
      await context.rejects("a range behind the end", get("a b/ü&<.txt", { Range: "bytes=5-9" }));
      await context.rejects("get of nothing", get("none"));
      await context.rejects("head of nothing", client.send(new HeadObjectCommand({ Bucket, Key: "none" })));
      await put("lock", "first", { IfNoneMatch: "*" });
      await context.rejects("put if there is none", put("lock", "second", { IfNoneMatch: "*" }));
      const { ETag } = await client.send(new HeadObjectCommand({ Bucket, Key: "lock" }));
      await put("lock", "third", { IfMatch: ETag });
      await context.rejects("put if it matches", put("lock", "fourth", { IfMatch: ETag }));
      context.say("lock", await get("lock"));
      server.pageSize = 3;
      for (let n = 0; n < 8; n++) await put(`list/${n}`, String(n));
      const pages = [];
      let ContinuationToken;
      do {
        const page = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "list/", ContinuationToken }));
        pages.push(page.Contents.map(({ Key }) => Key));
        ContinuationToken = page.NextContinuationToken;
      } while (ContinuationToken !== undefined);
      context.say("pages", pages);
      context.say("empty list", (await client.send(new ListObjectsV2Command({ Bucket, Prefix: "nowhere/" }))).Contents ?? []);
      await client.send(new DeleteObjectCommand({ Bucket, Key: "lock" }));
      await client.send(new DeleteObjectCommand({ Bucket, Key: "lock" }));
      await context.rejects("get of what was deleted", get("lock"));
      server.fail((method) => method === "PUT");
      await context.rejects("put that is to fail", put("x", "1"));
      await put("x", "2");
      context.say("afterwards", await get("x"));
    },
  },

  "s3-immediate": {
    title: "a single writer's set, delete and update are one object each, and all is there after reopening",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context);
      for (let n = 0; n < 6; n++) await store.set(`k${n}`, value(n));
      await store.set("k1", { ...store.get("k1"), n: 100 });
      await store.delete("k2");
      await context.rejects("delete of nothing", store.delete("k2"));
      context.say("entries", store.entries());
      context.say("operations", store.getOps());
      context.say("history", store.getHistory("k1"));
      context.say("objects of the log", appended(server));
      await store.close();
      context.say("keys", keysOf(server));
    },
    async read(context) {
      const { store, server } = await openS3(context);
      context.say("entries", store.entries());
      await store.set("later", value(7));
      await store.close();
      const again = await openS3(context);
      context.say("entries", again.store.entries());
      await again.store.close();
      context.say("lock", server.objects.has("store/.lock"));
    },
  },

  "s3-not-closed": {
    title: "operations since the last checkpoint are read from the log",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", value(1));
      await store.batch(() => {
        void store.set("b", value(2));
        void store.set("a", value(3));
      });
      await store.delete("b");
      await store.close();
      context.say("objects of the log", appended(server));
    },
    async read(context) {
      const { store } = await openS3(context, { checkpointOnClose: false });
      context.say("entries", store.entries());
      context.say("operations", store.getOps());
      context.say("stats", store.stats());
      await store.set("c", value(4));
      await store.undo();
      await store.undo();
      context.say("entries", store.entries());
      await store.close();
      const again = await openS3(context);
      context.say("entries", again.store.entries());
    },
  },

  "s3-concurrent": {
    title: "sets that are not awaited one by one are one object each, in the order of the calls",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await Promise.all(Array.from({ length: 8 }, (_, n) => store.set(`k${n}`, { n })));
      context.say("objects of the log", appended(server));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-group": {
    title: "group mode writes one object for as many operations as groupCommitSize says, and the rest on flush and close",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, {
        writeMode: "group",
        groupCommitSize: 4,
        groupCommitMs: 3_600_000,
        checkpointOnClose: false,
      });
      for (let n = 0; n < 10; n++) await store.set(`k${n}`, { n });
      context.say("after ten", appended(server));
      await store.flush();
      context.say("after flush", appended(server));
      await store.set("k10", { n: 10 });
      await store.sync();
      context.say("after sync", appended(server));
      await store.set("k11", { n: 11 });
      await store.close();
      context.say("after close", appended(server));
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-group-timer": {
    title: "group mode writes a buffer that does not fill after groupCommitMs",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { writeMode: "group", groupCommitSize: 100, groupCommitMs: 30 });
      await store.set("a", { n: 1 });
      await store.set("b", { n: 2 });
      await until(() => appended(server).length > 0, "the timer's commit");
      context.say("objects of the log", appended(server));
      await store.close();
    },
  },

  "s3-async": {
    title: "async mode has everything in S3 after sync and after close",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, {
        writeMode: "async",
        groupCommitSize: 1000,
        groupCommitMs: 3_600_000,
        checkpointOnClose: false,
      });
      for (let n = 0; n < 5; n++) await store.set(`k${n}`, { n });
      await store.sync();
      context.say("after sync", appended(server).flat());
      await store.set("k5", { n: 5 });
      await store.close();
      context.say("after close", appended(server).flat());
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-batch": {
    title: "a batch is one object, and one that throws is none",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", value(0));
      await store.batch(() => {
        for (let n = 0; n < 5; n++) void store.set(`b${n}`, value(n));
        void store.delete("a");
      });
      await context.rejects("a batch that throws", store.batch(() => {
        void store.set("never", value(1));
        void store.delete("nobody");
      }));
      context.say("entries", store.entries());
      context.say("objects of the log", appended(server));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-undo": {
    title: "undo takes single operations and the last ones of a batch out of S3",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", value(1));
      await store.set("b", value(2));
      await store.batch(() => {
        void store.set("c", value(3));
        void store.set("a", value(4));
      });
      await store.delete("b");
      const steps = [];
      for (let n = 0; n < 3; n++) steps.push([await store.undo(), store.entries().sort(([x], [y]) => (x < y ? -1 : 1))]);
      context.say("steps", steps);
      context.say("log in S3", logOf(server));
      await store.set("d", value(5));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
      for (let n = 0; n < 5; n++) context.say("undo", await store.undo());
      context.say("entries", store.entries());
    },
  },

  "s3-checkpoint": {
    title: "a checkpoint comes after exactly checkpointThreshold operations",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointThreshold: 4 });
      const counts = [];
      for (let n = 0; n < 10; n++) {
        await store.set(`k${n % 3}`, value(n));
        counts.push(store.stats().opsCount);
      }
      context.say("operations since the last checkpoint", counts);
      const written = server.log.filter(({ method, key }) => method === "PUT" && key.includes("/snapshots/"));
      context.say("snapshots", written.map(({ body }) => body.split("\n").slice(1)));
      await store.compact();
      context.say("stats", store.stats());
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
      context.say("operations", store.getOps());
    },
  },

  "s3-archive": {
    title: "archived records are in S3 and can be loaded",
    needs: ["backend"],
    async write(context) {
      const { store } = await openS3(context);
      for (let n = 0; n < 8; n++) await store.set(`k${n}`, value(n));
      context.say("archive", await store.archive(({ n }) => n < 3, "low"));
      context.say("archive nothing", await store.archive(() => false, "none"));
      context.say("archive into the same segment", await store.archive((_record, id) => id === "k5", "low"));
      await sayArchive(context, store);
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      await sayArchive(context, store);
      context.say("archive into another", await store.archive(({ n }) => n > 6, "high"));
      await context.rejects("a segment that does not exist", store.loadArchive("missing"));
      context.say("by its path", [...(await store.loadArchive("archive/archive-high.json")).keys()]);
      await store.close();
    },
  },

  "s3-reader": {
    title: "a read-only store beside a writer follows by tail, refresh and watch, and writes nothing",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointThreshold: 1000 });
      await store.set("a", value(1));
      const { store: reader } = await openS3(context, { readOnly: true });
      context.say("entries", reader.entries());
      context.say("nothing new", await reader.tail());
      await store.set("b", value(2));
      await store.set("a", value(3));
      context.say("tail", await reader.tail());
      await store.delete("b");
      await reader.refresh();
      context.say("entries", reader.entries());
      await store.batch(() => {
        void store.set("c", value(4));
        void store.set("d", value(5));
      });
      context.say("watched", await watched(context, reader));
      // thrown at the call, as all errors of a store's state
      await context.rejects("a reader that writes", (async () => reader.set("x", value(1)))());
      const before = [...server.objects.keys()];
      await reader.close();
      context.say("left by the reader's close", [...server.objects.keys()].filter((key) => !before.includes(key)));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context, { readOnly: true });
      context.say("entries", store.entries());
      const nothing = storeOf(context);
      const backend = new S3Backend({ bucket: "bucket", prefix: "nowhere", client: (await context.s3()).client });
      await context.rejects("a reader of nothing", nothing.open("nowhere", { backend, readOnly: true }));
    },
  },

  "s3-reader-behind": {
    title: "a reader gets each operation once, also across a checkpoint of the writer",
    needs: ["backend"],
    async write(context) {
      const { store } = await openS3(context, { checkpointThreshold: 1000 });
      await store.set("a", { n: 1 });
      const { store: reader } = await openS3(context, { readOnly: true });
      await store.set("b", { n: 2 });
      await store.compact();
      await store.set("c", { n: 3 });
      // the original stays with the log that it knew at open: it sees b, and c never
      context.contract("ids after a checkpoint", (await reader.tail(), reader.entries().map(([id]) => id)), ["a", "b", "c"]);
      await store.delete("a");
      context.contract("the next operations", (await reader.tail()).map(({ op, id }) => [op, id]), [["delete", "a"]]);
      // an undo cannot be seen: the backend keeps the operations that it has read, under the names of their objects
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-stream": {
    title: "streamSnapshot and getWalOps give the current state, from S3",
    needs: ["backend"],
    async write(context) {
      const { store } = await openS3(context, { checkpointOnClose: false });
      for (let n = 0; n < 4; n++) await store.set(`k${n}`, { n });
      await store.compact();
      await store.delete("k1");
      await store.set("k9", { n: 9 });
      // the original looks for the snapshot in a local file, and for the log of before the checkpoint
      const state = collect(store).catch((error) => error.message);
      context.contract("state", await state, [["k0", { n: 0 }], ["k2", { n: 2 }], ["k3", { n: 3 }], ["k9", { n: 9 }]]);
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("operations", await all(store.getWalOps()));
      context.say("entries", store.entries());
    },
  },

  "s3-migrate": {
    title: "migrate gets every record of an older version",
    needs: ["backend"],
    async write(context) {
      const { store } = await openS3(context, { version: 1 });
      for (let n = 0; n < 3; n++) await store.set(`k${n}`, { n });
      await store.close();
    },
    async read(context) {
      /** @type {unknown[]} */
      const calls = [];
      const migrate = (record, from) => {
        calls.push([record, from]);
        return { ...record, migrated: true };
      };
      const { store } = await openS3(context, { version: 2, migrate });
      context.say("calls", calls);
      context.say("entries", store.entries());
      await store.set("k9", { n: 9, migrated: true });
      await store.close();
      const again = await openS3(context, { version: 2, migrate: () => null });
      context.say("entries", again.store.entries());
    },
  },

  "s3-lock": {
    title: "a second writer is refused until the first one has closed, and a lock that ran out is taken over",
    needs: ["backend"],
    async write(context) {
      const { store } = await openS3(context);
      await store.set("a", { n: 1 });
      await context.rejects("a second writer", openS3(context));
      await store.close();
      const { store: next, server } = await openS3(context);
      context.say("entries", next.entries());
      await next.close();
      const gone = { agent: "gone", hostname: "gone", pid: 1, timestamp: Date.now() - 120_000, ttlMs: 60_000 };
      server.objects.set("store/.lock", Buffer.from(JSON.stringify(gone)));
      const { store: heir } = await openS3(context);
      await heir.set("b", { n: 2 });
      await heir.close();
      context.say("lock", server.objects.has("store/.lock"));
    },
  },

  "s3-pages": {
    title: "a log of more objects than a listing has room for is read as a whole",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false, checkpointThreshold: 1000 });
      server.pageSize = 3;
      for (let n = 0; n < 11; n++) await store.set(`k${n}`, { n });
      context.say("undo", await store.undo());
      await store.close();
    },
    async read(context) {
      const { server } = await context.s3();
      server.pageSize = 3;
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-agents": {
    title: "two agents on one bucket, one after the other and at once, see each other's records",
    needs: ["agentId", "backend"],
    async write(context) {
      for (const agentId of ["ada", "bob"]) {
        const { store } = await openS3(context, { agentId });
        context.say(`found by ${agentId}`, store.entries());
        await store.set(agentId, { by: agentId });
        await store.set("shared", { by: agentId });
        await store.undo();
        await store.set("shared", { by: agentId, again: true });
        await store.close();
      }
      const options = { checkpointThreshold: 1000, checkpointOnClose: false };
      const { store: ada } = await openS3(context, { ...options, agentId: "ada" });
      const { store: bob } = await openS3(context, { ...options, agentId: "bob" });
      await ada.set("a2", { n: 2 });
      await bob.refresh();
      await bob.set("b2", { n: 2 });
      context.say("tail", (await ada.tail()).map(({ op, id, agent }) => ({ op, id, agent })));
      context.say("entries of ada", ada.entries());
      context.say("entries of bob", bob.entries());
      await ada.close();
      await bob.close();
    },
    async read(context) {
      const { store } = await openS3(context, { agentId: "carol" });
      context.say("entries", store.entries());
      await store.close();
    },
  },

  "s3-agentdb": {
    title: "a database of agentdb keeps a collection in S3, in memory and on disk",
    needs: ["backend", "skipLoad"],
    async write(context) {
      for (const storageMode of ["memory", "disk"]) {
        const db = await openS3Db(context, storageMode);
        const tasks = await db.collection("tasks");
        await tasks.insertMany([1, 2, 3, 4].map((n) => ({ _id: `t${n}`, n })));
        await tasks.update({ _id: "t2" }, { $set: { seen: true } });
        await tasks.remove({ _id: "t3" });
        await tasks.writeBlob("t1", "a.txt", "blob");
        context.say(`records, ${storageMode}`, await tasks.findAll());
        await db.close();
      }
    },
    async read(context) {
      for (const storageMode of ["memory", "disk"]) {
        const db = await openS3Db(context, storageMode);
        const tasks = await db.collection("tasks");
        context.say(`records, ${storageMode}`, await tasks.findAll());
        context.say("findOne", await tasks.findOne("t2"));
        context.say("blob", String(await tasks.readBlob("t1", "a.txt")));
        await tasks.insert({ _id: "later" });
        await db.close();
      }
    },
  },
};

/**
 * A store that closes itself when the scenario ends.
 *
 * @param {Context} context
 */
export function storeOf(context) {
  const store = new Store();
  context.atEnd(() => store.close());
  return store;
}

/**
 * Opens the scenario's store in S3.
 *
 * @param {Context} context
 * @param {Record<string, unknown>} [options]
 */
export async function openS3(context, options = {}) {
  const { server, client } = await context.s3();
  const store = storeOf(context);
  await store.open("store", { backend: new S3Backend({ bucket: "bucket", prefix: "store", client }), ...options });
  return { store, server };
}

/** @param {Context} context @param {string} storageMode */
async function openS3Db(context, storageMode) {
  const { client } = await context.s3();
  const backend = new S3Backend({ bucket: "bucket", prefix: `db-${storageMode}`, client });
  const db = await AgentDB.open(`${context.dir}/local`, { backend, storageMode });
  context.atEnd(() => db.close());
  return db;
}

/**
 * The objects that were appended to logs: the ids in each, in the order of the requests.
 *
 * @param {import("./s3-server.js").S3Server} server
 */
export function appended(server) {
  return server.log
    .filter(({ method, key, status }) => method === "PUT" && key.includes("/batch-") && status === 200)
    .map(({ body }) => body.trimEnd().split("\n").map((line) => JSON.parse(line).id));
}

/** The ids in the objects of all logs, by the order of their names. @param {import("./s3-server.js").S3Server} server */
function logOf(server) {
  return [...server.objects]
    .filter(([key]) => key.includes("/batch-"))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, body]) => body.toString().trimEnd().split("\n").map((line) => JSON.parse(line).id));
}

/** Kinds of keys: their names hold the time. @param {import("./s3-server.js").S3Server} server */
function keysOf(server) {
  return [...new Set([...server.objects.keys()].map((key) => key.replace(/\d{13}.*/, "…")))].sort();
}

async function sayArchive(context, store) {
  context.say("entries", store.entries());
  const segments = store.listArchiveSegments();
  context.say("segments", segments);
  context.say("stats", store.stats());
  for (const segment of segments) context.say(segment, await store.loadArchive(segment));
}

async function all(generator) {
  const items = [];
  for await (const item of generator) items.push(item);
  return items;
}

/** The state that the two streams give together. */
async function collect(store) {
  const records = new Map(await all(store.streamSnapshot()));
  for (const { op, id, data } of await all(store.getWalOps())) {
    if (op === "set") records.set(id, data);
    else records.delete(id);
  }
  return [...records];
}

