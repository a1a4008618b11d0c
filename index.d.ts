/**
 * opslog-native: an embedded, event-sourced document store with the API and the file format of `@backloghq/opslog`.
 *
 * Every change is a line in an append-only log; the state is the last snapshot plus the log. Errors carry a `code`:
 * `OPSLOG_LOCKED`, `OPSLOG_CORRUPT`, `OPSLOG_NOT_OPEN`, `OPSLOG_READ_ONLY`, `OPSLOG_NOT_FOUND`, `OPSLOG_INVALID`,
 * `OPSLOG_FAILED`; errors of the operating system keep Node's (`ENOSPC`, …) with `path` and `syscall`.
 *
 * @packageDocumentation
 */

import type { FileHandle } from "node:fs/promises";

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

/** What {@link Store.getManifest} answers: a copy, paths are relative to the store. */
export interface ManifestInfo {
  /** Path of the snapshot. */
  readonly currentSnapshot: string;
  /** Path of the log. */
  readonly activeOps: string;
  /** Paths of the archive segments. */
  readonly archiveSegments: readonly string[];
  /** Counts and times. */
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
   * Open without loading the records, in time and memory that do not grow with them. Reads (`get`, `all`, `count`,
   * `getOps`, `stats`, …) answer from what was written since, `undo` reaches back to `open`; `streamSnapshot()` and
   * `getWalOps()` give everything. On disk all is as after any other session. Default: false.
   *
   * The first `set` or `delete` reads snapshot and log once, within the call, and keeps 16 bytes for each of their lines
   * (what it finds damaged rejects the call); each further one that changes a stored record reads one line.
   *
   * There is no checkpoint, whatever the other options say, so the log grows until the store is opened without
   * `skipLoad`: `compact()`, and an `archive()` that matches a visible record, reject with `OPSLOG_INVALID`. So does
   * `open` for writing where records are to be migrated (`version`). Damage is looked for at the end of the log only.
   *
   * With `readOnly`, the first `tail()` or `refresh()` makes the operations of the log visible, later ones what is new.
   */
  skipLoad?: boolean;
  /** Gives `open` up when it is aborted: nothing is held then. Default: none. */
  signal?: AbortSignal;
  /**
   * Who keeps the files. Default: the engine, in the directory `dir`; an unmodified {@link FsBackend} means the same.
   * Any other object is called as upstream calls it: one `appendOps` for each immediate write, batch or group commit,
   * one method at a time; its own errors are what calls reject with. `durability` and `recovery` are its business then,
   * and `checkpointThreshold` is 100 where it is not given.
   */
  backend?: StorageBackend;
  /**
   * Id of this writer among several writers ("agents") of one store, each in a process of its own or not. Any non-empty
   * string; it stands in every operation. A directory has one live writer of each id, and no single writer meanwhile.
   * Writes are immediate then, whatever `writeMode` says. Default: none, a single writer.
   */
  agentId?: string;
  /**
   * When a write is acknowledged. `"immediate"`: once it is written, and synced as `durability` says. `"group"`: when
   * it is buffered; the call that fills the buffer waits for the commit, as do those made until it has ended.
   * `"async"`: when it is buffered. Default: `"immediate"`.
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
  /**
   * Called with errors that no call is told, or not yet: an automatic checkpoint that failed and will be tried again,
   * buffered writes that could not be stored and will be tried again, a failure after which the store takes no more
   * writes, a {@link Store.watch} that could not read. `what` says which, in words. What it throws is an uncaught
   * exception. Default: one line on stderr (none for buffered writes, as the next call is told).
   */
  onError?: (error: Error, what: string) => void;
  /**
   * Called while `open` reads, about ten times a second, and once when that has succeeded (with `done === total`). In
   * bytes; one step with a custom backend. What it throws is an uncaught exception. Default: none.
   */
  onProgress?: (progress: Progress) => void;
}

/** How far a long call has come. */
export interface Progress {
  /** What has been done: bytes that `open` has read, records that a checkpoint has written. */
  done: number;
  /** What there is to do, as far as that is known; 1 where it is one step. */
  total: number;
}

