//! What the fuzz targets share: a disk in memory that lets no path leave the store, and what must hold of any directory.
//!
//! Whatever the bytes: `open` succeeds or refuses, and a refusal changes nothing. What opened says the same when it is
//! opened again, also after a write that was undone, after a checkpoint and beside a reader.

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::backend::{AgentPlace, Entry, Pinned, Stat, StorageBackend, StorageFile, StoreLock};
use opslog_native::format::{json, names};
use opslog_native::log::Loaded;
use opslog_native::store::{Accepted, Migration, OnDamage, Opening, Options, RecoveryReport, Store, Value};
use opslog_native::{Error, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs a case and checks its greatest use of memory: 128 bytes for each byte of input (a short line becomes an
/// operation in the history, a record, and what the model and the copies of the disk hold of them), and the buffers for
/// files and pages, which are as large whatever the input.
pub fn bounded(input: &[u8], case: impl FnOnce()) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    case();
    let used = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let allowed = 128 * input.len() + 8 * 1024 * 1024;
    assert!(used <= allowed, "{used} bytes for an input of {}", input.len());
}

/// A name that every store here may have.
pub const LOG: &str = "ops/ops-1767323045678.jsonl";
/// A name that every store here may have.
pub const SNAPSHOT: &str = "snapshots/snap-1767323045678.jsonl";
/// A name that every store here may have.
pub const SEGMENT: &str = "archive/archive-2025-Q4.json";

/// An empty snapshot of upstream's.
pub const EMPTY: &[u8] = b"{\"version\":1,\"timestamp\":\"2026-01-02T03:04:05.678Z\"}\n";

/// A manifest that names the files above.
pub fn manifest() -> Vec<u8> {
    format!(
        "{{\"version\":1,\"currentSnapshot\":\"{SNAPSHOT}\",\"activeOps\":\"{LOG}\",\"archiveSegments\":[\"{SEGMENT}\"],\
         \"stats\":{{\"activeRecords\":0,\"archivedRecords\":0,\"opsCount\":0,\"created\":\"c\",\"lastCheckpoint\":\"l\"}}}}"
    )
    .into_bytes()
}

/// A disk with these files.
pub fn disk(files: &[(&str, &[u8])]) -> MemoryBackend {
    let disk = MemoryBackend::new();
    for (path, bytes) in files {
        disk.put(path, bytes);
    }
    disk
}

/// Lines with their checksums put right, so that what a fuzzer changed in them is looked at.
pub fn sealed(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| matches!(byte, b'\n' | b'\t')) {
        let end = line.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\t')).count();
        let (text, end) = line.split_at(line.len() - end);
        let at = text.len().saturating_sub(b",\"crc\":\"00000000\"}".len());
        if text[at..].starts_with(b",\"crc\":\"") {
            let crc = crc32c::crc32c(&text[..at]);
            out.extend_from_slice(&text[..at]);
            out.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}").as_bytes());
        } else {
            out.extend_from_slice(text);
        }
        out.extend_from_slice(end);
    }
    out
}

/// A snapshot with the checksum in its header put right.
pub fn sealed_snapshot(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let at = end.saturating_sub(b"00000000\"}".len());
    if bytes[..at].ends_with(b",\"crc\":\"") && end - at == 10 {
        bytes[at..at + 8].fill(b'0');
        let crc = format!("{:08x}", crc32c::crc32c(&bytes));
        bytes[at..at + 8].copy_from_slice(crc.as_bytes());
    }
    bytes
}

/// Panics where a path would leave the store.
#[derive(Clone)]
struct Guarded(MemoryBackend);

fn check_path(path: &str) {
    let folders = [names::SNAPSHOTS, names::OPS, names::ARCHIVE];
    let inside = names::is_plain(path) || folders.iter().any(|folder| names::is_inside(path, folder));
    assert!(inside, "a path that leaves the store: {path:?}");
}

impl StorageBackend for Guarded {
    fn full_path(&self, path: &str) -> String {
        self.0.full_path(path)
    }

    fn create_dirs(&self) -> Result<()> {
        self.0.create_dirs()
    }

    fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
        check_path(path);
        self.0.read(path, start)
    }

    fn stat(&self, path: &str) -> Result<Stat> {
        check_path(path);
        self.0.stat(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        assert!(folder.is_empty() || names::is_plain(folder), "{folder:?}");
        self.0.list(folder)
    }

    fn create(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        check_path(path);
        self.0.create(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        check_path(path);
        self.0.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_path(from);
        check_path(to);
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        check_path(path);
        self.0.remove(path)
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        assert!(folder.is_empty() || names::is_plain(folder), "{folder:?}");
        self.0.sync_dir(folder)
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>> {
        self.0.lock()
    }

    fn join(&self, agent: &str) -> Result<Box<dyn AgentPlace>> {
        self.0.join(agent)
    }

    fn pin(&self, path: &str) -> Result<(Vec<u8>, Box<dyn Pinned>)> {
        check_path(path);
        self.0.pin(path)
    }

    fn is_abandoned(&self, path: &str) -> bool {
        check_path(path);
        self.0.is_abandoned(path)
    }
}

/// Opens a disk.
///
/// # Errors
/// As [`Opening::load`].
pub fn open(disk: &MemoryBackend, options: &Options) -> Result<(Store, RecoveryReport)> {
    Opening::load(Arc::new(Guarded(disk.clone())), options.clone())?.start(Migration::default(), Box::new(|| {}))
}

/// Records or operations, as texts.
pub type Texts = Vec<Vec<u8>>;

/// Ids and values in turn.
pub fn records(store: &Store) -> Texts {
    let (mut found, mut next) = (Texts::new(), Some(0));
    while let Some(start) = next {
        let page = store.page(start, 1000);
        let ids = json::elements(&page.ids).expect("a page is JSON");
        let values = json::elements(&page.values).expect("a page is JSON");
        assert_eq!(ids.len(), values.len());
        found.extend(ids.into_iter().zip(values).flat_map(|(id, value)| [id.to_vec(), value.to_vec()]));
        next = page.next;
    }
    assert_eq!(store.count() as usize * 2, found.len());
    found
}

/// The operations since the checkpoint, as callers see them.
///
/// # Errors
/// What reading the log ends with.
pub fn operations(store: &Store) -> Result<Texts> {
    let mut stream = store.log_stream()?;
    let mut found = Texts::new();
    while let Some(op) = stream.next()? {
        let mut text = Vec::new();
        op.push_shown(&mut text);
        assert!(json::is_valid(&text), "an operation is shown as JSON");
        found.push(text);
    }
    Ok(found)
}

/// Snapshot and operations, put together by a model that knows nothing of the engine's state.
///
/// # Errors
/// What reading snapshot or log ends with.
pub fn modelled(store: &Store) -> Result<Texts> {
    let mut state: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut set = |id: &[u8], value: Option<&[u8]>| {
        let at = state.iter().position(|(known, _)| known == id);
        match (at, value) {
            (Some(at), Some(value)) => state[at].1 = value.to_vec(),
            (None, Some(value)) => state.push((id.to_vec(), value.to_vec())),
            (Some(at), None) => drop(state.remove(at)),
            (None, None) => {}
        }
    };
    let mut snapshot = store.snapshot_reader()?;
    while let Some((id, value)) = snapshot.next()? {
        set(&id, Some(&value));
    }
    for text in operations(store)? {
        let mut line = Vec::new();
        opslog_native::format::op::push_shown_line(&text, None, None, &mut line).expect("what was shown can be written");
        let op = Loaded::parse(&line[..line.len() - 1]).expect("what was written can be read");
        set(&op.id, op.data.as_deref());
    }
    Ok(state.into_iter().flat_map(|(id, value)| [id, value]).collect())
}

/// All files of a disk.
pub fn files(disk: &MemoryBackend) -> Vec<(String, Option<Vec<u8>>)> {
    disk.files().into_iter().map(|name| (name.clone(), disk.bytes(&name))).collect()
}

fn done(store: &Store, ticket: u64) -> Value {
    store.wait(ticket).expect("nothing fails on a disk in memory")
}

fn write(store: &Store, accepted: Result<Accepted>) {
    if let Accepted::Through(ticket) | Accepted::Told(ticket) = accepted.expect("the store is open") {
        done(store, ticket);
    }
}

/// Opens and closes what may hold anything under a valid checksum, which says that we wrote it: no panic, no more.
pub fn only_open(disk: &MemoryBackend) {
    for (read_only, skip_load) in [(true, false), (true, true), (false, true), (false, false)] {
        if let Ok((store, _)) = open(disk, &Options { read_only, skip_load, ..Options::default() }) {
            drop(operations(&store));
            if !read_only {
                done(&store, store.close().expect("the store is open"));
            }
        }
    }
}

/// Opens a directory in every way and checks what must hold; `flags` choose what is done to it.
pub fn exercise(disk: &MemoryBackend, flags: u8) {
    let on_damage = if flags & 1 == 0 { OnDamage::Reject } else { OnDamage::Skip };
    // Versions that are older than what is asked for are migrated, with values that stay.
    let version = if flags & 2 == 0 { 1 } else { u64::MAX };
    let options = Options {
        checkpoint_threshold: Some(u64::MAX),
        checkpoint_on_close: flags & 4 == 0,
        version,
        on_damage,
        ..Options::default()
    };
    let before = files(disk);

    let reader = Options { read_only: true, ..options.clone() };
    let read = open(disk, &reader).map(|(store, _)| (records(&store), operations(&store).expect("they are loaded")));
    assert_eq!(files(disk), before, "a reader wrote");
    let streamed = open(disk, &Options { skip_load: true, ..reader }).and_then(|(store, _)| modelled(&store));
    assert_eq!(files(disk), before, "a reader without records wrote");
    if let (Ok((records, _)), Ok(streamed)) = (&read, &streamed) {
        assert_eq!(records, streamed, "loaded and streamed records differ");
    }

    // Without writers, and their threads, many more cases fit in a second.
    if flags & 64 == 0 {
        let loaded = Opening::load(Arc::new(Guarded(disk.clone())), options);
        assert_eq!(files(disk), before, "loading changed something");
        assert_eq!(loaded.is_ok(), read.is_ok() || is_no_store(&read), "a writer opens what a reader refuses");
        return;
    }

    // A writer that sees new records only.
    let copy = disk.after_kill();
    if let Ok((store, _)) = open(&copy, &Options { skip_load: true, ..options.clone() }) {
        if let Ok(accepted) = store.set(b"\"\\u0000fuzz\"", b"{\"n\":1}") {
            write(&store, Ok(accepted));
            drop(operations(&store));
            done(&store, store.undo().expect("the store is open"));
        }
        done(&store, store.close().expect("the store is open"));
    }

    let store = match open(disk, &options) {
        Ok((store, _)) => store,
        Err(error) => {
            assert_eq!(files(disk), before, "a refused open changed something: {error}");
            return;
        }
    };
    let found = records(&store);
    match &read {
        Ok((read, _)) => assert_eq!(*read, found, "a reader sees something else"),
        // A fresh store is made for a writer only.
        Err(Error::NoStore { .. }) => assert!(found.is_empty()),
        Err(error) => panic!("a writer opens what a reader refuses: {error}"),
    }
    assert_eq!(modelled(&store).expect("an open store can be read"), found, "the model disagrees");
    for path in store.archive_segments() {
        drop(store.load_archive(&path));
    }
    let history = operations(&store).expect("they are loaded");
    write(&store, store.set(b"\"\\u0000fuzz\"", b"{\"n\":1}"));
    write(&store, store.set(b"\"\\u0000fuzz\"", b"[2]"));
    if flags & 8 != 0 {
        done(&store, store.compact().expect("the store is open"));
        write(&store, store.set(b"\"\\u0000fuzz\"", b"3"));
        write(&store, store.delete(b"\"\\u0000fuzz\""));
        assert_eq!(without_fuzz(&records(&store)), without_fuzz(&found), "after a checkpoint");
    } else {
        for _ in 0..2 {
            assert_eq!(done(&store, store.undo().expect("the store is open")), Value::Bool(true));
        }
        assert_eq!(records(&store), found, "after what was undone");
        assert_eq!(operations(&store).expect("they are loaded"), history);
    }
    let last = records(&store);
    done(&store, store.close().expect("the store is open"));
    drop(store);
    let strict = Options { on_damage: if flags & 8 == 0 { on_damage } else { OnDamage::Reject }, ..options };
    let (store, report) = open(disk, &strict).expect("what was closed opens");
    assert_eq!(records(&store), last, "after a restart");
    assert!(report.logs.iter().all(|log| log.cut == 0), "what was mended is sound: {report:?}");
}

fn is_no_store<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::NoStore { .. }))
}

/// Without the record that [`exercise`] writes: the directory may hold one of that name.
fn without_fuzz(records: &Texts) -> Texts {
    let pairs = records.chunks(2).filter(|pair| pair[0] != b"\"\\u0000fuzz\"");
    pairs.flatten().cloned().collect()
}
