//! Checkpoints: the records at one moment become a snapshot, and a new log holds what came after.
//!
//! The snapshot is written by a thread of its own, a piece of the state at a time, while the writer goes on appending
//! to the old log. Publishing is the writer's: it copies the tail, replaces the manifest, and only then removes what
//! that replaced. A crash between any two steps leaves the old generation or the new one, each complete.

use super::fold::TRIES;
use super::queue::{Item, Parked, Ticket, Value};
use super::several::{FOLLOWS, LINEAGE};
use super::{Disk, Durability, Inner, Notice, Shared, Store};
use crate::backend::{self, StorageBackend, StorageFile, create_temporary, discard};
use crate::clock;
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, Previous, Superseded};
use crate::format::{names, snapshot};
use crate::log::recovery::create_after;
use crate::log::{Log, Syncing};
use crate::state::{Moment, Op};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records are taken from the state so many at a time: the lock is held for some ten microseconds.
const PIECE: usize = 256;
/// And about so many bytes at a time, which are copied meanwhile.
const PIECE_BYTES: usize = 128 << 10;
/// A record that is larger ends its piece.
const COPIED: usize = 16 << 10;
/// How long superseded logs stay for readers.
const KEEP_LOGS_MS: u64 = 60_000;
/// And how many bytes of them: heavy updates would fill the disk within that minute.
const KEEP_LOGS_BYTES: u64 = 4 << 20;
/// And how many, as in `lib/custom-writer.js`: the manifest names each. A store that makes a checkpoint every few
/// operations supersedes 64 logs in less than a second, and a reader on a busy machine needs longer than that.
const KEEP_LOGS: usize = 256;
/// Fewer where several agents have one each.
const KEEP_AGENT_LOGS: usize = 128;
/// How long a failed automatic checkpoint waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A checkpoint that is being written.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The last operation that it covers.
    pub through: u64,
    /// Records that it holds.
    pub count: u64,
    /// Calls that end with it.
    pub waiting: Vec<Ticket>,
    /// True if a caller asked for it.
    pub asked: bool,
    /// How often it was begun before, and was of no use in the end.
    pub tries: u32,
    /// The snapshot that was the current one when it began.
    pub base: String,
}

/// A snapshot that no manifest names yet.
pub(super) struct Snapshot {
    pub path: String,
    /// Shows the other agents that somebody is at work on it.
    pub _held: Option<Box<dyn StorageFile>>,
}

/// A file under a name of its own, and its handle.
type Temporary = (String, Box<dyn StorageFile>);

/// How publishing a checkpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is the current one.
    Done,
    /// Somebody else's came first, or it does not hold what is stored any more. Its snapshot is removed.
    Stale,
    /// Somebody else is making one. Its snapshot is removed.
    LeftOut,
}

impl Store {
    /// Makes a checkpoint of everything that was called so far.
    ///
    /// # Errors
    /// As [`Store::set`], and `NotLoaded`.
    pub fn compact(&self) -> Result<Ticket> {
        let mut inner = self.shared.inner();
        inner.check_writable(self.shared.options.read_only)?;
        self.shared.check_loaded()?;
        self.check_background(&mut inner)?;
        let ticket = inner.next_ticket();
        inner.urgent = true;
        inner.queue_checkpoint(vec![ticket], true);
        Ok(ticket)
    }
}

impl Inner {
    /// Chooses the moment before everything that is queued behind the first `done` items: what is written.
    /// Returns the number of records at it.
    pub(super) fn begin_moment(&mut self, done: usize) -> u64 {
        self.begin_moment_after(done, u64::MAX)
    }

    /// The same, before what was stored after operation `through` as well.
    fn begin_moment_after(&mut self, done: usize, through: u64) -> u64 {
        let mut moment = Moment::now(&self.state.records);
        for op in self.batch.iter().flat_map(|batch| batch.ops.iter().rev()) {
            moment.before_op(op);
        }
        for item in self.queue.iter().skip(done).rev() {
            match item {
                Item::Write(write) => write.ops.iter().rev().for_each(|op| moment.before_op(op)),
                Item::Undo { undone: Some(op), .. } => moment.before_undo(op),
                Item::Archive { taken, .. } => moment.before_take(taken),
                Item::Undo { undone: None, .. } | Item::Checkpoint { .. } | Item::Flush { .. } | Item::Close { .. } => {
                }
            }
        }
        for op in self.stored_after(through).iter().rev() {
            moment.before_op(op);
        }
        let count = moment.count(&self.state.records);
        self.state.moment = Some(moment);
        self.metrics.checkpoint_begins(count);
        count
    }