/** What recovery found in a log. */
export interface RecoveredLog {
  /** Absolute path. */
  path: string;
  /** Damaged lines that were skipped. */
  skipped: number;
  /** Bytes at the end of the log that do not count: a write that a crash cut off. A reader leaves them where they are. */
  cut: number;
  /** Where a writer has saved these bytes. */
  saved?: string;
}

/** Options of calls that can be given up. */
export interface CallOptions {
  /**
   * When it is aborted the call rejects with its reason, and nothing has happened. A checkpoint or archive that has
   * begun goes on to its end, and the call settles as it ends. Default: none.
   */
  signal?: AbortSignal;
}

/** Options of {@link Store.compact} and {@link Store.archive}. */
export interface LongCallOptions extends CallOptions {
  /** As {@link StoreOptions.onProgress}, in records. Default: none. */
  onProgress?: (progress: Progress) => void;
}

/**
 * What {@link Store.stats} answers. Members beyond the first three (and `checkpointError`) are not enumerable: what is
 * compared, copied or serialised is what upstream answers.
 */
export interface StoreStats {
  /** Records in the store. */
  activeRecords: number;
  /** Operations since the last checkpoint. */
  opsCount: number;
  /** Archive segments. */
  archiveSegments: number;
  /** Why the last checkpoint failed; absent once one succeeds. */
  checkpointError?: Error & {
    /** As of any error of this package, see the top. */
    code: string;
  };
  /** Bytes of the log. Absent in a read-only store, with a custom backend, and for agents. */
  readonly logBytes?: number;
  /** Bytes of the ids and values of the records, as JSON texts. */
  readonly liveBytes?: number;
  /** Operations that wait to be handed to the operating system or the backend. */
  readonly pendingWrites?: number;
  /** When the last checkpoint was made: ISO 8601 timestamp. */
  readonly lastCheckpoint?: string;
  /** How long the last sync of the log took, in milliseconds. Absent before the first, and as `logBytes`. */
  readonly lastSyncMs?: number;
  /** What recovery found when the store was opened; empty where all was well, and with a custom backend. */
  readonly recovered?: readonly RecoveredLog[];
}

/**
 * A store: records by id, every change logged.
 *
 * Reads are synchronous and do no I/O; they see every `set` and `delete` that was called before. `get(id)` answers the
 * same object until the record changes; changing that object is not persisted.
 *
 * What needs an open store refuses with `OPSLOG_NOT_OPEN` where there is none, what changes a store with
 * `OPSLOG_READ_ONLY` where it is read-only: methods that answer at once, `set` and `delete` among them, throw; those that
 * answer with a promise reject. A bad argument is a `TypeError` with `OPSLOG_INVALID`.
 */
export declare class Store<T = Record<string, unknown>> {
  /**
   * Loads the store in `dir`, or creates it. A relative path is resolved once, here.
   *
   * Rejects with `OPSLOG_LOCKED` where another writer has the store, `OPSLOG_CORRUPT` or a system error's code where
   * a file cannot be read (nothing is changed then), `OPSLOG_INVALID` for a bad argument (a `TypeError` that names it)
   * or a newer store. A failed open holds nothing and can be retried. It never waits for another writer; an agent waits
   * for what other agents are writing, half a minute at most.
   */
  open(dir: string, options?: StoreOptions): Promise<void>;

  /**
   * What keeps the store's files: the option `backend`, or an {@link FsBackend} on the store's directory. Undefined
   * before the first `open`. Replacing methods of an unmodified FsBackend has no effect on a store that is open.
   */
  get backend(): StorageBackend | undefined;

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
   *
   * Rejects with the system's error where it cannot be written: nothing is changed then.
   */
  batch(fn: () => void): Promise<void>;

  /**
   * Takes the last operation since the last checkpoint back, one of a batch too. False where there is none; an agent's
   * own last operation where there are several.
   *
   * Rejects with the system's error where the log cannot be cut: nothing is changed then.
   */
  undo(): Promise<boolean>;

