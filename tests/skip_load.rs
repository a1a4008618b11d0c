//! Stores that are opened without their records, in turn with ordinary opens: against a model that knows all records,
//! and another of what is to be seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::Error;
use opslog_native::backend::StorageBackend;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Durability, Options, Store, Ticket, Value, WriteMode};
use proptest::prelude::*;
use support::faulty::Faulty;
use support::model::{Change, Model, Records, archive, delete, gone, put, set};
use support::{Step, Watchdog, call, closed, done, history, log_text, open, opened, quoted, records, wait};

const IDS: [&str; 7] = ["a", "b", "c", "__proto__", "é🚀", "quote\"\\", "0"];
const VALUES: [&str; 8] = [
    "7",
    "[]",
    r#"{"a":1}"#,
    r#"{"a":1,"b":"long enough that a patch is shorter than the record","c":[1,2,3]}"#,
    r#"{"a":2,"b":"long enough that a patch is shorter than the record","c":[1,2,3]}"#,
    r#"{"a":1,"b":"long enough that a patch is shorter than the record","d":null}"#,
    r#"{"__proto__":1,"é":"ééééééééééééééééééééééééééééééé🚀"}"#,
    r#"["an","array","that","is","long","enough","for","a","patch"]"#,
];

/// A value that a faulty disk never takes.
const POISON: &str = r#"{"POISON":1}"#;

fn partial(options: &Options) -> Options {
    Options { skip_load: true, ..options.clone() }
}

/// What is stored, and what a session without the records sees of it.
struct Session {
    stored: Model,
    /// How many operations there were when it began.
    base: usize,
    /// What was visible before each operation of the session, and what is.
    seen: Vec<Records>,
}

impl Session {
    fn new(stored: Model) -> Self {
        Session { base: stored.log.len(), stored, seen: vec![Records::new()] }
    }

    fn see(&mut self, (id, value): &Change) {
        let mut next = self.seen.last().unwrap().clone();
        let at = next.iter().position(|(known, _)| known == id);
        match (at, value) {
            (Some(at), Some(value)) => next[at].1.clone_from(value),
            (None, Some(value)) => next.push((id.clone(), value.clone())),
            (Some(at), None) => drop(next.remove(at)),
            (None, None) => {}
        }
        self.seen.push(next);
    }

    fn apply(&mut self, step: &Step) -> Option<Value> {
        if matches!(step, Step::Undo) && self.stored.log.len() == self.base {
            return Some(Value::Bool(false));
        }
        let value = if matches!(step, Step::Close) { Value::None } else { self.stored.apply(step)? };
        match step {
            Step::Change(change) => self.see(change),
            Step::Batch(changes, true) => changes.iter().for_each(|change| self.see(change)),
            Step::Undo => drop(self.seen.pop()),
            Step::Batch(_, false) | Step::Compact | Step::Archive(..) | Step::Flush(_) | Step::Close => {}
        }
        Some(value)
    }

    fn check(&self, store: &Store) {
        assert_eq!(&records(store), self.seen.last().unwrap());
        let own: Vec<_> = self.stored.log[self.base..].iter().map(|op| op.shown.clone()).collect();
        assert_eq!(history(store), own);
        assert_eq!(store.stats().ops_count, own.len() as u64);
        assert_eq!(streamed(store), (self.stored.history(), sorted(&self.stored.records)));
    }
}

fn sorted(records: &Records) -> Records {
    let mut records = records.clone();
    records.sort();
    records
}

/// The operations that a store streams, without their timestamps, and what they make of its snapshot.
fn streamed(store: &Store) -> (Vec<String>, Records) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = std::collections::BTreeMap::new();
    let mut snapshot = store.snapshot_reader().unwrap();
    while let Some((id, value)) = snapshot.next().unwrap() {
        found.insert(text(&id), text(&value));
    }
    let (mut log, mut ops) = (store.log_stream().unwrap(), Vec::new());
    while let Some(op) = log.next().unwrap() {
        let mut shown = Vec::new();
        op.push_shown(&mut shown);
        let line = opslog_native::format::op::parse(&shown);
        match line.map(|line| (text(&line.id), line.data.map(text))) {
            Ok((id, Some(data))) => drop(found.insert(id, data)),
            Ok((id, None)) => assert!(found.remove(&id).is_some(), "deletes what is not there"),
            // A `prev` that is no object has a box on disk only.
            Err(_) => {
                let op: serde_json::Value = serde_json::from_slice(&shown).unwrap();
                let id = quoted(op["id"].as_str().unwrap());
                match op.get("data") {
                    Some(data) => drop(found.insert(id, serde_json::to_string(data).unwrap())),
                    None => assert!(found.remove(&id).is_some(), "deletes what is not there"),
                }
            }
        }
        let shown = text(&shown);
        ops.push(format!("{{{}", shown.split_once("\",").unwrap().1));
    }
    (ops, found.into_iter().collect())
}

