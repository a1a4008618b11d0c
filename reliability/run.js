/** Carries steps out. */

/** @typedef {import("./workloads.js").Step} Step */
/** @typedef {import("../index.js").Store<unknown>} Store */

/**
 * @typedef {object} Runner
 * @property {(agent: string | undefined) => Store} store
 * @property {(store: Store, agent: string | undefined) => Promise<void>} open
 * @property {(at: number) => void} before called with the number of a call before it is made
 * @property {(at: number, error: unknown, value: unknown) => void | Promise<void>} after called once it is settled
 */

/** @param {unknown} thrown */
export const toError = (thrown) => (thrown instanceof Error ? thrown : new Error(String(thrown)));

/**
 * @param {Store} store
 * @param {Step} step
 * @returns {Promise<unknown>}
 */
function single(store, step) {
  switch (step[0]) {
    case "set":
      return Promise.resolve(store.set(step[1], step[2]));
    case "delete":
      return Promise.resolve(store.delete(step[1]));
    case "batch":
      return store.batch(() => {
        for (const change of step[1]) {
          if (change[0] === "set") void store.set(change[1], change[2]);
          else if (change[0] === "delete") void store.delete(change[1]);
        }
      });
    case "undo":
      return store.undo();
    case "compact":
      return store.compact();
    case "flush":
      return store.flush();
    case "sync":
      return "sync" in store ? store.sync() : Promise.resolve();
    case "archive":
      return store.archive((_value, id) => id.startsWith(step[1]), step[2]);
    case "close":
      return store.close();
    default:
      throw new Error(`no single call: ${step[0]}`);
  }
}

/**
 * @param {Step[]} steps
 * @param {Runner} runner
 */
export async function run(steps, runner) {
  let next = 0;
  /**
   * @param {Step} step
   * @param {string | undefined} agent
   * @returns {Promise<void>}
   */
  const one = (step, agent) => {
    if (step[0] === "as") return one(step[2], step[1]);
    if (step[0] === "pause") return new Promise((resolve) => setTimeout(resolve, step[1]));
    if (step[0] === "together") return Promise.all(step[1].map((part) => one(part, agent))).then(() => {});
    const at = next++;
    runner.before(at);
    const store = runner.store(agent);
    /** @type {Promise<unknown>} */
    let called;
    try {
      called = step[0] === "open" ? runner.open(store, agent) : single(store, step);
    } catch (error) {
      // State errors of `set` and `delete` are thrown.
      called = Promise.reject(error);
    }
    return called.then(
      (value) => runner.after(at, undefined, value),
      (error) => runner.after(at, error, undefined),
    );
  };
  for (const step of steps) await one(step, undefined);
}