  /** Operations of one record since the last checkpoint, oldest first; none where nothing is known of it. */
  getHistory(id: string): Operation<T>[];

  /**
   * Operations since the last checkpoint, oldest first; with `since`, an ISO 8601 timestamp, those with a later one. Those
   * that are not written yet are among them. Default: all.
   */
  getOps(since?: string): Operation<T>[];

  /**
   * Makes a checkpoint of everything called before. Reads and writes go on meanwhile. An agent leaves it out, as upstream
   * does, where somebody else has the compaction lock who is not an agent of this package.
   *
   * Rejects with the system's error where a file cannot be written (the generation before stays), with `OPSLOG_INVALID`
   * under `skipLoad`.
   */
  compact(options?: LongCallOptions): Promise<void>;

  /**
   * Moves records for which `predicate` is true to an archive segment. Resolves with their number.
   *
   * `segment`: a plain file name; one that exists is added to. Default: year and quarter, `YYYY-QN`, local time.
   *
   * Rejects with what `predicate` throws, with `OPSLOG_INVALID` for a name that leads elsewhere, with `OPSLOG_CORRUPT`
   * where the segment is damaged, with the system's error where it cannot be written: nothing is archived then.
   */
  archive(predicate: (value: T, id: string) => boolean, segment?: string, options?: LongCallOptions): Promise<number>;

  /** Paths of the archive segments, relative to the store. */
  listArchiveSegments(): string[];

  /**
   * Records of an archive segment: one of {@link Store.listArchiveSegments}, or its bare name. Rejects with
   * `OPSLOG_NOT_FOUND` or, for a name that could be several, `OPSLOG_INVALID`, and with `OPSLOG_CORRUPT` where the
   * file is damaged.
   */
  loadArchive(segment: string): Promise<Map<string, T>>;

  /** Counts, sizes and times. No I/O. */
  stats(): StoreStats;

  /**
   * The records of the current snapshot, in order, one piece of the file in memory at a time. Together with
   * {@link Store.getWalOps} they give the current state. Leaving the loop early closes the file. Where a reader or an
   * agent finds its snapshot removed, it catches up first; `tail` tells later what that has read.
   *
   * Throws `OPSLOG_CORRUPT` where the file is damaged: where a checksum is wrong only at its end.
   */
  streamSnapshot(options?: CallOptions): AsyncGenerator<[string, T]>;

  /**
   * Operations since the last checkpoint, oldest first; with `sinceTimestamp`, an ISO 8601 timestamp, those with a later
   * one. What is buffered is among them. Default: all.
   *
   * The first call after {@link Store.streamSnapshot} begins at that snapshot, even if checkpoints have come since, as far
   * as the logs that they superseded are still there (60 seconds, and no more than 4 MiB of them). Not among agents, beside
   * a writer of upstream's, or with `recovery: "skip"`. Records that were streamed and archived since stay streamed.
   */
  getWalOps(sinceTimestamp?: string, options?: CallOptions): AsyncGenerator<Operation<T>>;

  /** `await using store = …`: closes the store, if it is open, at the end of the scope. */
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * In a read-only store: catches up with the writer, across its checkpoints and undos. On a writer it changes
   * nothing. An agent takes in what the others have written. What it reads goes to a {@link Store.watch} that runs, or
   * to a {@link Store.tail} that waits for its turn at that moment, if there is one.
   *
   * Rejects with a system error's code or `OPSLOG_CORRUPT` where a file cannot be read: the state is as it was then.
   */
  refresh(): Promise<void>;

  /**
   * Like {@link Store.refresh}; resolves with the new operations, oldest first, each exactly once. A reader that fell
   * behind further than the logs reach gets one operation for each record that differs.
   */
  tail(): Promise<Operation<T>[]>;

  /**
   * Calls `callback` with new operations as they come, looking every `intervalMs` milliseconds (default: 1000). What
   * it throws is an uncaught exception. A look that fails is told to {@link StoreOptions.onError}, and the watch goes on.
   * Keeps the process alive; a second call replaces the first.
   */
  watch(callback: (ops: Operation<T>[]) => void, intervalMs?: number): void;

