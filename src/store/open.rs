//! Opening: reads everything first, then mends, migrates and starts the writer.
//!
//! [`Opening::load`] takes the lock and reads; it changes nothing. [`Opening::start`] writes: it repairs the log,
//! removes the leftovers of a crash, stores migrated records. Dropping an `Opening` gives the lock back.

use super::checkpoint::{Job, Published, write_snapshot};
use super::commit::Encoded;
use super::enter::LOCKLESS_MS;
use super::follow::Follow;
use super::metrics::{Gauge, Metrics};
use super::partial::{self, Stored};
use super::read::Page;
use super::scan::Ahead;
use super::several::Several;
use super::{Disk, Inner, Options, Phase, Shared, Store, Wake};
use crate::backend::{self, Pinned, StorageBackend, StoreLock, discard, read_all};
use crate::clock;
use crate::error::{Error, Result};
use crate::format::archive::Segment;
use crate::format::manifest::{Manifest, Previous, Stats as ManifestStats};
use crate::format::op::Text;
use crate::format::{json, names, snapshot};
use crate::log::recovery::create_numbered;
use crate::log::{LineMark, Loaded, Log, Report, Scan, scan, scan_beside_writer};
use crate::state::{self, Agent, Loader, Loads, Packer, Piece, Records, State};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How often a reader reads the manifest again because a file that it named has gone.
pub(super) const ATTEMPTS: u32 = 100;
/// Bytes of the shortest line of a snapshot.
const LEAST_LINE: u64 = 20;
/// A snapshot that is shorter is read by one thread: starting another one takes longer than it saves.
const ALONE: u64 = 1 << 20;
/// Loads that are read before they are put in.
const AHEAD: usize = 2;
/// Temporary lock files may belong to somebody who is opening the store right now.
const LOCK_LEFTOVER_AGE: Duration = Duration::from_secs(10);

/// What recovery found and did.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// Logs with something to tell.
    pub logs: Vec<Report>,
}

/// Migrated records, handed over before [`Opening::start`].
#[derive(Debug, Clone, Default)]
pub struct Migration {
    /// New values of all records, in order; empty to keep them.
    pub values: Vec<Text>,
    /// Path and content of the archive segments that change.
    pub segments: Vec<(String, Segment)>,
}

/// A store that has been read and not started.
pub struct Opening {
    pub(super) backend: Arc<dyn StorageBackend>,
    pub(super) options: Options,
    pub(super) lock: Option<Box<dyn StoreLock>>,
    /// `None`: there is no store yet.
    pub(super) manifest: Option<Manifest>,
    pub(super) stored_version: u64,
    pub(super) state: State,
    pub(super) scans: Vec<Scan>,
    pub(super) several: Option<Several>,
    pub(super) inline: bool,
}

impl Store {
    /// Starts the writer of a store that is written.
    pub(super) fn run_by(shared: Arc<Shared>) -> Result<Store> {
        shared.relay.begin();
        let writer = if shared.options.read_only || shared.inline {
            None
        } else {
            let started = Store::spawn_writer(&shared);
            Some(started.map_err(|source| Error::io("pthread_create", String::new(), source))?)
        };
        Ok(Store { shared, writer: Mutex::new(writer), ahead: Ahead::default() })
    }
}

impl Opening {
    /// Takes the lock (unless read-only) and reads the store.
    ///
    /// # Errors
    /// `Locked`, `NoStore`, `Corrupt`, `SnapshotMissing`, `NewerVersion`, `Io`; nothing is changed, nothing held.
    pub fn load(backend: Arc<dyn StorageBackend>, options: Options) -> Result<Self> {
        let several = Several::join(&*backend, &options)?;
        let lock = if options.is_beside_writers() { None } else { Some(backend.lock()?) };
        let (stored_version, state) = (options.version, partial::empty_state(&options));
        let (manifest, scans) = (None, Vec::new());
        Opening { backend, options, lock, manifest, stored_version, state, scans, several, inline: false }.read()
    }

