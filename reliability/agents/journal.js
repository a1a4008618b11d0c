/**
 * What a process was about to do, what it was told, and what it saw: a file for each of its sessions.
 *
 * Each line is one `write(2)`, made before the call or right after its promise has settled, so that it survives a
 * SIGKILL of the process. Times are microseconds of the clock that all processes of a machine share.
 *
 * What could go wrong if: a kill cuts the last line of a session short (it is left out, and counts as never written; the
 * next session has a file of its own).
 */
import { openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

/** @typedef {{ do: "set", key: string, name: string } | { do: "delete", key: string, name: string }} Change */

/**
 * `over` is the value that a shared record had for whoever wrote it.
 * @typedef {Change & { over?: string }} Single
 * @typedef {{ do: "batch" | "together", parts: Change[] }} Several
 * @typedef {{ do: "archive", segment: string }} Archive
 * @typedef {{ do: "undo" | "compact" | "refresh" | "tail" | "open" | "close" }} Other
 * @typedef {Single | Several | Archive | Other} Call
 */

/**
 * A line: a call before it is made; its end; all records at some moment from `since` to `at`; the Lamport clock that an
 * operation was given; what a reader met.
 * @typedef {{ call: Call, at: number }} Begun
 * @typedef {{ done: unknown, at: number } | { failed: string, code?: string, at: number }} Ended
 * @typedef {{ seen: Record<string, string>, how: string, since: number, at: number }} Seen
 * @typedef {Begun | Ended | Seen | { clock: number, name: string, at: number } | { note: string, at: number }} Line
 */

/** Microseconds, the same for all processes. */
export function now() {
  return Number(process.hrtime.bigint() / 1000n);
}

/** @param {string} path */
export function openJournal(path) {
  const fd = openSync(path, "ax");
  /** @param {Line} line */
  return (line) => void writeSync(fd, `${JSON.stringify(line)}\n`);
}

/**
 * @param {string} folder
 * @param {string} who
 * @param {number} session from 1 on
 */
export function journalPath(folder, who, session) {
  return join(folder, `${who}.${String(session).padStart(5, "0")}.jsonl`);
}

/**
 * @param {string} folder
 * @param {string} who
 * @returns {Line[][]} of each session
 */
export function readJournals(folder, who) {
  const files = readdirSync(folder).filter((file) => file.startsWith(`${who}.`)).sort();
  return files.map((file) => {
    const lines = readFileSync(join(folder, file), "utf8").split("\n");
    return lines.slice(0, -1).map((line) => JSON.parse(line));
  });
}

/** A value is known by its writer and a number that the writer never uses again. @param {string} name */
export function valueOf(name) {
  const n = Number(name.slice(name.lastIndexOf(":") + 1));
  return { name, n, text: "é\n".repeat((n * 7) % 90), list: [n, null, { n }] };
}

/** @param {unknown} value @returns {string} its name; the value itself where nobody wrote it like that */
export function nameOf(value) {
  const name = /** @type {{ name?: unknown }} */ (value)?.name;
  return typeof name === "string" && isDeepStrictEqual(value, valueOf(name)) ? name : `damaged ${JSON.stringify(value)}`;
}

/** @param {Iterable<[string, unknown]>} entries @returns {Record<string, string>} names by id */
export function namesIn(entries) {
  return Object.fromEntries([...entries].map(([id, value]) => [id, nameOf(value)]));
}
