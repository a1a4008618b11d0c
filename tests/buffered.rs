//! Buffered writes reach the operating system soon, whatever the writer waits for: a slow sync, the checkpoint that is
//! being written, the publication of one.
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
use opslog_native::store::{Durability, Migration, Opening, Options, Value, WriteMode};
use std::sync::Arc;
use std::time::Duration;
use support::buffered::{after_kill, buffered, ids, is_log_sync, set};
use support::faulty::{Call, Faulty};
use support::model::put;
use support::{Step, Watchdog, call, closed, done, eventually, history, opened, quoted, records, wait};

fn is_snapshot_write(call: &Call<'_>) -> bool {
    call.syscall == "write" && call.path.starts_with("snapshots/")
}

fn is_publication(call: &Call<'_>) -> bool {
    call.syscall == "fsync" && call.path == "ops"
}

fn is_manifest_write(call: &Call<'_>) -> bool {
    call.syscall == "fdatasync" && call.path.starts_with("manifest")
}

#[test]
fn what_comes_while_a_sync_takes_long_is_with_the_operating_system() {
    let _watchdog = Watchdog::new("slow sync", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, u64::MAX, 2));
    let held = disk.hold_where(is_log_sync);
    assert_eq!((set(&store, "a"), set(&store, "b")), (None, None));
    held.until_one_waits();
    assert_eq!(set(&store, "c"), None);
    eventually("c is stored", || after_kill(&disk.disk) == ["a", "b", "c"]);
    let flush = call(&store, &Step::Flush(true)).unwrap();
    set(&store, "d");
    drop(held);
    wait(&store, flush).unwrap();
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default()))[..3], ["a", "b", "c"]);
    closed(store);
    assert_eq!(after_kill(&disk.disk), ["a", "b", "c", "d"]);
}

#[test]
fn what_comes_while_a_flush_takes_long_is_with_the_operating_system() {
    let _watchdog = Watchdog::new("slow flush", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, u64::MAX, u64::MAX));
    set(&store, "a");
    let held = disk.hold_where(is_log_sync);
    let flush = call(&store, &Step::Flush(false)).unwrap();
    store.kick();
    held.until_one_waits();
    set(&store, "b");
    eventually("b is stored", || after_kill(&disk.disk) == ["a", "b"]);
    assert!(store.settled().1.is_empty(), "the flush has not ended");
    drop(held);
    assert_eq!(wait(&store, flush).unwrap(), Value::None);
    closed(store);
}

#[test]
fn a_write_that_waits_for_a_sync_is_told_after_one_that_began_after_it() {
    let _watchdog = Watchdog::new("group", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 2));
    let held = disk.hold_where(is_log_sync);
    assert_eq!(set(&store, "a"), None);
    let first = set(&store, "b");
    held.until_one_waits();
    assert!(set(&store, "c").is_some(), "a group is acknowledged and not synced");
    let second = set(&store, "d");
    eventually("d is stored", || after_kill(&disk.disk).len() == 4);
    assert!(store.settled().0 < first.unwrap(), "nothing is synced");
    // One sync goes through, the next one waits.
    let next = disk.hold_where(is_log_sync);
    drop(held);
    wait(&store, first).unwrap();
    next.until_one_waits();
    assert!(store.settled().0 < second.unwrap(), "the first sync had begun before it");
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default()))[..2], ["a", "b"]);
    drop(next);
    wait(&store, second).unwrap();
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default())), ["a", "b", "c", "d"]);
    closed(store);
}

#[test]
fn a_power_cut_takes_no_more_than_a_group_of_what_was_acknowledged() {
    let _watchdog = Watchdog::new("group bound", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 3));
    let held = disk.hold_where(is_log_sync);
    let mut acknowledged: Vec<_> = ["a", "b", "c"].into_iter().filter(|id| set(&store, id).is_none()).collect();
    assert_eq!(acknowledged, ["a", "b"]);
    held.until_one_waits();
    acknowledged.extend(["d", "e", "f", "g", "h"].into_iter().filter(|id| set(&store, id).is_none()));
    eventually("h is stored", || after_kill(&disk.disk).len() == 8);
    assert!(store.settled().0 < 3, "nothing is synced");
    assert!(acknowledged.len() < 3, "a power cut takes {acknowledged:?}");
    let lost = opened(disk.disk.after_power_cut(), &Options::default());
    assert_eq!(ids(&lost), Vec::<String>::new());
    drop(held);
    eventually("all have been synced", || store.settled().0 == 8);
    assert_eq!(set(&store, "i"), None, "a new group");
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default()))[..8].concat(), "abcdefgh");
    closed(store);
}

