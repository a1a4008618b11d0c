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

use opslog_native::backend::StorageBackend;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::format::archive::Segment;
use opslog_native::format::text::Text;
use opslog_native::store::{Durability, Migration, Opening, Options, Store, Value, WriteMode};
use opslog_native::{Error, Result};
use std::sync::Arc;
use std::sync::mpsc::channel;
use support::faulty::Faulty;
use support::model::{Model, archive, delete, gone, put, set};
use support::{
    Cases, Step, Watchdog, archives, call, closed, done, eventually, history, log_text, open, opened, records, run,
    temporary_files, wait,
};

const LONG: &str = r#"{"text":"long enough that an update is stored as a patch","n":1}"#;
const LONGER: &str = r#"{"text":"long enough that an update is stored as a patch","n":2}"#;

fn options(write_mode: WriteMode, durability: Durability, checkpoint_threshold: Option<u64>) -> Options {
    Options { write_mode, durability, checkpoint_threshold, room_after: 1, ..Options::default() }
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
    if options.write_mode == WriteMode::Immediate && options.durability == Durability::Fsync {
        // What it stands on is as durable as it is itself, whoever was killed before making it so.
        let cut = opened(disk.after_power_cut(), options);
        assert_eq!(records(&cut), wanted, "{what}, then a power cut");
    }
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
    let _watchdog = Watchdog::new("crash at every sync", 180);
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
    let hit = || disk.changes() >= target;
    let (mut errors, mut states, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    for step in &scenario.steps {
        states.push(model.clone());
        let mut next = model.clone();
        let value = next.apply(step);
        match run(&store, step) {
            // A checkpoint at the threshold that failed is made later: undo says which it was.
            Ok(found @ Value::Bool(undone)) if scenario.threshold.is_some() && hit() => {
                model.start = if undone { 0 } else { model.log.len() };
                assert_eq!(model.apply(step), Some(found), "{what}: {step:?}");
            }
            Ok(found) => {
                assert_eq!(Some(found), value, "{what}: {step:?}");
                model = next;
            }
            Err(error) => {
                let failed = matches!(&error, Error::Failed { .. });
                // `close` of a store that failed says once more why.
                let again = matches!(step, Step::Close) || value.is_none();
                assert!(failed || errors.is_empty() || again, "{what}: {step:?} fails as well: {error}");
                // Whether a manifest whose name could not be synced counts is unknown: either state is complete.
                let unknown = matches!(&error, Error::Io { syscall: "fsync", .. });
                errors.push(error);
                if unknown && matches!(step, Step::Archive(..)) {
                    unsure.push(next);
                }
            }
        }
        assert_eq!(records(&store), model.records, "{what}: memory after {step:?}");
    }
    // A failure in the background reaches the next call, once; what is buffered is with the system after a flush.
    let mut open_still = true;
    while let Err(error) = run(&store, &Step::Flush(false)) {
        errors.push(error);
        assert!(errors.len() < 20, "{what}: {errors:?}");
        match errors.last() {
            Some(Error::NotOpen) => open_still = false,
            Some(Error::Failed { .. }) => {}
            _ => continue,
        }
        break;
    }
    let before = disk.after_kill();
    if open_still && let Err(error) = run(&store, &Step::Close) {
        errors.push(error);
        // Either it is closed, after a failed sync, or it can be closed now.
        match run(&store, &Step::Close) {
            Ok(_) | Err(Error::NotOpen) => {}
            Err(again) => panic!("{what}: cannot be closed: {again}"),
        }
    }
    // What was buffered when the store stopped taking writes is lost, as in a crash.
    let failed = errors.iter().any(|error| matches!(error, Error::Failed { .. }));
    let lost = failed && mode != WriteMode::Immediate;
    states = if lost { states } else { Vec::new() };
    states.extend(unsure);
    states.push(model);
    let reached = hit();
    disk.fail_at(u64::MAX / 2);
    // The lock is free, whatever happened.
    for (disk, which) in [(&before, "killed"), (&disk, "closed")] {
        let again = open(disk.clone(), &options);
        let (again, _) = again.unwrap_or_else(|error| panic!("{what}, {which}: does not open: {error}"));
        let found = (records(&again), archives(&again));
        assert!(
            states.iter().any(|state| found.0 == state.records && found.1 == state.archives),
            "{what}, {which}: memory and disk differ; first error {:?}\nfound {found:?}\nafter {:?}",
            errors.first().map(ToString::to_string),
            states.last().map(|state| (&state.records, &state.archives))
        );
    }
    assert_eq!(temporary_files(&disk), [""; 0], "{what}");
    reached
}

#[test]
fn whatever_call_fails_nothing_rejected_happens_and_everything_else_does() {
    let _watchdog = Watchdog::new("failure at every call", 180);
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

/// Runs `open` on copies of a disk that stop at each sync, and checks what the next process finds; then on copies
/// whose changing calls fail one after the other, and checks that the same process can open them.
fn stop_and_fail_while_opening(
    disk: &MemoryBackend,
    open: impl Fn(&MemoryBackend) -> Result<Store>,
    check: impl Fn(&MemoryBackend, &str),
) {
    for n in 1.. {
        let disk = disk.after_kill();
        let before = disk.syncs();
        disk.freeze_at_sync(n);
        drop(open(&disk));
        check(&disk.after_kill(), &format!("stopped at sync {n}, killed"));
        check(&disk.after_power_cut(), &format!("stopped at sync {n}, power cut"));
        if disk.syncs() < before + n {
            break;
        }
    }
    for n in 1.. {
        let disk = disk.after_kill();
        let before = disk.changes();
        disk.fail_at(n);
        let failed = open(&disk).map(drop);
        if disk.changes() < before + n {
            assert!(failed.is_ok());
            break;
        }
        if let Err(error) = failed {
            assert!(matches!(error, Error::Io { .. }), "call {n}: {error}");
        }
        check(&disk, &format!("call {n} fails"));
    }
}

#[test]
fn a_first_open_that_is_interrupted_anywhere_leaves_a_fresh_store() {
    let options = Options::default();
    stop_and_fail_while_opening(
        &MemoryBackend::new(),
        |disk| Ok(open(disk.clone(), &options)?.0),
        |disk, what| {
            let (store, _) = open(disk.clone(), &options).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(store.count(), 0, "{what}");
            done(&store, set("a", "1"));
            drop(store);
            // A second opening removes what the interrupted one left, and nothing else.
            closed(opened(disk.clone(), &options));
            let store = opened(disk.clone(), &options);
            assert_eq!(store.count(), 1, "{what}");
            assert_eq!(temporary_files(disk), [""; 0], "{what}");
        },
    );
}

/// Opens with version 2; records of version 1 get a member.
fn migrated(disk: &MemoryBackend) -> Result<Store> {
    let migrate = |value: &str| -> Text { format!("{{\"old\":{value}}}").as_bytes().into() };
    let opening = Opening::load(Arc::new(disk.clone()), Options { version: 2, ..Options::default() })?;
    let mut migration = Migration::default();
    if opening.migrate_from() == Some(1) {
        let values: Vec<serde_json::Value> = serde_json::from_slice(&opening.page(0, usize::MAX).values).unwrap();
        migration.values = values.iter().map(|value| migrate(&value.to_string())).collect();
        for (path, segment) in opening.old_segments()? {
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            let records = segment.records.iter().map(|(id, value)| (id.clone(), migrate(&text(value)))).collect();
            migration.segments.push((path, Segment { version: 2, records, ..segment }));
        }
    }
    Ok(opening.start(migration, Box::new(|| {}))?.0)
}

#[test]
fn a_migration_that_is_interrupted_anywhere_is_made_exactly_once() {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &Options::default());
    for step in [
        set("a", "1"),
        set("b", "2"),
        archive(&["b"], "s"),
        set("c", "3"),
        set("d", "4"),
        archive(&["d"], "t"),
        set("e", "5"),
        Step::Undo,
        set("f", "6"),
    ] {
        done(&store, step);
    }
    drop(store);
    stop_and_fail_while_opening(&disk, migrated, |disk, what| {
        let store = migrated(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let old = |id: &str, n: u32| (format!("\"{id}\""), format!("{{\"old\":{n}}}"));
        assert_eq!(records(&store), [old("a", 1), old("c", 3), old("f", 6)], "{what}");
        assert_eq!(archives(&store).into_values().flatten().collect::<Vec<_>>(), [old("b", 2), old("d", 4)], "{what}");
        closed(store);
        assert_eq!(temporary_files(disk), [""; 0], "{what}");
    });
}

#[test]
fn a_repair_that_is_interrupted_anywhere_loses_neither_good_lines_nor_what_is_cut() {
    for (tail, cut) in [("{\"ts\":\"2026", true), ("foreign\nlines\n\n", true), ("", false)] {
        let disk = MemoryBackend::new();
        let store = opened(disk.clone(), &Options::default());
        done(&store, set("a", "1"));
        done(&store, set("b", "2"));
        drop(store);
        let log = log_text(&disk);
        let path = support::log_path(&disk);
        let damaged = if cut { format!("{log}{tail}") } else { log.trim_end().to_owned() };
        disk.put(&path, damaged.as_bytes());
        let options = Options::default();
        stop_and_fail_while_opening(
            &disk,
            |disk| Ok(open(disk.clone(), &options)?.0),
            |disk, what| {
                let (store, _) =
                    open(disk.clone(), &options).unwrap_or_else(|error| panic!("{tail:?}, {what}: {error}"));
                assert_eq!(history(&store).len(), 2, "{tail:?}, {what}");
                assert_eq!(store.count(), 2, "{tail:?}, {what}");
                assert_eq!(log_text(disk), log, "{tail:?}, {what}");
                let saved = |path: &String| path.contains(".cut-") && disk.bytes(path).unwrap() == tail.as_bytes();
                assert_eq!(disk.files().iter().any(saved), cut, "{tail:?}, {what}");
            },
        );
    }
}

fn texts(store: &Store) -> Vec<(String, String)> {
    records(store)
}

fn text(id: &str, value: &str) -> (String, String) {
    (support::quoted(id), value.to_owned())
}

#[test]
fn one_callers_failure_is_never_anothers() {
    for durability in [Durability::Fsync, Durability::Os] {
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &options(WriteMode::Immediate, durability, None));
        done(&store, set("before", "0"));
        disk.fail_where(|call| call.appends() && call.contains("POISON"));
        let steps = [
            set("a", "1"),
            set("p", "\"POISON\""),
            set("b", "2"),
            Step::Batch(vec![put("c", "3"), put("q", "\"POISON\"")], true),
            Step::Batch(vec![put("d", "4"), gone("a")], true),
            delete("p"),
            set("p", "5"),
            Step::Undo,
            set("e", "6"),
        ];
        let tickets: Vec<_> = steps.iter().map(|step| call(&store, step).unwrap()).collect();
        let results: Vec<_> = tickets.into_iter().map(|ticket| wait(&store, ticket)).collect();
        let oks: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(oks, [true, false, true, false, true, false, true, true, true], "{results:?}");
        assert!(matches!(results[1], Err(Error::Io { .. })));
        assert!(matches!(results[3], Err(Error::Io { .. })));
        assert!(matches!(results[5], Err(Error::RecordNotFound { .. })), "what it was to delete was never written");
        let wanted = [text("before", "0"), text("b", "2"), text("d", "4"), text("e", "6")];
        assert_eq!(texts(&store), wanted);
        assert_eq!(history(&store).len(), 6);
        assert_eq!(texts(&opened(disk.disk.after_kill(), &Options::default())), wanted);
        closed(store);
        assert_eq!(texts(&opened(disk, &Options::default())), wanted);
    }
}

#[test]
fn a_failed_write_that_reached_the_threshold_is_told_once() {
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &options(WriteMode::Immediate, Durability::Fsync, Some(2)));
    disk.fail_where(|call| call.appends() && call.contains("POISON"));
    let first = call(&store, &set("a", "\"POISON\"")).unwrap();
    let second = call(&store, &delete("a")).unwrap();
    assert!(matches!(wait(&store, first), Err(Error::Io { .. })));
    assert!(matches!(wait(&store, second), Err(Error::RecordNotFound { .. })));
    // This waits for whatever checkpoint there is.
    done(&store, Step::Compact);
    let (_, left) = store.settled();
    assert!(left.is_empty(), "told twice: {left:?}");
}

