//! Stores that are opened without their records (`skipLoad`): they open in the same time and memory, whatever they hold.
//!
//! Opening reads the snapshot's header and mends the end of the log; nothing else is looked at until it is read. Callers
//! see only what was written since, and on disk everything is as it would be had the records been loaded: what an
//! operation replaces is found through an [`Index`] that the first write builds. Snapshot and log, up to where it ended
//! at open, never change while the store is open: undo reaches the operations of this session only, and there is no
//! checkpoint, which would take the part that callers see for the whole.

use super::index::{Files, Index};
use super::open::{self, Generation};
use super::{Inner, Notice, OnDamage, Options, Shared, Store};
use crate::backend::StorageBackend;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::op::Text;
use crate::format::snapshot;
use crate::log::{Loaded, Log, LogReader, Scan, scan_beside_writer, scan_tail};
use crate::state::{Op, State};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What such a store begins with.
pub(super) fn empty_state(options: &Options) -> State {
    // A reader sees what it has read, and writes nothing.
    if options.skip_load && !options.read_only { State::without_records() } else { State::default() }
}

/// Reads what must be read before a store can be used without its records: the counterpart of
/// [`open::load_generation`].
pub(super) fn load_end(backend: &dyn StorageBackend, options: &Options, manifest: &Manifest) -> Result<Generation> {
    open::check_paths(backend, manifest)?;
    let snapshot = snapshot::Reader::open(backend, &manifest.current_snapshot, manifest.stats.active_records)
        .map_err(|error| open::snapshot_error(backend, manifest, error))?;
    let read = |log: &String| {
        if is_cleared(backend, log)? {
            Ok(Scan { path: log.clone(), ..Scan::default() })
        } else if options.read_only {
            // It is there and can be read. What it holds is told when it is followed.
            backend.read(log, 0).map(|_| Scan { path: log.clone(), ..Scan::default() })
        } else {
            scan_tail(backend, log, options.on_damage == OnDamage::Skip)
        }
    };
    let scans = manifest.logs().iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok((snapshot.header().clone(), empty_state(options), scans))
}

/// True if somebody has removed all logs.
///
/// COMPAT: `@backloghq/agentdb` does so at the end of each session in its disk mode, whose records it keeps elsewhere;
/// upstream takes the log for an empty one. One log that is missing among others is damage.
pub(super) fn is_cleared(backend: &dyn StorageBackend, log: &str) -> Result<bool> {
    match backend.stat(log) {
        Err(error) if error.is_not_found() => Ok(backend.list(names::OPS)?.is_empty()),
        other => other.map(|_| false),
    }
}

/// Refuses stores that cannot be written before their records have been loaded once.
pub(super) fn check_may_open(
    backend: &dyn StorageBackend,
    options: &Options,
    manifest: &Manifest,
    stored_version: u64,
) -> Result<()> {
    let needs_load = |why: String, path: &str| Err(Error::NeedsLoad { why, path: backend.full_path(path) });
    if options.read_only {
        return Ok(());
    }
    if manifest.active_agent_ops.is_some() {
        let why = "the operations of several writers have to be put together first".to_owned();
        return needs_load(why, names::MANIFEST);
    }
    if stored_version < options.version {
        // Old and new records in one log would all be migrated at the next open, the new ones once more.
        let why =
            format!("its records have version {stored_version} and have to be migrated to {} first", options.version);
        return needs_load(why, &manifest.current_snapshot);
    }
    Ok(())
}

/// What is stored, in a store that was opened for writing without its records.
pub(super) struct Stored {
    files: Files,
    /// Built by the first write.
    index: Mutex<Option<Arc<Index>>>,
}

impl Stored {
    pub(super) fn new(manifest: &Manifest, log: &Log) -> Self {
        let files = Files {
            snapshot: manifest.current_snapshot.clone(),
            least: manifest.stats.active_records,
            log: log.path().to_owned(),
            end: log.end(),
        };
        Stored { files, index: Mutex::new(None) }
    }

    /// The value of a record when the store was opened.
    fn find(&self, shared: &Shared, id: &[u8]) -> Result<Option<Text>> {
        let index = {
            let mut built = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            match &*built {
                Some(index) => index.clone(),
                None => {
                    let skip = shared.options.on_damage == OnDamage::Skip;
                    let index = Arc::new(Index::build(&*shared.backend, self.files.clone(), skip)?);
                    shared.tell_skipped(index.skipped, &self.files.log);
                    built.insert(index).clone()
                }
            }
        };
        index.find(&*shared.backend, id)
    }
}