#[test]
fn what_comes_behind_a_second_flush_is_with_the_operating_system() {
    let _watchdog = Watchdog::new("two flushes", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, u64::MAX, u64::MAX));
    set(&store, "a");
    let held = disk.hold_where(is_log_sync);
    let first = call(&store, &Step::Flush(false)).unwrap();
    store.kick();
    held.until_one_waits();
    set(&store, "b");
    let second = call(&store, &Step::Flush(true)).unwrap();
    let third = call(&store, &Step::Flush(false)).unwrap();
    set(&store, "c");
    eventually("c is stored", || after_kill(&disk.disk) == ["a", "b", "c"]);
    assert!(store.settled().1.is_empty(), "no flush has ended");
    let next = disk.hold_where(is_log_sync);
    drop(held);
    assert_eq!(wait(&store, first).unwrap(), Value::None);
    next.until_one_waits();
    assert!(store.settled().1.is_empty(), "the first sync had begun before the second flush");
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default()))[..1], ["a"]);
    drop(next);
    assert_eq!(wait(&store, second).unwrap(), Value::None);
    assert_eq!(wait(&store, third).unwrap(), Value::None);
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default())), ["a", "b", "c"]);
    closed(store);
}

#[test]
fn a_second_flush_is_told_of_the_sync_that_failed_before_it() {
    let _watchdog = Watchdog::new("two flushes, failing", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, u64::MAX, u64::MAX));
    set(&store, "a");
    let held = disk.hold_where(is_log_sync);
    let first = call(&store, &Step::Flush(false)).unwrap();
    store.kick();
    held.until_one_waits();
    let second = call(&store, &Step::Flush(false)).unwrap();
    set(&store, "b");
    eventually("b is stored", || after_kill(&disk.disk) == ["a", "b"]);
    disk.fail_where(is_log_sync);
    drop(held);
    wait(&store, first).unwrap_err();
    wait(&store, second).unwrap_err();
    assert!(store.set(b"\"c\"", b"1").is_err());
}

#[test]
fn without_a_promise_to_sync_a_flush_waits_for_no_sync() {
    let _watchdog = Watchdog::new("flush under os", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Os, u64::MAX, u64::MAX));
    set(&store, "a");
    let held = disk.hold_where(is_log_sync);
    let sync = call(&store, &Step::Flush(true)).unwrap();
    store.kick();
    held.until_one_waits();
    set(&store, "b");
    let flush = call(&store, &Step::Flush(false)).unwrap();
    let batch = call(&store, &Step::Batch(vec![put("c", "1"), put("d", "1")], true)).unwrap();
    assert_eq!(wait(&store, flush).unwrap(), Value::None);
    wait(&store, batch).unwrap();
    assert_eq!(after_kill(&disk.disk), ["a", "b", "c", "d"]);
    assert!(store.settled().1.is_empty(), "the sync has not ended");
    drop(held);
    assert_eq!(wait(&store, sync).unwrap(), Value::None);
    closed(store);
}

#[test]
fn a_sync_that_fails_while_more_comes_ends_everything() {
    let _watchdog = Watchdog::new("failing sync", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 2));
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    let first = set(&store, "b");
    held.until_one_waits();
    set(&store, "c");
    let second = set(&store, "d");
    eventually("d is stored", || after_kill(&disk.disk).len() == 4);
    disk.fail_where(is_log_sync);
    drop(held);
    assert!(wait(&store, first).is_err());
    assert!(wait(&store, second).is_err());
    assert!(matches!(store.set(b"\"e\"", b"1"), Err(Error::Failed { .. })));
    let close = store.close().unwrap();
    assert!(store.wait(close).is_err());
    disk.work_again();
    assert_eq!(after_kill(&disk.disk)[..1], ["a"]);
}