#[test]
fn buffered_writes_that_fail_in_the_background_are_kept_and_the_error_reaches_the_next_call_once() {
    for mode in [WriteMode::Group, WriteMode::Async] {
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &options(mode, Durability::Fsync, None));
        disk.fail_where(|call| call.appends());
        assert_eq!(call(&store, &set("a", "1")).unwrap(), None, "it is acknowledged at once");
        assert_eq!(call(&store, &set("b", "2")).unwrap(), None);
        store.kick();
        // Long enough for the writer to have tried, once or several times.
        std::thread::sleep(std::time::Duration::from_millis(300));
        disk.work_again();
        // Another try that fails would be told as well: a slow machine makes one between any two calls.
        eventually("what was kept is written", || !store.is_writing());
        let refused = call(&store, &set("c", "3")).expect_err("the failure is told by the next call");
        assert!(matches!(refused, Error::Io { .. }), "{refused}");
        assert_eq!(call(&store, &set("d", "4")).unwrap(), None, "it is told once");
        done(&store, Step::Flush(true));
        let wanted = [text("a", "1"), text("b", "2"), text("d", "4")];
        assert_eq!(texts(&store), wanted);
        assert_eq!(texts(&opened(disk.disk.after_power_cut(), &Options::default())), wanted);
        closed(store);
    }
}