  /** Ends {@link Store.watch}. */
  unwatch(): void;

  /**
   * Hands all earlier writes to the operating system and, under `durability: "fsync"`, syncs them. Rejects with the error of
   * a buffered write that could not be written; it is kept and tried again, unless it was the sync that failed.
   */
  flush(): Promise<void>;

  /** Like {@link Store.flush}, and syncs them whatever the durability. */
  sync(): Promise<void>;
}

/** What an update must undo, over top-level members: applied to the new record it gives the old one. */
export interface DeltaPatch {
  /** Members that were changed or removed, with their old values. */
  $set?: Record<string, unknown>;
  /** Names of members that were added. */
  $unset?: string[];
}

/**
 * The patch that turns `newRecord` back into `oldRecord`; null for a create (`oldRecord` is null) and where nothing
 * differs. Values are compared by their JSON text. Members are own members, whatever their names.
 *
 * The rule by which the store encodes {@link Operation.prev}, together with {@link isDeltaSmaller}.
 */
export declare function createDelta(
  oldRecord: Record<string, unknown> | null,
  newRecord: Record<string, unknown>,
): DeltaPatch | null;

/** The old record: a copy of `record` with the patch applied. `record` is not changed. */
export declare function applyDelta(record: Record<string, unknown>, patch: DeltaPatch): Record<string, unknown>;

/** True if the JSON text of the patch is shorter than that of the record. False where either is null. */
export declare function isDeltaSmaller(
  patch: DeltaPatch | null,
  fullRecord: Record<string, unknown> | null,
): boolean;

/**
 * Lamport's logical clock: orders the operations of several agents.
 *
 * An agent calls `tick` for an operation of its own and `merge` for one of somebody else's; equal times are ordered
 * by agent id.
 */
export declare class LamportClock {
  /** Starts at `initial`. Default: 0. */
  constructor(initial?: number);

  /** Counts a local event and returns its time. */
  tick(): number;

  /** Takes over a received time, if it is later, counts, and returns the new time. */
  merge(received: number): number;

  /** The time of the last event. */
  get current(): number;
}

/**
 * Takes the writer's lock of a directory, which must exist: no {@link Store} can write there, of this package or of
 * upstream, in this process or another, until {@link releaseLock}. A lock whose holder is gone is taken over.
 *
 * Rejects with `OPSLOG_LOCKED` where it is held ("Store is locked by process PID…"), never waits.
 */
export declare function acquireLock(dir: string): Promise<FileHandle>;

/**
 * Gives a lock back: closes the handle that {@link acquireLock} returned and removes the lock's own file, not one that
 * somebody else has put in its place. A handle of other origin is closed.
 */
export declare function releaseLock(dir: string, fh: FileHandle): Promise<void>;

/**
 * The records of a snapshot file, in order, one piece of the file in memory at a time (a snapshot of a version before
 * 0.7 is read as a whole). Returns the schema version of the records. Leaving the loop early closes the file.
 *
 * `relativePath`: below `dir`, as {@link ManifestInfo.currentSnapshot}. Rejects with `ENOENT` and the like where the
 * file cannot be read, with `OPSLOG_CORRUPT` where it is damaged: where a checksum is wrong only at its end.
 */
export declare function streamSnapshotFile<T>(
  dir: string,
  relativePath: string,
): AsyncGenerator<
  [string, T],
  {
    /** Schema version of the records. */
    version: number;
  }
>;

/**
 * Answers with `raw` itself if it is an operation, throws "Invalid operation: …" (`OPSLOG_INVALID`) if not. Members
 * that the format does not know are let through.
 */
export declare function validateOp<T>(raw: unknown): Operation<T>;

/** Like {@link validateOp}, for the content of `manifest.json`: "Invalid manifest: …". */
export declare function validateManifest(raw: unknown): Manifest;

/** Like {@link validateOp}, for a snapshot of a version before 0.7: "Invalid snapshot: …". Records are not looked at. */
export declare function validateSnapshot<T>(raw: unknown): Snapshot<T>;

