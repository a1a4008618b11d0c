//! Buffered sets that cross without a call: as if each had been made by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Accepted, Durability, Intake, Options, Store, WriteMode};
use opslog_native::{Error, clock};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::buffered::{after_kill, buffered, ids, is_log_sync};
use support::faulty::Faulty;
use support::{Step, Watchdog, call, closed, done, eventually, history, log_text, opened, quoted, records, run, wait};

const ANY: u64 = u64::MAX;

fn options(mode: WriteMode) -> Options {
    buffered(mode, Durability::Os, ANY, ANY)
}

/// An intake that somebody looks into: the first set of a store is a call.
fn watched(store: &Store) -> Arc<Intake> {
    let intake = store.intake().expect("its sets are buffered");
    assert!(!intake.put(1, "\"-\"", "0"), "nobody looks yet");
    assert_eq!(store.set(b"\"first\"", b"0").unwrap(), Accepted::Done);
    intake
}

/// Puts a set there. Whoever looks stops after a while, which a slow machine may not let us forestall: then he is called.
fn put_at(ts: u64, store: &Store, intake: &Intake, id: &str, value: &str) {
    while !intake.put(ts, &quoted(id), value) {
        store.set(b"\"first\"", b"0").unwrap();
    }
}

fn put(store: &Store, intake: &Intake, id: &str) {
    put_at(clock::now_ms(), store, intake, id, "1");
}

fn is_refused(intake: &Intake) -> bool {
    !intake.put(clock::now_ms(), "\"refused\"", "1")
}

#[test]
fn only_stores_have_one_whose_buffered_writes_are_theirs_alone() {
    let has_one = |options: Options| {
        let store = opened(MemoryBackend::new(), &options);
        let has_one = store.intake().is_some();
        closed(store);
        has_one
    };
    assert!(has_one(options(WriteMode::Async)) && has_one(options(WriteMode::Group)));
    assert!(!has_one(Options::default()));
    assert!(!has_one(Options { skip_load: true, ..options(WriteMode::Async) }));
    assert!(!has_one(Options { agent: Some("a".into()), ..options(WriteMode::Async) }));
}

#[test]
fn each_has_its_turn_and_the_time_of_its_call() {
    let _watchdog = Watchdog::new("turns", 180);
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &options(WriteMode::Async));
    watched(&store);
    let mut spans = Vec::new();
    for (n, id) in ["a", "b", "a", "ü\n\"{}"].into_iter().enumerate() {
        let before = clock::now_ms();
        // A slow machine may have nobody looking any more.
        assert_eq!(support::intake::set(&store, &quoted(id), &n.to_string()).unwrap(), Accepted::Done);
        spans.push(clock::iso(before)..=clock::iso(clock::now_ms()));
        std::thread::sleep(Duration::from_micros(1500));
    }
    store.set(b"\"b\"", b"\"last\"").unwrap();
    let texts = records(&store).into_iter().map(|(id, value)| format!("{id}:{value}")).collect::<Vec<_>>().join(" ");
    assert_eq!(texts, r#""first":0 "a":2 "b":"last" "ü\n\"{}":3"#);
    assert_eq!(history(&store).len(), 6);
    done(&store, Step::Flush(true));
    let log = log_text(&disk);
    let stamps: Vec<&str> = log.split("\"ts\":\"").skip(1).map(|rest| &rest[..24]).collect();
    for (stamp, span) in stamps[1..5].iter().zip(&spans) {
        assert!(span.contains(&(*stamp).to_owned()), "{stamp} {span:?}");
    }
    closed(store);
}

#[test]
fn a_clock_that_is_wrong_is_not_believed() {
    let store = opened(MemoryBackend::new(), &options(WriteMode::Async));
    let before = clock::now_ms();
    let intake = watched(&store);
    for time in [1, u64::from(u32::MAX), 1 << 50] {
        put_at(time, &store, &intake, "a", "1");
    }
    store.take_in();
    let (operations, _) = store.operations(None, 0, 300);
    let operations = String::from_utf8(operations).unwrap();
    let stamps: Vec<&str> = operations.split("\"ts\":\"").skip(1).map(|rest| &rest[..24]).collect();
    let between = clock::iso(before)..=clock::iso(clock::now_ms());
    assert!(stamps.len() >= 4 && stamps.iter().all(|time| between.contains(&(*time).to_owned())), "{stamps:?}");
    closed(store);
}

