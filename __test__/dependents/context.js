/** What a scenario works with: its folder, its transcript, and an end that always comes. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect, isDeepStrictEqual } from "node:util";
import { S3Client } from "@aws-sdk/client-s3";
import { S3Server } from "./s3-server.js";

/**
 * A scenario. `write` begins with an empty folder; `read` gets what `write` left, of the same implementation and of the
 * other one. What they say must not depend on the implementation.
 *
 * @typedef {object} Scenario
 * @property {string} title what holds, as a sentence
 * @property {readonly ("agentId" | "backend" | "skipLoad")[]} [needs] options of the store that it needs
 * @property {(context: Context) => Promise<void>} write makes a store
 * @property {(context: Context) => Promise<void>} [read] uses what `write` left
 */

/** Members that say when something was. */
const TIMES = new Set(["ts", "timestamp", "created", "lastCheckpoint", "exportedAt", "lastTimestamp"]);

/** Members that are an S3 answer's own, or the machine's. */
const OMITTED = new Set(["stack", "$metadata", "$response", "$fault", "RequestId"]);

/** Members of log lines that ours adds for itself: they show where the original reads ours. */
const ADDED = new Set(["batch", "crc", "write"]);

/**
 * The same value as JSON knows it, without what differs from run to run.
 *
 * @param {unknown} value
 * @param {Context} context
 */
function canonical(value, { dir, implementation }) {
  /** @this {any} the object or array that holds the item */
  function replace(key, item) {
    if (OMITTED.has(key)) return undefined;
    if (TIMES.has(key) && typeof item === "string") return "<time>";
    // operations that ours returns must not have them
    if (ADDED.has(key) && implementation === "original" && this.ts !== undefined && this.op !== undefined) return undefined;
    // a member that is undefined is none to ours, which keeps JSON values (docs/compatibility.md)
    if (item === undefined) return key === "" || Array.isArray(this) ? "<undefined>" : undefined;
    if (item instanceof Map) return { "<map>": [...item] };
    if (typeof item !== "string") return item;
    return item
      .replaceAll(dir, "<dir>")
      .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "<time>")
      .replace(/(?<=\b(?:process|pid)[ -])\d+/g, "<pid>")
      .replace(/(?<=-)\d{13}(?=\D|$)/g, "<ms>")
      .replace(/(?<=batch-<ms>-)\d{4}/g, "<n>");
  }
  return JSON.parse(JSON.stringify(value, replace));
}

export class Context {
  /** What the scenario said: label and value. @type {[string, unknown][]} */
  transcript = [];

  /** @type {(() => unknown)[]} */
  #atEnd = [];

  /** @type {{ server: S3Server, endpoint: string } | undefined} */
  #s3;

  /**
   * @param {string} dir the scenario's folder, which exists
   * @param {"original" | "ours"} implementation which package is installed as `@backloghq/opslog`
   */
  constructor(dir, implementation) {
    this.dir = dir;
    this.implementation = implementation;
  }

  /**
   * Adds a line to the transcript, which must be the same with both packages.
   *
   * @param {string} label
   * @param {unknown} value
   */
  say(label, value) {
    this.transcript.push([label, canonical(value, this)]);
  }

  /**
   * For what the original does wrong: ours must give `expected`. That the original does not is checked as well, so
   * that no exception outlives its reason.
   *
   * @param {string} label
   * @param {unknown} value
   * @param {unknown} expected
   */
  contract(label, value, expected) {
    const actual = canonical(value, this);
    const wanted = canonical(expected, this);
    const holds = isDeepStrictEqual(actual, wanted);
    if (this.implementation === "ours" && !holds) {
      throw new Error(`${label}: the contract asks for ${inspect(wanted, { depth: 9 })}, got ${inspect(actual, { depth: 9 })}`);
    }
    if (this.implementation === "original" && holds) {
      throw new Error(`${label}: the original does this right as well: compare it with say()`);
    }
    this.transcript.push([`${label} (contract)`, wanted]);
  }

  /**
   * For what the original cannot go on with after it has done something wrong: only ours does it.
   *
   * @param {string} label
   * @param {() => Promise<unknown>} action
   * @param {unknown} expected what it resolves with
   */
  async goesOn(label, action, expected) {
    if (this.implementation === "ours") this.contract(label, await action(), expected);
    else this.transcript.push([`${label} (contract)`, canonical(expected, this)]);
  }

  /**
   * Says with which error a promise rejects.
   *
   * @param {string} label
   * @param {Promise<unknown> | void} promise
   */
  async rejects(label, promise) {
    this.say(label, await errorOf(promise));
  }

  /**
   * Has something called when the scenario ends, also when it fails: last come, first called.
   *
   * @param {() => unknown} action
   */
  atEnd(action) {
    this.#atEnd.unshift(action);
  }

  /** Ends the scenario: what is still open is closed, and what fails in that was said before. */
  async end() {
    for (const action of this.#atEnd.splice(0)) {
      try {
        await action();
      } catch {
        // closing what a failed scenario left half open
      }
    }
  }

  /**
   * The stand-in for S3, with the objects that the scenario had there before.
   *
   * @returns {Promise<{ server: S3Server, client: S3Client }>}
   */
  async s3() {
    const { server, endpoint } = (this.#s3 ??= await this.#startS3());
    const credentials = { accessKeyId: "any", secretAccessKey: "any" };
    // one attempt: a request that fails is seen to fail
    const client = new S3Client({ endpoint, credentials, region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });
    this.atEnd(() => client.destroy());
    return { server, client };
  }

  async #startS3() {
    const server = new S3Server();
    const endpoint = await server.start();
    const kept = join(this.dir, "s3");
    const index = join(kept, "objects.json");
    if (existsSync(index)) {
      for (const [key, text] of JSON.parse(readFileSync(index, "utf8"))) server.objects.set(key, Buffer.from(text, "base64"));
    }
    this.atEnd(async () => {
      await server.stop();
      mkdirSync(kept, { recursive: true });
      writeFileSync(index, JSON.stringify([...server.objects].map(([key, body]) => [key, body.toString("base64")])));
    });
    return { server, endpoint };
  }
}

/**
 * What a caller can tell of an error.
 *
 * @param {Promise<unknown> | void} promise
 * @returns {Promise<{ message: string, name?: string, status?: number }>}
 */
export async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    const { message, name, $metadata } = /** @type {any} */ (error);
    return $metadata === undefined ? { message } : { message, name, status: $metadata.httpStatusCode };
  }
  return { message: "<no error>" };
}

/**
 * What a watch delivers, once both of two operations have come. They must have been written before: the original's
 * watch, when reading takes longer than the interval, delivers operations twice and then misses as many. And it goes on
 * reading after its end, with an empty store meanwhile: the refresh comes after that.
 *
 * @param {Context} context
 * @param {{ watch(callback: (ops: any[]) => void, ms: number): void, unwatch(): void, refresh(): Promise<void> }} watcher
 * @returns {Promise<any[]>}
 */
export async function watched(context, watcher) {
  /** @type {any[]} */
  const ops = [];
  const distinct = () => [...new Map(ops.map((op) => [JSON.stringify(op), op])).values()];
  watcher.watch((news) => ops.push(...news), 20);
  await until(() => distinct().length >= 2, "two watched operations");
  watcher.unwatch();
  await watcher.refresh();
  return context.implementation === "ours" ? ops : distinct();
}

/**
 * Waits until something holds.
 *
 * @param {() => unknown} condition
 * @param {string} what for the error, if it never does
 */
export async function until(condition, what) {
  const limit = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`waited 60 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
