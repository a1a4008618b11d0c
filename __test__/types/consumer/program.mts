// A program that uses every export of the package, under the package's old name: an ES module.
import {
  FsBackend,
  LamportClock,
  Store,
  acquireLock,
  applyDelta,
  createDelta,
  isDeltaSmaller,
  releaseLock,
  streamSnapshotFile,
  validateArchiveSegment,
  validateManifest,
  validateOp,
  validateSnapshot,
} from "@backloghq/opslog";
import type {
  ArchiveSegment,
  DeltaPatch,
  LockHandle,
  Manifest,
  ManifestInfo,
  ManifestStats,
  Operation,
  Snapshot,
  StorageBackend,
  StoreOptions,
  StoreStats,
} from "@backloghq/opslog";
import type { FileHandle } from "node:fs/promises";

interface Task {
  title: string;
  status: "active" | "done";
}

export async function useStore(options: StoreOptions): Promise<StoreStats> {
  const store = new Store<Task>();
  await store.open("./data", { ...options, checkpointThreshold: 10, writeMode: "group", migrate: (record) => record });
  await store.set("a", { title: "A", status: "active" });
  await store.batch(() => {
    void store.set("b", { title: "B", status: "done" });
    void store.delete("a");
  });
  const task: Task | undefined = store.get("b");
  const titles: string[] = store.filter((value, id) => value.status === "done" && id !== task?.title).map(({ title }) => title);
  const entries: [string, Task][] = store.entries();
  const undone: boolean = await store.undo();
  const history: Operation<Task>[] = [...store.getHistory("a"), ...store.getOps(new Date().toISOString())];
  const info: ManifestInfo | null = store.getManifest();
  const numbers: Readonly<ManifestStats> | undefined = info?.stats;
  await store.compact();
  const moved: number = await store.archive((value) => value.status === "done", "2026-Q1");
  const archived: Map<string, Task> = await store.loadArchive(store.listArchiveSegments()[0] ?? "2026-Q1");
  for await (const [id, value] of store.streamSnapshot()) titles.push(id, value.title);
  for await (const { op, data } of store.getWalOps()) titles.push(op, data?.title ?? "");
  store.watch((ops) => history.push(...ops), 500);
  store.unwatch();
  history.push(...(await store.tail()));
  await store.refresh();
  await store.flush();
  await store.sync();
  const stats: StoreStats = store.stats();
  await store.close();
  return { ...stats, opsCount: moved + archived.size + entries.length + Number(undone) + (numbers?.opsCount ?? 0) };
}

export async function useLooseStore(): Promise<unknown> {
  const store = new Store();
  await store.open("./data");
  await store.set("a", { anything: [1, null] });
  return store.get("a")?.["anything"];
}

export class CountingBackend extends FsBackend {
  appended = 0;

  override async appendOps(relativePath: string, ops: Operation[]): Promise<void> {
    this.appended += ops.length;
    await super.appendOps(relativePath, ops);
  }
}

export function wrapped(inner: StorageBackend): StorageBackend {
  return new Proxy(inner, {});
}

export async function useBackend(backend: StorageBackend): Promise<Buffer> {
  await backend.initialize("./data", { readOnly: false });
  const manifest: Manifest | null = await backend.readManifest();
  const { records, version } = await backend.loadSnapshot(manifest?.currentSnapshot ?? "");
  const log: string = await backend.createOpsFile();
  await backend.appendOps(log, [{ ts: "t", op: "set", id: "a", prev: null, data: { n: version } }]);
  const lock: LockHandle = await backend.acquireLock();
  await backend.writeSnapshot(records, version);
  await backend.releaseLock(lock);
  await backend.writeBlob("blobs/a", Buffer.from("a"));
  return backend.readBlobRange("blobs/a", 0, 1);
}

export function useHelpers(raw: unknown): number {
  const patch: DeltaPatch | null = createDelta({ a: 1 }, { a: 2 });
  const old: Record<string, unknown> = applyDelta({ a: 2 }, patch ?? {});
  const clock = new LamportClock(5);
  const operation: Operation<Task> = validateOp<Task>(raw);
  const manifest: Manifest = validateManifest(raw);
  const snapshot: Snapshot<Task> = validateSnapshot<Task>(raw);
  const segment: ArchiveSegment<Task> = validateArchiveSegment<Task>(raw);
  const versions = manifest.version + snapshot.version + segment.version + (operation.clock ?? clock.current);
  return isDeltaSmaller(patch, old) ? clock.tick() + versions : clock.merge(7);
}

export async function useFiles(): Promise<number> {
  const handle: FileHandle = await acquireLock("./data");
  await releaseLock("./data", handle);
  const stream = streamSnapshotFile<Task>("./data", "snapshots/snap-1.jsonl");
  const step = await stream.next();
  return step.done === true ? step.value.version : step.value[1].title.length;
}
