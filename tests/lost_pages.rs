//! A power cut while a long write was on its way: a later part of it is on the disk, an earlier one is not.

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
use opslog_native::files;
use opslog_native::log::scan;
use opslog_native::store::{Accepted, Options, Store};
use std::ops::Range;
use support::{closed, log_text, open, opened, records};

const SECTOR: usize = 512;

fn keep_log() -> Options {
    Options { checkpoint_on_close: false, checkpoint_threshold: Some(u64::MAX), ..Options::default() }
}

fn through(accepted: Accepted) -> u64 {
    let (Accepted::Through(ticket) | Accepted::Told(ticket)) = accepted else { panic!("{accepted:?}") };
    ticket
}

fn id(n: usize) -> Vec<u8> {
    format!("\"id-{n}\"").into_bytes()
}

/// Calls that share a write: `single` of one record each, or all of them as a batch.
fn write(store: &Store, numbers: Range<usize>, batch: bool) {
    let value = format!("\"{}\"", "v".repeat(150));
    if batch {
        store.begin_batch().unwrap();
    }
    let mut ticket = 0;
    for n in numbers {
        let accepted = store.set(&id(n), value.as_bytes()).unwrap();
        if !batch {
            ticket = through(accepted);
        }
    }
    if batch {
        ticket = through(store.end_batch(true).unwrap());
    }
    store.wait(ticket).unwrap();
}

/// Three acknowledged writes, then a long one; with where the long one begins.
fn written(batch: bool) -> (MemoryBackend, usize) {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log());
    for n in 0..3 {
        write(&store, n..n + 1, false);
    }
    let start = log_text(&disk).len();
    write(&store, 3..23, batch);
    closed(store);
    (disk, start)
}

/// The log with zeros in sectors that hold nothing but the long write.
fn without(disk: &MemoryBackend, lost: Range<usize>) -> MemoryBackend {
    let disk = disk.after_kill();
    let path = support::log_path(&disk);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[lost].fill(0);
    disk.put(&path, &bytes);
    disk
}

fn sectors(start: usize, end: usize) -> Vec<Range<usize>> {
    let from = start.next_multiple_of(SECTOR);
    let all = (from..end).step_by(SECTOR).map(|at| at..(at + SECTOR).min(end));
    all.filter(|sector| sector.len() > 200).collect()
}

#[test]
fn what_is_missing_in_the_last_write_is_cut_with_what_follows_it() {
    for batch in [false, true] {
        let (disk, start) = written(batch);
        let end = log_text(&disk).len();
        let sectors = sectors(start, end);
        assert!(sectors.len() > 5);
        for (n, lost) in sectors.iter().enumerate() {
            // By itself, with the one behind it, and with the last but one.
            for also in [n, (n + 1).min(sectors.len() - 1), sectors.len() - 2] {
                let what = format!("batch {batch}, {lost:?} and {:?}", sectors[also]);
                let disk = without(&without(&disk, lost.clone()), sectors[also].clone());
                for skip_load in [false, true] {
                    let disk = disk.after_kill();
                    let (store, report) = open(disk.clone(), &Options { skip_load, ..keep_log() }).unwrap();
                    assert_eq!(report.logs.len(), 1, "{what}");
                    assert!(report.logs[0].cut > 0 && report.logs[0].saved.is_some(), "{what}");
                    closed(store);
                    let store = opened(disk.clone(), &keep_log());
                    let found = records(&store);
                    assert!((0..3).all(|n| store.has(&id(n))), "{what}");
                    let expected = if batch { 3 } else { found.len() };
                    assert_eq!(found.len(), expected, "{what}: a batch is whole or absent");
                    assert!(found.len() < 23, "{what}");
                    write(&store, 30..31, false);
                    closed(store);
                    assert!(opened(disk, &keep_log()).has(&id(30)), "{what}");
                }
            }
        }
    }
}

#[test]
fn anywhere_else_it_is_damage() {
    for batch in [false, true] {
        let (disk, start) = written(batch);
        let end = log_text(&disk).len();
        let store = opened(disk.clone(), &keep_log());
        // The long write was synced before this one began.
        write(&store, 40..41, false);
        closed(store);
        // The last sector holds the newline before the next line, too: both lines are a bad tail without it.
        for lost in sectors(start, end - SECTOR) {
            let disk = without(&disk, lost.clone());
            let before = disk.bytes(&support::log_path(&disk)).unwrap();
            let refused = open(disk.clone(), &keep_log()).map(drop).unwrap_err();
            assert!(matches!(refused, Error::Corrupt { .. }), "{lost:?}: {refused}");
            assert_eq!(disk.bytes(&support::log_path(&disk)).unwrap(), before);
        }
    }
}