/// The caller's thread does something else: nobody calls.
#[test]
fn they_are_with_the_operating_system_soon_without_any_call() {
    let _watchdog = Watchdog::new("soon", 180);
    for mode in [WriteMode::Async, WriteMode::Group] {
        let disk = MemoryBackend::new();
        let store = opened(disk.clone(), &options(mode));
        let intake = watched(&store);
        put(&store, &intake, "a");
        put(&store, &intake, "b");
        eventually("they are stored", || after_kill(&disk) == ["first", "a", "b"]);
        closed(store);
    }
}

#[test]
fn and_while_a_sync_takes_long() {
    let _watchdog = Watchdog::new("slow sync", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, ANY, 2));
    let held = disk.hold_where(is_log_sync);
    watched(&store);
    support::buffered::set(&store, "second");
    held.until_one_waits();
    let mut wanted = vec!["first".to_owned(), "second".to_owned()];
    for n in 0..50 {
        let id = format!("{n}");
        assert_eq!(support::intake::set(&store, &quoted(&id), "1").unwrap(), Accepted::Done);
        wanted.push(id);
        if n % 10 == 0 {
            eventually("it is stored", || after_kill(&disk.disk) == wanted);
        }
    }
    eventually("they are stored", || after_kill(&disk.disk) == wanted);
    drop(held);
    closed(store);
}

/// Whoever looks goes to sleep while something is put there: one of the two must notice.
#[test]
fn none_is_forgotten_when_the_one_who_looks_goes_to_sleep() {
    let _watchdog = Watchdog::new("sleep", 180);
    for durability in [Durability::Os, Durability::Fsync] {
        let disk = Faulty::new(MemoryBackend::new());
        disk.take_time(Duration::from_micros(500));
        let store = opened(disk.clone(), &buffered(WriteMode::Async, durability, ANY, 3));
        let intake = store.intake().unwrap();
        let (mut n, mut called, until) = (0_u64, 0, Instant::now() + Duration::from_millis(1500));
        while Instant::now() < until {
            n += 1;
            if intake.put(clock::now_ms(), &quoted(&n.to_string()), "1") {
                if !intake.is_watched() {
                    store.take_in();
                    called += 1;
                }
            } else {
                store.set(quoted(&format!("{n}")).as_bytes(), b"1").unwrap();
                called += 1;
            }
            // About as long as the writer waits, and now and then until all of it is written.
            let pause = RandomState::new().hash_one(n) % 5000;
            let since = Instant::now();
            while since.elapsed() < Duration::from_micros(pause) {
                std::hint::spin_loop();
            }
            if n.is_multiple_of(20) {
                eventually("all are stored", || after_kill(&disk.disk).len() as u64 == n);
            }
        }
        assert!(called < n, "none crossed without a call");
        eventually("all are stored", || after_kill(&disk.disk).len() as u64 == n);
        closed(store);
    }
}

#[test]
fn what_does_not_fit_has_to_call() {
    let store = opened(MemoryBackend::new(), &options(WriteMode::Async));
    let intake = watched(&store);
    let value = quoted(&"x".repeat(1000));
    let mut fit = 0;
    // Until it is full while somebody looks.
    while intake.put(1, &quoted(&fit.to_string()), &value) || !intake.is_watched() {
        if !intake.is_watched() {
            store.set(quoted(&fit.to_string()).as_bytes(), value.as_bytes()).unwrap();
        }
        fit += 1;
        assert!(fit < 100_000, "it is never full");
    }
    assert!(fit >= 40, "{fit}");
    store.take_in();
    put_at(1, &store, &intake, "more", &value);
    assert_eq!(ids(&store).len(), fit + 2);
    closed(store);
}

