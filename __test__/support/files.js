/** What a store's files say, read without any implementation. */
import { readFileSync, readdirSync, writeFileSync, mkdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { hasFiles } from "./implementation.js";
import { diskOf } from "./memory-backend.js";

/**
 * @param {string} dir store directory
 * @returns {any} the parsed manifest
 */
export function manifestOf(dir) {
  const text = hasFiles ? readFileSync(join(dir, "manifest.json"), "utf8") : diskOf(dir)?.manifest;
  return JSON.parse(text ?? "null");
}

/**
 * @param {string} dir store directory
 * @returns {string} absolute path of the current log
 */
export function logPathOf(dir) {
  return join(dir, manifestOf(dir).activeOps);
}

/**
 * @param {string} dir store directory
 * @returns {string} absolute path of the current snapshot
 */
export function snapshotPathOf(dir) {
  return join(dir, manifestOf(dir).currentSnapshot);
}

/**
 * @param {string} dir store directory
 * @returns {string} the current log's text
 */
export function logTextOf(dir) {
  if (hasFiles) return readFileSync(logPathOf(dir), "utf8");
  return diskOf(dir)?.logs.get(manifestOf(dir).activeOps)?.map((text) => `${text}\n`).join("") ?? "";
}

/**
 * @param {string} dir store directory
 * @returns {any[]} the current log's operations, parsed line by line
 */
export function logLinesOf(dir) {
  return logTextOf(dir).split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
}

/**
 * @param {string} dir store directory
 * @returns {any[]} the current snapshot's lines: the header, then the records
 */
export function snapshotLinesOf(dir) {
  if (hasFiles) return readFileSync(snapshotPathOf(dir), "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const { version, records } = diskOf(dir)?.snapshots.get(manifestOf(dir).currentSnapshot) ?? { version: 0, records: [] };
  return [{ version }, ...records.map(([id, text]) => ({ id, data: JSON.parse(text) }))];
}

/**
 * Lists the tails that recovery cut off the current log and saved.
 *
 * @param {string} dir store directory
 * @returns {string[]} absolute paths of `<log>.cut-<digits>`
 */
export function cutTailsOf(dir) {
  const log = logPathOf(dir);
  return readdirSync(dirname(log))
    .filter((name) => name.startsWith(`${basename(log)}.cut-`))
    .map((name) => join(dirname(log), name));
}

/**
 * Takes away the members that an implementation may add or that differ from run to run.
 *
 * @param {any[]} ops operations
 * @returns {any[]} the same without `ts`, `crc`, `batch` and `write`
 */
export function withoutStamps(ops) {
  return ops.map(({ ts: _ts, crc: _crc, batch: _batch, write: _write, ...op }) => op);
}

/**
 * Writes a store as upstream would, from its parts.
 *
 * @param {string} dir store directory, made if missing
 * @param {object} parts what to write
 * @param {string} [parts.log] text of the log
 * @param {string} [parts.snapshot] text of the snapshot
 * @param {number} [parts.activeRecords] `stats.activeRecords` of the manifest
 * @param {object} [parts.manifest] members that replace those of the manifest
 */
export function writeParts(dir, { log = "", snapshot, activeRecords = 0, manifest = {} } = {}) {
  for (const folder of ["ops", "snapshots", "archive"]) mkdirSync(join(dir, folder), { recursive: true });
  const now = "2026-01-02T03:04:05.678Z";
  const header = `${JSON.stringify({ version: 1, timestamp: now })}\n`;
  writeFileSync(join(dir, "ops/ops-1767323045678.jsonl"), log);
  writeFileSync(join(dir, "snapshots/snap-1767323045678.jsonl"), snapshot ?? header);
  const stats = { activeRecords, archivedRecords: 0, opsCount: 0, created: now, lastCheckpoint: now };
  const whole = {
    version: 1,
    currentSnapshot: "snapshots/snap-1767323045678.jsonl",
    activeOps: "ops/ops-1767323045678.jsonl",
    archiveSegments: [],
    stats,
    ...manifest,
  };
  writeFileSync(join(dir, "manifest.json"), JSON.stringify(whole, null, 2));
}

/**
 * A log line as upstream writes it.
 *
 * @param {object} op members that follow `ts`
 * @returns {string} the line with its newline
 */
export function upstreamLine(op) {
  return `${JSON.stringify({ ts: "2026-01-02T03:04:06.000Z", ...op })}\n`;
}
