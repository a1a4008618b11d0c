/**
 * How long tests wait for what is to happen. On a shared machine a process may get a quarter of a core, and a sync may
 * take seconds: that is no failure. Only what hangs shall reach these limits; those of whole tests are in `vitest.config.js`.
 */
import { vi } from "vitest";

/** Milliseconds after which a wait, or a child process, is taken to hang. */
export const PATIENCE_MS = 120_000;

/**
 * Waits until a check passes.
 *
 * @template T
 * @param {() => T | Promise<T>} check throws, or rejects, as long as it is too early
 * @param {number} [interval] milliseconds between two checks
 * @returns {Promise<T>} what the check answered
 */
export function eventually(check, interval = 10) {
  return vi.waitFor(check, { timeout: PATIENCE_MS, interval });
}