impl Shared {
    /// Lets the state know what is stored under an id before an operation changes it. Reads files where that is not
    /// known yet, with the state unlocked.
    pub(super) fn with_stored<'a>(&'a self, inner: MutexGuard<'a, Inner>, id: &[u8]) -> Result<MutexGuard<'a, Inner>> {
        let Some(stored) = &self.stored else { return Ok(inner) };
        if inner.state.knows(id) {
            return Ok(inner);
        }
        drop(inner);
        let found = stored.find(self, id)?;
        let mut inner = self.inner();
        inner.check_writable(self.options.read_only)?;
        if let Some(value) = found {
            // Does nothing if an operation on the record was called meanwhile, which knew it.
            inner.state.remember(id, value);
        }
        Ok(inner)
    }

    /// Refuses what would take the records that callers see for all that there are.
    pub(super) fn check_loaded(&self) -> Result<()> {
        if self.options.skip_load { Err(Error::NotLoaded) } else { Ok(()) }
    }

    fn tell_skipped(&self, skipped: u64, log: &str) {
        if skipped > 0 {
            let message = format!("skipped {skipped} malformed line(s) in {}", self.backend.full_path(log));
            self.inner().notices.push(Notice { message: message.into(), error: None });
            self.wake();
        }
    }
}

/// All operations of a log, in order and in bounded memory.
pub struct LogStream {
    shared: Arc<Shared>,
    /// Those that were not loaded, and their log.
    logged: Option<(LogReader, String)>,
    /// Those in memory, which follow.
    ops: std::vec::IntoIter<Arc<Op>>,
}

/// An operation of a [`LogStream`].
pub enum Streamed {
    /// It was read from the file.
    Logged(Box<Loaded>),
    /// It was in memory.
    Held(Arc<Op>),
}

impl Streamed {
    /// Appends it as callers see it.
    pub fn push_shown(&self, out: &mut Vec<u8>) {
        match self {
            Streamed::Logged(op) => op.push_shown(out),
            Streamed::Held(op) => op.push_shown(out),
        }
    }
}

impl LogStream {
    /// The next operation; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` for an invalid line inside a log of ours, `Io`.
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<Streamed>> {
        if let Some((log, path)) = &mut self.logged {
            if let Some(op) = log.next()? {
                return Ok(Some(Streamed::Logged(Box::new(op))));
            }
            self.shared.tell_skipped(log.skipped(), path);
            self.logged = None;
        }
        Ok(self.ops.next().map(Streamed::Held))
    }
}

impl Store {
    /// Opens the log for reading: all operations since the last checkpoint, those that were not loaded and those that
    /// are not written yet included. With the snapshot they give the present state; of a reader, the state at its last
    /// look or a later one.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn log_stream(&self) -> Result<LogStream> {
        let shared = &self.shared;
        let skip = shared.options.on_damage == OnDamage::Skip;
        let backend = &shared.backend;
        let (logged, ops) = match &shared.stored {
            Some(stored) => {
                let ops = self.history();
                let Files { log, end, .. } = &stored.files;
                (Some((LogReader::open(&**backend, log, *end, skip)?, log.clone())), ops)
            }
            None if shared.options.skip_load => {
                let manifest = self.manifest();
                if manifest.active_agent_ops.is_some() {
                    (None, all_agents(&**backend, &manifest, skip)?)
                } else {
                    let log = &manifest.active_ops;
                    let cleared = is_cleared(&**backend, log)?;
                    let reader = || LogReader::beside_writer(backend.clone(), log, skip);
                    (if cleared { None } else { Some((reader()?, log.clone())) }, Vec::new())
                }
            }
            None => (None, self.history()),
        };
        Ok(LogStream { shared: shared.clone(), logged, ops: ops.into_iter() })
    }
}

/// The operations of several agents in their order, which takes them all.
fn all_agents(backend: &dyn StorageBackend, manifest: &Manifest, skip: bool) -> Result<Vec<Arc<Op>>> {
    let scans: Vec<Scan> =
        manifest.logs().iter().map(|log| scan_beside_writer(backend, log, 0, skip)).collect::<Result<_>>()?;
    let mut state = State::default();
    for op in open::merged(&scans, true) {
        state.replay(&op.id, op.data.clone(), op.logged.clone());
    }
    Ok(state.history.into())
}
