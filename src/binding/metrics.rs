//! Exports for those who watch a store: sizes, what has been done, how far a long call has come. See `lib/observe.js`.

use super::registry::with;
use super::store::number;
use crate::backend::fs::FsBackend;
use crate::store::{Store, bytes_to_read};
use hashbrown::HashMap;
use napi_derive::napi;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How far a long call has come: records of a checkpoint, bytes that `load` reads.
#[napi(object)]
pub struct Progress {
    pub done: f64,
    pub total: f64,
}

/// What has been done since a store was opened.
#[napi(object)]
pub struct Activity {
    pub commits: f64,
    pub operations: f64,
    pub bytes: f64,
    pub checkpoints: f64,
    /// How long the last one took, in milliseconds.
    pub checkpoint_ms: f64,
    pub checkpoint: Progress,
}

#[napi(object)]
pub struct Sizes {
    /// Absent in a read-only store, and where somebody else keeps the files.
    pub log_bytes: Option<f64>,
    pub live_bytes: f64,
    pub pending_writes: f64,
    /// Absent before the first.
    pub last_sync_ms: Option<f64>,
    pub last_checkpoint: String,
}

/// Bytes that a `load` has read, and those that it will read.
type Watched = Arc<(Arc<AtomicU64>, AtomicU64)>;

static WATCHED: LazyLock<Mutex<HashMap<u32, Watched>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn watched() -> MutexGuard<'static, HashMap<u32, Watched>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The backend, with what it reads counted if somebody watches.
pub(super) fn watched_backend(backend: FsBackend, number: Option<u32>) -> FsBackend {
    let Some(watch) = number.and_then(|number| watched().get(&number).cloned()) else { return backend };
    watch.1.store(bytes_to_read(&backend), Ordering::Relaxed);
    backend.counting(watch.0.clone())
}

/// The number under which a `load` tells how far it has come.
#[napi(catch_unwind)]
pub fn begin_watch() -> u32 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    watched().insert(number, Watched::default());
    number
}

/// How far a watched `load` has come.
#[napi(catch_unwind)]
pub fn load_progress(watch: u32) -> Option<Progress> {
    let watch = watched().get(&watch).cloned()?;
    let (done, total) = (watch.0.load(Ordering::Relaxed), watch.1.load(Ordering::Relaxed));
    // The end of a log that somebody writes is read twice.
    Some(Progress { done: number(done.min(total)), total: number(total) })
}

#[napi(catch_unwind)]
pub fn end_watch(watch: u32) {
    watched().remove(&watch);
}

#[napi(catch_unwind)]
pub fn activity(handle: u32) -> Option<Activity> {
    let activity = with(handle, Store::activity)?;
    Some(Activity {
        commits: number(activity.commits),
        operations: number(activity.operations),
        bytes: number(activity.bytes),
        checkpoints: number(activity.checkpoints),
        checkpoint_ms: milliseconds(activity.checkpoint_took),
        checkpoint: Progress { done: number(activity.checkpoint.done), total: number(activity.checkpoint.total) },
    })
}

#[napi(catch_unwind)]
pub fn sizes(handle: u32) -> Option<Sizes> {
    let sizes = with(handle, Store::sizes)?;
    Some(Sizes {
        log_bytes: sizes.log_bytes.map(number),
        live_bytes: number(sizes.live_bytes),
        pending_writes: number(sizes.pending_writes),
        last_sync_ms: sizes.last_sync.map(milliseconds),
        last_checkpoint: sizes.last_checkpoint,
    })
}