/** Like {@link validateOp}, for an archive segment: "Invalid archive segment: …". Records are not looked at. */
export declare function validateArchiveSegment<T>(raw: unknown): ArchiveSegment<T>;

/** What a lock method of a {@link StorageBackend} answers; nobody but the backend looks into it. */
export interface LockHandle {}

/**
 * Where a store keeps its files. Paths are relative to the store, with `/`: `ops/ops-1.jsonl`.
 *
 * A method that cannot do its work rejects. "There is none" is an answer only where it says so here.
 */
export interface StorageBackend {
  /** Called once by `open`, before any other method; makes what is needed unless `readOnly`. */
  initialize(dir: string, opts: { readOnly: boolean }): Promise<void>;
  /** Called once by `close`, after all other methods. */
  shutdown(): Promise<void>;
  /** The manifest; null where there is none. */
  readManifest(): Promise<Manifest | null>;
  /** Replaces the manifest, all of it or not at all. */
  writeManifest(manifest: Manifest): Promise<void>;
  /** Writes a new snapshot and answers with its path. `version`: schema version of the records. */
  writeSnapshot(records: Map<string, unknown>, version: number): Promise<string>;
  /** Reads a snapshot. */
  loadSnapshot(relativePath: string): Promise<{
    /** The records by id, in order. */
    records: Map<string, unknown>;
    /** Schema version of the records. */
    version: number;
  }>;
  /** Appends operations to a log, in order. */
  appendOps(relativePath: string, ops: Operation[]): Promise<void>;
  /** The operations of a log, in order; none where there is no such log. */
  readOps(relativePath: string): Promise<Operation[]>;
  /** Takes the last operation off a log; false where there is none. */
  truncateLastOp(relativePath: string): Promise<boolean>;
  /** Makes a new, empty log and answers with its path. */
  createOpsFile(): Promise<string>;
  /** Adds records to an archive segment, which need not exist, and answers with its path. */
  writeArchiveSegment(period: string, records: Map<string, unknown>): Promise<string>;
  /** The records of an archive segment. */
  loadArchiveSegment(relativePath: string): Promise<Map<string, unknown>>;
  /** Paths of the archive segments. */
  listArchiveSegments(): Promise<string[]>;
  /** Takes the store for writing; rejects where somebody else has it. */
  acquireLock(): Promise<LockHandle>;
  /** Gives back what {@link StorageBackend.acquireLock} answered. */
  releaseLock(handle: LockHandle): Promise<void>;
  /** Makes a new, empty log of an agent and answers with its path. */
  createAgentOpsFile(agentId: string): Promise<string>;
  /** Paths of the logs. */
  listOpsFiles(): Promise<string[]>;
  /** Takes the lock for compacting; rejects where another agent has it. */
  acquireCompactionLock(): Promise<LockHandle>;
  /** Gives back what {@link StorageBackend.acquireCompactionLock} answered. */
  releaseCompactionLock(handle: LockHandle): Promise<void>;
  /** Something that differs once the manifest has changed; null where there is none. */
  getManifestVersion(): Promise<string | null>;
  /** Writes a blob, all of it or not at all, and the folders that it needs. */
  writeBlob(relativePath: string, content: Buffer): Promise<void>;
  /** Reads a blob. */
  readBlob(relativePath: string): Promise<Buffer>;
  /** Reads `length` bytes of a blob from byte `offset` on; fewer where it ends before. */
  readBlobRange(relativePath: string, offset: number, length: number): Promise<Buffer>;
  /** Names in a folder of blobs; none where there is no such folder. */
  listBlobs(prefix: string): Promise<string[]>;
  /** Removes a blob, if there is one. */
  deleteBlob(relativePath: string): Promise<void>;
  /** Removes a folder of blobs with all that is in it, if there is one. */
  deleteBlobDir(prefix: string): Promise<void>;
}