/// A whole write behind a damaged line was acknowledged after that line was: nothing of it may be cut.
#[test]
fn zeros_in_front_of_the_last_write_are_damage() {
    for batch in [false, true] {
        let (disk, start) = written(batch);
        for lost in [start - 160..start - 20, start - 300..start - 1, start - 160..start + 100] {
            let disk = without(&disk, lost.clone());
            let before = disk.bytes(&support::log_path(&disk)).unwrap();
            for read_only in [false, true] {
                let refused = open(disk.clone(), &Options { read_only, ..keep_log() }).map(drop).unwrap_err();
                assert!(matches!(refused, Error::Corrupt { .. }), "{lost:?}: {refused}");
            }
            assert_eq!(disk.bytes(&support::log_path(&disk)).unwrap(), before);
        }
    }
}

/// After an undo the rest of one long write stands in front of another one.
#[test]
fn zeros_in_a_write_of_which_the_end_was_undone_are_damage() {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log());
    write(&store, 0..10, false);
    for _ in 0..5 {
        support::done(&store, support::Step::Undo);
    }
    let end = log_text(&disk).len();
    write(&store, 20..24, false);
    closed(store);
    for lost in sectors(0, end - SECTOR) {
        let refused = open(without(&disk, lost.clone()), &keep_log()).map(drop).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{lost:?}: {refused}");
    }
}

/// Two lines suffice, wherever the page ends, and however few bytes of the write stand on it.
#[test]
fn a_write_of_two_lines_may_cross_the_end_of_a_page() {
    for room in [1, 2, 7, 60, 127, 130] {
        let disk = MemoryBackend::new();
        let store = opened(disk.clone(), &keep_log());
        write(&store, 0..1, false);
        let padding = 4096 - room - 2 * log_text(&disk).len();
        let value = format!("\"{}\"", "v".repeat(150 + padding));
        store.wait(through(store.set(&id(1), value.as_bytes()).unwrap())).unwrap();
        let start = log_text(&disk).len();
        assert_eq!(start, 4096 - room);
        write(&store, 2..4, false);
        closed(store);
        let disk = without(&disk, start..4096);
        let store = opened(disk.clone(), &keep_log());
        assert_eq!(records(&store).len(), 2, "{room}");
        closed(store);
    }
}

#[test]
fn a_flipped_bit_in_the_last_write_is_damage() {
    let (disk, start) = written(false);
    let path = support::log_path(&disk);
    let bytes = disk.bytes(&path).unwrap();
    // Not in its last line: that is a tail like any other.
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for at in (start..last).step_by(37) {
        let disk = disk.after_kill();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        disk.put(&path, &flipped);
        assert!(matches!(open(disk, &keep_log()).map(drop), Err(Error::Corrupt { .. })), "{at}");
    }
}

/// Logs of agents, which are appended to without having been read.
#[test]
fn who_appends_to_a_log_cuts_a_lost_write_first() {
    const LOG: &str = "ops/agent-a-1.jsonl";
    let operation = |n: usize| {
        let value = "v".repeat(150);
        format!(r#"{{"ts":"t","op":"set","id":"id-{n}","prev":null,"data":"{value}"}}"#).into_bytes()
    };
    let append = |disk: &MemoryBackend, numbers: Range<usize>| {
        let operations: Vec<_> = numbers.map(operation).collect();
        files::append(disk, LOG, &operations.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
    };
    // Beyond the part of the end that is looked at first, too.
    for count in [20, 1000] {
        let disk = MemoryBackend::new();
        append(&disk, 0..1);
        let start = disk.bytes(LOG).unwrap().len();
        append(&disk, 1..count);
        let mut bytes = disk.bytes(LOG).unwrap();
        let lost = sectors(start, bytes.len())[3].clone();
        bytes[lost].fill(0);
        disk.put(LOG, &bytes);
        assert!(append(&disk, count..count + 1).cut > 0);
        let found: Vec<_> = scan(&disk, LOG, false).unwrap().ops.iter().map(|op| op.id.to_vec()).collect();
        assert_eq!(found, [id(0), id(count)]);
    }
}
