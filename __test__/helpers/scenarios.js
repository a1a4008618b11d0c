/** What the child processes of the helper tests do. */
import { acquireLock, releaseLock } from "../../index.js";

/** Takes the lock, reports, waits for a line, and releases it. */
export async function holdLock({ report, command, dir }) {
  const handle = await acquireLock(dir);
  report({ pid: process.pid });
  command();
  await releaseLock(dir, handle);
}

/** Takes the lock, and has nothing more to do. */
export async function keepLock({ report, dir }) {
  globalThis.kept = await acquireLock(dir);
  report("held");
}
