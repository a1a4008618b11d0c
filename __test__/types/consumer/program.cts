// The same package from a CommonJS module, both ways of writing it.
import { Store, validateOp, type Operation, type StorageBackend } from "@backloghq/opslog";
// eslint-disable-next-line @typescript-eslint/no-require-imports -- CommonJS is what this file is about
import opslog = require("@backloghq/opslog");

interface Task {
  title: string;
}

export async function useStore(backend: StorageBackend): Promise<Operation<Task>[]> {
  const store: Store<Task> = new opslog.Store<Task>();
  await store.open("./data", { readOnly: true, backend });
  const operation: Operation<Task> = validateOp<Task>(store.getOps()[0]);
  await store.close();
  return [operation];
}

export const backend: StorageBackend = new opslog.FsBackend();
