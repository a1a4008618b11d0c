//! Several agents on one store, in an order of their steps that a seed decides: nothing that was acknowledged is lost.
//!
//! Each agent is a coroutine that runs the real engine on a disk in memory and stops before each call of its backend.
//! The scheduler lets one go on at a time, kills some at any of their steps, starts them again, and in some runs cuts the
//! power. What the agents were told is kept in journals; see `simulation/journal.rs` for what must hold.
//!
//! `OPSLOG_SCHEDULES=1000000` runs that many, from `OPSLOG_SEED` on. A failure names its seed: run it alone with
//! `OPSLOG_SEED=<seed> OPSLOG_SCHEDULES=1 cargo test --test agents`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod simulation;

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::format::json;
use opslog_native::store::{Accepted, Options, Store};
use simulation::agent::{open, records};
use simulation::run::simulate;
use std::sync::Arc;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn nothing_that_any_agent_acknowledged_is_lost() {
    let (first, schedules) = (number("OPSLOG_SEED", 1), number("OPSLOG_SCHEDULES", 100_000));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let run = |thread: u64| {
        let mut steps = 0;
        for seed in (first + thread..first + schedules).step_by(threads as usize) {
            let ran = std::panic::catch_unwind(|| simulate(seed, schedules == 1));
            steps += ran.unwrap_or_else(|_| panic!("OPSLOG_SEED={seed} fails, see above"));
        }
        steps
    };
    let steps: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{schedules} schedules from seed {first} on, {steps} steps");
}

#[test]
fn a_call_that_fails_in_the_middle_of_a_checkpoint_leaves_a_store_that_opens_with_everything() {
    for n in 1.. {
        let disk = MemoryBackend::new();
        let agent = |name: &str| {
            let options = Options { agent: Some(name.to_owned()), checkpoint_on_close: false, ..Options::default() };
            open(Arc::new(disk.clone()), &options).unwrap()
        };
        let set = |store: &Store, id: &str| match store.set(&json::quote(id), b"1").unwrap() {
            Accepted::Through(ticket) | Accepted::Told(ticket) => store.wait(ticket).unwrap(),
            Accepted::Done => panic!("an immediate write is never done at once"),
        };
        let (a, b) = (agent("a"), agent("b"));
        set(&a, "x");
        set(&b, "y");
        disk.fail_at(n);
        let before = disk.changes();
        let compacted = a.compact().and_then(|ticket| a.wait(ticket));
        let reached = disk.changes() >= before + n;
        disk.fail_at(u64::MAX / 2);
        assert!(reached || compacted.is_ok(), "{compacted:?}");
        // The others go on, and see everything.
        b.refresh().unwrap_or_else(|error| panic!("call {n} fails: {error}"));
        set(&b, "z");
        drop((a, b));
        let reader = open(Arc::new(disk), &Options { read_only: true, ..Options::default() }).unwrap();
        let mut ids: Vec<String> = records(&reader).into_iter().map(|(id, _)| id).collect();
        ids.sort();
        assert_eq!(ids, ["x", "y", "z"], "call {n} fails");
        if !reached {
            assert!(n > 8, "a checkpoint makes more calls");
            break;
        }
    }
}
