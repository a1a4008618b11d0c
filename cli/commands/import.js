/** `opslog import`: records out of lines of JSON. */
import { resolve } from "node:path";
import * as native from "../../binding.js";
import { toError } from "../../lib/errors.js";
import { CliError, EXIT } from "../failures.js";
import { bytesOf, linesOf } from "../lines.js";
import { many } from "../terminal.js";
import { openWriter } from "../writer.js";

/** A batch is one write, all or nothing: so many records, or so many characters. */
const BATCH = 1_000;
const BATCH_LENGTH = 1 << 20;

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "import",
  summary: "records out of lines of JSON",
  positionals: ["DIR", "[FILE]"],
  more: 'Takes what `opslog export` gives: one {"id", "data"} a line. Makes the store where there is none; a record that is there is replaced. From FILE, or from stdin. Stops at the first line that is no record (exit code 1); those before it are stored.',
  examples: [
    ["opslog import ./data records.jsonl", "with a progress bar at a terminal"],
    ["gunzip -c records.jsonl.gz | opslog import ./data", "through a pipe"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = "", file = "-"], terminal }) {
  const { json, out } = terminal;
  const total = await bytesOf(file);
  const target = (await NewStore.begin(dir)) ?? (await OldStore.begin(dir));
  const progress = terminal.progress("import", total, "bytes");
  let imported = 0;
  /** @type {[string, any][]} */
  let batch = [];
  const flush = async () => {
    const records = batch;
    batch = [];
    await target.add(records);
    imported += records.length;
  };
  /** @type {Error | undefined} */
  let failed;
  try {
    let length = 0;
    for await (const { line, text } of linesOf(file, progress.step)) {
      if (text.trim() === "") continue;
      batch.push(recordOn(line, text, file));
      length += text.length;
      if (batch.length < BATCH && length < BATCH_LENGTH) continue;
      await flush();
      length = 0;
    }
  } catch (error) {
    failed = /** @type {Error} */ (error);
  }
  try {
    // A line that is no record, or input that ended badly: what came before it is stored.
    if (failed === undefined || failed instanceof CliError) {
      await flush();
      await target.finish();
    }
  } finally {
    progress.end();
    await target.end();
  }
  if (failed instanceof CliError) {
    const { exit, message, code } = failed;
    throw new CliError(exit, message, { code, remedy: `${many(imported, "record")} before it ${imported === 1 ? "is" : "are"} stored` });
  }
  if (failed !== undefined) throw failed;
  if (json) await out(JSON.stringify({ dir, file: file === "-" ? null : file, imported }));
  else await out(`${many(imported, "record")} imported into ${dir}.`);
  return EXIT.ok;
}

/** A text has to be as long to lead deeper than the stack reaches. */
const DEEP = 2_000;

/** A store that does not exist yet: its snapshot is written record by record, and nothing is kept in memory. */
class NewStore {
  #import;
  #dir;

  /**
   * @param {number} number
   * @param {string} dir
   */
  constructor(number, dir) {
    this.#import = number;
    this.#dir = dir;
  }

  /** @param {string} dir */
  static async begin(dir) {
    const begun = await native.importBegin(resolve(dir));
    if (begun.failure !== undefined) throw toError(begun.failure);
    return begun.import === undefined ? undefined : new NewStore(begun.import, dir);
  }

  /** @param {[string, any][]} records */
  async add(records) {
    const { failure } = await native.importRecords(this.#import, JSON.stringify(records.flat(1)));
    if (failure !== undefined) throw toError(failure);
  }

  async finish() {
    const { repeated, failure } = await native.importFinish(this.#import);
    if (failure !== undefined) throw toError(failure);
    if (!repeated) return;
    // Each id once from now on.
    const store = await openWriter(this.#dir);
    await store.compact().finally(() => store.close());
  }

  async end() {
    native.importAbort(this.#import);
  }
}

/** A store with records of its own: all of them are in memory, as in any store that is open. */
class OldStore {
  #store;

  /** @param {import("../../index.js").Store<any>} store */
  constructor(store) {
    this.#store = store;
  }

  /** @param {string} dir */
  static async begin(dir) {
    return new OldStore(await openWriter(dir, { options: { durability: "os" } }));
  }

  /** @param {[string, any][]} records */
  async add(records) {
    await this.#store.batch(() => {
      for (const [id, data] of records) void this.#store.set(id, data);
    });
  }

  /** A checkpoint puts everything on stable storage. */
  finish() {
    return this.#store.compact();
  }

  end() {
    return this.#store.close();
  }
}

/**
 * @param {number} line
 * @param {string} text
 * @param {string} file
 * @returns {[string, any]}
 */
function recordOn(line, text, file) {
  const where = `${file === "-" ? "stdin" : file}, line ${line}`;
  let record;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw new CliError(EXIT.found, `${where}: not JSON: ${/** @type {Error} */ (error).message}`, { code: "OPSLOG_INVALID" });
  }
  const { id, data } = Object(record);
  if (typeof id !== "string" || id === "") throw new CliError(EXIT.found, `${where}: "id" must be a non-empty string`, { code: "OPSLOG_INVALID" });
  if (data === undefined || data === null) throw new CliError(EXIT.found, `${where}: "data" must be a value other than null`, { code: "OPSLOG_INVALID" });
  if (text.length > DEEP && !isWritable(data)) throw new CliError(EXIT.found, `${where}: "data" is nested too deeply`, { code: "OPSLOG_INVALID" });
  return [id, data];
}

/**
 * JSON.parse takes what is nested however deeply, JSON.stringify as much as there is stack for.
 * @param {any} data
 */
function isWritable(data) {
  try {
    // As deep as in the text of a batch, and with some room left.
    JSON.stringify([[[[data]]]]);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