    /// Reads what is stored, if anything is.
    pub(super) fn read(self) -> Result<Self> {
        let (backend, options) = (&*self.backend, &self.options);
        let mut attempt = 0;
        let (manifest, (header, mut state, scans)) = loop {
            attempt += 1;
            let Some(manifest) = read_manifest(backend)? else {
                if options.read_only {
                    return Err(Error::NoStore { path: backend.full_path("") });
                }
                return Ok(self);
            };
            let load = if options.skip_load { partial::load_end } else { load_generation };
            match load(backend, options, &manifest) {
                Ok(loaded) => break (manifest, loaded),
                // A checkpoint removed the file after the manifest was read: the new manifest names another.
                Err(error)
                    if is_missing(&error)
                        && attempt < ATTEMPTS
                        && read_manifest(backend)?.as_ref() != Some(&manifest) => {}
                Err(error) => return Err(error),
            }
        };
        let stored_version = header.version;
        if stored_version > options.version {
            let path = backend.full_path(&manifest.current_snapshot);
            return Err(Error::NewerVersion { stored: stored_version, requested: options.version, path });
        }
        if options.skip_load {
            partial::check_may_open(backend, options, &manifest, stored_version)?;
        }
        if let Some(name) = options.agent.as_ref().filter(|_| !options.read_only) {
            let id = json::quote(name).as_slice().into();
            state.agent = Some(Agent { id, clock: 0, floor: manifest.clock() });
            state.see_clocks(manifest.clock().max(header.clock.unwrap_or_default()));
            // What stands in others' logs is not its own to take back.
            if manifest.log_of(name).is_none()
                && let Some(agent) = &mut state.agent
            {
                agent.floor = agent.clock;
            }
        }
        Ok(Opening { manifest: Some(manifest), stored_version, state, scans, ..self })
    }

    /// Starts no threads: what is due is done by who waits for it. For callers who decide about every step.
    pub fn without_threads(self) -> Self {
        Opening { inline: true, ..self }
    }

    /// Version of the stored records; the one asked for where there are none.
    pub fn version(&self) -> u64 {
        self.stored_version
    }

    /// Version of the stored records where it is older than the one asked for: they are to be migrated.
    pub fn migrate_from(&self) -> Option<u64> {
        // Records that are not loaded are not migrated.
        (self.stored_version < self.options.version && !self.options.skip_load).then_some(self.stored_version)
    }

    /// Records from a position on, about `bytes` of them.
    pub fn page(&self, start: u64, bytes: usize) -> Page {
        super::read::page(&self.state, start, bytes)
    }

