//! What waits for a sync, and what comes behind it: who is told when, and what is taken back if the sync fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Durability, Migration, Opening, Options, Store, Ticket, Value, WriteMode};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use support::buffered::{after_kill, buffered, ids, is_directory_sync, is_log_sync, set};
use support::faulty::Faulty;
use support::model::{archive, put};
use support::{Step, Watchdog, call, closed, done, eventually, history, log_text, opened, wait};

/// Until the directory is synced after a checkpoint, a power cut brings the old log back, and what it has not synced is
/// lost.
#[test]
fn a_checkpoint_does_not_begin_a_new_group_before_its_manifest_lasts() {
    let _watchdog = Watchdog::new("group and checkpoint", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 3));
    let mut acknowledged: Vec<_> = ["a", "b"].into_iter().filter(|id| set(&store, id).is_none()).collect();
    let held = disk.hold_where(is_directory_sync);
    let compact = call(&store, &Step::Compact).unwrap();
    store.kick();
    held.until_one_waits();
    acknowledged.extend(["c", "d", "e"].into_iter().filter(|id| set(&store, id).is_none()));
    eventually("all are stored", || after_kill(&disk.disk).len() == 5);
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default())), Vec::<String>::new());
    assert!(acknowledged.len() <= 3, "a power cut takes {acknowledged:?}");
    drop(held);
    wait(&store, compact).unwrap();
    closed(store);
}

#[test]
fn a_batch_that_fills_no_group_does_not_wait_for_the_sync_of_a_flush() {
    for (mode, size) in [(WriteMode::Async, u64::MAX), (WriteMode::Group, 50)] {
        let _watchdog = Watchdog::new("batch behind a flush", 180);
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &buffered(mode, Durability::Fsync, u64::MAX, size));
        set(&store, "a");
        let held = disk.hold_where(is_log_sync);
        let flush = call(&store, &Step::Flush(true)).unwrap();
        store.kick();
        held.until_one_waits();
        let batch = call(&store, &Step::Batch(vec![put("c", "1"), put("d", "1")], true)).unwrap();
        store.kick();
        wait(&store, batch).unwrap();
        assert!(store.settled().1.is_empty(), "{mode:?}: the flush has not ended");
        drop(held);
        wait(&store, flush).unwrap();
        closed(store);
    }
}

/// Whoever is told that the store is closed looks no more.
#[test]
fn a_close_is_told_after_what_was_called_before_it() {
    for mode in [WriteMode::Async, WriteMode::Group] {
        let _watchdog = Watchdog::new("close", 180);
        let disk = Faulty::new(MemoryBackend::new());
        let looking: Arc<OnceLock<Weak<Store>>> = Arc::default();
        let looks = Arc::new(Mutex::new(Vec::<(Ticket, Vec<Ticket>)>::new()));
        let (looked_at, seen) = (looking.clone(), looks.clone());
        let wake = Box::new(move || {
            if let Some(store) = looked_at.get().and_then(Weak::upgrade) {
                let (through, outcomes) = store.settled();
                seen.lock().unwrap().push((through, outcomes.iter().map(|outcome| outcome.ticket).collect()));
            }
        });
        let opening = Opening::load(Arc::new(disk.clone()), buffered(mode, Durability::Fsync, u64::MAX, 2)).unwrap();
        let store = Arc::new(opening.start(Migration::default(), wake).unwrap().0);
        looking.set(Arc::downgrade(&store)).unwrap();
        let held = disk.hold_where(is_log_sync);
        set(&store, "a");
        set(&store, "b");
        held.until_one_waits();
        let write = set(&store, "c");
        let flush = call(&store, &Step::Flush(true)).unwrap().unwrap();
        store.kick();
        eventually("c is stored", || after_kill(&disk.disk).len() == 3);
        std::thread::sleep(Duration::from_millis(20));
        let close = call(&store, &Step::Close).unwrap().unwrap();
        store.kick();
        drop(held);
        let told = |ticket| looks.lock().unwrap().iter().position(|look| look.1.contains(&ticket));
        eventually("it is closed", || told(close).is_some());
        assert!(told(flush).is_some_and(|at| Some(at) <= told(close)), "{mode:?}: {:?}", looks.lock().unwrap());
        let written = write.map(|ticket| looks.lock().unwrap().iter().position(|look| look.0 >= ticket));
        assert!(written.is_none_or(|at| at.is_some() && at <= told(close)), "{mode:?}: {:?}", looks.lock().unwrap());
    }
}

