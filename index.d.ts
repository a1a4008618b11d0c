/**
 * opslog-native: an embedded, event-sourced document store with the API and the file format of `@backloghq/opslog`.
 *
 * Every change is a line in an append-only log; the state is the last snapshot plus the log. Errors carry a `code`:
 * `OPSLOG_LOCKED`, `OPSLOG_CORRUPT`, `OPSLOG_NOT_OPEN`, `OPSLOG_READ_ONLY`, `OPSLOG_NOT_FOUND`, `OPSLOG_INVALID`,
 * `OPSLOG_FAILED`; errors of the operating system keep Node's (`ENOSPC`, …) with `path` and `syscall`.
 */

/** One change of one record, as it stands in the log. */
export interface Operation<T = Record<string, unknown>> {
  /** ISO 8601 timestamp, UTC, with milliseconds. */
  ts: string;
  /** What it does. */
  op: "set" | "delete";
  /** Id of the record. */
  id: string;
  /** The new value, for `set`. */
  data?: T;
  /** The old record, a reverse patch (see `encoding`), or null for a create. */
  prev: T | null;
  /** `"delta"`: `prev` is `{$set?, $unset?}` over top-level members. Omitted or `"full"`: it is the whole record. */
  encoding?: "full" | "delta";
  /** Id of the agent that wrote it, in multi-writer logs. */
  agent?: string;
  /** Its Lamport clock, in multi-writer logs. */
  clock?: number;
}

/** A snapshot of the formats before upstream 0.7: one JSON document. */
export interface Snapshot<T = Record<string, unknown>> {
  /** Schema version of the records. */
  version: number;
  /** ISO 8601 timestamp. */
  timestamp: string;
  /** The records by id. */
  records: Record<string, T>;
}

/** Content of `manifest.json`. */
export interface Manifest {
  /** Schema version of the records. */
  version: number;
  /** Path of the snapshot, relative to the store. */
  currentSnapshot: string;
  /** Path of the log, relative to the store. */
  activeOps: string;
  /** Paths of the agents' logs by agent id, in multi-writer stores. */
  activeAgentOps?: Record<string, string>;
  /** Paths of the archive segments. */
  archiveSegments: string[];
  /** Counts and times. */
  stats: ManifestStats;
}

/** Counts and times in the manifest. */
export interface ManifestStats {
  /** Records in the snapshot. */
  activeRecords: number;
  /** Records in all archive segments. */
  archivedRecords: number;
  /** Operations in the log when the manifest was written. */
  opsCount: number;
  /** ISO 8601 timestamp of the store's creation. */
  created: string;
  /** ISO 8601 timestamp of the last checkpoint. */
  lastCheckpoint: string;
}

/** Content of an archive segment. */
export interface ArchiveSegment<T = Record<string, unknown>> {
  /** Schema version of the records. */
  version: number;
  /** Name of the segment. */
  period: string;
  /** ISO 8601 timestamp. */
  timestamp: string;
  /** The records by id. */
  records: Record<string, T>;
}

/** What {@link Store.getManifest} answers. */
export interface ManifestInfo {
  readonly currentSnapshot: string;
  readonly activeOps: string;
  readonly archiveSegments: readonly string[];
  readonly stats: Readonly<ManifestStats>;
}

/** Options of {@link Store.open}. `undefined` means the default. */
export interface StoreOptions {
  /**
   * Checkpoint after so many operations: an integer from 1 on, or Infinity. The call that reaches it settles once
   * the checkpoint has ended (not in `"async"` mode). Default: as many as there were records at the last checkpoint,
   * at least 100, so that all bytes written stay within a constant of the data.
   */
  checkpointThreshold?: number;
  /** Make a checkpoint at `close` if there are operations. Default: true. */
  checkpointOnClose?: boolean;
  /** Schema version of the records: an integer from 1 on. A store of a newer version is refused. Default: 1. */
  version?: number;
  /**
   * Called at open for every record (archived ones, too) of a store with an older version; returns the new record.
   * Must not be async. If it throws, `open` rejects and the store is unchanged. Default: records stay as they are.
   */
  migrate?: (record: unknown, fromVersion: number) => unknown;
  /** Take no lock, write nothing, refuse changes. Default: false. */
  readOnly?: boolean;
  /**
   * When a write is acknowledged. `"immediate"`: once it is written, and synced as `durability` says. `"group"`: when
   * it is buffered; the call that fills the buffer waits for the commit. `"async"`: when it is buffered.
   * Default: `"immediate"`.
   */
  writeMode?: "immediate" | "group" | "async";
  /** Buffered modes: sync after so many operations. An integer from 1 on, or Infinity. Default: 50. */
  groupCommitSize?: number;
  /** Buffered modes: sync after so many milliseconds. An integer from 1 on, or Infinity. Default: 100. */
  groupCommitMs?: number;
  /**
   * How durable a commit is. `"fsync"`: on stable storage, it survives power loss. `"os"`: with the operating system,
   * it survives the end of the process (what upstream gives). Default: `"fsync"`.
   */
  durability?: "fsync" | "os";
  /**
   * What to do with a damaged line inside a log with checksums. `"reject"`: `open` rejects with `OPSLOG_CORRUPT`, the
   * path and the byte. `"skip"`: open with the valid lines; a copy of the damaged file stays beside the log.
   * Default: `"reject"`.
   */
  recovery?: "reject" | "skip";
}