#[test]
fn close_tells_a_failure_in_the_background_and_can_be_called_again() {
    for mode in [WriteMode::Group, WriteMode::Async] {
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &options(mode, Durability::Fsync, None));
        disk.fail_where(|call| call.appends());
        assert_eq!(call(&store, &set("a", "1")).unwrap(), None);
        assert!(matches!(run(&store, &Step::Close), Err(Error::Io { .. })));
        assert!(matches!(run(&store, &Step::Close), Err(Error::Io { .. })), "as long as it fails");
        disk.work_again();
        while run(&store, &Step::Close).is_err() {}
        assert_eq!(texts(&opened(disk, &Options::default())), [text("a", "1")]);
    }
}

#[test]
fn after_a_failed_sync_writes_are_refused_and_close_rejects_once_and_frees_the_lock() {
    for mode in [WriteMode::Immediate, WriteMode::Group, WriteMode::Async] {
        let disk = Faulty::new(MemoryBackend::new());
        let options = options(mode, Durability::Fsync, None);
        let store = opened(disk.clone(), &options);
        done(&store, set("a", "1"));
        done(&store, Step::Flush(true));
        disk.fail_where(|call| call.syscall == "fdatasync");
        let rejected = run(&store, &Step::Batch(vec![put("b", "2"), put("c", "3")], true))
            .and_then(|_| run(&store, &Step::Flush(false)));
        assert!(matches!(rejected, Err(Error::Io { syscall: "fdatasync", .. })), "{mode:?} {rejected:?}");
        disk.work_again();
        for step in [
            set("d", "4"),
            delete("a"),
            Step::Undo,
            Step::Compact,
            archive(&["a"], "s"),
            Step::Flush(true),
            Step::Batch(vec![put("e", "5")], true),
        ] {
            assert!(matches!(run(&store, &step), Err(Error::Failed { .. })), "{mode:?} {step:?}");
        }
        assert_eq!(store.get(b"\"a\"").as_deref(), Some(&b"1"[..]), "reading goes on");
        assert!(matches!(open(disk.clone(), &options), Err(Error::Locked { .. })));
        assert!(matches!(run(&store, &Step::Close), Err(Error::Io { .. })));
        assert!(matches!(run(&store, &Step::Close), Err(Error::NotOpen)));
        let again = opened(disk.clone(), &options);
        if mode == WriteMode::Immediate {
            assert_eq!(texts(&again), [text("a", "1")]);
        }
    }
}