/**
 * A store's files in a directory, durably: what a method wrote is on stable storage when it resolves, all of it or
 * nothing. The methods and the path forms of {@link StorageBackend}; also for use without a store.
 *
 * One object can serve several stores, one after the other; a direct call means the directory that was initialised
 * last. Absence is `ENOENT` and nothing else: a file that cannot be read is never taken for an empty or missing one.
 * Paths that lead out of the directory are refused with `OPSLOG_INVALID`, and for blobs the store's own files as well
 * (`manifest.json`, `snapshots`, `ops`, `archive`, lock files).
 */
export declare class FsBackend implements StorageBackend {
  private dir;
  /** Makes the folders unless `readOnly`. A relative `dir` is resolved once, here. */
  initialize(dir: string, opts: { readOnly: boolean }): Promise<void>;
  /** Nothing needs to be shut down: the object can be used on. */
  shutdown(): Promise<void>;
  /** The content of `manifest.json`; null where there is no such file. */
  readManifest(): Promise<Manifest | null>;
  /** Replaces `manifest.json`. An invalid manifest is refused as {@link validateManifest} does. */
  writeManifest(manifest: Manifest): Promise<void>;
  /** Writes `snapshots/snap-<ms>.jsonl`, under a name that was free. */
  writeSnapshot(records: Map<string, unknown>, version: number): Promise<string>;
  /** Reads a snapshot of any version. */
  loadSnapshot(relativePath: string): Promise<{
    /** The records by id, in order. */
    records: Map<string, unknown>;
    /** Schema version of the records. */
    version: number;
  }>;
  /**
   * Appends operations in one piece: after a crash all of them are there or none. The damaged end of a log is saved
   * beside it and cut first. A log that does not exist is made.
   */
  appendOps(relativePath: string, ops: Operation[]): Promise<void>;
  /**
   * The operations of a log; none where there is no such file. Damaged lines of a log of upstream's are skipped and
   * counted on stderr; inside a log with checksums they reject with `OPSLOG_CORRUPT`.
   */
  readOps(relativePath: string): Promise<Operation[]>;
  /** Takes the last operation off, whatever its length; false where there is none. */
  truncateLastOp(relativePath: string): Promise<boolean>;
  /** Makes `ops/ops-<ms>.jsonl`, under a name that was free. */
  createOpsFile(): Promise<string>;
  /** Adds records to `archive/archive-<period>.json`; of two with one id the new one stays. */
  writeArchiveSegment(period: string, records: Map<string, unknown>): Promise<string>;
  /** The records of an archive segment. */
  loadArchiveSegment(relativePath: string): Promise<Map<string, unknown>>;
  /** Paths of the archive segments. */
  listArchiveSegments(): Promise<string[]>;
  /** Takes the writer's lock, as {@link acquireLock}. */
  acquireLock(): Promise<LockHandle>;
  /** Gives the writer's lock back. */
  releaseLock(handle: LockHandle): Promise<void>;
  /** Makes `ops/agent-<id>-<ms>.jsonl`, with an id that is no plain file name encoded. */
  createAgentOpsFile(agentId: string): Promise<string>;
  /** Paths of all logs. */
  listOpsFiles(): Promise<string[]>;
  /** Takes `.compact-lock`. Rejects with "Compaction lock held by another agent" (`OPSLOG_LOCKED`). */
  acquireCompactionLock(): Promise<LockHandle>;
  /** Gives `.compact-lock` back. */
  releaseCompactionLock(handle: LockHandle): Promise<void>;
  /** Time of the last change of `manifest.json`; null where there is no such file. */
  getManifestVersion(): Promise<string | null>;
  /** Writes a blob, and the folders that it needs. */
  writeBlob(relativePath: string, content: Buffer): Promise<void>;
  /** Reads a blob. */
  readBlob(relativePath: string): Promise<Buffer>;
  /** Reads a part of a blob: what there is of it. */
  readBlobRange(relativePath: string, offset: number, length: number): Promise<Buffer>;
  /** Names of files and folders in a folder; none where there is no such folder. */
  listBlobs(prefix: string): Promise<string[]>;
  /** Removes a blob, if there is one. */
  deleteBlob(relativePath: string): Promise<void>;
  /** Removes a folder with all that is in it, if there is one. */
  deleteBlobDir(prefix: string): Promise<void>;
}