/** What {@link Store.stats} answers. */
export interface StoreStats {
  /** Records in the store. */
  activeRecords: number;
  /** Operations since the last checkpoint. */
  opsCount: number;
  /** Archive segments. */
  archiveSegments: number;
  /** Why the last checkpoint failed; absent once one succeeds. */
  checkpointError?: Error & { code: string };
}

/**
 * A store: records by id, every change logged.
 *
 * Reads are synchronous and do no I/O; they see every `set` and `delete` that was called before. `get(id)` answers the
 * same object until the record changes; changing that object is not persisted.
 */
export declare class Store<T = Record<string, unknown>> {
  /**
   * Loads the store in `dir`, or creates it. A relative path is resolved once, here.
   *
   * Rejects with `OPSLOG_LOCKED` where another writer has the store, `OPSLOG_CORRUPT` or a system error's code where
   * a file cannot be read (nothing is changed then), `OPSLOG_INVALID` for a bad argument (a `TypeError` that names it)
   * or a newer store. A failed open holds nothing and can be retried.
   */
  open(dir: string, options?: StoreOptions): Promise<void>;

  /**
   * Waits for everything called before, flushes, makes a checkpoint (see `checkpointOnClose`), gives the lock back.
   * If it rejects, the store is still open and it can be called again; except after a failed sync: then it rejects
   * once and the store is closed. The instance can be opened again.
   */
  close(): Promise<void>;

  /** The record, or undefined. */
  get(id: string): T | undefined;

  /**
   * Creates or replaces a record with the JSON value that `value` has now. Inside {@link Store.batch} it is applied at
   * once and returns undefined.
   *
   * Rejects with a `TypeError` for `undefined`, `null`, functions, BigInt, cycles, and an id that is no non-empty
   * string (thrown inside a batch); with the system's error where it cannot be written: nothing is changed then.
   */
  set(id: string, value: T): Promise<void> | void;

  /** Removes a record. Rejects with `OPSLOG_NOT_FOUND` where there is none (thrown inside a batch). */
  delete(id: string): Promise<void> | void;

  /** True if there is such a record. */
  has(id: string): boolean;

  /** All records, in insertion order. */
  all(): T[];

  /** All ids and records, in insertion order. */
  entries(): [string, T][];

  /** Records for which `predicate` is true, in insertion order. */
  filter(predicate: (value: T, id: string) => boolean): T[];

  /** The current files and counts; null before open. */
  getManifest(): ManifestInfo | null;

  /** Number of records, or of those for which `predicate` is true. */
  count(predicate?: (value: T, id: string) => boolean): number;

  /**
   * Runs `fn` now; the `set` and `delete` calls in it are one append, all or nothing, in memory and on disk. If `fn`
   * throws, they are taken back and the promise rejects with that error. An async `fn` is refused.
   */
  batch(fn: () => void): Promise<void>;

  /** Takes the last operation since the last checkpoint back. False where there is none. */
  undo(): Promise<boolean>;

  /** Operations of one record since the last checkpoint, oldest first. */
  getHistory(id: string): Operation<T>[];

  /** Operations since the last checkpoint, oldest first; with `since`, those with a later timestamp. */
  getOps(since?: string): Operation<T>[];

  /** Makes a checkpoint of everything called before. Reads and writes go on meanwhile. */
  compact(): Promise<void>;

  /**
   * Moves records for which `predicate` is true to an archive segment. Resolves with their number.
   *
   * `segment`: a plain file name. Default: year and quarter, `YYYY-QN`, local time.
   */
  archive(predicate: (value: T, id: string) => boolean, segment?: string): Promise<number>;

  /** Paths of the archive segments. */
  listArchiveSegments(): string[];

  /**
   * Records of an archive segment: one of {@link Store.listArchiveSegments}, or its bare name. Rejects with
   * `OPSLOG_NOT_FOUND` or, for a name that could be several, `OPSLOG_INVALID`.
   */
  loadArchive(segment: string): Promise<Map<string, T>>;

  /** Counts. */
  stats(): StoreStats;

  /**
   * The records of the current snapshot, in order, one piece of the file in memory at a time. Together with
   * {@link Store.getWalOps} they give the current state. Leaving the loop early closes the file.
   */
  streamSnapshot(): AsyncGenerator<[string, T]>;

  /** Operations since the last checkpoint, oldest first; with `sinceTimestamp`, those with a later timestamp. */
  getWalOps(sinceTimestamp?: string): AsyncGenerator<Operation<T>>;

  /** `await using store = …`: closes the store, if it is open, at the end of the scope. */
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * In a read-only store: catches up with the writer, across its checkpoints and undos. On a writer it changes
   * nothing. If it rejects, the state is as it was.
   */
  refresh(): Promise<void>;

  /**
   * Like {@link Store.refresh}; resolves with the new operations, oldest first, each exactly once. A reader that fell
   * behind further than the logs reach gets one operation for each record that differs.
   */
  tail(): Promise<Operation<T>[]>;

  /**
   * Calls `callback` with new operations as they come, looking every `intervalMs` milliseconds (default: 1000). What
   * it throws is an uncaught exception. Keeps the process alive; a second call replaces the first.
   */
  watch(callback: (ops: Operation<T>[]) => void, intervalMs?: number): void;

  /** Ends {@link Store.watch}. */
  unwatch(): void;

  /** Hands all earlier writes to the operating system and, under `durability: "fsync"`, syncs them. */
  flush(): Promise<void>;

  /** Hands all earlier writes to the operating system and syncs them, whatever the durability. */
  sync(): Promise<void>;
}