/// A failed sync cut the whole log off: among the writes that shared it was an acknowledged one without operations, which
/// an earlier failure had made impossible, and everything after "nothing" went.
#[test]
fn a_failed_sync_takes_nothing_off_the_log_but_what_it_was_to_sync() {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
    let disk = Faulty::new(MemoryBackend::new());
    let options = Options { group_commit_size: 4, ..options(WriteMode::Group, Durability::Fsync, None) };
    let store = opened(disk.clone(), &options);
    done(&store, set("kept", "1"));
    done(&store, Step::Flush(true));
    let ((appending, is_appending), (queued, is_queued)) = (channel(), channel());
    let mut first = true;
    disk.fail_where(move |call| {
        if first && call.appends() {
            first = false;
            appending.send(()).unwrap();
            is_queued.recv_timeout(PATIENCE).unwrap();
            return true;
        }
        call.syscall == "fdatasync" && call.is_log()
    });
    let batch = call(&store, &Step::Batch(vec![put("x", "2"), put("y", "3")], true)).unwrap();
    store.kick();
    is_appending.recv_timeout(PATIENCE).unwrap();
    assert_eq!(call(&store, &delete("x")).unwrap(), None, "it is acknowledged at once");
    let last = call(&store, &set("z", "4")).unwrap();
    store.kick();
    queued.send(()).unwrap();
    assert!(matches!(wait(&store, batch), Err(Error::Io { syscall: "write", .. })));
    assert!(matches!(wait(&store, last), Err(Error::Io { syscall: "fdatasync", .. })));
    disk.work_again();
    let _ = run(&store, &Step::Close);
    assert_eq!(texts(&opened(disk, &Options::default())), [text("kept", "1")]);
}

