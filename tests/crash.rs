//! Every multi-step commit, stopped at every sync and failing at every changing call.
//!
//! A stopped machine leaves a store that opens with every acknowledged call and nothing else but at most a prefix of
//! the unacknowledged ones. A call that fails changes nothing, neither now nor after a restart, and the next works.
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
use opslog_native::store::{Durability, Options, WriteMode};
use support::model::{archive, delete, gone, put, set};
use support::{
    Cases, Model, Step, Watchdog, archives, call, done, history, open, opened, records, run, temporary_files, wait,
};

const LONG: &str = r#"{"text":"long enough that an update is stored as a patch","n":1}"#;
const LONGER: &str = r#"{"text":"long enough that an update is stored as a patch","n":2}"#;

fn options(write_mode: WriteMode, durability: Durability, checkpoint_threshold: Option<u64>) -> Options {
    Options { write_mode, durability, checkpoint_threshold, ..Options::default() }
}

/// A commit to be stopped at every step.
struct Scenario {
    name: &'static str,
    threshold: Option<u64>,
    before: Vec<Step>,
    steps: Vec<Step>,
}

fn scenarios() -> Vec<Scenario> {
    let some = || vec![set("a", LONG), set("b", "[1]"), Step::Compact, set("c", "\"é\""), delete("b")];
    let scenario = |name, threshold, before, steps| Scenario { name, threshold, before, steps };
    let batch = || Step::Batch(vec![put("x", LONG), put("a", LONGER), gone("c"), put("y", "7")], true);
    vec![
        scenario(
            "writes",
            None,
            some(),
            vec![
                set("a", LONGER),
                set("d", LONG),
                delete("c"),
                set("d", LONGER),
                set("c", "1"),
                Step::Flush(false),
                set("e", "2"),
                Step::Flush(true),
            ],
        ),
        scenario(
            "batches",
            None,
            some(),
            vec![
                batch(),
                Step::Batch(vec![put("z", "1")], true),
                Step::Batch(vec![put("q", "1"), gone("z")], false),
                Step::Batch(vec![gone("x"), gone("y")], true),
                Step::Flush(true),
            ],
        ),
        scenario(
            "undo",
            None,
            some(),
            vec![set("d", LONG), Step::Undo, Step::Undo, Step::Undo, Step::Undo, set("a", "3"), Step::Flush(true)],
        ),
        scenario(
            "undo inside a batch",
            None,
            some(),
            vec![
                batch(),
                Step::Undo,
                Step::Undo,
                set("d", "1"),
                Step::Undo,
                Step::Undo,
                Step::Undo,
                batch(),
                Step::Undo,
                Step::Flush(true),
            ],
        ),
        scenario(
            "batch after an undone one",
            None,
            some(),
            vec![
                batch(),
                Step::Undo,
                Step::Undo,
                Step::Flush(true),
                Step::Batch(vec![put("m", "1"), put("n", "2")], true),
                Step::Flush(true),
            ],
        ),
        scenario(
            "compact",
            None,
            some(),
            vec![set("a", "3"), Step::Compact, set("d", LONG), Step::Undo, Step::Undo, set("e", "1"), Step::Compact],
        ),
        scenario(
            "threshold",
            Some(3),
            some(),
            vec![
                set("d", "1"),
                set("e", "2"),
                batch(),
                set("f", "3"),
                delete("d"),
                Step::Undo,
                set("g", "1"),
                set("h", "2"),
            ],
        ),
        scenario("threshold of one", Some(1), some(), vec![set("d", "1"), set("d", "2"), Step::Undo, delete("d")]),
        scenario(
            "archive",
            None,
            some(),
            vec![set("d", LONG), archive(&["a", "d", "nowhere"], "s"), set("a", "1"), Step::Undo, Step::Undo],
        ),
        scenario(
            "archive to a segment that exists",
            None,
            [some(), vec![archive(&["a"], "s"), set("a", LONGER)]].concat(),
            vec![archive(&["a", "c"], "s"), set("c", "0"), archive(&["c"], "s")],
        ),
        scenario("close", None, some(), vec![set("a", LONGER), Step::Close]),
        scenario("close with nothing to do", None, [some(), vec![Step::Compact]].concat(), vec![Step::Close]),
    ]
}

