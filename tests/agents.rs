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

use simulation::run::simulate;

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