#[test]
fn a_full_disk_while_the_log_is_lent_takes_back_who_waits_and_tries_the_others_again() {
    let _watchdog = Watchdog::new("full", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, u64::MAX, 2));
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    set(&store, "b");
    held.until_one_waits();
    disk.fail_where(|call| call.appends() && call.contains("\"c\""));
    set(&store, "c");
    eventually("c has failed", || !store.take_quiet_notices().is_empty());
    assert_eq!(after_kill(&disk.disk), ["a", "b"]);
    disk.work_again();
    drop(held);
    eventually("c is stored", || after_kill(&disk.disk) == ["a", "b", "c"]);
    let _ = store.flush(false);
    closed(store);
}

#[test]
fn what_comes_while_a_checkpoint_is_published_is_in_both_logs() {
    let _watchdog = Watchdog::new("publication", 180);
    for (place, hold) in [is_publication as fn(&Call<'_>) -> bool, is_manifest_write].into_iter().enumerate() {
        for looks in [false, true] {
            let disk = Faulty::new(MemoryBackend::new());
            let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Os, u64::MAX, 50));
            let reader = opened(disk.clone(), &Options { read_only: true, ..Options::default() });
            let held = disk.hold_where(hold);
            set(&store, "a");
            set(&store, "b");
            let compact = call(&store, &Step::Compact).unwrap();
            store.kick();
            held.until_one_waits();
            set(&store, "c");
            eventually("c is in the old log", || after_kill(&disk.disk) == ["a", "b", "c"]);
            let mut seen = Vec::new();
            if looks {
                seen.extend(reader.refresh().unwrap().ops);
                assert_eq!(seen.len(), 3);
            }
            drop(held);
            wait(&store, compact).unwrap();
            assert_eq!(after_kill(&disk.disk), ["a", "b", "c"], "place {place}");
            assert_eq!(history(&store).len(), 1);
            seen.extend(reader.refresh().unwrap().ops);
            assert_eq!(seen.len(), 3, "each once");
            assert_eq!(ids(&reader), ["a", "b", "c"]);
            assert_eq!(history(&reader), history(&store));
            set(&store, "d");
            done(&store, Step::Flush(false));
            assert_eq!(reader.refresh().unwrap().ops.len(), 1);
            assert_eq!(done(&store, Step::Undo), Value::Bool(true));
            assert_eq!(done(&store, Step::Undo), Value::Bool(true));
            reader.refresh().unwrap();
            assert_eq!(ids(&reader), ["a", "b"]);
            closed(reader);
            closed(store);
            assert_eq!(after_kill(&disk.disk), ["a", "b"]);
        }
    }
}

#[test]
fn a_checkpoint_whose_log_does_not_take_what_comes_is_given_up() {
    let _watchdog = Watchdog::new("twin", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, u64::MAX, u64::MAX));
    let log = store.manifest().active_ops.clone();
    set(&store, "a");
    let held = disk.hold_where(is_publication);
    let compact = call(&store, &Step::Compact).unwrap();
    store.kick();
    held.until_one_waits();
    let old = log.clone();
    disk.fail_where(move |call| call.appends() && call.path != old && call.contains("\"b\""));
    set(&store, "b");
    eventually("b is stored", || after_kill(&disk.disk) == ["a", "b"]);
    drop(held);
    assert!(matches!(wait(&store, compact), Err(Error::Io { .. })));
    assert_eq!(store.manifest().active_ops, log);
    disk.work_again();
    assert_eq!(history(&store).len(), 2);
    done(&store, Step::Compact);
    assert_eq!(history(&store).len(), 0);
    closed(store);
    assert_eq!(after_kill(&disk.disk), ["a", "b"]);
}

#[test]
fn what_comes_after_a_checkpoint_that_has_to_wait_is_stored_and_can_be_undone() {
    let _watchdog = Watchdog::new("parked", 180);
    for mode in [WriteMode::Async, WriteMode::Group, WriteMode::Immediate] {
        for undone in 0..=2 {
            let disk = Faulty::new(MemoryBackend::new());
            let store = opened(disk.clone(), &buffered(mode, Durability::Os, 2, 50));
            let held = disk.hold_where(is_snapshot_write);
            for id in ["a", "b", "c", "d", "e"] {
                set(&store, id);
            }
            held.until_one_waits();
            eventually("e is stored", || after_kill(&disk.disk) == ["a", "b", "c", "d", "e"]);
            // The last one is not part of the checkpoint that waits; those before it are.
            let undos: Vec<_> = (0..undone).map(|_| call(&store, &Step::Undo).unwrap()).collect();
            store.kick();
            drop(held);
            for (place, undo) in undos.into_iter().enumerate() {
                assert_eq!(wait(&store, undo).unwrap(), Value::Bool(place == 0));
            }
            let covered = || store.manifest().stats.active_records;
            eventually("both checkpoints", || covered() == 4);
            let left = if undone == 0 { vec!["a", "b", "c", "d", "e"] } else { vec!["a", "b", "c", "d"] };
            assert_eq!(history(&store).len(), left.len() - 4);
            assert_eq!(after_kill(&disk.disk), left);
            closed(store);
            assert_eq!(after_kill(&disk.disk), left);
        }
    }
}