    /// Archive segments whose records are older than the version asked for, with their paths.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn old_segments(&self) -> Result<Vec<(String, Segment)>> {
        let paths = self.manifest.iter().flat_map(|manifest| manifest.archive_segments.iter());
        let mut old = Vec::new();
        for path in paths {
            let segment = super::load_archive(&*self.backend, std::slice::from_ref(path), path)?;
            if segment.version < self.options.version {
                old.push((path.clone(), segment));
            }
        }
        Ok(old)
    }

    /// Mends what must be mended, stores what was migrated, and starts the writer.
    ///
    /// `wake` is called from other threads when there are results; see [`Store::settled`].
    ///
    /// # Errors
    /// `Io`, and `Invalid` for a migration of another number of records. The store on disk opens as before.
    pub fn start(mut self, migration: Migration, wake: Wake) -> Result<(Store, RecoveryReport)> {
        if self.options.agent.is_some() && !self.options.read_only {
            return self.start_agent(migration, wake);
        }
        let migrating = self.migrate_from().is_some();
        self.take_migrated(&migration.values)?;
        let (mut manifest, mut fold) = (self.manifest.take(), false);
        if !self.options.read_only {
            self.backend.create_dirs()?;
            match &manifest {
                None => {
                    let created = create_store(&*self.backend, self.options.version)?;
                    // A first open that crashed before it had a manifest has left its files.
                    remove_leftovers(&*self.backend, &created, false);
                    manifest = Some(created);
                }
                Some(existing) => {
                    if self.options.skip_load && partial::is_cleared(&*self.backend, &existing.active_ops)? {
                        self.backend.create(&existing.active_ops)?.sync()?;
                        self.backend.sync_dir(names::OPS)?;
                    }
                    for scan in &mut self.scans {
                        if scan.report.skipped > 0 {
                            scan.save_copy(&*self.backend)?;
                        }
                        scan.repair(&*self.backend)?;
                    }
                    // ORDER: whoever wrote this manifest may have been killed before its name was durable. What is
                    // stored from here on counts by it.
                    self.backend.sync_dir("")?;
                    remove_leftovers(&*self.backend, existing, false);
                    fold = existing.active_agent_ops.is_some() || migrating;
                }
            }
        }
        let Some(manifest) = manifest else {
            return Err(Error::NoStore { path: self.backend.full_path("") });
        };
        let report = self.report();
        let log = if self.options.read_only { None } else { Some(self.open_log(&manifest)?) };
        let shared = Arc::new(self.into_shared(manifest, log, wake));
        if fold {
            fold_at_open(&shared, migration.segments)?;
        }
        Ok((Store::run_by(shared)?, report))
    }

    /// What recovery found.
    pub(super) fn report(&self) -> RecoveryReport {
        let reports = self.scans.iter().map(|scan| scan.report.clone());
        RecoveryReport { logs: reports.filter(|report| report.skipped > 0 || report.cut > 0).collect() }
    }

    pub(super) fn take_migrated(&mut self, values: &[Text]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let records: Vec<(u64, Text)> =
            self.state.records.iter_from(0).map(|(position, record)| (position, record.id_text())).collect();
        if records.len() != values.len() {
            return Err(Error::Invalid {
                message: format!("migrate gave {} values for {} records", values.len(), records.len()),
            });
        }
        for ((position, id), value) in records.iter().zip(values) {
            self.state.records.put(*position, id, value);
        }
        Ok(())
    }

    /// Opens the log for appending, with the places of its lines.
    fn open_log(&self, manifest: &Manifest) -> Result<Log> {
        let path = manifest.logs().into_iter().next().unwrap_or_else(|| manifest.active_ops.clone());
        let mut file = self.backend.open(&path)?;
        let len = self.backend.stat(&path)?.len;
        // What a killed writer had not made durable yet is seen from now on, and must not go any more.
        if self.options.durability == super::Durability::Fsync && len > 0 {
            file.sync()?;
        }
        let single = if manifest.active_agent_ops.is_none() { self.scans.first() } else { None };
        let marks = single.map_or_else(VecDeque::new, |scan| {
            let marks = (1..).zip(&scan.ops);
            marks.map(|(seq, op)| LineMark { seq, offset: op.from, batch: op.batch }).collect()
        });
        let mut log = Log::new(path, file, len, marks);
        if manifest.active_agent_ops.is_none() && self.options.syncs_each() {
            log.make_room_after(self.options.room_after);
        }
        Ok(log)
    }

    pub(super) fn into_shared(self, manifest: Manifest, log: Option<Log>, wake: Wake) -> Shared {
        let ops = self.state.history.len() as u64;
        let reader = self.options.read_only && !self.options.skip_load;
        let several = match self.several {
            None if reader => Several::of_reader(&manifest, &self.scans, &self.state.history),
            several => several,
        };
        let follow = if self.options.read_only { Follow::new(&self.scans) } else { None };
        let stored = log.as_ref().filter(|_| self.options.skip_load).map(|log| Stored::new(&manifest, log));
        let inner = Inner {
            state: self.state,
            phase: Phase::Open,
            failed: None,
            queue: VecDeque::new(),
            batch: None,
            last_ticket: 0,
            barrier: 0,
            since_checkpoint: ops,
            // Records that were not loaded would be missing in a checkpoint.
            threshold: if self.options.skip_load { Some(u64::MAX) } else { self.options.checkpoint_threshold },
            holds: self.options.write_mode != super::WriteMode::Async,
            records_at_checkpoint: manifest.stats.active_records,
            buffered: 0,
            unsynced_since: None,
            job: None,
            parked: VecDeque::new(),
            job_result: None,
            checkpoint_retry_at: None,
            checkpoint_error: None,
            background_error: None,
            untold_through: None,
            unsynced: VecDeque::new(),
            sync_now: false,
            lent: false,
            relayed: 0,
            retry_at: None,
            kicked: false,
            armed: false,
            urgent: false,
            taking: super::intake::Taking::default(),
            notices: Vec::new(),
            through: 0,
            outcomes: Vec::new(),
            changed: Vec::new(),
            manifest: Arc::new(manifest.clone()),
            metrics: Metrics::default(),
        };
        let gauge = Gauge::default();
        if let Some(log) = &log {
            gauge.note(log, 0);
        }
        Shared {
            backend: self.backend,
            options: self.options,
            stored,
            disk: Mutex::new(Disk {
                log,
                manifest,
                lock: self.lock,
                follow,
                encoded: Encoded::default(),
                removing: Vec::new(),
                several,
                external: None,
            }),
            inner: Mutex::new(inner),
            work: Condvar::new(),
            ended: Condvar::new(),
            wake,
            waiting: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            external: false,
            inline: self.inline,
            relay: super::relay::Relay::default(),
            intake: std::sync::OnceLock::new(),
            gauge,
        }
    }
}

