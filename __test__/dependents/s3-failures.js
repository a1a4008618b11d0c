/** `@backloghq/opslog-s3` while S3 answers 500: the call rejects with S3's error, and the store goes on. */
import { S3Backend } from "@backloghq/opslog-s3";
import { errorOf } from "./context.js";
import { appended, openS3, storeOf } from "./s3.js";

const APPENDING = (method, key) => method === "PUT" && key.includes("/batch-");
const SNAPSHOT = (method, key) => method === "PUT" && key.includes("/snapshots/");
const MANIFEST = (method, key) => method === "PUT" && key.endsWith("/manifest.json");

const ids = (store) => store.entries().map(([id]) => id);

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = {
  "s3-failing-set": {
    title: "a set, an update and a delete that fail change nothing, and the next ones work",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", { n: 1 });
      await store.set("b", { n: 2 });
      server.fail(APPENDING, 3);
      await context.rejects("set", store.set("c", { n: 3 }));
      await context.rejects("update", store.set("a", { n: 4 }));
      await context.rejects("delete", store.delete("b"));
      // the original keeps in memory what it could not write
      context.contract("entries", store.entries(), [["a", { n: 1 }], ["b", { n: 2 }]]);
      context.contract("operations", store.getOps().map(({ id }) => id), ["a", "b"]);
      await store.set("d", { n: 5 });
      context.say("in S3", appended(server));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-failing-among-others": {
    title: "of sets that are under way at once only the one that fails rejects",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", { n: 0 });
      let appends = 0;
      server.fail((method, key) => APPENDING(method, key) && ++appends === 3);
      const outcomes = await Promise.allSettled(Array.from({ length: 6 }, (_, n) => store.set(`k${n}`, { n })));
      context.say("outcomes", outcomes.map(({ status }) => status));
      context.contract("ids", ids(store), ["a", "k0", "k1", "k3", "k4", "k5"]);
      context.say("in S3", appended(server));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-failing-batch": {
    title: "a batch that fails is taken back as a whole, and the next one works",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", { n: 1, more: "text that makes the difference smaller than the record" });
      const batch = () =>
        store.batch(() => {
          void store.set("b", { n: 2 });
          void store.set("a", { n: 3, more: "text that makes the difference smaller than the record" });
          void store.delete("b");
          void store.set("c", { n: 4 });
        });
      server.fail(APPENDING);
      await context.rejects("batch", batch());
      context.say("entries", store.entries());
      context.say("operations", store.getOps());
      await batch();
      context.say("entries", store.entries());
      context.say("in S3", appended(server));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-failing-undo": {
    title: "an undo that fails changes nothing, and the next one works",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", { n: 1 });
      await store.set("b", { n: 2 });
      server.fail((method, key) => method === "DELETE" && key.includes("/batch-"));
      await context.rejects("undo", store.undo());
      // the original changes its memory first: b comes back at the next open
      context.contract("ids after an undo that failed", ids(store), ["a", "b"]);
      await context.goesOn("undo", () => store.undo(), true);
      context.say("ids after the undo", ids(store));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      // what the original left is whole: it has b again
      context.say("a is there", store.get("a"));
    },
  },

  "s3-failing-group": {
    title: "a commit of group mode that fails keeps its operations for the next one",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, {
        writeMode: "group",
        groupCommitSize: 100,
        groupCommitMs: 3_600_000,
        checkpointOnClose: false,
      });
      await store.set("a", { n: 1 });
      await store.set("b", { n: 2 });
      server.fail(APPENDING);
      await context.rejects("flush", store.flush());
      context.say("entries", store.entries());
      await store.set("c", { n: 3 });
      await store.flush();
      context.say("in S3", appended(server));
      server.fail(APPENDING);
      await store.set("d", { n: 4 });
      await context.rejects("close", store.close());
      context.say("still open", store.get("d"));
      await store.close();
      context.say("in S3", appended(server));
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-failing-checkpoint": {
    title: "a checkpoint that fails leaves the log as it is, and a set that is in the log is acknowledged",
    needs: ["backend"],
    async write(context) {
      for (const [what, request] of /** @type {const} */ ([["snapshot", SNAPSHOT], ["manifest", MANIFEST]])) {
        const { store, server } = await openS3(context, { checkpointThreshold: 1000, checkpointOnClose: false });
        await store.set(`before ${what}`, { n: 1 });
        server.fail(request);
        await context.rejects(`compact without a ${what}`, store.compact());
        context.say("entries", store.entries());
        context.say("operations", store.getOps().map(({ id }) => id));
        await store.set(`after ${what}`, { n: 2 });
        await store.compact();
        context.say("stats", store.stats());
        await store.close();
      }
      const { store, server } = await openS3(context, { checkpointThreshold: 2, checkpointOnClose: false });
      await store.set("x", { n: 1 });
      const error = console.error;
      console.error = () => {};
      context.atEnd(() => {
        console.error = error;
      });
      server.fail(SNAPSHOT);
      // the original rejects a set that it has written
      context.contract("the set that reached the threshold", await errorOf(store.set("y", { n: 2 })), { message: "<no error>" });
      await store.set("z", { n: 3 });
      context.say("ids", ids(store));
      await store.close();
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-failing-archive": {
    title: "an archive that fails moves nothing",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      for (let n = 0; n < 4; n++) await store.set(`k${n}`, { n });
      server.fail((method, key) => method === "PUT" && key.includes("/archive/"));
      await context.rejects("archive without a segment", store.archive(({ n }) => n < 2, "low"));
      context.say("ids", ids(store));
      context.say("segments", store.listArchiveSegments());
      server.fail(MANIFEST);
      await context.rejects("archive without a manifest", store.archive(({ n }) => n < 2, "low"));
      // the original has removed them from memory by then
      context.contract("ids after an archive that failed", ids(store), ["k0", "k1", "k2", "k3"]);
      await context.goesOn("archive", () => store.archive(({ n }) => n < 2, "low"), 2);
      await store.close();
    },
  },

  "s3-failing-open": {
    title: "an open that fails holds nothing and can be tried again",
    needs: ["backend"],
    async write(context) {
      const { server, client } = await context.s3();
      const backend = () => new S3Backend({ bucket: "bucket", prefix: "store", client });
      const store = storeOf(context);
      server.fail((method, key) => method === "PUT" && key.endsWith("/.lock"));
      await context.rejects("open without a lock", store.open("store", { backend: backend() }));
      server.fail(SNAPSHOT);
      await context.rejects("open without a snapshot", store.open("store", { backend: backend() }));
      // the original keeps the lock that it took
      context.contract("lock", server.objects.has("store/.lock"), false);
      server.objects.delete("store/.lock");
      await store.open("store", { backend: backend() });
      await store.set("a", { n: 1 });
      await store.close();
    },
    async read(context) {
      const { server, client } = await context.s3();
      const backend = () => new S3Backend({ bucket: "bucket", prefix: "store", client });
      for (const part of ["/manifest.json", "/snapshots/"]) {
        const store = storeOf(context);
        server.fail((method, key) => method === "GET" && key.includes(part));
        await context.rejects(`open without ${part}`, store.open("store", { backend: backend(), readOnly: true }));
      }
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },

  "s3-failing-tail": {
    title: "a refresh that fails leaves the state as it was, and the next one catches up",
    needs: ["backend"],
    async write(context) {
      const { store, server } = await openS3(context, { checkpointOnClose: false });
      await store.set("a", { n: 1 });
      const { store: reader } = await openS3(context, { readOnly: true });
      await store.set("b", { n: 2 });
      server.fail((method, key) => method === "GET" && key.includes("/batch-"));
      await context.rejects("tail", reader.tail());
      server.heal();
      context.say("ids", ids(reader));
      context.say("tail", (await reader.tail()).map(({ id }) => id));
      context.say("ids", ids(reader));
    },
    async read(context) {
      const { store } = await openS3(context);
      context.say("entries", store.entries());
    },
  },
};