/// A disk that holds a store, and what it holds.
fn prepared(scenario: &Scenario) -> (MemoryBackend, Model) {
    let (disk, mut model) = (MemoryBackend::new(), Model::default());
    let store = opened(disk.clone(), &Options::default());
    for step in &scenario.before {
        assert_eq!(Some(done(&store, step.clone())), model.apply(step), "{step:?}");
    }
    drop(store);
    model.threshold = scenario.threshold;
    (disk.after_kill(), model)
}

fn modes() -> Vec<(WriteMode, Durability)> {
    [WriteMode::Immediate, WriteMode::Group, WriteMode::Async]
        .into_iter()
        .flat_map(|mode| [Durability::Fsync, Durability::Os].map(|durability| (mode, durability)))
        .collect()
}

/// What an acknowledged step survives: the end of the process, a power cut.
fn survives(step: &Step, mode: WriteMode, durability: Durability) -> (bool, bool) {
    match step {
        Step::Compact | Step::Archive(..) | Step::Close | Step::Flush(true) => (true, true),
        Step::Flush(false) => (true, durability == Durability::Fsync),
        Step::Change(_) | Step::Batch(..) | Step::Undo => {
            let immediate = mode == WriteMode::Immediate;
            (immediate, immediate && durability == Durability::Fsync)
        }
    }
}

/// Opens what a crash left and checks that it is one of `states`: everything up to the first of them was acknowledged.
fn check_restart(disk: &MemoryBackend, options: &Options, states: &[Model], what: &str) {
    let (store, _) = open(disk.clone(), options).unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    let (found, ops, archived) = (records(&store), history(&store), archives(&store));
    let fits = |model: &&Model| {
        let all: Vec<_> = model.log.iter().map(|op| &op.shown).collect();
        let suffix = all.len() >= ops.len() && ops.iter().eq(all[all.len() - ops.len()..].iter().copied());
        // A crash may leave the records of an archive call in the segment as well as in the store.
        let kept = model.archives.iter().all(|(path, wanted)| {
            archived
                .get(path)
                .is_some_and(|found| wanted.iter().all(|(id, _)| found.iter().any(|(known, _)| known == id)))
        });
        found == model.records && suffix && kept
    };
    let state = states.iter().find(fits).cloned().unwrap_or_else(|| {
        panic!(
            "{what}: opens to a state that nobody made\nfound {found:#?}\nhistory {ops:#?}\nacknowledged {:#?}\nlast {:#?}",
            states.first().map(|state| &state.records),
            states.last().map(|state| &state.records)
        )
    });
    // The store goes on: an operation, and what was before it.
    done(&store, set("after the crash", "1"));
    let mut wanted = state.records.clone();
    wanted.push((support::quoted("after the crash"), "1".to_owned()));
    done(&store, Step::Close);
    drop(store);
    assert_eq!(temporary_files(disk), [""; 0], "{what}");
    assert_eq!(records(&opened(disk.clone(), options)), wanted, "{what}");
}

/// Runs the steps on a disk that stops at its `n`th sync. False once the disk did not stop any more.
fn stop_at(scenario: &Scenario, mode: WriteMode, durability: Durability, awaited: bool, n: u64) -> bool {
    let (disk, model) = prepared(scenario);
    let options = options(mode, durability, scenario.threshold);
    let what = format!("{}, {mode:?}, {durability:?}, awaited {awaited}, stopped at sync {n}", scenario.name);
    let target = disk.syncs() + n;
    disk.freeze_at_sync(n);
    let mut states = vec![model];
    let (mut kept_by_kill, mut kept_by_power_cut) = (0, 0);
    let mut acknowledge = |at: usize, step: &Step| {
        let (kill, power_cut) = survives(step, mode, durability);
        if kill {
            kept_by_kill = at + 1;
        }
        if power_cut {
            kept_by_power_cut = at + 1;
        }
    };
    let store = open(disk.clone(), &options);
    if let Ok((store, _)) = &store {
        let mut calls = Vec::new();
        for (at, step) in scenario.steps.iter().enumerate() {
            let mut next = states[at].clone();
            let value = next.apply(step);
            states.push(next);
            let Ok(ticket) = call(store, step) else { break };
            if awaited {
                match wait(store, ticket) {
                    Ok(found) => assert_eq!(Some(found), value, "{what}: {step:?}"),
                    Err(_) => break,
                }
                acknowledge(at, step);
            } else {
                calls.push((at, ticket));
            }
        }
        store.kick();
        for (at, ticket) in calls {
            if wait(store, ticket).is_err() {
                break;
            }
            acknowledge(at, &scenario.steps[at]);
        }
    }
    check_restart(&disk.after_kill(), &options, &states[kept_by_kill..], &format!("{what}, killed"));
    check_restart(&disk.after_power_cut(), &options, &states[kept_by_power_cut..], &format!("{what}, power cut"));
    disk.syncs() >= target
}

