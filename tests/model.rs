//! Random calls, restarts and checkpoints, against a store as plainly as it can be written (`support::model`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::Error;
use opslog_native::backend::fs::FsBackend;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Durability, Options, Store, Ticket, Value, WriteMode};
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;
use support::faulty::Faulty;
use support::model::{Archives, Change, Model, put};
use support::{
    Step, Watchdog, archives, call, closed, done, eventually, history, history_of, opened, quoted, records, wait,
};

/// What a case does next.
#[derive(Debug, Clone)]
enum Move {
    /// Makes a call, and waits for its end or not.
    Call(Step, bool),
    Kick,
    /// Waits for everything.
    Settle,
    /// Closes and opens again.
    Reopen,
    /// The process ends without `close`, which flushes, and another opens.
    Exit,
    /// The process is killed, and another opens.
    Kill,
}

const IDS: [&str; 6] = ["a", "b", "__proto__", "é🚀", "quote\"\\", "0"];
const VALUES: [&str; 14] = [
    "{}",
    "[]",
    "7",
    "\"text\"",
    "true",
    r#"{"a":1}"#,
    r#"{"a":1,"b":"long enough that a patch is shorter than the record","c":[1,2,3]}"#,
    r#"{"a":2,"b":"long enough that a patch is shorter than the record","c":[1,2,3]}"#,
    r#"{"a":1,"b":"long enough that a patch is shorter than the record","d":null}"#,
    r#"{"c":[1,2,3],"a":1,"b":"long enough that a patch is shorter than the record"}"#,
    r#"{"__proto__":1,"é":"ééééééééééééééééééééééééééééééé🚀"}"#,
    r#"{"__proto__":2,"é":"ééééééééééééééééééééééééééééééé🚀","constructor":{"x":1}}"#,
    r#"["an","array","that","is","long","enough","for","a","patch"]"#,
    r#"["an","array","that","is","LONG","enough","for","a","patch","2"]"#,
];

fn any_change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![3 => prop::sample::select(&VALUES[..]).prop_map(Some), 1 => Just(None)];
    (prop::sample::select(&IDS[..]), value).prop_map(|(id, value)| (quoted(id), value.map(str::to_owned)))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => any_change().prop_map(Step::Change),
        3 => (prop::collection::vec(any_change(), 0..5), prop::bool::weighted(0.8)).prop_map(|(changes, keep)| Step::Batch(changes, keep)),
        4 => Just(Step::Undo),
        1 => Just(Step::Compact),
        1 => any::<bool>().prop_map(Step::Flush),
    ]
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        20 => (any_step(), any::<bool>()).prop_map(|(step, awaited)| Move::Call(step, awaited)),
        1 => (prop::sample::subsequence(&IDS[..], 0..4), prop::sample::select(&["s", "t"][..])).prop_map(|(ids, segment)| {
            Move::Call(Step::Archive(ids.into_iter().map(quoted).collect(), segment.to_owned()), true)
        }),
        3 => Just(Move::Kick),
        1 => Just(Move::Settle),
        1 => Just(Move::Reopen),
        1 => Just(Move::Exit),
        1 => Just(Move::Kill),
    ]
}

fn any_options() -> impl Strategy<Value = Options> {
    (
        prop::sample::select(&[WriteMode::Immediate, WriteMode::Group, WriteMode::Async][..]),
        prop::sample::select(&[Durability::Fsync, Durability::Os][..]),
        prop::sample::select(&[None, Some(1), Some(3), Some(7), Some(u64::MAX)][..]),
        prop::sample::select(&[1, 3, 50, u64::MAX][..]),
        prop::sample::select(&[1, 100, u64::MAX][..]),
        prop::sample::select(&[0, 2, 64][..]),
        any::<bool>(),
    )
        .prop_map(
            |(
                write_mode,
                durability,
                checkpoint_threshold,
                group_commit_size,
                group_commit_ms,
                room_after,
                checkpoint_on_close,
            )| Options {
                write_mode,
                durability,
                checkpoint_threshold,
                group_commit_size,
                group_commit_ms,
                room_after,
                checkpoint_on_close,
                ..Options::default()
            },
        )
}

/// Where a case keeps its store.
enum Place {
    Memory(MemoryBackend),
    /// Whose syncs take their time.
    Slow(Faulty),
    Folder(tempfile::TempDir),
}

impl Place {
    fn slow(disk: MemoryBackend) -> Self {
        let disk = Faulty::new(disk);
        disk.take_time(Duration::from_millis(8));
        Place::Slow(disk)
    }

