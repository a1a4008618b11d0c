/** What the child processes of the lock tests do. */
import { spawn } from "node:child_process";

/** Opens a store, reports that or the error, waits for a line, and closes. */
export async function hold({ Store, UpstreamStore, report, command, dir, upstream }) {
  const store = new (upstream ? UpstreamStore : Store)();
  try {
    await store.open(dir, {});
  } catch (error) {
    report({ message: error.message, code: error.code, pid: process.pid });
    return;
  }
  report({ open: true, pid: process.pid });
  command();
  await store.close();
}

/** Waits for a line, then opens, reports who won, waits for another line, and writes. */
export async function race({ Store, report, command, dir, name }) {
  const store = new Store();
  report("ready");
  command();
  const outcome = await store.open(dir).then(() => "open", (error) => error.code);
  report({ outcome });
  command();
  if (outcome !== "open") return;
  await store.set(name, { name });
  await store.close();
}

/** Starts a process that ends at once, and never asks how it ended: the event loop is blocked from then on. */
export function keepZombie({ report, command }) {
  const { pid } = spawn("true");
  report({ pid });
  command();
}