pub(super) fn is_missing(error: &Error) -> bool {
    error.is_not_found() || matches!(error, Error::SnapshotMissing { .. })
}

/// The manifest; `None` where there is no store yet.
pub(super) fn read_manifest(backend: &dyn StorageBackend) -> Result<Option<Manifest>> {
    parse_manifest(backend, read_all(backend, names::MANIFEST))
}

/// The manifest of a store that there must be, and which file it was.
pub(super) fn pin_manifest(backend: &dyn StorageBackend) -> Result<(Manifest, Box<dyn Pinned>)> {
    let (bytes, pinned) = match backend.pin(names::MANIFEST) {
        Ok((bytes, pinned)) => (Ok(bytes), Some(pinned)),
        Err(error) => (Err(error), None),
    };
    match (parse_manifest(backend, bytes)?, pinned) {
        (Some(manifest), Some(pinned)) => Ok((manifest, pinned)),
        _ => Err(Error::NoStore { path: backend.full_path("") }),
    }
}

fn parse_manifest(backend: &dyn StorageBackend, bytes: Result<Vec<u8>>) -> Result<Option<Manifest>> {
    let path = backend.full_path(names::MANIFEST);
    let what = match bytes {
        Ok(bytes) if !bytes.is_empty() => return Manifest::parse(&bytes, &path).map(Some),
        Ok(_) => "empty",
        Err(error) if error.is_not_found() => "missing",
        Err(error) => return Err(error),
    };
    let Some(data) = find_data(backend)? else { return Ok(None) };
    // Another process may have made the store since.
    if let Ok(bytes) = read_all(backend, names::MANIFEST)
        && !bytes.is_empty()
    {
        return Manifest::parse(&bytes, &path).map(Some);
    }
    Err(Error::corrupt(
        path,
        format!(
            "The manifest is {what}, but there is data beside it ({data}). Nothing was changed; \
             restore the manifest from a backup"
        ),
    ))
}

