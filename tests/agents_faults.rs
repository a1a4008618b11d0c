//! Calls of agents that the storage lets down: what is rejected has not happened, and others lose nothing by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::backend::StorageBackend;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::format::manifest::Manifest;
use opslog_native::format::{names, snapshot};
use opslog_native::store::{Accepted, Options, Store, Value};
use opslog_native::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::faulty::Faulty;
use support::model::{Step, delete};
use support::{done, opened, quoted, records};

fn agent(backend: &Faulty, name: &str) -> Store {
    let options = Options { agent: Some(name.to_owned()), checkpoint_on_close: false, ..Options::default() };
    opened(backend.clone(), &options)
}

fn set(store: &Store, id: &str) -> Result<Value> {
    match store.set(quoted(id).as_bytes(), b"1")? {
        Accepted::Through(ticket) | Accepted::Told(ticket) => store.wait(ticket),
        Accepted::Done => panic!("an immediate write is never done at once"),
    }
}

fn archive(store: &Store, id: &str) -> Result<Value> {
    let id = quoted(id).as_bytes().into();
    store.archive(vec![id], "s").and_then(|ticket| store.wait(ticket))
}

fn ids(store: &Store) -> Vec<String> {
    let mut ids: Vec<String> = records(store).into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

fn read_only(disk: &MemoryBackend) -> Store {
    opened(disk.clone(), &Options { read_only: true, ..Options::default() })
}

fn manifest(disk: &MemoryBackend) -> Manifest {
    Manifest::parse(&disk.bytes("manifest.json").unwrap(), "manifest.json").unwrap()
}

/// An append counted although its caller was told that it failed: the look at the manifest after it had failed, and the
/// line stayed in a log that the manifest named.
#[test]
fn an_append_that_cannot_be_confirmed_is_taken_off_again() {
    let backend = Faulty::new(MemoryBackend::new());
    let (a, b) = (agent(&backend, "a"), agent(&backend, "b"));
    set(&a, "before").unwrap();
    let mut written = false;
    backend.fail_where(move |call| {
        written |= call.appends() && call.contains("rejected");
        written && call.syscall == "stat" && call.path == "manifest.json"
    });
    assert!(matches!(set(&a, "rejected"), Err(Error::Io { .. })));
    assert_eq!(ids(&a), ["\"before\""], "memory is as if it had not been called");
    backend.work_again();
    assert!(matches!(set(&a, "refused"), Err(Error::Failed { .. })));
    set(&b, "of another").unwrap();
    drop((a, b));
    assert_eq!(ids(&agent(&backend, "a")), ["\"before\"", "\"of another\""]);
}

/// What an archive call that failed had put into the segment was taken out after the lock had been given back: records
/// that another agent had archived meanwhile went with it.
#[test]
fn an_archive_that_cannot_be_published_is_taken_back_before_anybody_else_archives() {
    let backend = Faulty::new(MemoryBackend::new());
    let (a, b) = (agent(&backend, "a"), agent(&backend, "b"));
    for id in ["first", "second", "third"] {
        set(&a, id).unwrap();
    }
    archive(&a, "first").unwrap();
    let disk = backend.disk.clone();
    let before = disk.bytes("archive/archive-s.json").unwrap();
    let (probe, segments) = (disk.join("probe").unwrap(), Arc::new(AtomicU32::new(0)));
    let renamed = segments.clone();
    backend.fail_where(move |call| {
        if call.syscall == "rename" && call.path.starts_with("archive/") {
            renamed.fetch_add(1, Ordering::Relaxed);
            assert!(probe.appending(false).unwrap().is_none(), "the lock is held alone");
        }
        call.syscall == "rename" && call.path == "manifest.json" && renamed.load(Ordering::Relaxed) == 1
    });
    let failed = archive(&a, "second");
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    assert_eq!(segments.load(Ordering::Relaxed), 2, "there and back");
    backend.work_again();
    assert_eq!(disk.bytes("archive/archive-s.json").unwrap(), before);
    assert!(matches!(archive(&b, "third"), Ok(Value::Count(1))));
    let reader = read_only(&disk);
    assert_eq!(ids(&reader), ["\"second\""]);
    let segment: Vec<String> = reader
        .load_archive("s")
        .unwrap()
        .records
        .iter()
        .map(|(id, _)| String::from_utf8(id.to_vec()).unwrap())
        .collect();
    assert_eq!(segment, ["\"first\"", "\"third\""]);
}

/// Clocks began anew where somebody wrote a manifest without the member that keeps them.
#[test]
fn the_snapshot_keeps_the_clock_as_well() {
    let backend = Faulty::new(MemoryBackend::new());
    let a = agent(&backend, "a");
    for _ in 0..3 {
        set(&a, "x").unwrap();
    }
    let ticket = a.compact().unwrap();
    a.wait(ticket).unwrap();
    drop(a);
    let disk = backend.disk.clone();
    let mut written = manifest(&disk);
    let reader = snapshot::Reader::open(&disk, &written.current_snapshot, 0).unwrap();
    assert_eq!(reader.header().clock, Some(3));
    assert!(written.other.shift_remove("clock").is_some());
    disk.put("manifest.json", &written.to_bytes());
    let a = agent(&backend, "a");
    set(&a, "y").unwrap();
    let log = manifest(&disk).logs().into_iter().map(|log| disk.bytes(&log).unwrap()).collect::<Vec<_>>().concat();
    assert!(String::from_utf8(log).unwrap().contains("\"clock\":4"));
}

/// A checkpoint of an agent of upstream's whose machine's clock is behind has a smaller name than the one before it. It
/// was taken for an old manifest written once more, and undone.
#[test]
fn a_checkpoint_with_a_smaller_name_is_not_taken_for_an_earlier_one() {
    let backend = Faulty::new(MemoryBackend::new());
    let disk = backend.disk.clone();
    let a = agent(&backend, "a");
    set(&a, "kept").unwrap();
    for _ in 0..2 {
        // so that a name is free between the two
        std::thread::sleep(Duration::from_millis(3));
        let ticket = a.compact().unwrap();
        a.wait(ticket).unwrap();
    }
    let before = manifest(&disk);
    let number = names::number(&before.current_snapshot).unwrap();
    assert!(before.previous.snapshot.as_deref().and_then(names::number) < Some(number - 1));
    let behind = names::snapshot(number - 1);
    disk.put(
        &behind,
        b"{\"version\":1,\"timestamp\":\"t\"}\n{\"id\":\"theirs\",\"data\":1}\n{\"id\":\"kept\",\"data\":1}\n",
    );
    let theirs = Manifest { current_snapshot: behind.clone(), other: serde_json::Map::new(), ..before };
    disk.put("manifest.json", &theirs.to_bytes());
    a.refresh().unwrap();
    assert_eq!(ids(&a), ["\"kept\"", "\"theirs\""]);
    set(&a, "after").unwrap();
    assert_eq!(manifest(&disk).current_snapshot, behind);
}

/// An agent appended by a manifest of its own whose directory could not be synced: a second try took the name for durable.
#[test]
fn nothing_is_appended_by_a_manifest_that_may_not_last() {
    let backend = Faulty::new(MemoryBackend::new());
    let (a, b) = (agent(&backend, "a"), agent(&backend, "b"));
    set(&a, "before").unwrap();
    let ticket = b.compact().unwrap();
    b.wait(ticket).unwrap();
    backend.fail_where(|call| call.syscall == "fsync" && call.path.is_empty());
    for _ in 0..3 {
        assert!(matches!(set(&a, "rejected"), Err(Error::Io { .. })));
    }
    backend.work_again();
    set(&a, "told").unwrap();
    let after = read_only(&backend.disk.after_power_cut());
    assert_eq!(ids(&after), ["\"before\"", "\"told\""]);
}

/// A log that could not be entered was taken for one that the next checkpoint takes along: what an earlier checkpoint of
/// an agent that knows no lock had left out was lost with it.
#[test]
fn what_a_foreign_checkpoint_left_out_is_kept_also_where_entering_fails_first() {
    let backend = Faulty::new(MemoryBackend::new());
    let disk = backend.disk.clone();
    let (a, b) = (agent(&backend, "a"), agent(&backend, "b"));
    set(&b, "known").unwrap();
    set(&a, "left out").unwrap();
    // As upstream makes one: from what it has in memory, with none of our members.
    let theirs = "snapshots/snap-9999999999000.jsonl";
    disk.put(theirs, b"{\"version\":1,\"timestamp\":\"t\"}\n{\"id\":\"known\",\"data\":1}\n");
    disk.put("ops/agent-u-9999999999000.jsonl", b"");
    let logs = serde_json::json!({ "u": "ops/agent-u-9999999999000.jsonl" });
    let mut foreign =
        Manifest { current_snapshot: theirs.to_owned(), other: serde_json::Map::new(), ..manifest(&disk) };
    foreign.active_ops = "ops/agent-u-9999999999000.jsonl".to_owned();
    foreign.active_agent_ops = logs.as_object().cloned();
    disk.put("manifest.json", &foreign.to_bytes());
    for n in 0..2 {
        let ticket = b.compact().unwrap();
        b.wait(ticket).unwrap();
        if n == 0 {
            backend.fail_where(|call| call.syscall == "rename" && call.path == "manifest.json");
            assert!(matches!(set(&a, "rejected"), Err(Error::Io { .. })));
            backend.work_again();
        }
    }
    set(&a, "after").unwrap();
    assert_eq!(ids(&read_only(&disk)), ["\"after\"", "\"known\"", "\"left out\""]);
}

/// Two agents removed the same record without knowing of each other, while one of them made a checkpoint: its new log
/// began with a removal of nothing, a line that nobody can read.
#[test]
fn a_removal_that_comes_after_somebody_elses_stays_a_line_that_is_read() {
    let disk = MemoryBackend::new();
    let (backend, other) = (Faulty::new(disk.clone()), Faulty::new(disk.clone()));
    let (a, b) = (agent(&other, "a"), agent(&backend, "b"));
    set(&a, "kept").unwrap();
    set(&a, "shared").unwrap();
    b.refresh().unwrap();
    done(&b, delete("shared"));
    let mut later = Some(move || {
        done(&a, delete("shared"));
        a
    });
    let (sender, receiver) = std::sync::mpsc::channel();
    backend.fail_where(move |call| {
        if call.syscall == "write"
            && call.path.starts_with("snapshots/")
            && let Some(later) = later.take()
        {
            sender.send(later()).unwrap();
        }
        false
    });
    done(&b, Step::Compact);
    let a = receiver.try_recv().expect("the other agent removes the record while the snapshot is written");
    let log = manifest(&disk).logs().into_iter().find(|log| log.contains("agent-b-")).unwrap();
    let text = String::from_utf8(disk.bytes(&log).unwrap()).unwrap();
    let removals: Vec<&str> = text.lines().filter(|line| line.contains(r#""op":"delete""#)).collect();
    assert_eq!(removals.len(), 2, "{text}");
    assert!(removals.iter().all(|line| line.contains(r#""prev":{"value":1}"#)), "{text}");
    assert_eq!(ids(&read_only(&disk)), [quoted("kept")]);
    a.refresh().unwrap();
    assert_eq!(ids(&a), [quoted("kept")]);
    // A checkpoint took them: neither takes its own back.
    for store in [b, a] {
        assert_eq!(done(&store, Step::Undo), Value::Bool(false));
        assert_eq!(ids(&store), [quoted("kept")]);
    }
    assert_eq!(ids(&agent(&other, "a")), [quoted("kept")]);
}