#[test]
fn a_rejected_write_does_not_come_back_where_even_cutting_it_off_failed() {
    for close in [true, false] {
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &Options { checkpoint_on_close: false, ..Options::default() });
        done(&store, set("a", "1"));
        // Half of the bytes are written, and that half holds a whole line.
        disk.fail_where(|call| call.is_log());
        let both: Vec<_> = [set("c", "2"), set("long", &format!("\"{}\"", "x".repeat(500)))]
            .iter()
            .map(|step| call(&store, step).unwrap())
            .collect();
        assert!(both.into_iter().all(|ticket| wait(&store, ticket).is_err()));
        assert!(log_text(&disk.disk).lines().count() > 1, "this is the case that is meant");
        disk.work_again();
        if close {
            closed(store);
        } else {
            drop(store);
        }
        assert_eq!(texts(&opened(disk, &Options::default())), [text("a", "1")], "close {close}");
    }
}

#[test]
fn a_failing_automatic_checkpoint_rejects_no_write_is_reported_and_is_made_later() {
    for call_to_fail in ["open", "write", "fdatasync", "rename", "fsync"] {
        let disk = Faulty::new(MemoryBackend::new());
        let store = opened(disk.clone(), &options(WriteMode::Immediate, Durability::Fsync, Some(2)));
        disk.fail_where(move |call| call.syscall == call_to_fail && call.path.starts_with("snapshots"));
        done(&store, set("a", "1"));
        done(&store, set("b", "2"));
        assert!(store.stats().checkpoint_error.is_some(), "{call_to_fail}");
        assert_eq!(store.take_notices().len(), 1, "{call_to_fail}");
        assert_eq!(history(&store).len(), 2);
        assert_eq!(temporary_files(&disk.disk), [""; 0], "{call_to_fail}");
        assert!(run(&store, &Step::Compact).is_err(), "who asks is told");
        disk.work_again();
        std::thread::sleep(std::time::Duration::from_millis(1_050));
        done(&store, set("c", "3"));
        assert_eq!(history(&store).len(), 0, "{call_to_fail}");
        assert!(store.stats().checkpoint_error.is_none());
        closed(store);
        let snapshots = disk.list("snapshots").unwrap().len();
        assert_eq!(snapshots, 2, "the current one and the one before");
    }
}

