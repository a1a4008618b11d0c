//! What the engine's tests share: a naive model of a store, calls as data, and a disk that fails by rule.
#![allow(dead_code, unreachable_pub, reason = "every test file compiles this for itself and uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

pub mod buffered;
pub mod faulty;
pub mod intake;
pub mod model;

use opslog_native::Result;
use opslog_native::backend::StorageBackend;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Accepted, Migration, Opening, Options, RecoveryReport, Store, Ticket, Value};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

pub use model::{Change, Step};

/// Opens a store without a migration.
pub fn open(backend: impl StorageBackend + 'static, options: &Options) -> Result<(Store, RecoveryReport)> {
    Opening::load(Arc::new(backend), options.clone())?.start(Migration::default(), Box::new(|| {}))
}

/// Opens a store that must open.
pub fn opened(backend: impl StorageBackend + 'static, options: &Options) -> Store {
    open(backend, options).unwrap_or_else(|error| panic!("the store must open: {error}")).0
}

/// Stops the test run if a test hangs: a lost wake-up shall be a failure with a name, not a run without end.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn new(name: &'static str, seconds: u64) -> Self {
        let (alive, ended) = channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{name}: hangs for {seconds} s");
                std::process::abort();
            }
        });
        Watchdog { _alive: alive }
    }
}

/// Runs many cases and fails at the end with all that failed, not at the first.
#[derive(Default)]
pub struct Cases(Vec<String>);

impl Cases {
    /// Runs one case; `None` if it failed.
    pub fn run<T>(&mut self, case: impl FnOnce() -> T) -> Option<T> {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case));
        run.inspect_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            self.0
                .push(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default());
        })
        .ok()
    }
}

impl Drop for Cases {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{} cases failed:\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}

/// JSON text of a string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The elements of an array, as they stand.
pub fn raw(json: &[u8]) -> Vec<String> {
    let values: Vec<Box<RawValue>> = serde_json::from_slice(json).unwrap();
    values.iter().map(|value| value.get().to_owned()).collect()
}

/// All records in order, as JSON texts.
pub fn records(store: &Store) -> Vec<(String, String)> {
    store.take_in();
    let (mut found, mut start) = (Vec::new(), Some(0));
    while let Some(at) = start {
        let page = store.page(at, 300);
        found.extend(raw(&page.ids).into_iter().zip(raw(&page.values)));
        start = page.next;
    }
    assert_eq!(store.count(), found.len() as u64);
    found
}

/// All operations since the last checkpoint as callers see them, without their timestamps.
pub fn history(store: &Store) -> Vec<String> {
    store.take_in();
    shown(|start| store.operations(None, start, 300))
}

/// Operations of one record, without their timestamps.
pub fn history_of(store: &Store, id: &str) -> Vec<String> {
    store.take_in();
    shown(|start| store.operations(Some(id.as_bytes()), start, 300))
}

fn shown(read: impl Fn(u64) -> (Vec<u8>, Option<u64>)) -> Vec<String> {
    let (mut found, mut start) = (Vec::new(), Some(0));
    while let Some(at) = start {
        let (json, next) = read(at);
        found.extend(raw(&json).iter().map(|op| without_time(op)));
        start = next;
    }
    found
}

fn without_time(op: &str) -> String {
    let rest = op.strip_prefix("{\"ts\":\"").expect("ts comes first");
    let (_, rest) = rest.split_once("\",").expect("ts is a string");
    format!("{{{rest}")
}

/// Records of all archive segments, by path.
pub fn archives(store: &Store) -> model::Archives {
    let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
    let segments = store.archive_segments().into_iter();
    segments
        .map(|path| {
            let segment = store.load_archive(&path).unwrap();
            (path, segment.records.iter().map(|(id, value)| (text(id), text(value))).collect())
        })
        .collect()
}

/// Makes the call of a step. `None`: it has ended already.
pub fn call(store: &Store, step: &Step) -> Result<Option<Ticket>> {
    let ticket = |accepted| match accepted {
        Accepted::Done => None,
        Accepted::Through(ticket) | Accepted::Told(ticket) => Some(ticket),
    };
    let change = |change: &Change| match &change.1 {
        Some(value) => store.set(change.0.as_bytes(), value.as_bytes()),
        None => store.delete(change.0.as_bytes()),
    };
    if let Step::Change((id, Some(value))) = step {
        return intake::set(store, id, value).map(ticket);
    }
    // Whatever else is called comes after what was set without a call.
    store.take_in();
    match step {
        Step::Change(one) => change(one).map(ticket),
        Step::Batch(changes, keep) => {
            store.begin_batch()?;
            for one in changes {
                if let Err(error) = change(one) {
                    store.end_batch(false).unwrap();
                    return Err(error);
                }
            }
            store.end_batch(*keep).map(ticket)
        }
        Step::Undo => store.undo().map(Some),
        Step::Compact => store.compact().map(Some),
        Step::Archive(ids, segment) => {
            let ids = ids.iter().map(|id| id.as_bytes().into()).collect();
            store.archive(ids, segment).map(Some)
        }
        Step::Flush(sync) => store.flush(*sync).map(Some),
        Step::Close => store.close().map(Some),
    }
}

/// Waits for what [`call`] returned.
pub fn wait(store: &Store, ticket: Option<Ticket>) -> Result<Value> {
    ticket.map_or(Ok(Value::None), |ticket| store.wait(ticket))
}

/// Makes the call of a step and waits for it.
pub fn run(store: &Store, step: &Step) -> Result<Value> {
    wait(store, call(store, step)?)
}

/// Makes a call that must succeed.
pub fn done(store: &Store, step: Step) -> Value {
    run(store, &step).unwrap_or_else(|error| panic!("{step:?}: {error}"))
}

/// Waits until a condition holds, for what happens in the background.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Closes a store that must close.
pub fn closed(store: Store) {
    done(&store, Step::Close);
}

/// Names of temporary files that are left on a disk.
pub fn temporary_files(disk: &MemoryBackend) -> Vec<String> {
    disk.files().into_iter().filter(|path| path.ends_with(".tmp")).collect()
}

/// Path of the log that the manifest on a disk names.
pub fn log_path(disk: &MemoryBackend) -> String {
    let manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
    manifest["activeOps"].as_str().unwrap().to_owned()
}

/// The log that the manifest on a disk names, as text.
pub fn log_text(disk: &MemoryBackend) -> String {
    String::from_utf8(disk.bytes(&log_path(disk)).unwrap()).unwrap()
}
