/** What the child processes of the recovery tests do. */
import { closeSync, openSync } from "node:fs";

/** Opens a store and reports its records, or the error. */
export async function openAndReport({ Store, report, dir, options }) {
  const store = new Store();
  try {
    await store.open(dir, options);
  } catch (error) {
    report({ error: { message: error.message, code: error.code, path: error.path, syscall: error.syscall } });
    return;
  }
  report({ entries: store.entries() });
  await store.close();
}

/** Opens a store while the process can open no further file, and again when it can. */
export async function openWithoutDescriptors({ Store, report, dir }) {
  const taken = [];
  let full = false;
  while (!full) {
    try {
      taken.push(openSync("/dev/null"));
    } catch (error) {
      full = error.code === "EMFILE";
    }
  }
  const store = new Store();
  const outcome = await store.open(dir).then(() => "opened", (error) => error.code);
  taken.forEach((fd) => closeSync(fd));
  report({ outcome });
  if (outcome === "opened") return;
  await store.open(dir);
  report({ entries: store.entries() });
  await store.close();
}