    /// What has been stored after operation `through`, in order: also what was undone since, where that waits in the queue.
    fn stored_after(&self, through: u64) -> Vec<Arc<Op>> {
        let mut waiting = HashSet::new();
        let mut stored: Vec<&Arc<Op>> = self.state.history.iter().rev().take_while(|op| op.seq > through).collect();
        for item in &self.queue {
            match item {
                Item::Write(write) => waiting.extend(write.ops.iter().map(Arc::as_ptr)),
                Item::Undo { undone: Some(op), .. } if op.seq > through => stored.push(op),
                _ => {}
            }
        }
        let batch = self.batch.iter().flat_map(|batch| &batch.ops);
        waiting.extend(batch.map(Arc::as_ptr));
        stored.retain(|op| !waiting.contains(&Arc::as_ptr(op)));
        stored.sort_unstable_by_key(|op| op.seq);
        stored.into_iter().cloned().collect()
    }
}

impl Inner {
    /// Takes a checkpoint of everything up to `through` as the current one. Returns the operations that it covers.
    pub(super) fn cover(&mut self, through: u64, count: u64, manifest: Manifest) -> VecDeque<Arc<Op>> {
        let covered = self.state.history.partition_point(|op| op.seq <= through);
        let rest = self.state.history.split_off(covered);
        self.note_checkpoint(count, manifest);
        std::mem::replace(&mut self.state.history, rest)
    }

    fn note_checkpoint(&mut self, count: u64, manifest: Manifest) {
        self.records_at_checkpoint = count;
        self.manifest = Arc::new(manifest);
        self.checkpoint_error = None;
        self.checkpoint_retry_at = None;
        self.metrics.checkpoint_ends();
        self.note_unsynced(false);
    }

    /// The same among several agents, whose operations have no order of their own in time.
    pub(super) fn cover_among_agents(&mut self, job: &Job, manifest: Manifest) {
        self.note_checkpoint(job.count, manifest);
        self.beneath_queue(|inner| {
            inner.state.raise_floor(job.through);
            let moved = inner.state.begin_after(job.through);
            inner.changed.extend(moved);
        });
    }

    /// The last operation that is stored: what is queued comes after it.
    pub(super) fn last_stored(&self) -> u64 {
        let queued = self.queue.iter().find_map(|item| match item {
            Item::Write(write) => write.ops.first(),
            _ => None,
        });
        let batch = self.batch.iter().find_map(|batch| batch.ops.first());
        queued.or(batch).map_or(self.state.last_seq(), |op| op.seq - 1)
    }
}

impl Shared {
    /// Starts the checkpoint at the front of the queue.
    pub(super) fn start_checkpoint(self: &Arc<Self>, disk: &mut Disk) {
        let job = {
            let mut inner = self.inner();
            let Some(Item::Checkpoint { through, waiting, asked }) = inner.queue.pop_front() else { return };
            let job = Job { through, count: 0, waiting, asked, tries: 0, base: String::new() };
            // In place at once: what waits for it is not taken for ended, also if it cannot begin.
            inner.job = Some(job.clone());
            job
        };
        self.begin_job(disk, job);
    }

    /// Starts a checkpoint that was put aside. False where there is none, or another one is being written.
    pub(super) fn start_parked(self: &Arc<Self>, disk: &mut Disk) -> bool {
        let job = {
            let mut inner = self.inner();
            let parked = if inner.job.is_some() { None } else { inner.parked.pop_front() };
            let Some(Parked { through, waiting, asked }) = parked else { return false };
            let job = Job { through, count: 0, waiting, asked, tries: 0, base: String::new() };
            inner.job = Some(job.clone());
            job
        };
        self.begin_job(disk, job);
        true
    }