/// The set that fills a group waits for it, so it calls.
#[test]
fn a_group_takes_as_many_as_fit() {
    let _watchdog = Watchdog::new("group", 180);
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, ANY, 5));
    let intake = store.intake().unwrap();
    for round in 0..3 {
        let before = after_kill(&disk).len();
        let mut tickets = Vec::new();
        for n in 0..5 {
            match support::intake::set(&store, &quoted(&format!("{round}-{n}")), "1").unwrap() {
                Accepted::Done => assert!(n < 4),
                Accepted::Through(ticket) | Accepted::Told(ticket) => tickets.push((n, ticket)),
            }
            if n == 1 {
                assert_eq!(intake.allowed(), 2, "1 and 2 and the one that waits are missing");
            }
        }
        assert!(matches!(tickets[..], [(4, _)]), "{tickets:?}");
        wait(&store, Some(tickets[0].1)).unwrap();
        assert_eq!(ids(&opened(disk.after_power_cut(), &Options::default())).len(), before + 5);
    }
    // Other calls take room as well.
    done(&store, Step::Change((quoted("x"), Some("1".into()))));
    assert_eq!(support::intake::set(&store, "\"y\"", "1").unwrap(), Accepted::Done);
    assert_eq!(call(&store, &Step::Change((quoted("x"), None))).unwrap(), None);
    assert!(is_refused(&intake), "how many fit is not known");
    let last = store.set(b"\"z\"", b"1").unwrap();
    assert_eq!((last, intake.allowed()), (Accepted::Done, 0));
    assert!(matches!(store.set(b"\"z\"", b"2").unwrap(), Accepted::Through(_)));
    closed(store);
}

/// Who reaches the threshold waits for the checkpoint.
#[test]
fn so_does_the_one_that_reaches_the_threshold_of_checkpoints() {
    let _watchdog = Watchdog::new("threshold", 180);
    let store = opened(MemoryBackend::new(), &buffered(WriteMode::Group, Durability::Os, 4, ANY));
    let told: Vec<bool> = (0..9)
        .map(|n| {
            let accepted = support::intake::set(&store, &quoted(&n.to_string()), "1").unwrap();
            if let Accepted::Told(ticket) = accepted {
                wait(&store, Some(ticket)).unwrap();
            }
            matches!(accepted, Accepted::Told(_))
        })
        .collect();
    assert_eq!(told, [false, false, false, true, false, false, false, true, false]);
    closed(store);
}

#[test]
fn a_failure_in_the_background_reaches_the_next_set() {
    let _watchdog = Watchdog::new("failure", 180);
    for mode in [WriteMode::Async, WriteMode::Group] {
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &options(mode));
        let intake = store.intake().unwrap();
        let held = disk.hold_where(|call| call.appends());
        store.set(b"\"first\"", b"0").unwrap();
        held.until_one_waits();
        // Somebody is going to look again, and then there is the failure.
        store.set(b"\"a\"", b"1").unwrap();
        assert!(intake.put(clock::now_ms(), "\"b\"", "1"));
        disk.fail_where(|call| call.appends());
        drop(held);
        eventually("it has failed", || !store.take_quiet_notices().is_empty());
        assert!(is_refused(&intake), "there is something to tell");
        let refused = support::intake::set(&store, "\"c\"", "1").expect_err("it is told");
        assert!(matches!(refused, Error::Io { .. }), "{refused}");
        disk.work_again();
        eventually("they are stored", || after_kill(&disk.disk) == ["first", "a", "b"]);
        while run(&store, &Step::Close).is_err() {}
    }
}

#[test]
fn after_a_failed_sync_they_are_refused() {
    let _watchdog = Watchdog::new("sync", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, ANY, 2));
    let intake = watched(&store);
    put(&store, &intake, "a");
    disk.fail_where(is_log_sync);
    eventually("a sync has failed", || store.set(b"\"first\"", b"0").is_err());
    eventually("nobody looks any more", || !intake.is_watched());
    eventually("the store is given up", || matches!(store.set(b"\"b\"", b"1"), Err(Error::Failed { .. })));
    assert!(is_refused(&intake));
    assert_eq!(ids(&store), ["first", "a"], "what was acknowledged stays");
    drop(store);
}

/// The end of a process that did not close: a worker that is terminated, say.
#[test]
fn the_end_of_a_process_takes_them_along() {
    let _watchdog = Watchdog::new("end", 180);
    for mode in [WriteMode::Async, WriteMode::Group] {
        let disk = MemoryBackend::new();
        let store = opened(disk.clone(), &buffered(mode, Durability::Fsync, ANY, ANY));
        let intake = watched(&store);
        put(&store, &intake, "a");
        store.finish();
        assert_eq!(ids(&opened(disk.after_power_cut(), &Options::default())), ["first", "a"]);
        assert!(is_refused(&intake), "it is closed");
        assert!(matches!(store.set(b"\"b\"", b"1"), Err(Error::NotOpen)));
    }
}
