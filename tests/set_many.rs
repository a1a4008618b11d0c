//! `set` of several records at once: as if each were set by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::clock;
use opslog_native::store::{Accepted, Durability, Options, WriteMode};
use opslog_native::{Error, Result};
use support::buffered::{after_kill, buffered, ids};
use support::{Watchdog, closed, eventually, history, log_text, opened, records, wait};

const LINES: &[u8] = b"\"a\"\n1\n\"b\"\n[2]\n\"a\"\n{\"n\":3}";
const DAY: u64 = 86_400_000;

fn tickets(accepted: Result<Vec<Accepted>>) -> Vec<u64> {
    let each = accepted.unwrap().into_iter().map(|one| match one {
        Accepted::Through(ticket) | Accepted::Told(ticket) => ticket,
        Accepted::Done => 0,
    });
    each.collect()
}

#[test]
fn each_has_its_turn_its_ticket_and_the_time_of_its_call() {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &Options::default());
    let called_at = [0, 60_000].map(|later| clock::iso(clock::now_ms() - DAY + later));
    let first = tickets(store.set_many(LINES, DAY));
    assert_eq!(first, [first[0], first[0] + 1, first[0] + 2]);
    store.kick();
    for ticket in first {
        wait(&store, Some(ticket)).unwrap();
    }
    let expected = [("\"a\"", "{\"n\":3}"), ("\"b\"", "[2]")].map(|(id, value)| (id.to_owned(), value.to_owned()));
    assert_eq!(records(&store), expected);
    let log = log_text(&disk);
    let times = log.split("\"ts\":\"").skip(1).filter_map(|rest| rest.get(..24));
    let times: Vec<&str> = times.collect();
    assert_eq!(times.len(), 3, "{log}");
    assert!(times.iter().all(|time| called_at[0].as_str() <= *time && *time <= called_at[1].as_str()), "{times:?}");
    assert_eq!(after_kill(&disk), ["a", "b"]);
    closed(store);
}

#[test]
fn without_a_value_for_each_id_nothing_is_changed() {
    let store = opened(MemoryBackend::new(), &Options::default());
    for lines in [&b""[..], b"\"a\"", b"\"a\"\n1\n\"b\""] {
        assert!(matches!(store.set_many(lines, 0), Err(Error::Invalid { .. })));
    }
    assert_eq!(ids(&store), Vec::<String>::new());
    closed(store);
}

#[test]
fn in_a_batch_they_are_taken_back_with_it() {
    let store = opened(MemoryBackend::new(), &Options::default());
    store.begin_batch().unwrap();
    assert_eq!(store.set_many(LINES, 0).unwrap(), [Accepted::Done; 3]);
    assert_eq!(ids(&store).len(), 2);
    store.end_batch(false).unwrap();
    assert_eq!(ids(&store), Vec::<String>::new());
    closed(store);
}

/// Whoever reaches the threshold is told when that checkpoint has ended; the others go on.
#[test]
fn those_that_reach_the_threshold_wait_for_their_checkpoint() {
    let store = opened(MemoryBackend::new(), &Options { checkpoint_threshold: Some(2), ..Options::default() });
    let accepted = store.set_many(LINES, 0).unwrap();
    assert!(matches!(accepted[..], [Accepted::Through(_), Accepted::Told(_), Accepted::Through(_)]), "{accepted:?}");
    store.kick();
    for ticket in tickets(Ok(accepted)) {
        wait(&store, Some(ticket)).unwrap();
    }
    assert_eq!(history(&store).len(), 1);
    closed(store);
}

/// A caller that never lets its turn end never kicks.
#[test]
fn buffered_ones_are_written_although_nobody_kicks() {
    let _watchdog = Watchdog::new("buffered", 180);
    for mode in [WriteMode::Async, WriteMode::Group] {
        let disk = MemoryBackend::new();
        let store = opened(disk.clone(), &buffered(mode, Durability::Os, u64::MAX, u64::MAX));
        store.set_many(LINES, 0).unwrap();
        eventually("they are with the operating system", || after_kill(&disk).len() == 2);
        closed(store);
    }
}