    /// Lets a thread write the snapshot of a checkpoint, which is the running one.
    fn begin_job(self: &Arc<Self>, disk: &mut Disk, job: Job) {
        if let Err(error) = self.begin_try(disk, job.tries) {
            self.inner().job_result = Some(Err(error));
            return;
        }
        let count = {
            let mut inner = self.inner();
            let stored = self.stored_through(disk, &inner);
            // What was put aside covers no more than it was to: what came later can be undone.
            let through = if disk.several.is_some() { stored } else { stored.min(job.through) };
            let base = disk.manifest.current_snapshot.clone();
            inner.job = Some(Job { through, base, ..job.clone() });
            if disk.several.is_some() {
                // Others' operations may have come in since it was queued, and a later try covers more: an undo of a
                // part of that waits now.
                inner.apply_queue_again();
                inner.barrier = inner.barrier.max(through);
            }
            let count = inner.begin_moment_after(0, through);
            if let Some(job) = &mut inner.job {
                job.count = count;
            }
            count
        };
        self.wake();
        if self.inline {
            // Nobody else goes on where the lock is held alone.
            if job.tries >= TRIES {
                self.write_inline();
            }
            return;
        }
        let shared = self.clone();
        let started = std::thread::Builder::new().name("opslog-checkpoint".to_owned()).spawn(move || {
            let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shared.write_snapshot(count)));
            let failed = || Error::Failed { message: "A checkpoint failed unexpectedly".to_owned(), cause: None };
            shared.inner().job_result = Some(written.unwrap_or_else(|_| Err(failed())));
            shared.work.notify_one();
        });
        if let Err(source) = started {
            self.inner().job_result = Some(Err(Error::io("pthread_create", String::new(), source)));
        }
    }

    /// What the thread does that there is not: writes the snapshot of a checkpoint that was begun. False if none was.
    pub(super) fn write_inline(&self) -> bool {
        let count = {
            let inner = self.inner();
            inner.job.as_ref().filter(|_| inner.job_result.is_none()).map(|job| job.count)
        };
        let Some(count) = count else { return false };
        let written = self.write_snapshot(count);
        self.inner().job_result = Some(written);
        true
    }

    /// Writes the moment that was chosen as a snapshot, durably.
    pub(super) fn write_snapshot(&self, count: u64) -> Result<Snapshot> {
        let current = self.inner().manifest.current_snapshot.clone();
        let next = |out: &mut Vec<u8>| {
            let (before, mut count, mut large) = (out.len(), 0, None);
            let mut guard = self.inner();
            let state = &mut guard.state;
            let Some(mut moment) = state.moment.take() else {
                return Err(Error::Failed { message: "The checkpoint was given up".to_owned(), cause: None });
            };
            let more = moment.take(&state.records, PIECE, |record| {
                count += 1;
                let (id, value) = record.parts();
                if id.len() + value.len() > COPIED {
                    large = Some(record.texts());
                    return false;
                }
                snapshot::push_record(id, value, out);
                out.len() - before < PIECE_BYTES
            });
            state.moment = Some(moment);
            guard.metrics.checkpoint_goes_on(count);
            drop(guard);
            // Copied when the lock has been given back.
            if let Some((id, value)) = large {
                snapshot::push_record(&id, &value, out);
            }
            Ok(more)
        };
        let backend = &*self.backend;
        let header =
            snapshot::Header { clock: self.inner().clock(), ..snapshot::Header::new(self.options.version, count) };
        if self.options.agent.is_none() {
            let path = write_snapshot(backend, &header, Some(&current), next)?;
            return Ok(Snapshot { path, _held: None });
        }
        // Others write snapshots as well: this name is taken at once. Nobody reads the file before a manifest names it.
        let (path, mut file) = create_after(backend, Some(&current), names::snapshot)?;
        let timestamp = clock::iso(clock::now_ms());
        let written = snapshot::write(&mut *file, &header, &timestamp, next);
        written.and_then(|()| backend.sync_dir(names::SNAPSHOTS)).inspect_err(|_| discard(backend, &path))?;
        Ok(Snapshot { path, _held: Some(file) })
    }

    /// Publishes the checkpoint that has been written, or reports that it could not be.
    pub(super) fn finish_checkpoint(self: &Arc<Self>, disk: &mut Disk, written: Result<Snapshot>) {
        let (job, failed) = {
            let mut inner = self.inner();
            inner.state.moment = None;
            // It stays the running one until its calls are told: `wait` takes what is neither queued nor running for ended.
            let Some(job) = inner.job.clone() else { return };
            (job, inner.failed.clone())
        };
        // Another's checkpoint that was met meanwhile has taken the records away that were being written. (One that could
        // not even begin with the lock alone is not tried for ever.)
        let met = job.tries < TRIES && disk.several.as_ref().is_some_and(|several| several.stale);
        let published = match (written, failed) {
            (Err(_), None) if met => Ok(Published::Stale),
            (Ok(snapshot), None) => self.publish(disk, &job, snapshot, false, |_| {}, at_once),
            (Ok(snapshot), Some(error)) => {
                discard(&*self.backend, &snapshot.path);
                Err(error)
            }
            (Err(error), _) => Err(error),
        };
        // What nobody asked for is not needed where somebody else has made one.
        if matches!(published, Ok(Published::Stale)) && (job.asked || job.base == disk.manifest.current_snapshot) {
            let job = Job { tries: job.tries + 1, ..job };
            self.inner().job = Some(job.clone());
            return self.begin_job(disk, job);
        }
        self.end_tries(disk);
        self.end_checkpoint(published.map(|published| published == Published::Done));
        self.wake();
    }

    /// Tells the calls of the running checkpoint how it ended: true if it was made, false if that was left to others.
    pub(super) fn end_checkpoint(&self, published: Result<bool>) {
        let mut inner = self.inner();
        inner.state.moment = None;
        let Some(job) = inner.job.take() else { return };
        match published {
            Ok(done) => {
                if !done {
                    // What it was to cover can be undone again.
                    inner.apply_queue_again();
                }
                for ticket in inner.not_unsynced(job.waiting) {
                    inner.settle(ticket, Ok(Value::None));
                }
            }
            Err(error) => {
                if !job.asked {
                    inner.checkpoint_retry_at = Some(Instant::now() + RETRY);
                }
                // The operations that it was to cover can be undone again.
                inner.apply_queue_again();
                for ticket in inner.not_unsynced(job.waiting) {
                    let result = if job.asked { Err(error.clone()) } else { Ok(Value::None) };
                    inner.settle(ticket, result);
                }
                if !job.asked {
                    inner.notices.push(Notice {
                        message: "checkpoint failed, will be tried again".into(),
                        error: Some(error.clone()),
                    });
                }
                inner.checkpoint_error = Some(error);
            }
        }
    }

    /// Checks that this store may still write its directory: names lead to the files that it opened, and the lock is its.
    pub(super) fn check_ours(&self, disk: &Disk) -> Result<()> {
        let Some(log) = &disk.log else { return Err(Error::NotOpen) };
        if let Some(lock) = &disk.lock {
            lock.check()?;
        }
        log.check()
    }

    /// Makes a snapshot the current one, with a new log that holds what came after it.
    ///
    /// `change` may change the manifest; `count` does what must be done just before it counts, and then calls what it is
    /// given, which makes it count. It is false where the snapshot turns out to be stale. `must`: waits for a checkpoint of
    /// another agent's.
    ///
    /// # Errors
    /// Nothing has changed then, and the new files are removed. Where only the last sync fails the new generation
    /// is the current one, and the store takes no more writes.
    pub(super) fn publish(
        self: &Arc<Self>,
        disk: &mut Disk,
        job: &Job,
        snapshot: Snapshot,
        must: bool,
        change: impl FnOnce(&mut Manifest),
        count: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<bool>,
    ) -> Result<Published> {
        let backend = &*self.backend;
        if disk.several.is_some() {
            return self.fold(disk, job, snapshot, must, change, count);
        }
        let snapshot = &snapshot.path;
        // The last guard of records that were never loaded.
        self.check_loaded().inspect_err(|_| discard(backend, snapshot))?;
        // The process has ended the store meanwhile, or somebody else has its directory: nothing may be published.
        self.check_ours(disk).inspect_err(|_| discard(backend, snapshot))?;
        let Some(log) = &disk.log else { return Err(Error::NotOpen) };
        let covered = log.count_through(job.through);
        let next = copy_tail(log, backend, job.through).inspect_err(|_| discard(backend, snapshot))?;
        let (mut manifest, superseded) =
            succeed(backend, &disk.manifest, snapshot, &next, job.count, self.options.version);
        if let ([_], Some(last)) = (&disk.manifest.logs()[..], manifest.previous.ops.last_mut()) {
            last.covered = Some(covered);
        }
        change(&mut manifest);
        let (temporary, next) = self.prepare(disk, next, &manifest).inspect_err(|_| discard(backend, snapshot))?;
        // ORDER: the manifest is written before `count` is called: a full disk, which could not take anything back, is met
        // before it did anything.
        let rename = || self.check_ours(disk).and_then(|()| backend.rename(&temporary.0, names::MANIFEST));
        let replaced = count(&rename);
        if !matches!(replaced, Ok(true)) {
            discard(backend, &temporary.0);
            discard(backend, snapshot);
            discard(backend, next.path());
            return replaced.map(|_| Published::Stale);
        }
        self.gauge.note(&next, 0);
        let published = Instant::now();
        disk.log = Some(next);
        disk.manifest = manifest.clone();
        let covered = {
            let mut inner = self.inner();
            // The manifest's name is not durable yet: a power cut may still bring the old log back, as far as it is synced.
            let (buffered, since) = (inner.buffered, inner.unsynced_since);
            let covered = inner.cover(job.through, job.count, manifest);
            (inner.buffered, inner.unsynced_since) = (buffered, since);
            covered
        };
        // Freed without the lock: there may be many.
        drop(covered);
        // ORDER: what the old manifest needs goes only once the new one is durable.
        if let (Err(error), _) = self.lend(disk, &mut None, || backend.sync_dir("")) {
            self.lending_failed(disk, error.clone());
            return Err(error);
        }
        let unsynced =
            self.options.durability == Durability::Fsync && disk.log.as_ref().is_some_and(|log| !log.is_synced());
        self.inner().note_synced_until(unsynced.then_some(published));
        disk.remove_superseded(backend, &superseded);
        Ok(Published::Done)
    }

    /// Makes a new log durable, and writes the manifest that is to name it, under a name of its own. What comes in meanwhile
    /// is appended to the log that is still the current one and to the new one.
    ///
    /// # Errors
    /// The new log is removed then.
    fn prepare(self: &Arc<Self>, disk: &mut Disk, mut next: Log, manifest: &Manifest) -> Result<(Temporary, Log)> {
        let backend = &*self.backend;
        let path = next.path().to_owned();
        let syncing = next.begin_sync();
        if syncing.is_none() {
            next.sync().inspect_err(|_| discard(backend, &path))?;
        }
        let bytes = manifest.to_bytes();
        let mut twin = Some(next);
        self.inner().relayed = 0;
        // ORDER: snapshot and log are durable, names included, before the manifest names them.
        let (written, failed) = self.lend(disk, &mut twin, || {
            syncing.as_ref().map_or(Ok(()), Syncing::run)?;
            backend.sync_dir(names::OPS)?;
            backend::write_temporary(backend, names::MANIFEST, &bytes)
        });
        if let (Some(next), Some(syncing), Ok(_)) = (&mut twin, &syncing, &written) {
            next.end_sync(syncing);
        }
        match (written, failed, twin) {
            (Ok(temporary), None, Some(next)) => Ok((temporary, next)),
            (written, failed, next) => {
                drop(next);
                discard(backend, &path);
                let error = match written {
                    Ok((temporary, _)) => {
                        discard(backend, &temporary);
                        failed.unwrap_or(Error::NotOpen)
                    }
                    Err(error) => error,
                };
                Err(error)
            }
        }
    }
}