/// How a session ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Close,
    Exit,
    Kill,
}

/// One open of the store.
#[derive(Debug, Clone)]
struct Part {
    partial: bool,
    options: Options,
    steps: Vec<(Step, bool)>,
    end: End,
}

fn any_change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![3 => prop::sample::select(&VALUES[..]).prop_map(Some), 1 => Just(None)];
    (prop::sample::select(&IDS[..]), value).prop_map(|(id, value)| (quoted(id), value.map(str::to_owned)))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => any_change().prop_map(Step::Change),
        3 => (prop::collection::vec(any_change(), 0..5), prop::bool::weighted(0.8)).prop_map(|(changes, keep)| Step::Batch(changes, keep)),
        5 => Just(Step::Undo),
        1 => any::<bool>().prop_map(Step::Flush),
    ]
}

fn any_options() -> impl Strategy<Value = Options> {
    (
        prop::sample::select(&[WriteMode::Immediate, WriteMode::Group, WriteMode::Async][..]),
        prop::sample::select(&[Durability::Fsync, Durability::Os][..]),
        prop::sample::select(&[1, 3, 50][..]),
        any::<bool>(),
    )
        .prop_map(|(write_mode, durability, group_commit_size, checkpoint_on_close)| Options {
            write_mode,
            durability,
            group_commit_size,
            checkpoint_on_close,
            ..Options::default()
        })
}

fn any_part() -> impl Strategy<Value = Part> {
    (
        prop::bool::weighted(0.6),
        any_options(),
        prop::collection::vec((any_step(), any::<bool>()), 0..15),
        prop::sample::select(&[End::Close, End::Exit, End::Kill][..]),
    )
        .prop_map(|(partial, options, steps, end)| Part { partial, options, steps, end })
}

/// Makes a call on a store and a model, and compares what they answer.
fn make(store: &Store, apply: &mut impl FnMut(&Step) -> Option<Value>, step: &Step) -> Option<(Option<Ticket>, Value)> {
    match (call(store, step), apply(step)) {
        (Ok(ticket), Some(value)) => Some((ticket, value)),
        (Err(Error::RecordNotFound { .. }), None) => None,
        (called, expected) => panic!("{step:?}: {called:?}, expected {expected:?}"),
    }
}

fn run_part(disk: MemoryBackend, part: &Part, model: Model) -> (MemoryBackend, Model) {
    let options = if part.partial {
        // Whatever the options say: there is no checkpoint.
        Options { checkpoint_threshold: Some(1), checkpoint_on_close: true, ..partial(&part.options) }
    } else {
        Options { checkpoint_threshold: Some(u64::MAX), ..part.options.clone() }
    };
    let store = opened(disk.clone(), &options);
    let mut session = Session::new(model);
    let mut pending = Vec::new();
    for (step, awaited) in &part.steps {
        let made = if part.partial {
            let made = make(&store, &mut |step| session.apply(step), step);
            session.check(&store);
            made
        } else {
            make(&store, &mut |step| session.stored.apply(step), step)
        };
        pending.extend(made.map(|(ticket, value)| (ticket, value, step)));
        if *awaited {
            for (ticket, value, step) in pending.drain(..) {
                assert_eq!(wait(&store, ticket).unwrap(), value, "{step:?}");
            }
        }
    }
    for (ticket, value, step) in pending.drain(..) {
        assert_eq!(wait(&store, ticket).unwrap(), value, "{step:?}");
    }
    let mut model = session.stored;
    match part.end {
        End::Close => {
            closed(store);
            if !part.partial && options.checkpoint_on_close {
                model.apply(&Step::Close);
            }
            (disk, model)
        }
        End::Exit => {
            drop(store);
            (disk, model)
        }
        End::Kill => {
            done(&store, Step::Flush(false));
            (disk.after_kill(), model)
        }
    }
}