#[test]
fn the_counts_of_archives_are_right_after_a_crash_at_any_sync_and_another_try() {
    for existing in [false, true] {
        for n in 1..40 {
            let disk = MemoryBackend::new();
            let store = opened(disk.clone(), &Options::default());
            for step in [set("a", "1"), set("b", "2"), set("c", "3"), Step::Compact] {
                done(&store, step);
            }
            if existing {
                done(&store, archive(&["a"], "s"));
            }
            disk.freeze_at_sync(n);
            let ended = run(&store, &archive(&["b", "c"], "s"));
            for disk in [disk.after_kill(), disk.after_power_cut()] {
                let store = opened(disk.clone(), &Options::default());
                if store.has(b"\"b\"") {
                    assert!(ended.is_err());
                    done(&store, archive(&["b", "c"], "s"));
                }
                let held: u64 = archives(&store).values().map(|records| records.len() as u64).sum();
                assert_eq!(held, 2 + u64::from(existing));
                assert_eq!(store.manifest().stats.archived_records, held, "existing {existing}, stopped at sync {n}");
                closed(store);
            }
        }
    }
}

#[test]
fn records_of_an_archive_call_that_never_counted_do_not_appear_in_the_segment_later() {
    for n in 1..40 {
        let disk = MemoryBackend::new();
        let store = opened(disk.clone(), &Options::default());
        for step in [set("a", "1"), set("b", "2"), Step::Compact] {
            done(&store, step);
        }
        disk.freeze_at_sync(n);
        let _ = run(&store, &archive(&["a"], "s"));
        let store = opened(disk.after_kill(), &Options::default());
        if store.has(b"\"a\"") {
            done(&store, delete("a"));
            done(&store, archive(&["b"], "s"));
            assert_eq!(archives(&store)["archive/archive-s.json"], [text("b", "2")], "stopped at sync {n}");
        }
    }
}

#[test]
fn nothing_is_written_after_the_lock_was_given_back() {
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &Options::default());
    let value = format!("\"{}\"", "x".repeat(1_000));
    done(&store, Step::Batch((0..20_000).map(|n| put(&n.to_string(), &value)).collect(), true));
    // The process ends while a checkpoint is being written.
    let checkpoint = call(&store, &Step::Compact).unwrap();
    assert!(checkpoint.is_some());
    store.kick();
    let written = disk.disk.changes();
    eventually("the checkpoint has begun", || disk.disk.changes() > written + 2);
    drop(store);
    let after = disk.disk.changes();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(disk.disk.changes(), after);
    assert_eq!(temporary_files(&disk.disk), [""; 0]);
    assert_eq!(opened(disk, &Options::default()).count(), 20_000);
}

#[test]
fn waiting_for_a_checkpoint_ends_when_it_has_been_published() {
    let disk = Faulty::new(MemoryBackend::new());
    let store = opened(disk.clone(), &options(WriteMode::Immediate, Durability::Os, None));
    done(&store, set("a", "1"));
    // Publishing takes long enough for the writes that follow to end first.
    disk.fail_where(|call| {
        if call.syscall == "rename" && call.path == "manifest.json" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        false
    });
    let checkpoint = call(&store, &Step::Compact).unwrap();
    let write = call(&store, &set("b", "2")).unwrap();
    wait(&store, write).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(10));
    wait(&store, checkpoint).unwrap();
    assert_eq!(history(&store).len(), 1);
    assert_eq!(store.manifest().stats.active_records, 1);
}
