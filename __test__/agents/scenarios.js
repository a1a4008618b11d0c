/** What forked agents do: random work, every acknowledged call reported before the next one is made. */
import { randomSource } from "./memory-files.js";

/** @param {any} context the store classes and `report` of `child-main.js`, and `dir`, `id`, `seed`, `calls`, `upstream` */
export async function work({ Store, UpstreamStore, report, dir, id, seed, calls, upstream = false, comesBack = false }) {
  const random = randomSource(seed);
  // A checkpoint of upstream's drops whatever its agent has not read: nobody can get back what agents wrote that are gone.
  const checkpoints = upstream ? { checkpointThreshold: 1e9, checkpointOnClose: false } : { checkpointThreshold: 5 + random(20), checkpointOnClose: random(2) === 0 };
  const options = { agentId: id, ...checkpoints };
  let store = new (upstream ? UpstreamStore : Store)();
  await store.open(dir, options);
  report({ opened: id });
  for (let call = 0; call < calls; call++) {
    const key = `${id}-${seed}-${call}`;
    const what = random(20);
    if (what === 0) {
      if (!upstream) await store.compact();
    } else if (what === 1) {
      await store.refresh();
    } else if (what === 2 && !upstream) {
      await store.set(key, { call });
      report({ set: key });
      report({ undoing: key });
      if (await store.undo()) report({ undone: key });
    } else if (what === 3) {
      await store.batch(() => {
        store.set(`${key}-x`, { call });
        store.set(`${key}-y`, { call });
      });
      report({ set: `${key}-x` });
      report({ set: `${key}-y` });
    } else if (what === 4 && !upstream) {
      await store.set(`archived-${key}`, { call });
      report({ set: `archived-${key}` });
      await store.archive((_value, other) => other.startsWith("archived-"), "2026-Q1");
    } else if (what === 5 && (!upstream || comesBack)) {
      await store.close();
      store = new (upstream ? UpstreamStore : Store)();
      await store.open(dir, options);
    } else if (what < 9) {
      // Everybody's record: what an agent has written over never comes back.
      const { by: over } = store.get("shared") ?? {};
      await store.set("shared", { by: key });
      report({ over });
    } else {
      await store.set(key, { call });
      report({ set: key });
    }
  }
  await store.close();
  report({ closed: id });
}

/** Holds an agent's place until it is killed. */
export async function hold({ Store, report, dir, options }) {
  const store = new Store();
  await store.open(dir, options);
  await store.set(`held by ${options.agentId ?? "nobody"}`, {});
  report("open");
  setInterval(() => {}, 1000);
}