#[test]
fn an_undo_that_waits_in_the_queue_counts_for_a_checkpoint_that_begins_before_it() {
    let _watchdog = Watchdog::new("queued undo", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Fsync, 2, u64::MAX));
    let held = disk.hold_where(is_snapshot_write);
    for id in ["a", "b", "c", "d", "e"] {
        set(&store, id);
    }
    held.until_one_waits();
    eventually("e is stored", || after_kill(&disk.disk).len() == 5);
    // The writer syncs when the first checkpoint ends, so that the undo of `e` still waits when the second one begins.
    let syncs = disk.hold_where(is_log_sync);
    let flush = call(&store, &Step::Flush(true)).unwrap();
    store.kick();
    syncs.until_one_waits();
    let undo = call(&store, &Step::Undo).unwrap();
    let again = set(&store, "f");
    assert_eq!(again, None);
    drop(held);
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(syncs);
    wait(&store, flush).unwrap();
    assert_eq!(wait(&store, undo).unwrap(), Value::Bool(true));
    eventually("both checkpoints", || store.manifest().stats.active_records == 4);
    done(&store, Step::Flush(true));
    assert_eq!(after_kill(&disk.disk), ["a", "b", "c", "d", "f"]);
    closed(store);
}

#[test]
fn a_checkpoint_that_has_to_wait_can_be_cancelled() {
    let _watchdog = Watchdog::new("cancel", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Async, Durability::Os, u64::MAX, 50));
    let held = disk.hold_where(is_snapshot_write);
    set(&store, "a");
    let first = call(&store, &Step::Compact).unwrap();
    store.kick();
    held.until_one_waits();
    set(&store, "b");
    let second = call(&store, &Step::Compact).unwrap();
    set(&store, "c");
    store.kick();
    eventually("c is stored", || after_kill(&disk.disk) == ["a", "b", "c"]);
    let error = Error::Failed { message: "cancelled".to_owned(), cause: None };
    assert!(store.cancel(second.unwrap(), &error));
    assert!(matches!(wait(&store, second), Err(Error::Failed { .. })));
    let undos = [call(&store, &Step::Undo).unwrap(), call(&store, &Step::Undo).unwrap()];
    drop(held);
    wait(&store, first).unwrap();
    for undo in undos {
        assert_eq!(wait(&store, undo).unwrap(), Value::Bool(true), "nothing covers it any more");
    }
    assert_eq!(ids(&store), ["a"]);
    closed(store);
    assert_eq!(after_kill(&disk.disk), ["a"]);
}

fn is_directory_sync(call: &Call<'_>) -> bool {
    call.syscall == "fsync" && call.path.is_empty()
}

#[test]
fn a_checkpoint_that_is_called_during_a_sync_that_time_asked_for_is_made() {
    let _watchdog = Watchdog::new("checkpoint in a sync", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let options = Options { group_commit_ms: 10, ..buffered(WriteMode::Async, Durability::Fsync, u64::MAX, u64::MAX) };
    let store = opened(disk.clone(), &options);
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    held.until_one_waits();
    let compact = call(&store, &Step::Compact).unwrap();
    set(&store, "b");
    eventually("b is stored", || after_kill(&disk.disk) == ["a", "b"]);
    let close = call(&store, &Step::Close).unwrap();
    store.kick();
    drop(held);
    wait(&store, compact).unwrap();
    wait(&store, close).unwrap();
    assert_eq!(store.manifest().stats.active_records, 1);
}

#[test]
fn who_waits_for_a_sync_learns_that_the_directory_could_not_be_synced() {
    let _watchdog = Watchdog::new("directory", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 2));
    set(&store, "a");
    let held = disk.hold_where(is_directory_sync);
    let compact = call(&store, &Step::Compact).unwrap();
    store.kick();
    held.until_one_waits();
    let waiting: Vec<_> = ["b", "c", "d", "e"].map(|id| set(&store, id)).into_iter().flatten().collect();
    eventually("e is stored", || after_kill(&disk.disk).len() == 5);
    disk.fail_where(is_directory_sync);
    drop(held);
    assert!(wait(&store, compact).is_err());
    assert!(!waiting.is_empty() && waiting.into_iter().all(|ticket| store.wait(ticket).is_err()));
}

