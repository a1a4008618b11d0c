/**
 * Upstream's declarations and ours stand for each other: each export of upstream is assignable to ours and ours to
 * upstream's, and none of its members is missing. Of classes the public members: private ones make a class equal to
 * itself only. `tsc` is the test; nothing here runs.
 */
import type * as upstream from "@backloghq/opslog";
import type * as ours from "../../index.js";

interface Task {
  title: string;
  done?: boolean;
}

/** Compiles for `true` only. */
declare function holds<_Claim extends true>(): void;

type Public<C> = Pick<C, keyof C>;

/** True where either can be used for the other, and ours has every member of upstream's. */
type Interchangeable<U, O> = [Exclude<keyof U, keyof O>] extends [never]
  ? [U] extends [Pick<O, keyof O & keyof U>]
    ? [O] extends [U]
      ? true
      : { oursIsNoUpstream: O }
    : { upstreamIsNotOurs: U }
  : { missing: Exclude<keyof U, keyof O> };

/** The same for functions, whose members do not matter. */
type Callable<U, O> = [U] extends [O] ? ([O] extends [U] ? true : { oursIsNoUpstream: O }) : { upstreamIsNotOurs: U };

// every value that upstream exports, and what is more than its is not taken away
holds<[Exclude<keyof typeof upstream, keyof typeof ours>] extends [never] ? true : Exclude<keyof typeof upstream, keyof typeof ours>>();

holds<Interchangeable<Public<upstream.Store<Task>>, Public<ours.Store<Task>>>>();
holds<Interchangeable<Public<upstream.Store>, Public<ours.Store>>>();
holds<Interchangeable<Public<upstream.FsBackend>, Public<ours.FsBackend>>>();
holds<Interchangeable<Public<upstream.LamportClock>, Public<ours.LamportClock>>>();
holds<Callable<ConstructorParameters<typeof upstream.Store>, ConstructorParameters<typeof ours.Store>>>();
holds<Callable<ConstructorParameters<typeof upstream.FsBackend>, ConstructorParameters<typeof ours.FsBackend>>>();
holds<Callable<ConstructorParameters<typeof upstream.LamportClock>, ConstructorParameters<typeof ours.LamportClock>>>();

holds<Callable<typeof upstream.createDelta, typeof ours.createDelta>>();
holds<Callable<typeof upstream.applyDelta, typeof ours.applyDelta>>();
holds<Callable<typeof upstream.isDeltaSmaller, typeof ours.isDeltaSmaller>>();
holds<Callable<typeof upstream.streamSnapshotFile<Task>, typeof ours.streamSnapshotFile<Task>>>();
holds<Callable<typeof upstream.acquireLock, typeof ours.acquireLock>>();
holds<Callable<typeof upstream.releaseLock, typeof ours.releaseLock>>();
holds<Callable<typeof upstream.validateOp<Task>, typeof ours.validateOp<Task>>>();
holds<Callable<typeof upstream.validateManifest, typeof ours.validateManifest>>();
holds<Callable<typeof upstream.validateSnapshot<Task>, typeof ours.validateSnapshot<Task>>>();
holds<Callable<typeof upstream.validateArchiveSegment<Task>, typeof ours.validateArchiveSegment<Task>>>();

holds<Interchangeable<upstream.Operation<Task>, ours.Operation<Task>>>();
holds<Interchangeable<upstream.Operation, ours.Operation>>();
holds<Interchangeable<upstream.Snapshot<Task>, ours.Snapshot<Task>>>();
holds<Interchangeable<upstream.Snapshot, ours.Snapshot>>();
holds<Interchangeable<upstream.Manifest, ours.Manifest>>();
holds<Interchangeable<upstream.ManifestInfo, ours.ManifestInfo>>();
holds<Interchangeable<upstream.ManifestStats, ours.ManifestStats>>();
holds<Interchangeable<upstream.ArchiveSegment<Task>, ours.ArchiveSegment<Task>>>();
holds<Interchangeable<upstream.ArchiveSegment, ours.ArchiveSegment>>();
holds<Interchangeable<upstream.StoreOptions, ours.StoreOptions>>();
holds<Interchangeable<upstream.StoreStats, ours.StoreStats>>();
holds<Interchangeable<upstream.StorageBackend, ours.StorageBackend>>();
holds<Interchangeable<upstream.LockHandle, ours.LockHandle>>();
holds<Interchangeable<upstream.DeltaPatch, ours.DeltaPatch>>();

// each implementation's class is a backend for the other's store
holds<ours.FsBackend extends upstream.StorageBackend ? true : false>();
holds<upstream.FsBackend extends ours.StorageBackend ? true : false>();

// the claims can fail: a member that is missing, one of another type, a stricter argument, another result
// @ts-expect-error a member is missing
holds<Interchangeable<{ a?: 1; b?: 2 }, { a?: 1 }>>();
// @ts-expect-error a member is of another type
holds<Interchangeable<{ a: 1 }, { a: 2 }>>();
// @ts-expect-error a member is optional in one only
holds<Interchangeable<{ a: 1 }, { a?: 1 }>>();
// @ts-expect-error another result
holds<Callable<() => 1, () => number>>();
// @ts-expect-error a stricter argument
holds<Callable<(a: string) => void, (a: "x") => void>>();