/// A file that holds records or operations, if there is any.
fn find_data(backend: &dyn StorageBackend) -> Result<Option<String>> {
    for folder in [names::SNAPSHOTS, names::OPS, names::ARCHIVE] {
        for entry in backend.list(folder)? {
            let path = format!("{folder}/{}", entry.name);
            let holds_data = match names::kind(&entry.name) {
                names::Kind::Temporary => false,
                names::Kind::Snapshot => {
                    let mut records = 0;
                    let snapshot = snapshot::Reader::open(backend, &path, 0);
                    let read = snapshot.and_then(|snapshot| snapshot.each(|_, _, _| records += 1));
                    // One that cannot be read may hold anything, except an empty file.
                    entry.stat.len > 0 && (records > 0 || read.is_err())
                }
                names::Kind::Ops | names::Kind::AgentOps => entry.stat.len > 0,
                // Segments, and what recovery saved; not somebody's notes.
                names::Kind::Other => entry.stat.len > 0 && is_derived(folder, &entry.name),
            };
            if holds_data {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// True for an archive segment, and for what recovery saves beside a log.
fn is_derived(folder: &str, name: &str) -> bool {
    match folder {
        names::ARCHIVE => name.starts_with("archive-"),
        names::OPS => name.starts_with("ops-") || name.starts_with("agent-"),
        _ => false,
    }
}

/// The header of the snapshot, the state, and the logs that led to it.
pub(super) type Generation = (snapshot::Header, State, Vec<Scan>);

/// Reads the snapshot and the logs that a manifest names.
pub(super) fn load_generation(
    backend: &dyn StorageBackend,
    options: &Options,
    manifest: &Manifest,
) -> Result<Generation> {
    check_paths(backend, manifest)?;
    let mut state = State::default();
    let header = load_snapshot(backend, manifest, &mut state.records);
    let header = header.map_err(|error| snapshot_error(backend, manifest, error))?;
    let skip = options.on_damage == super::OnDamage::Skip;
    let read = |log: &String| {
        if options.is_beside_writers() { scan_beside_writer(backend, log, 0, skip) } else { scan(backend, log, skip) }
    };
    let scans = manifest.logs().iter().map(read).collect::<Result<Vec<_>>>()?;
    for op in merged(&scans, manifest.active_agent_ops.is_some()) {
        state.replay(&op.id, op.data.clone(), op.logged.clone());
    }
    Ok((header, state, scans))
}

fn load_snapshot(backend: &dyn StorageBackend, manifest: &Manifest, records: &mut Records) -> Result<snapshot::Header> {
    let path = &manifest.current_snapshot;
    let reader = snapshot::Reader::open(backend, path, manifest.stats.active_records)?;
    let header = reader.header().clone();
    // A count that cannot be true is found out at the end; until then it must not ask for memory.
    let len = backend.stat(path)?.len;
    let count = header.count.unwrap_or(manifest.stats.active_records).min(len / LEAST_LINE);
    let mut loader = Loader::new(records, usize::try_from(count).unwrap_or_default());
    let packer = loader.packer();
    let alone = if len < ALONE { Some((reader, packer)) } else { load_by_two(reader, packer, &mut loader)? };
    if let Some((reader, packer)) = alone {
        pack(reader, packer, |piece| loader.take_in(piece))?;
    }
    Ok(header)
}

/// This thread reads and checks, another one puts in. (That way round, what is freed on the way was this one's: memory
/// that a thread leaves behind is not given back soon.) Answers with what it was given where there is no other thread to
/// be had.
fn load_by_two(
    reader: snapshot::Reader,
    packer: Packer,
    loader: &mut Loader<'_>,
) -> Result<Option<(snapshot::Reader, Packer)>> {
    std::thread::scope(|scope| {
        let (sender, pieces) = std::sync::mpsc::sync_channel::<Vec<Piece>>(AHEAD);
        let putting = std::thread::Builder::new().name("opslog-load".to_owned());
        let take_in = move || pieces.into_iter().flatten().for_each(|piece| loader.take_in(piece));
        let Ok(putting) = putting.spawn_scoped(scope, take_in) else { return Ok(Some((reader, packer))) };
        let mut loads = Loads::default();
        // Where nobody takes pieces in any more, that has a reason of its own.
        let send = |load| drop(sender.send(load));
        let read = pack(reader, packer, |piece| loads.push(piece, send));
        send(loads.finish());
        drop(sender);
        let failed = |_| Error::Failed { message: "Loading the snapshot failed unexpectedly".to_owned(), cause: None };
        putting.join().map_err(failed).and(read).map(|()| None)
    })
}

/// Reads a snapshot into pieces.
fn pack(reader: snapshot::Reader, mut packer: Packer, mut full: impl FnMut(Piece)) -> Result<()> {
    reader.each(|_, id, value| packer.push(id, value, &mut full))?;
    packer.finish().into_iter().for_each(full);
    Ok(())
}

/// Refuses a manifest whose paths leave the store, or that names a superseded file as the current one.
pub(super) fn check_paths(backend: &dyn StorageBackend, manifest: &Manifest) -> Result<()> {
    let logs = manifest.logs();
    let escapes = std::iter::once((&manifest.current_snapshot, names::SNAPSHOTS))
        .chain(logs.iter().map(|log| (log, names::OPS)))
        .find(|(path, folder)| !names::is_inside(path, folder));
    if let Some((path, _)) = escapes {
        let message = format!("Invalid manifest: path leaves the store: {path}");
        return Err(Error::corrupt(backend.full_path(names::MANIFEST), message));
    }
    // A damaged name may be the one of the file before: that one would be read, and the current one removed.
    let previous = &manifest.previous;
    let superseded = previous.snapshot.as_ref().filter(|path| **path == manifest.current_snapshot).or_else(|| {
        let superseded = previous.ops.iter().map(|log| &log.path);
        superseded.into_iter().find(|path| logs.contains(path))
    });
    if let Some(path) = superseded {
        let message = format!("Invalid manifest: both current and superseded: {path}");
        return Err(Error::corrupt(backend.full_path(names::MANIFEST), message));
    }
    Ok(())
}

/// An error of reading the snapshot that a manifest names; that it is missing has words of its own.
pub(super) fn snapshot_error(backend: &dyn StorageBackend, manifest: &Manifest, error: Error) -> Error {
    if error.is_not_found() {
        let name = manifest.current_snapshot.clone();
        Error::SnapshotMissing { path: backend.full_path(&name), name }
    } else {
        error
    }
}

/// Operations of all logs in the order in which they count: as they stand, or, of `several` agents, by clock and agent. One
/// that stands in two logs is one.
pub(super) fn merged(scans: &[Scan], several: bool) -> Vec<&Loaded> {
    let mut ops: Vec<&Loaded> = scans.iter().flat_map(|scan| &scan.ops).collect();
    if several {
        ops.sort_by_cached_key(|op| state::place(op.logged.origin.as_ref()));
        ops.dedup_by(|op, before| op.is_copy(before));
    }
    ops
}

/// Makes the files of an empty store.
pub(super) fn create_store(backend: &dyn StorageBackend, version: u64) -> Result<Manifest> {
    let current_snapshot = write_snapshot(backend, &snapshot::Header::new(version, 0), None, |_| Ok(false))?;
    let (active_ops, mut file) = create_numbered(backend, names::ops)?;
    file.sync()?;
    backend.sync_dir(names::OPS)?;
    let now = clock::iso(clock::now_ms());
    let manifest = Manifest {
        version,
        current_snapshot,
        active_ops,
        active_agent_ops: None,
        archive_segments: Vec::new(),
        stats: ManifestStats {
            active_records: 0,
            archived_records: 0,
            ops_count: 0,
            created: now.clone(),
            last_checkpoint: now,
            other: serde_json::Map::new(),
        },
        previous: Previous::default(),
        other: serde_json::Map::new(),
    };
    backend::replace(backend, names::MANIFEST, &manifest.to_bytes())?;
    Ok(manifest)
}

/// Stores what a migration changed, or what several logs held, as a new generation with one log.
pub(super) fn fold_at_open(shared: &Arc<Shared>, segments: Vec<(String, Segment)>) -> Result<()> {
    let backend = &*shared.backend;
    let mut disk = shared.disk();
    let (through, count) = {
        let mut inner = shared.inner();
        (inner.state.last_seq(), inner.begin_moment(0))
    };
    // The snapshot gets the new version; the manifest changes last, so that a crash leaves the old generation.
    let mut prepared = Vec::with_capacity(segments.len());
    let written = segments.iter().try_for_each(|(path, segment)| {
        let bytes = segment.to_bytes(&clock::iso(clock::now_ms()));
        prepared.push((backend::write_temporary(backend, path, &bytes)?, path.clone()));
        Ok(())
    });
    let job = Job { through, count, waiting: Vec::new(), asked: true, tries: 0, base: String::new() };
    let published = written.and_then(|()| shared.write_snapshot(count)).and_then(|snapshot| {
        let count = |count: &dyn Fn() -> Result<()>| {
            // A segment says which version its records have: one that was renamed before a crash is not migrated twice.
            prepared.iter().try_for_each(|((temporary, _), path)| backend.rename(temporary, path))?;
            if !prepared.is_empty() {
                backend.sync_dir(names::ARCHIVE)?;
            }
            count().map(|()| true)
        };
        shared.publish(&mut disk, &job, snapshot, true, |_| {}, count).and_then(|published| {
            if published == Published::Done {
                return Ok(());
            }
            let message = "Another agent made a checkpoint while this one was being stored. Open again.".to_owned();
            Err(Error::Failed { message, cause: None })
        })
    });
    shared.inner().state.moment = None;
    if published.is_err() {
        prepared.iter().for_each(|((temporary, _), _)| discard(backend, temporary));
    }
    published
}

/// Removes what a crash left: temporary files, and snapshots and logs that no manifest names. Best effort: what stays
/// costs space only. `several`: other agents are at work.
pub(super) fn remove_leftovers(backend: &dyn StorageBackend, manifest: &Manifest, several: bool) {
    let Ok(published) = backend.stat(names::MANIFEST) else {
        return;
    };
    let mut named = manifest.logs();
    named.push(manifest.active_ops.clone());
    named.push(manifest.current_snapshot.clone());
    named.extend(manifest.previous.snapshot.clone());
    let previous = &manifest.previous;
    named.extend(previous.ops.iter().chain(&previous.older).map(|file| file.path.clone()));
    for folder in ["", names::SNAPSHOTS, names::OPS, names::ARCHIVE] {
        for entry in backend.list(folder).unwrap_or_default() {
            let path = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
            let older = entry.stat.modified_ns < published.modified_ns;
            let abandoned = || !several || backend.is_abandoned(&path);
            let remove = match names::kind(&entry.name) {
                names::Kind::Temporary if names::is_lock(&entry.name) => {
                    u128::from(clock::now_ms()) * 1_000_000 > entry.stat.modified_ns + LOCK_LEFTOVER_AGE.as_nanos()
                }
                names::Kind::Temporary => true,
                names::Kind::Snapshot => folder == names::SNAPSHOTS && older && !named.contains(&path),
                names::Kind::Ops => folder == names::OPS && older && !named.contains(&path),
                names::Kind::AgentOps => {
                    // One that is younger may be about to be entered, by an agent that knows no lock.
                    let age = u128::from(backend.now_ms()).saturating_sub(entry.stat.modified_ns / 1_000_000);
                    let settled = !several || age > LOCKLESS_MS.into();
                    folder == names::OPS && older && settled && entry.stat.len == 0 && !named.contains(&path)
                }
                names::Kind::Other => false,
            };
            if remove && abandoned() {
                discard(backend, &path);
            }
        }
    }
}