#[test]
fn an_undo_waits_until_what_it_takes_back_has_been_told() {
    let _watchdog = Watchdog::new("undo", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 2));
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    let first = set(&store, "b");
    held.until_one_waits();
    let second = set(&store, "c");
    eventually("c is stored", || after_kill(&disk.disk).len() == 3);
    let undo = call(&store, &Step::Undo).unwrap();
    store.kick();
    let next = disk.hold_where(is_log_sync);
    drop(held);
    wait(&store, first).unwrap();
    next.until_one_waits();
    disk.fail_where(is_log_sync);
    drop(next);
    wait(&store, second).unwrap_err();
    wait(&store, undo).unwrap_err();
    assert_eq!(ids(&store), ["a", "b"]);
    assert_eq!(history(&store).len(), 2);
}

/// The file may be cut on the disk before the seal is there: then the lines before it were what a crash left of a batch.
#[test]
fn an_undo_in_a_batch_seals_the_rest_before_it_cuts_in_every_mode() {
    for (mode, durability) in [
        (WriteMode::Async, Durability::Fsync),
        (WriteMode::Group, Durability::Fsync),
        (WriteMode::Async, Durability::Os),
        (WriteMode::Immediate, Durability::Os),
    ] {
        let _watchdog = Watchdog::new("undo in a batch", 180);
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &buffered(mode, durability, u64::MAX, u64::MAX));
        done(&store, Step::Batch(vec![put("a", "1"), put("b", "1"), put("c", "1")], true));
        done(&store, Step::Flush(true));
        let whole = log_text(&disk.disk).len();
        let held = disk.hold_where(is_log_sync);
        let undo = call(&store, &Step::Undo).unwrap();
        store.kick();
        held.until_one_waits();
        assert_eq!(log_text(&disk.disk).len(), whole, "{mode:?} {durability:?}: nothing is cut");
        assert_eq!(after_kill(&disk.disk), ["a", "b"], "{mode:?} {durability:?}");
        drop(held);
        assert_eq!(wait(&store, undo).unwrap(), Value::Bool(true));
        assert!(log_text(&disk.disk).len() < whole);
        assert_eq!(
            ids(&opened(disk.disk.after_power_cut(), &Options::default())),
            ["a", "b"],
            "{mode:?} {durability:?}"
        );
        closed(store);
    }
}

/// What is written next goes over its bytes, and a power cut could leave a part of that before lines that are good.
#[test]
fn an_undo_of_what_was_synced_is_synced_before_it_is_told() {
    let _watchdog = Watchdog::new("undo of what was synced", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, u64::MAX));
    set(&store, "a");
    set(&store, "b");
    done(&store, Step::Flush(false));
    set(&store, "c");
    let held = disk.hold_where(is_log_sync);
    assert_eq!(done(&store, Step::Undo), Value::Bool(true), "nobody was promised that it lasts");
    let undo = call(&store, &Step::Undo).unwrap();
    store.kick();
    held.until_one_waits();
    assert!(store.settled().1.is_empty());
    drop(held);
    assert_eq!(wait(&store, undo).unwrap(), Value::Bool(true));
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default())), ["a"]);
    closed(store);
}

#[test]
fn an_archive_takes_nothing_along_that_may_still_be_rejected() {
    let _watchdog = Watchdog::new("archive", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 2));
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    let first = set(&store, "b");
    held.until_one_waits();
    let second = set(&store, "c");
    eventually("c is stored", || after_kill(&disk.disk).len() == 3);
    let archived = call(&store, &archive(&["a"], "s")).unwrap();
    store.kick();
    let next = disk.hold_where(is_directory_sync);
    drop(held);
    wait(&store, first).unwrap();
    next.until_one_waits();
    disk.fail_where(is_directory_sync);
    drop(next);
    wait(&store, archived).unwrap_err();
    let written = wait(&store, second);
    disk.work_again();
    drop(store);
    assert_eq!(
        written.is_ok(),
        after_kill(&disk.disk).contains(&"c".to_owned()),
        "what is rejected does not come back"
    );
}