/// Nothing is to be done before a checkpoint counts.
pub(super) fn at_once(count: &dyn Fn() -> Result<()>) -> Result<bool> {
    count().map(|()| true)
}

/// Writes a snapshot under a new name, durably, name included.
pub(super) fn write_snapshot(
    backend: &dyn StorageBackend,
    header: &snapshot::Header,
    current: Option<&str>,
    next: impl FnMut(&mut Vec<u8>) -> Result<bool>,
) -> Result<String> {
    let path = free_snapshot_name(backend, current.and_then(names::number))?;
    let (temporary, mut file) = create_temporary(backend, &path)?;
    let timestamp = clock::iso(clock::now_ms());
    let written = snapshot::write(&mut *file, header, &timestamp, next)
        .and_then(|()| backend.rename(&temporary, &path))
        .inspect_err(|_| discard(backend, &temporary));
    written?;
    backend.sync_dir(names::SNAPSHOTS).inspect_err(|_| discard(backend, &path))?;
    Ok(path)
}

/// A name that no file has: the writer is alone in the store.
fn free_snapshot_name(backend: &dyn StorageBackend, current: Option<u64>) -> Result<String> {
    // ORDER: numbers grow. The name of a snapshot that was removed may still stand in the manifest that a reader has.
    let mut number = clock::now_ms().max(current.map_or(0, |current| current + 1));
    loop {
        let path = names::snapshot(number);
        match backend.stat(&path) {
            Ok(_) => number += 1,
            Err(error) if error.is_not_found() => return Ok(path),
            Err(error) => return Err(error),
        }
    }
}

