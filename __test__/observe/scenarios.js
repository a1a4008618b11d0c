/** What `observe.test.js` has a child process do. */
import { Store } from "../../index.js";

/** A callback that throws, while a store makes a checkpoint. */
export async function throwInProgress({ dir, report }) {
  process.on("uncaughtException", (error) => report({ uncaught: error.message }));
  const store = new Store();
  await store.open(dir);
  await store.set("a", { n: 1 });
  const onProgress = () => {
    throw new Error("mine");
  };
  await store.compact({ onProgress });
  await store.set("b", { n: 2 });
  await store.close();
  report({ closed: true });
}
