/** What the child processes of the tests beside this file do. */
import { createInterface } from "node:readline";

/** @returns {{ stopped: boolean }} set once the parent has sent a line */
function told() {
  const state = { stopped: false };
  createInterface({ input: process.stdin }).once("line", () => {
    state.stopped = true;
    process.stdin.destroy();
  });
  return state;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Changes ten records again and again, all of them in each batch, with many checkpoints and now and then an undo. */
export async function writeWithoutEnd({ Store, dir, report }) {
  const state = told();
  const store = new Store();
  await store.open(dir, { checkpointThreshold: 500, durability: "os" });
  for (let n = 1; !state.stopped; n++) {
    await store.batch(() => {
      for (let i = 0; i < 10; i++) store.set(`record-${i}`, { n, text: "x".repeat(n % 100) });
    });
    if (n % 20 === 0) {
      await store.set("passing", { n });
      await store.undo();
    }
    if (n % 50 === 1) report({ n });
    await turn();
  }
  await store.close();
}

/** Adds the record after the highest one that any agent has written. */
export async function countUp({ Store, dir, agentId, report }) {
  const state = told();
  const store = new Store();
  await store.open(dir, { agentId, checkpointThreshold: 40, durability: "os" });
  for (let first = true; !state.stopped; first = false) {
    await store.refresh();
    const highest = Math.max(0, ...store.entries().map(([id]) => Number(id.split("-")[1])));
    await store.set(`${agentId}-${highest + 1}`, { highest });
    if (first) report({});
    await turn();
  }
  await store.close();
}