    fn open(&self, options: &Options) -> Store {
        match self {
            Place::Memory(disk) => opened(disk.clone(), options),
            Place::Slow(disk) => opened(disk.clone(), options),
            Place::Folder(dir) => opened(FsBackend::new(dir.path()).unwrap(), options),
        }
    }

    /// What another process finds once this one was killed.
    fn after_kill(&self) -> Place {
        match self {
            Place::Memory(disk) => Place::Memory(disk.after_kill()),
            Place::Slow(disk) => Place::slow(disk.disk.after_kill()),
            Place::Folder(dir) => {
                let copy = tempfile::tempdir().unwrap();
                copy_store(dir.path(), copy.path());
                Place::Folder(copy)
            }
        }
    }
}

/// Copies a store without its lock, which ends with its holder.
fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_store(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().starts_with(".lock") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A segment is a JSON object, in which ids that are array indices come first: its order is none of the store's.
fn sorted(mut archives: Archives) -> Archives {
    archives.values_mut().for_each(|records| records.sort());
    archives
}

/// A store beside its model.
struct Pair {
    place: Place,
    options: Options,
    store: Store,
    model: Model,
    /// Calls that nobody has waited for, and what they must answer.
    pending: Vec<(Option<Ticket>, Option<Value>, Step)>,
    /// The model at the last acknowledged call and after each call since.
    possible: Vec<Model>,
}

impl Pair {
    fn new(place: Place, options: Options) -> Self {
        let store = place.open(&options);
        let model = Model::new(options.checkpoint_threshold);
        let possible = vec![model.clone()];
        Pair { place, options, store, model, pending: Vec::new(), possible }
    }

    fn make(&mut self, step: &Step, awaited: bool) {
        if self.options.checkpoint_threshold.is_none() && self.model.since_checkpoint() > 80 {
            // The threshold that adapts has a test of its own: its moment depends on what runs in the background.
            self.make_one(&Step::Compact, true);
        }
        self.make_one(step, awaited);
    }

    fn make_one(&mut self, step: &Step, awaited: bool) {
        let value = self.model.apply(step);
        self.possible.push(self.model.clone());
        let ticket = match call(&self.store, step) {
            Ok(ticket) => ticket,
            Err(Error::RecordNotFound { .. }) => {
                assert_eq!(value, None, "{step:?}");
                return;
            }
            Err(error) => panic!("{step:?}: {error}"),
        };
        assert_eq!(records(&self.store), self.model.records, "memory after {step:?}");
        if !awaited {
            self.pending.push((ticket, value, step.clone()));
            return;
        }
        assert_eq!(wait(&self.store, ticket).unwrap(), value.unwrap(), "{step:?}");
        let written = match step {
            Step::Change(_) | Step::Batch(..) | Step::Undo => self.options.write_mode == WriteMode::Immediate,
            Step::Compact | Step::Archive(..) | Step::Flush(_) | Step::Close => true,
        };
        // A batch that came to nothing waited for nothing.
        if written && ticket.is_some() {
            self.possible = vec![self.model.clone()];
        }
    }

    fn settle(&mut self) {
        for (ticket, value, step) in std::mem::take(&mut self.pending) {
            assert_eq!(wait(&self.store, ticket).unwrap(), value.unwrap(), "{step:?}");
        }
        self.make_one(&Step::Flush(false), true);
        let wanted = self.model.since_checkpoint();
        eventually("the checkpoints that are due", || {
            self.store.stats().ops_count == wanted
                && self.store.manifest().stats.active_records == self.model.checkpointed
        });
        // The last step of a checkpoint is to remove what it replaced: what is called now is carried out after it.
        self.make_one(&Step::Flush(false), true);
        self.check();
    }

    fn check(&self) {
        assert_eq!(records(&self.store), self.model.records);
        assert_eq!(history(&self.store), self.model.history());
        assert_eq!(sorted(archives(&self.store)), sorted(self.model.archives.clone()));
        for id in IDS.map(quoted) {
            let value = self.store.get(id.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap());
            assert_eq!(value.as_ref(), self.model.get(&id));
            assert_eq!(self.store.has(id.as_bytes()), value.is_some());
            let own: Vec<_> =
                self.model.history().into_iter().filter(|op| op.contains(&format!("\"id\":{id},"))).collect();
            assert_eq!(history_of(&self.store, &id), own);
        }
        let (stats, manifest) = (self.store.stats(), self.store.manifest());
        assert_eq!(stats.active_records, self.model.records.len() as u64);
        assert_eq!(stats.archive_segments, self.model.archives.len() as u64);
        assert_eq!(
            manifest.stats.archived_records,
            self.model.archives.values().map(|held| held.len() as u64).sum::<u64>()
        );
        assert!(stats.checkpoint_error.is_none());
        assert!(self.store.take_notices().is_empty());
    }

    /// Opens again; the model becomes the one among the possible ones that was found.
    fn restart(&mut self, place: Place) {
        let old = std::mem::replace(&mut self.store, place.open(&self.options));
        // Only now: what is dropped flushes to the disk that nobody looks at any more.
        drop(old);
        self.place = place;
        self.adopt();
    }

    fn adopt(&mut self) {
        self.pending.clear();
        let (found, ops, archived) = (records(&self.store), history(&self.store), sorted(archives(&self.store)));
        let checkpointed = self.store.manifest().stats.active_records;
        let fits = self
            .possible
            .drain(..)
            .rev()
            .filter(|model| model.records == found && sorted(model.archives.clone()) == archived);
        let model = fits.filter_map(|model| model.restarted(&ops, checkpointed)).next();
        self.model = model.unwrap_or_else(|| panic!("opens to a state that nobody made: {found:#?}, history {ops:#?}"));
        self.possible = vec![self.model.clone()];
        self.check();
    }

    fn go(&mut self, next: &Move) {
        match next {
            Move::Call(step, awaited) => self.make(step, *awaited),
            Move::Kick => self.store.kick(),
            Move::Settle => self.settle(),
            Move::Reopen => {
                for (ticket, value, step) in std::mem::take(&mut self.pending) {
                    assert_eq!(wait(&self.store, ticket).unwrap(), value.unwrap(), "{step:?}");
                }
                done(&self.store, Step::Close);
                assert!(matches!(self.store.close(), Err(Error::NotOpen)));
                if self.options.checkpoint_on_close {
                    self.model.apply(&Step::Close);
                }
                let model = self.model.clone();
                self.store = self.place.open(&self.options);
                self.possible = vec![model.clone()];
                self.adopt();
                assert_eq!(self.model.history(), model.history());
            }
            Move::Exit => {
                // The old store goes first, with all that was called.
                self.possible = vec![self.model.clone()];
                let nowhere = opened(MemoryBackend::new(), &Options::default());
                drop(std::mem::replace(&mut self.store, nowhere));
                self.store = self.place.open(&self.options);
                self.adopt();
            }
            Move::Kill => {
                if matches!(self.place, Place::Folder(_)) {
                    // A folder cannot be copied at one moment while it is being written.
                    self.settle();
                }
                self.restart(self.place.after_kill());
            }
        }
    }
}

fn run(place: Place, options: Options, moves: &[Move]) {
    let mut pair = Pair::new(place, options);
    for next in moves {
        pair.go(next);
    }
    pair.settle();
    pair.go(&Move::Reopen);
}

/// How many cases: `PROPTEST_CASES` for a long run, or few enough for every run.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|given| given.parse().ok()).unwrap_or(few)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(600), max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model_in_memory(options in any_options(), moves in prop::collection::vec(any_move(), 1..50)) {
        let _watchdog = Watchdog::new("model in memory", 180);
        run(Place::Memory(MemoryBackend::new()), options, &moves);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model_on_the_file_system(options in any_options(), moves in prop::collection::vec(any_move(), 1..40)) {
        let _watchdog = Watchdog::new("model on the file system", 180);
        run(Place::Folder(tempfile::tempdir().unwrap()), options, &moves);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model_on_a_slow_disk(options in any_options(), moves in prop::collection::vec(any_move(), 1..50)) {
        let _watchdog = Watchdog::new("model on a slow disk", 180);
        run(Place::slow(MemoryBackend::new()), options, &moves);
    }
}

/// A value that the disk never takes.
const POISON: &str = r#"{"POISON":1}"#;

fn is_poisoned(step: &Step) -> bool {
    let poisoned = |change: &Change| change.1.as_deref() == Some(POISON);
    match step {
        Step::Change(change) => poisoned(change),
        Step::Batch(changes, keep) => *keep && changes.iter().any(poisoned),
        Step::Undo | Step::Compact | Step::Archive(..) | Step::Flush(_) | Step::Close => false,
    }
}

/// As [`any_move`], with values that cannot be written.
fn any_failing_move() -> impl Strategy<Value = Move> {
    let poison = |change: Change| (change.0, change.1.map(|_| POISON.to_owned()));
    prop_oneof![
        3 => any_move(),
        1 => any_change().prop_map(move |change| Move::Call(Step::Change(poison(change)), false)),
        1 => (any_change(), any_change()).prop_map(move |(one, other)| Move::Call(Step::Batch(vec![one, poison(other)], true), false)),
    ]
}

/// Ends all calls: those that could be written happened in their order, and the others never did.
fn end_all(store: &Store, model: &mut Model, pending: &mut Vec<(Option<Ticket>, Step)>) {
    // An undo behind a call that failed takes back another operation: what follows it may be impossible for a while.
    let undone = pending.iter().any(|(_, step)| matches!(step, Step::Undo));
    for (ticket, step) in pending.drain(..) {
        match wait(store, ticket) {
            // It was possible when it was called, and is nothing by now.
            Ok(_) if matches!(step, Step::Batch(_, false)) => {}
            Ok(value) => {
                assert!(!is_poisoned(&step), "{step:?} was written");
                assert_eq!(model.apply(&step), Some(value), "{step:?}");
            }
            Err(Error::Io { .. }) => assert!(is_poisoned(&step), "{step:?} fails because of another"),
            Err(Error::RecordNotFound { .. }) => assert!(undone || model.clone().apply(&step).is_none(), "{step:?}"),
            Err(error) => panic!("{step:?}: {error}"),
        }
    }
    assert_eq!(records(store), model.records);
    assert_eq!(history(store), model.history());
    assert_eq!(sorted(archives(store)), sorted(model.archives.clone()));
}

fn run_where_writes_fail(durability: Durability, moves: &[Move]) {
    let options =
        Options { durability, checkpoint_threshold: Some(u64::MAX), checkpoint_on_close: false, ..Options::default() };
    let disk = Faulty::new(MemoryBackend::new());
    disk.fail_where(|call| call.appends() && call.contains("POISON"));
    let (mut store, mut model) = (opened(disk.clone(), &options), Model::default());
    let mut pending = Vec::new();
    for next in moves {
        match next {
            Move::Call(step, awaited) => {
                match call(&store, step) {
                    Ok(ticket) => pending.push((ticket, step.clone())),
                    // Whether there is such a record depends on calls whose end is not known yet.
                    Err(Error::RecordNotFound { .. }) => {}
                    Err(error) => panic!("{step:?}: {error}"),
                }
                if *awaited {
                    end_all(&store, &mut model, &mut pending);
                }
            }
            Move::Kick => store.kick(),
            Move::Settle | Move::Kill => end_all(&store, &mut model, &mut pending),
            Move::Reopen | Move::Exit => {
                end_all(&store, &mut model, &mut pending);
                if matches!(next, Move::Reopen) {
                    closed(store);
                } else {
                    drop(store);
                }
                store = opened(disk.clone(), &options);
                end_all(&store, &mut model, &mut pending);
            }
        }
    }
    end_all(&store, &mut model, &mut pending);
    let after = opened(disk.disk.after_kill(), &options);
    assert_eq!(records(&after), model.records);
    assert_eq!(history(&after), model.history());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(400), max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_that_cannot_be_written_never_were(
        durability in prop::sample::select(&[Durability::Fsync, Durability::Os][..]),
        moves in prop::collection::vec(any_failing_move(), 1..40),
    ) {
        let _watchdog = Watchdog::new("model where writes fail", 180);
        run_where_writes_fail(durability, &moves);
    }
}

#[test]
fn without_a_threshold_checkpoints_come_as_the_store_grows() {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &Options::default());
    let mut made = Vec::new();
    let mut since = 0;
    for n in 0..1_000 {
        done(&store, Step::Change(put(&n.to_string(), "1")));
        since += 1;
        if store.stats().ops_count == 0 {
            made.push(since);
            since = 0;
        }
    }
    // 100 operations, then as many as there were records: 100, 200, 400.
    assert_eq!(made, [100, 100, 200, 400]);
    closed(store);
    let store = opened(disk, &Options::default());
    for _ in 0..999 {
        done(&store, Step::Change(put("0", "2")));
    }
    assert_eq!(store.stats().ops_count, 999);
    done(&store, Step::Change(put("0", "3")));
    assert_eq!(store.stats().ops_count, 0);
}

#[test]
fn a_threshold_is_honoured_exactly_across_restarts_and_undos() {
    let disk = MemoryBackend::new();
    let options = Options { checkpoint_threshold: Some(5), checkpoint_on_close: false, ..Options::default() };
    let mut model = Model::new(Some(5));
    for n in 0..40 {
        let store = opened(disk.clone(), &options);
        for step in [Step::Change(put("a", "1")), Step::Change(put(&n.to_string(), "2")), Step::Undo] {
            let value = model.apply(&step);
            assert_eq!(Some(done(&store, step)), value, "round {n}");
            assert_eq!(store.stats().ops_count, model.since_checkpoint(), "round {n}");
        }
        closed(store);
    }
}