/// A new log with the lines after an operation.
fn copy_tail(log: &Log, backend: &dyn StorageBackend, through: u64) -> Result<Log> {
    let mut number = clock::now_ms().max(names::number(log.path()).map_or(0, |current| current + 1));
    loop {
        match log.copy_after(through, backend, names::ops(number)) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            other => return other,
        }
    }
}

/// The manifest that follows, and the files that go once it is durable: the generation before the last, and logs
/// that have been superseded for a minute.
pub(super) fn succeed(
    backend: &dyn StorageBackend,
    old: &Manifest,
    snapshot: &str,
    log: &Log,
    count: u64,
    version: u64,
) -> (Manifest, Vec<String>) {
    let now = backend.now_ms();
    let (mut kept, mut superseded) = (Vec::new(), Vec::new());
    for log in &old.previous.ops {
        if now.saturating_sub(log.since) < KEEP_LOGS_MS {
            kept.push(log.clone());
        } else {
            superseded.push(log.path.clone());
        }
    }
    // Whoever knows no lock may write the manifest once more that it has read a while ago.
    let keeps_all = old.has_lockless_agents(now);
    let mut older = Vec::new();
    let before = old.previous.snapshot.clone().map(|path| Superseded {
        path,
        since: now,
        carried: 0,
        covered: None,
        archived: false,
    });
    for snapshot in old.previous.older.iter().cloned().chain(before) {
        if keeps_all && now.saturating_sub(snapshot.since) < KEEP_LOGS_MS {
            older.push(snapshot);
        } else {
            superseded.push(snapshot.path);
        }
    }
    let most = if old.active_agent_ops.is_some() { KEEP_AGENT_LOGS } else { KEEP_LOGS };
    let (mut bytes, mut within) = (0, 0);
    // Those of several agents that went together are of use together.
    for logs in kept.chunk_by(|one: &Superseded, next| one.since == next.since).rev() {
        bytes += logs.iter().map(|log| backend.stat(&log.path).map_or(0, |stat| stat.len)).sum::<u64>();
        if bytes > KEEP_LOGS_BYTES || within + logs.len() > most {
            break;
        }
        within += logs.len();
    }
    let beyond = if keeps_all { 0 } else { kept.len() - within };
    superseded.extend(kept.drain(..beyond).map(|log| log.path));
    let mut previous = Previous { snapshot: Some(old.current_snapshot.clone()), older, ops: kept };
    previous.supersede(old.logs(), now, log.len() as u64);
    let mut manifest = Manifest {
        version,
        current_snapshot: snapshot.to_owned(),
        active_ops: log.path().to_owned(),
        active_agent_ops: None,
        previous,
        ..old.clone()
    };
    // What these say of the checkpoints of agents holds no longer, unless this is one of theirs.
    manifest.other.remove(FOLLOWS);
    manifest.other.remove(LINEAGE);
    manifest.stats.active_records = count;
    manifest.stats.ops_count = log.len() as u64;
    manifest.stats.last_checkpoint = clock::iso(now);
    // A manifest whose paths leave the store is refused at open; this is the last guard before anything is removed.
    superseded.retain(|path| names::is_inside(path, names::OPS) || names::is_inside(path, names::SNAPSHOTS));
    (manifest, superseded)
}