/// How many cases: `PROPTEST_CASES` for a long run, or few enough for every run.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|given| given.parse().ok()).unwrap_or(few)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(400), max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_with_and_without_the_records_make_the_same_store(parts in prop::collection::vec(any_part(), 1..7)) {
        let _watchdog = Watchdog::new("sessions with and without the records", 180);
        let (mut disk, mut model) = (MemoryBackend::new(), Model::default());
        for part in &parts {
            (disk, model) = run_part(disk, part, model);
            let after = opened(disk.after_kill(), &Options { checkpoint_on_close: false, ..Options::default() });
            prop_assert_eq!(&records(&after), &model.records);
            prop_assert_eq!(history(&after), model.history());
            let reader = opened(disk.after_kill(), &Options { read_only: true, ..partial(&Options::default()) });
            prop_assert!(records(&reader).is_empty() && history(&reader).is_empty());
            prop_assert_eq!(streamed(&reader), (model.history(), sorted(&model.records)));
        }
    }
}

/// As [`any_step`], with values that cannot be written.
fn any_failing_step() -> impl Strategy<Value = Step> {
    let poison = |change: Change| (change.0, change.1.map(|_| POISON.to_owned()));
    prop_oneof![
        3 => any_step(),
        1 => any_change().prop_map(move |change| Step::Change(poison(change))),
        1 => (any_change(), any_change()).prop_map(move |(one, other)| Step::Batch(vec![one, poison(other)], true)),
    ]
}

fn is_poisoned(step: &Step) -> bool {
    let poisoned = |change: &Change| change.1.as_deref() == Some(POISON);
    match step {
        Step::Change(change) => poisoned(change),
        Step::Batch(changes, keep) => *keep && changes.iter().any(poisoned),
        Step::Undo | Step::Compact | Step::Archive(..) | Step::Flush(_) | Step::Close => false,
    }
}

/// Ends all calls: those that could be written happened in their order, and the others never did.
fn end_all(store: &Store, session: &mut Session, pending: &mut Vec<(Option<Ticket>, Step)>) {
    // An undo behind a call that failed takes back another operation: what follows it may be impossible for a while.
    let undone = pending.iter().any(|(_, step)| matches!(step, Step::Undo));
    for (ticket, step) in pending.drain(..) {
        match wait(store, ticket) {
            Ok(_) if matches!(step, Step::Batch(_, false)) => {}
            Ok(value) => {
                assert!(!is_poisoned(&step), "{step:?} was written");
                assert_eq!(session.apply(&step), Some(value), "{step:?}");
            }
            Err(Error::Io { .. }) => assert!(is_poisoned(&step), "{step:?} fails because of another"),
            Err(Error::RecordNotFound { .. }) => {
                assert!(undone || session.stored.clone().apply(&step).is_none(), "{step:?}")
            }
            Err(error) => panic!("{step:?}: {error}"),
        }
    }
    session.check(store);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(400), max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_that_cannot_be_written_never_were(
        before in prop::collection::vec(any_change(), 0..12),
        checkpoint in any::<bool>(),
        durability in prop::sample::select(&[Durability::Fsync, Durability::Os][..]),
        steps in prop::collection::vec((any_failing_step(), any::<bool>()), 1..40),
    ) {
        let _watchdog = Watchdog::new("writes fail without the records", 180);
        let disk = Faulty::new(MemoryBackend::new());
        let mut model = Model::default();
        let store = opened(disk.clone(), &Options { checkpoint_on_close: checkpoint, ..Options::default() });
        for change in before {
            make(&store, &mut |step| model.apply(step), &Step::Change(change));
        }
        closed(store);
        if checkpoint {
            model.apply(&Step::Close);
        }
        disk.fail_where(|call| call.appends() && call.contains("POISON"));
        let store = opened(disk.clone(), &Options { durability, ..partial(&Options::default()) });
        let mut session = Session::new(model);
        let mut pending = Vec::new();
        for (step, awaited) in steps {
            match call(&store, &step) {
                Ok(ticket) => pending.push((ticket, step)),
                // Whether there is such a record depends on calls whose end is not known yet.
                Err(Error::RecordNotFound { .. }) => {}
                Err(error) => panic!("{step:?}: {error}"),
            }
            if awaited {
                end_all(&store, &mut session, &mut pending);
            }
        }
        end_all(&store, &mut session, &mut pending);
        let after = opened(disk.disk.after_kill(), &Options::default());
        prop_assert_eq!(&records(&after), &session.stored.records);
        prop_assert_eq!(history(&after), session.stored.history());
    }
}