#[test]
fn whatever_sync_the_machine_stops_at_every_acknowledged_call_is_there_after_a_restart() {
    let _watchdog = Watchdog::new("crash at every sync", 100);
    let mut cases = Cases::default();
    for scenario in scenarios() {
        for (mode, durability) in modes() {
            for awaited in [true, false] {
                let mut n = 1;
                while cases.run(|| stop_at(&scenario, mode, durability, awaited, n)) != Some(false) {
                    n += 1;
                    assert!(n < 200, "{}: no end", scenario.name);
                }
            }
        }
    }
}

/// Runs the steps, each awaited, on a disk whose `n`th changing call fails. False once none did.
fn fail_at(scenario: &Scenario, mode: WriteMode, durability: Durability, n: u64) -> bool {
    let (disk, mut model) = prepared(scenario);
    let options = options(mode, durability, scenario.threshold);
    let what = format!("{}, {mode:?}, {durability:?}, call {n} fails", scenario.name);
    let store = opened(disk.clone(), &options);
    let target = disk.changes() + n;
    disk.fail_at(n);
    let mut errors = Vec::new();
    for step in &scenario.steps {
        let mut next = model.clone();
        let value = next.apply(step);
        match run(&store, step) {
            Ok(found) => {
                assert_eq!(Some(found), value, "{what}: {step:?}");
                model = next;
            }
            Err(error) => {
                let failed = matches!(&error, Error::Failed { .. });
                assert!(failed || errors.is_empty() || value.is_none(), "{what}: {step:?} fails as well: {error}");
                errors.push(error.to_string());
            }
        }
        assert_eq!(records(&store), model.records, "{what}: memory after {step:?}");
    }
    let hit = disk.changes() >= target;
    let closed = matches!(scenario.steps.last(), Some(Step::Close)) && errors.is_empty();
    // A failure in the background reaches the next call, once; what is buffered is with the system after a flush.
    while !closed && let Err(error) = run(&store, &Step::Flush(false)) {
        let failed = matches!(&error, Error::Failed { .. });
        errors.push(error.to_string());
        assert!(errors.len() < 20, "{what}: {errors:?}");
        if failed {
            break;
        }
    }
    let before = disk.after_kill();
    if !closed {
        match run(&store, &Step::Close) {
            Ok(_) => drop(model.apply(&Step::Close)),
            Err(error) => {
                errors.push(error.to_string());
                // Either it is closed, after a failed sync, or it can be closed now.
                match run(&store, &Step::Close) {
                    Ok(_) => drop(model.apply(&Step::Close)),
                    Err(again) => assert!(matches!(again, Error::NotOpen), "{what}: {again}"),
                }
            }
        }
    }
    // The lock is free, whatever happened.
    for (disk, which) in [(&before, "killed"), (&disk, "closed")] {
        let again = open(disk.clone(), &options);
        let (again, _) = again.unwrap_or_else(|error| panic!("{what}, {which}: does not open: {error}"));
        assert_eq!(records(&again), model.records, "{what}, {which}: disk; errors {errors:?}");
        assert_eq!(archives(&again), model.archives, "{what}, {which}: disk; errors {errors:?}");
    }
    assert_eq!(temporary_files(&disk), [""; 0], "{what}");
    hit
}

#[test]
fn whatever_call_fails_nothing_rejected_happens_and_everything_else_does() {
    let _watchdog = Watchdog::new("failure at every call", 100);
    let mut cases = Cases::default();
    for scenario in scenarios() {
        for (mode, durability) in modes() {
            let mut n = 1;
            while cases.run(|| fail_at(&scenario, mode, durability, n)) != Some(false) {
                n += 1;
                assert!(n < 400, "{}: no end", scenario.name);
            }
        }
    }
}
