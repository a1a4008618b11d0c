//! Stores whose snapshot is long enough to be read by one thread and put in by another, and to be scanned in pieces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::Error;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Options, Store, Value};
use support::faulty::Faulty;
use support::model::Step;
use support::{Watchdog, closed, done, open, opened, raw, records};

const COUNT: usize = 16_000;

fn keep_log() -> Options {
    Options { checkpoint_on_close: false, ..Options::default() }
}

/// A value that is short, as long as what records share at most, or longer than a piece of it.
fn value(n: usize) -> String {
    let length = match n % 500 {
        7 => 2_048 + n % 5,
        8 => 70_000,
        _ => 300 + n % 60,
    };
    format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(length))
}

/// A disk with that many records in its snapshot, some of them written twice, and what they are.
fn disk() -> (MemoryBackend, Vec<(String, String)>) {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log());
    let record = |n: usize| (format!("\"record {n}\""), value(n));
    let expected: Vec<_> = (0..COUNT).map(record).collect();
    for (id, value) in &expected {
        store.set(id.as_bytes(), value.as_bytes()).unwrap();
    }
    assert_eq!(done(&store, Step::Compact), Value::None);
    closed(store);
    (disk, expected)
}

fn snapshot(disk: &MemoryBackend) -> (String, Vec<u8>) {
    let path = disk.files().into_iter().rfind(|path| path.starts_with("snapshots/")).unwrap();
    let bytes = disk.bytes(&path).unwrap();
    (path, bytes)
}

/// All records as a scan hands them out: taken apart, in pieces.
fn scanned(store: &Store, bytes: usize) -> Vec<(String, String)> {
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(start) = next {
        let piece = store.piece(start, bytes);
        let mut values = raw(&piece.values.values).into_iter();
        let runs: Vec<usize> = serde_json::from_slice(&piece.values.runs).unwrap();
        let shapes = runs.chunks(2).flat_map(|run| std::iter::repeat_n(run[0], run[1]));
        for (id, shape) in raw(&piece.ids).into_iter().zip(shapes) {
            // The records of this file have one shape: two members.
            let (n, text) = (values.next().unwrap(), if shape == 0 { None } else { values.next() });
            found.push((id, text.map_or(n.clone(), |text| format!("{{\"n\":{n},\"text\":{text}}}"))));
        }
        assert_eq!(values.next(), None);
        next = piece.next;
    }
    found
}

#[test]
fn two_threads_load_what_was_stored() {
    let _watchdog = Watchdog::new("two_threads_load_what_was_stored", 180);
    let (disk, expected) = disk();
    assert!(snapshot(&disk).1.len() > 2 << 20);
    let store = opened(disk, &keep_log());
    assert_eq!(records(&store), expected);
    for size in [1, 1_000, 100_000, usize::MAX] {
        assert_eq!(scanned(&store, size), expected, "{size}");
    }
    closed(store);
}

#[test]
fn an_id_that_stands_in_a_snapshot_twice_is_one_record() {
    let (disk, _) = disk();
    let (path, _) = snapshot(&disk);
    let line =
        |n: usize, id: usize| format!("{{\"id\":\"{id}\",\"data\":{{\"n\":{n},\"text\":\"{}\"}}}}\n", "y".repeat(400));
    // Each id again, far behind its first place.
    let lines: String = (0..COUNT).map(|n| line(n, n % (COUNT / 2))).collect();
    disk.put(&path, format!("{{\"version\":1,\"timestamp\":\"t\"}}\n{lines}").as_bytes());
    let store = opened(disk, &keep_log());
    let found = records(&store);
    assert_eq!(found.len(), COUNT / 2);
    assert_eq!(found[3].0, "\"3\"");
    assert!(found[3].1.starts_with(&format!("{{\"n\":{},", COUNT / 2 + 3)));
    closed(store);
}

#[test]
fn damage_anywhere_in_it_is_noticed() {
    let _watchdog = Watchdog::new("damage_anywhere_in_it_is_noticed", 180);
    let (disk, _) = disk();
    let (path, sound) = snapshot(&disk);
    for at in [100, sound.len() / 3, sound.len() / 2, sound.len() - 300_000, sound.len() - 2] {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        let disk = disk.after_kill();
        disk.put(&path, &damaged);
        let refused = open(disk.clone(), &keep_log()).map(drop).expect_err("it must not open");
        assert!(matches!(refused, Error::Corrupt { .. }), "byte {at}: {refused}");
        disk.put(&path, &sound[..at]);
        let refused = open(disk.clone(), &keep_log()).map(drop).expect_err("it must not open");
        assert!(matches!(refused, Error::Corrupt { .. }), "cut at {at}: {refused}");
        // And the lock was given back.
        disk.put(&path, &sound);
        closed(opened(disk, &keep_log()));
    }
}

#[test]
fn a_scan_that_is_not_ended_leaves_nothing_to_the_next_one() {
    let (disk, mut expected) = disk();
    let store = opened(disk, &keep_log());
    let first = store.piece(0, 100_000);
    // The second piece is being made, or has been, when its records change.
    store.set(expected[COUNT - 1].0.as_bytes(), b"{\"n\":0,\"text\":\"changed\"}").unwrap();
    store.set(expected[600].0.as_bytes(), b"{\"n\":1,\"text\":\"changed\"}").unwrap();
    expected[COUNT - 1].1 = "{\"n\":0,\"text\":\"changed\"}".to_owned();
    expected[600].1 = "{\"n\":1,\"text\":\"changed\"}".to_owned();
    assert_eq!(scanned(&store, 100_000), expected);
    assert_eq!(store.piece(0, 100_000).ids, first.ids);
    closed(store);
}

#[test]
fn a_snapshot_that_cannot_be_read_to_its_end_is_an_error_and_not_a_shorter_store() {
    let (disk, _) = disk();
    let (path, _) = snapshot(&disk);
    let faulty = Faulty::new(disk.clone());
    let mut reads = 0;
    faulty.fail_where(move |call| {
        reads += u32::from(call.syscall == "read on" && call.path == path);
        reads > 20
    });
    let refused = open(faulty, &keep_log()).map(drop).expect_err("it must not open");
    assert!(matches!(&refused, Error::Io { source, .. } if source.raw_os_error() == Some(5)), "{refused}");
    closed(opened(disk, &keep_log()));
}