/// A store of two records in its snapshot and three operations in its log.
fn prepared() -> (MemoryBackend, Model) {
    let (disk, mut model) = (MemoryBackend::new(), Model::default());
    let options = Options { checkpoint_on_close: false, ..Options::default() };
    let store = opened(disk.clone(), &options);
    let steps = [set("a", VALUES[3]), set("b", "1"), Step::Compact, set("c", "2"), set("b", "3"), set("d", "4")];
    for step in steps {
        let value = model.apply(&step).unwrap();
        assert_eq!(done(&store, step), value);
    }
    closed(store);
    (disk, model)
}

#[test]
fn a_crash_at_any_moment_leaves_what_was_stored_and_whole_calls() {
    let steps = [
        set("a", VALUES[4]),
        delete("b"),
        Step::Batch(vec![put("b", "5"), put("e", "6"), gone("c")], true),
        Step::Undo,
        set("f", "7"),
        Step::Undo,
        Step::Undo,
    ];
    let mut freeze = 1;
    loop {
        let (disk, model) = prepared();
        let store = opened(disk.clone(), &partial(&Options::default()));
        disk.freeze_at_sync(freeze);
        let mut session = Session::new(model);
        let mut possible = vec![session.stored.records.clone()];
        let mut failed = false;
        for step in steps.clone() {
            session.apply(&step);
            possible.push(session.stored.records.clone());
            failed = call(&store, &step).and_then(|ticket| wait(&store, ticket)).is_err();
            if failed {
                break;
            }
            possible.drain(..possible.len() - 1);
        }
        for disk in [disk.after_kill(), disk.after_power_cut()] {
            let found = records(&opened(disk, &Options::default()));
            assert!(possible.contains(&found), "frozen at sync {freeze}: {found:?}, possible {possible:?}");
        }
        if !failed {
            break;
        }
        freeze += 1;
        assert!(freeze < 100, "some step fails, wherever the disk stops");
    }
    assert!(freeze > steps.len() as u64, "a sync for each step, at least: {freeze}");
}

