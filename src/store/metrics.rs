//! What a store counts of its own work, for those who watch it: `stats()`, events, progress. Nothing depends on it.
//!
//! Counts that change with the queue are kept with it, under its lock, which is held then anyway. What the writer knows
//! of the log stands in atomics, so that nobody who asks waits for I/O.

use super::open::read_manifest;
use super::queue::Item;
use super::{Inner, Notice, Shared, Store};
use crate::backend::StorageBackend;
use crate::error::Error;
use crate::log::Log;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far a checkpoint has come, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that are written.
    pub done: u64,
    /// Records that it holds.
    pub total: u64,
}

/// What has been done since the store was opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Activity {
    /// Appends to the log.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Bytes in them; 0 where somebody else keeps the files.
    pub bytes: u64,
    /// Checkpoints, those of archive calls and of `close` among them.
    pub checkpoints: u64,
    /// How long the last one took.
    pub checkpoint_took: Duration,
    /// The one that is being written, or the last.
    pub checkpoint: Progress,
}

/// Kept with the queue.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    activity: Activity,
    began: Option<Instant>,
    /// Failures that the next call is told as well.
    quiet: Vec<Notice>,
}

impl Metrics {
    pub(super) fn committed(&mut self, operations: u64) {
        self.activity.commits += u64::from(operations > 0);
        self.activity.operations += operations;
    }

    pub(super) fn checkpoint_begins(&mut self, total: u64) {
        self.began = Some(Instant::now());
        self.activity.checkpoint = Progress { done: 0, total };
    }

    pub(super) fn checkpoint_goes_on(&mut self, records: usize) {
        self.activity.checkpoint.done += records as u64;
    }

    pub(super) fn checkpoint_ends(&mut self) {
        self.activity.checkpoints += 1;
        self.activity.checkpoint_took = self.began.take().map(|began| began.elapsed()).unwrap_or_default();
    }

    /// A background failure that is not told on stderr.
    pub(super) fn fails_quietly(&mut self, error: &Error) {
        let message = "buffered writes could not be stored, will be tried again".into();
        self.quiet.push(Notice { message, error: Some(error.clone()) });
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.is_empty()
    }
}

/// What the writer last knew of the log.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    log: AtomicU64,
    appended: AtomicU64,
    /// In nanoseconds; 0 before the first.
    sync: AtomicU64,
}

impl Gauge {
    /// `appended`: bytes that came to it.
    pub(super) fn note(&self, log: &Log, appended: usize) {
        self.log.store(log.end(), Ordering::Relaxed);
        self.appended.fetch_add(appended as u64, Ordering::Relaxed);
        if let Some(took) = log.last_sync() {
            self.sync.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        }
    }
}

/// Sizes and times beyond [`super::Stats`].
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    /// Bytes of the log; `None` in a read-only store, and where somebody else keeps the files.
    pub log_bytes: Option<u64>,
    /// Bytes of the ids and values of the records, as JSON texts.
    pub live_bytes: u64,
    /// Operations that wait to be handed to the operating system.
    pub pending_writes: u64,
    /// How long the last sync of the log took.
    pub last_sync: Option<Duration>,
    /// When the last checkpoint was made: ISO 8601.
    pub last_checkpoint: String,
}

impl Store {
    /// What has been done since the store was opened.
    pub fn activity(&self) -> Activity {
        let bytes = self.shared.gauge.appended.load(Ordering::Relaxed);
        Activity { bytes, ..self.shared.inner().metrics.activity }
    }

    /// Failures since the last look that the next call is told as well.
    pub fn take_quiet_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.shared.inner().metrics.quiet)
    }

    /// Sizes and times. No I/O.
    pub fn sizes(&self) -> Sizes {
        let Shared { gauge, options, external, .. } = &*self.shared;
        let sync = gauge.sync.load(Ordering::Relaxed);
        let inner = self.shared.inner();
        Sizes {
            log_bytes: (!options.read_only && !external).then(|| gauge.log.load(Ordering::Relaxed)),
            live_bytes: inner.state.records.bytes(),
            pending_writes: inner.pending_writes(),
            last_sync: (sync > 0).then_some(Duration::from_nanos(sync)),
            last_checkpoint: inner.manifest.stats.last_checkpoint.clone(),
        }
    }
}

impl Inner {
    /// Operations that are queued to be written.
    pub(super) fn pending_writes(&self) -> u64 {
        self.queue.iter().map(|item| if let Item::Write(write) = item { write.ops.len() as u64 } else { 0 }).sum()
    }
}

/// About how many bytes `open` will read, for those who want to see how far it has come; 0 where that cannot be told.
pub fn bytes_to_read(backend: &dyn StorageBackend) -> u64 {
    let Ok(Some(manifest)) = read_manifest(backend) else { return 0 };
    let files = manifest.logs().into_iter().chain([manifest.current_snapshot.clone()]);
    files.filter_map(|path| backend.stat(&path).ok()).map(|stat| stat.len).sum()
}