#[test]
fn a_write_that_sets_off_a_checkpoint_waits_for_its_sync_as_well() {
    let _watchdog = Watchdog::new("held", 180);
    let options = buffered(WriteMode::Group, Durability::Fsync, 2, 2);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &options);
    disk.fail_where(is_log_sync);
    set(&store, "a");
    let second = set(&store, "b");
    assert!(wait(&store, second).is_err(), "the sync failed");
    eventually("the checkpoint has ended", || matches!(store.set(b"\"c\"", b"1"), Err(Error::Failed { .. })));
    assert!(store.settled().1.iter().all(|outcome| Some(outcome.ticket) != second), "told once");

    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &options);
    disk.fail_where(is_snapshot_write);
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    let second = set(&store, "b");
    held.until_one_waits();
    std::thread::sleep(Duration::from_millis(10));
    assert!(store.settled().1.is_empty(), "the sync has not ended");
    drop(held);
    wait(&store, second).unwrap();
    assert_eq!(ids(&opened(disk.disk.after_power_cut(), &Options::default())), ["a", "b"]);
    disk.work_again();
    closed(store);
}

#[test]
fn what_was_appended_during_a_sync_counts_for_the_next_one() {
    let _watchdog = Watchdog::new("size", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &buffered(WriteMode::Group, Durability::Fsync, u64::MAX, 4));
    let held = disk.hold_where(is_log_sync);
    set(&store, "a");
    let flush = call(&store, &Step::Flush(false)).unwrap();
    store.kick();
    held.until_one_waits();
    assert_eq!(["b", "c"].map(|id| set(&store, id)), [None, None]);
    eventually("c is stored", || after_kill(&disk.disk).len() == 3);
    drop(held);
    wait(&store, flush).unwrap();
    assert_eq!(set(&store, "d"), None, "the third that is not synced");
    assert!(set(&store, "e").is_some(), "the fourth that is not synced");
    closed(store);
}

#[test]
fn a_sync_that_was_asked_for_is_followed_by_no_other_where_none_is_promised() {
    let _watchdog = Watchdog::new("os", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let options = Options { group_commit_ms: 5, ..buffered(WriteMode::Async, Durability::Os, u64::MAX, 50) };
    let store = opened(disk.clone(), &options);
    set(&store, "a");
    let held = disk.hold_where(is_log_sync);
    let sync = call(&store, &Step::Flush(true)).unwrap();
    store.kick();
    held.until_one_waits();
    set(&store, "b");
    eventually("b is stored", || after_kill(&disk.disk) == ["a", "b"]);
    let syncs = disk.disk.syncs();
    drop(held);
    wait(&store, sync).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(disk.disk.syncs(), syncs + 1);
    closed(store);
}

#[test]
fn an_open_that_fails_while_it_stores_a_migration_gives_the_lock_back() {
    let _watchdog = Watchdog::new("migration", 180);
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &Options::default());
    done(&store, Step::Change((quoted("a"), Some("1".to_owned()))));
    closed(store);
    let options = Options { version: 2, write_mode: WriteMode::Async, ..Options::default() };
    let open = || {
        let opening = Opening::load(Arc::new(disk.clone()), options.clone())?;
        opening.start(Migration { values: vec![b"2"[..].into()], ..Migration::default() }, Box::new(|| {}))
    };
    disk.fail_where(|call| call.syscall == "rename" && call.path == "manifest.json");
    assert!(matches!(open(), Err(Error::Io { .. })));
    disk.work_again();
    let (store, _) = open().unwrap();
    assert_eq!(records(&store), [(quoted("a"), "2".to_owned())]);
    closed(store);
}