#[test]
fn a_file_that_cannot_be_read_or_is_damaged_rejects_the_write_and_changes_nothing() {
    for (folder, damage) in [("snapshots/", false), ("ops/", false), ("snapshots/", true), ("ops/", true)] {
        let (memory, model) = prepared();
        let disk = Faulty::new(memory.clone());
        let store = opened(disk.clone(), &partial(&Options::default()));
        let path = memory.files().into_iter().rev().find(|path| path.starts_with(folder)).unwrap();
        let sound = memory.bytes(&path).unwrap();
        if damage {
            let mut bytes = sound.clone();
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() - 2;
            bytes[at] ^= 1;
            replace(&memory, &path, &bytes);
        } else {
            let failing = path.clone();
            disk.fail_where(move |call| call.syscall == "read" && call.path == failing);
        }
        for step in [set("a", "9"), delete("a"), Step::Batch(vec![put("n", "1")], true)] {
            match call(&store, &step) {
                Err(Error::Corrupt { .. }) => assert!(damage),
                Err(Error::Io { .. }) => assert!(!damage),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((records(&store), history(&store)), (Vec::new(), Vec::new()));
        disk.work_again();
        replace(&memory, &path, &sound);
        // Once the files can be read the same calls are taken.
        let mut session = Session::new(model);
        for step in [set("a", "9"), delete("a"), Step::Batch(vec![put("n", "1")], true)] {
            let value = session.apply(&step).unwrap();
            assert_eq!(done(&store, step), value);
        }
        session.check(&store);
    }
}

/// Puts bytes into a file that is there; the file stays the same one.
fn replace(disk: &MemoryBackend, path: &str, bytes: &[u8]) {
    let mut file = disk.open(path).unwrap();
    file.truncate(0).unwrap();
    file.write(0, bytes).unwrap();
}

#[test]
fn what_would_take_the_visible_records_for_all_is_refused() {
    let (disk, model) = prepared();
    let options = Options { checkpoint_threshold: Some(1), ..partial(&Options::default()) };
    let store = opened(disk.clone(), &options);
    done(&store, set("a", "1"));
    done(&store, set("z", "1"));
    for step in [Step::Compact, archive(&["a"], "s")] {
        assert!(matches!(call(&store, &step), Err(Error::NotLoaded)), "{step:?}");
    }
    let manifest = store.manifest();
    closed(store);
    let after = opened(disk.clone(), &Options::default());
    assert_eq!(after.manifest().current_snapshot, manifest.current_snapshot);
    assert_eq!(after.manifest().active_ops, manifest.active_ops);
    assert_eq!(after.count(), model.records.len() as u64 + 1);
}

#[test]
fn a_bad_end_is_mended_before_anything_is_appended() {
    let (disk, model) = prepared();
    let store = opened(disk.clone(), &Options { checkpoint_on_close: false, ..Options::default() });
    done(&store, Step::Batch(vec![put("x", "1"), put("y", "2")], true));
    closed(store);
    let whole = disk.bytes(&support::log_path(&disk)).unwrap();
    let lines: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let batch = lines[lines.len() - 3];
    for cut in batch..whole.len() {
        let disk = disk.after_kill();
        replace(&disk, &support::log_path(&disk), &whole[..cut]);
        let (store, report) = open(disk.clone(), &partial(&Options::default())).unwrap();
        let complete = cut + 1 == whole.len();
        assert_eq!(report.logs.len(), usize::from(cut > batch && !complete), "cut at {cut}");
        assert!(report.logs.iter().all(|log| log.cut == (cut - batch) as u64 && log.saved.is_some()), "cut at {cut}");
        done(&store, set("z", "3"));
        closed(store);
        let mut model = model.clone();
        if complete {
            model.apply(&Step::Batch(vec![put("x", "1"), put("y", "2")], true));
        }
        model.apply(&set("z", "3"));
        assert_eq!(records(&opened(disk, &Options::default())), model.records, "cut at {cut}");
    }
}

#[test]
fn an_undo_right_after_the_rest_of_an_undone_batch_leaves_that_rest() {
    let (disk, model) = prepared();
    let store = opened(disk.clone(), &Options { checkpoint_on_close: false, ..Options::default() });
    done(&store, Step::Batch(vec![put("x", "1"), put("y", "2"), put("z", "3")], true));
    done(&store, Step::Undo);
    closed(store);
    let before = log_text(&disk);
    let mut expected = model.records;
    expected.extend([("\"x\"".to_owned(), "1".to_owned()), ("\"y\"".to_owned(), "2".to_owned())]);
    let store = opened(disk.clone(), &partial(&Options::default()));
    assert_eq!(done(&store, Step::Undo), Value::Bool(false));
    done(&store, set("a", "1"));
    assert_eq!(done(&store, Step::Undo), Value::Bool(true));
    assert_eq!(done(&store, Step::Undo), Value::Bool(false));
    closed(store);
    assert_eq!(log_text(&disk), before);
    assert_eq!(records(&opened(disk, &Options::default())), expected);
}

#[test]
fn a_writer_of_another_version_is_refused_and_a_reader_is_not() {
    let (disk, _) = prepared();
    let newer = Options { version: 2, ..partial(&Options::default()) };
    let refused = open(disk.clone(), &newer).err().unwrap();
    assert!(
        matches!(&refused, Error::NeedsLoad { .. }) && refused.to_string().contains("without `skipLoad`"),
        "{refused}"
    );
    let reader = opened(disk.clone(), &Options { read_only: true, ..newer });
    assert_eq!(reader.refresh().unwrap().ops.len(), 3);
    // The refused open gave the lock back and changed nothing.
    closed(opened(disk.clone(), &Options { version: 2, checkpoint_on_close: false, ..Options::default() }));
    let older = open(disk, &partial(&Options::default())).err().unwrap();
    assert!(matches!(older, Error::NewerVersion { stored: 2, requested: 1, .. }), "{older}");
}
