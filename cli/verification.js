/**
 * A verification by the engine, piece by piece.
 */
import { resolve } from "node:path";
import * as native from "../binding.js";
import { toError } from "../lib/errors.js";

/** @typedef {import("../binding.js").VerifyFinding} Finding */
/** @typedef {import("../binding.js").VerifiedFile & { state: "sound" | Finding["severity"] }} LookedAt */

/** From bad to worse. @type {LookedAt["state"][]} */
const STATES = ["sound", "note", "unfinished", "damage", "unreadable"];

/**
 * Looks at all files of a store.
 * @param {string} dir
 * @param {import("./terminal.js").Terminal} terminal
 * @param {(finding: Finding) => Promise<void> | void} [onFinding]
 * @returns {Promise<{ files: LookedAt[], counts: Record<Finding["severity"], number> }>}
 */
export async function verify(dir, terminal, onFinding) {
  const { verification, bytes, failure } = await native.verifyStart(resolve(dir));
  if (failure !== undefined || verification === undefined) throw toError(/** @type {any} */ (failure));
  /** @type {LookedAt[]} */
  const files = [];
  /** @type {Map<string, LookedAt["state"]>} */
  const states = new Map();
  const stateOf = (/** @type {string} */ file) => states.get(file) ?? "sound";
  const counts = { damage: 0, unreadable: 0, unfinished: 0, note: 0 };
  const progress = terminal.progress("verify", bytes, "bytes");
  try {
    for (;;) {
      const part = await native.verifyNext(verification);
      if (part.failure !== undefined) throw toError(part.failure);
      progress.step(part.read);
      for (const finding of part.findings) {
        const { file, severity } = finding;
        counts[severity]++;
        if (STATES.indexOf(severity) > STATES.indexOf(stateOf(file))) states.set(file, severity);
        await onFinding?.(finding);
      }
      files.push(...part.files.map((file) => ({ ...file, state: stateOf(file.file) })));
      if (part.ended) return { files, counts };
    }
  } finally {
    progress.end();
    native.verifyStop(verification);
  }
}
