//! Bit rot: every bit of every file of a store flipped in turn, files cut at every byte, blocks of zeros.
//!
//! A model says what must come out. A line counts if it stands there as it was written. Bad lines with good ones after
//! them: `open` refuses, or skips and reports them. Bad lines at the end are cut off, saved and reported. A damaged
//! snapshot is refused. So no wrong value is ever returned. Nothing is added for the integrity of manifest and archive
//! segments (CONTRACT.md 3): what goes unnoticed there is counted.
//!
//! `npm run check:bits` runs it, and upstream beside it. Arguments: `--short` takes a part of the cases, `--seed N`.
//! The last line on stdout is JSON with the counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that panics has failed: that is what it is for"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use opslog_native::Error;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{OnDamage, Options, RecoveryReport, Store};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::model::{archive, delete, gone, put, set};
use support::{Step, archives, closed, done, log_path, open, opened, records};

type Records = Vec<(String, String)>;

/// Failures that are shown; the others are counted.
const SHOWN: usize = 10;
const THREADS: usize = 2;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let short = args.iter().any(|arg| arg == "--short");
    let seed = args.iter().position(|arg| arg == "--seed").map_or(1, |at| args[at + 1].parse().expect("--seed N"));
    let plan = Plan { short, seed };
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    for check in [log, snapshot, manifest, segment] {
        let (counted, failed) = check(&plan);
        counts.extend(counted);
        failures.extend(failed);
    }
    for failure in failures.iter().take(SHOWN) {
        eprintln!("{failure}");
    }
    if failures.len() > SHOWN {
        eprintln!("and {} more", failures.len() - SHOWN);
    }
    counts.insert("failures".to_owned(), failures.len());
    println!("{}", serde_json::to_string(&counts).unwrap());
    if !failures.is_empty() {
        eprintln!("repeat with: npm run check:bits -- --seed {seed}{}", if short { " --short" } else { "" });
        std::process::exit(1);
    }
}

/// `file: what was done: how it ended` and how often.
type Counts = BTreeMap<String, usize>;

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    /// One bit, counted from the file's first.
    Flip(usize),
    /// Only so many bytes are left.
    Cut(usize),
    Zeros(Range<usize>),
}

impl Damage {
    fn name(&self) -> &'static str {
        match self {
            Damage::Flip(_) => "flip",
            Damage::Cut(_) => "cut",
            Damage::Zeros(_) => "zeros",
        }
    }

    fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Damage::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Damage::Cut(len) => bytes.truncate(*len),
            Damage::Zeros(range) => bytes[range.clone()].fill(0),
        }
        bytes
    }
}

struct Plan {
    short: bool,
    seed: u64,
}

impl Plan {
    /// All damage that is done to a file of so many bytes. The short form takes every 29th bit, so that each of the
    /// eight of a byte has its turn.
    fn damage(&self, len: usize) -> Vec<Damage> {
        let (bits, cuts, zeros) = if self.short { (29, 11, 300) } else { (1, 1, 5_000) };
        let flips = (0..len * 8).step_by(bits).map(Damage::Flip);
        // Nothing at all, and all but a byte, are always among them.
        let cuts = (0..len).step_by(cuts).chain([1, len - 1]).map(Damage::Cut);
        let mut state = self.seed;
        let mut below = move |n: usize| {
            // xorshift64*: the same blocks for the same seed, everywhere
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
        };
        let zeros = (0..zeros).map(move |n| {
            // A few bytes, a sector, a page: as disks lose them.
            let size = [1 + below(64), 512, 4096][n % 3];
            let start = if n % 3 == 0 { below(len) } else { below(len.div_ceil(size)) * size };
            Damage::Zeros(start.min(len - 1)..(start + size).min(len))
        });
        flips.chain(cuts).chain(zeros).collect()
    }
}

/// Runs a check on every damage, on two threads; `check` says how it ended or what was wrong.
fn run(
    file: &str,
    plan: &Plan,
    bytes: &[u8],
    check: impl Fn(&[u8]) -> Result<String, String> + Sync,
) -> (Counts, Vec<String>) {
    let damage: Vec<_> = plan.damage(bytes.len()).into_iter().filter(|damage| damage.apply(bytes) != bytes).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Counts::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let (mut counts, mut failures) = (Counts::new(), Vec::new());
                while let Some(damage) = damage.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let damaged = damage.apply(bytes);
                    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&damaged)));
                    match checked.unwrap_or_else(|_| Err("panicked".to_owned())) {
                        Ok(end) => *counts.entry(format!("{file}: {}: {end}", damage.name())).or_default() += 1,
                        Err(what) => failures.push(format!("{file}, {damage:?}: {what}")),
                    }
                    *counts.entry(format!("{file}: {}", damage.name())).or_default() += 1;
                }
                let mut results = results.lock().unwrap();
                for (key, count) in counts {
                    *results.0.entry(key).or_default() += count;
                }
                results.1.extend(failures);
            });
        }
    });
    results.into_inner().unwrap()
}

fn keep_log(on_damage: OnDamage) -> Options {
    Options {
        checkpoint_threshold: Some(u64::MAX),
        checkpoint_on_close: false,
        durability: opslog_native::store::Durability::Os,
        on_damage,
        ..Options::default()
    }
}

fn value(n: usize) -> String {
    format!("{{\"n\":{n},\"text\":\"naïve text № {n}\",\"tags\":[\"t{}\",{}]}}", n % 3, n % 2 == 0)
}

/// 200 operations: creates, updates (some as patches, some of records that are no objects), deletes, batches.
fn operations() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut n = 0;
    while n < 197 {
        match n % 20 {
            5 => steps.push(delete(&format!("k{}", n - 5))),
            7 => steps.push(set("list", &format!("[{n},\"x\"]"))),
            10 => {
                let ids = [format!("k{n}"), format!("k{}", n - 1), "batched".to_owned()];
                steps.push(Step::Batch(ids.iter().map(|id| put(id, &value(n))).collect(), true));
                n += 2;
            }
            14 => steps.push(set(&format!("k{}", n - 8), &value(n))),
            _ => steps.push(set(&format!("k{n}"), &value(n))),
        }
        n += 1;
    }
    // The last one is a batch: damage there takes all of it.
    steps.push(Step::Batch(vec![put("last", "1"), gone("batched"), put("last", "2")], true));
    steps
}

/// A line of a log, what it does, and how many lines of its batch follow.
struct Op {
    id: String,
    data: Option<String>,
    batch: Option<u64>,
}

/// The state that lines lead to, in order; a batch at the end that is not whole does not count.
fn replay<'a>(lines: impl IntoIterator<Item = &'a Op>) -> Records {
    let mut lines: Vec<&Op> = lines.into_iter().collect();
    if lines.last().is_some_and(|op| op.batch.is_some_and(|left| left > 0)) {
        // The lines of one batch count down.
        while let Some(op) = lines.pop() {
            if lines.last().and_then(|before| before.batch) != op.batch.map(|left| left + 1) {
                break;
            }
        }
    }
    let mut state = Records::new();
    for op in lines {
        let at = state.iter().position(|(id, _)| *id == op.id);
        match (at, &op.data) {
            (Some(at), Some(data)) => state[at].1.clone_from(data),
            (None, Some(data)) => state.push((op.id.clone(), data.clone())),
            (Some(at), None) => drop(state.remove(at)),
            (None, None) => {}
        }
    }
    state
}

fn member(value: &serde_json::Value, name: &str) -> Option<String> {
    Some(value.get(name)?.to_string())
}

/// What was written, line by line: the text of each and what it does.
fn lines_of(log: &[u8]) -> HashMap<Vec<u8>, Op> {
    let lines = log.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
    let parse = |line: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        let id = member(&value, "id").unwrap();
        let batch = member(&value, "batch").map(|left| left.parse().unwrap());
        (line.to_vec(), Op { id, data: member(&value, "data"), batch })
    };
    let count = lines.clone().count();
    let lines: HashMap<_, _> = lines.map(parse).collect();
    assert_eq!(lines.len(), count, "every line is another one");
    lines
}

/// What a damaged log must come to.
struct Expected {
    /// The state of the good lines before the first bad one.
    before: Records,
    /// The state of all good lines.
    good: Records,
    /// True if good lines follow bad ones.
    inside: bool,
    /// Bytes that a repair takes off the end, where nothing is wrong before them.
    cut: Vec<u8>,
    bad: usize,
}

fn expected(lines: &HashMap<Vec<u8>, Op>, damaged: &[u8]) -> Expected {
    let (mut good, mut before, mut bad, mut inside) = (Vec::new(), 0, 0, false);
    let mut starts = Vec::new();
    let mut at = 0;
    for segment in damaged.split_inclusive(|byte| *byte == b'\n') {
        let text = segment.strip_suffix(b"\n").unwrap_or(segment);
        match lines.get(text) {
            Some(op) => {
                inside |= bad > 0;
                good.push(op);
                starts.push(at);
                before += usize::from(bad == 0);
            }
            None => bad += 1,
        }
        at += segment.len();
    }
    // The end of what counts: after the last whole batch among the good lines.
    let mut kept = good.len();
    if good.last().is_some_and(|op| op.batch.is_some_and(|left| left > 0)) {
        loop {
            kept -= 1;
            let left = good[kept].batch.map(|left| left + 1);
            if kept == 0 || good[kept - 1].batch != left {
                break;
            }
        }
    }
    let end = if kept == good.len() {
        starts.last().map_or(0, |start| {
            let rest = &damaged[*start..];
            start + rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1)
        })
    } else {
        starts[kept]
    };
    Expected {
        before: replay(good[..before].iter().copied()),
        good: replay(good.iter().copied()),
        inside,
        cut: damaged[end..].to_vec(),
        bad,
    }
}

fn log(plan: &Plan) -> (Counts, Vec<String>) {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log(OnDamage::Reject));
    for step in operations() {
        done(&store, step);
    }
    let whole = records(&store);
    closed(store);
    let path = log_path(&disk);
    let bytes = disk.bytes(&path).unwrap();
    let lines = lines_of(&bytes);
    assert_eq!(lines.len(), 200);
    assert_eq!(expected(&lines, &bytes).good, whole, "the model agrees on the log as it was written");
    run("log", plan, &bytes, |damaged| {
        let expected = expected(&lines, damaged);
        let rejecting = open_damaged(&disk, &path, damaged, OnDamage::Reject);
        let end = match rejecting {
            Err(Error::Corrupt { line: Some(_), byte: Some(_), .. }) if expected.inside => "refused",
            Err(error) => return Err(format!("refused: {error}")),
            Ok(_) if expected.inside => return Err("opened, though good lines follow bad ones".to_owned()),
            Ok((disk, store, report)) => {
                same(&store, &expected.before)?;
                was_cut(&disk, &report, &expected.cut)?;
                if expected.cut.is_empty() { "a whole prefix" } else { "cut, saved and reported" }
            }
        };
        let skipping = open_damaged(&disk, &path, damaged, OnDamage::Skip);
        let (disk, store, report) = skipping.map_err(|error| format!("skip: refused: {error}"))?;
        same(&store, &expected.good).map_err(|what| format!("skip: {what}"))?;
        let skipped: u64 = report.logs.iter().map(|log| log.skipped).sum();
        if expected.inside && skipped == 0 {
            return Err("skip: nothing was reported".to_owned());
        }
        if expected.bad > 0 && report.logs.is_empty() {
            return Err("skip: bad lines were not reported".to_owned());
        }
        if expected.inside && !disk.files().iter().any(|name| name.contains(".damaged-")) {
            return Err("skip: the damaged log was not kept".to_owned());
        }
        Ok(end.to_owned())
    })
}

type Opened = (MemoryBackend, Store, RecoveryReport);

fn open_damaged(disk: &MemoryBackend, path: &str, damaged: &[u8], on_damage: OnDamage) -> Result<Opened, Error> {
    let disk = disk.after_kill();
    disk.put(path, damaged);
    let before = files_of(&disk);
    match open(disk.clone(), &keep_log(on_damage)) {
        Ok((store, report)) => Ok((disk, store, report)),
        Err(error) => {
            assert_eq!(files_of(&disk), before, "a refused open changed something");
            Err(error)
        }
    }
}

fn files_of(disk: &MemoryBackend) -> Vec<(String, Option<Vec<u8>>)> {
    disk.files().into_iter().map(|name| (name.clone(), disk.bytes(&name))).collect()
}

fn same(store: &Store, expected: &Records) -> Result<(), String> {
    let found = records(store);
    if found == *expected {
        return Ok(());
    }
    let wrong = found.iter().find(|record| !expected.contains(record));
    let lost = expected.iter().find(|record| !found.contains(record));
    Err(format!("a wrong state without a report: wrong {wrong:?}, missing {lost:?}"))
}

fn was_cut(disk: &MemoryBackend, report: &RecoveryReport, cut: &[u8]) -> Result<(), String> {
    let reported: u64 = report.logs.iter().map(|log| log.cut).sum();
    if reported != cut.len() as u64 {
        return Err(format!("{} bytes were to be cut, {reported} were reported", cut.len()));
    }
    let saved = |name: &String| name.contains(".jsonl.cut-") && disk.bytes(name).as_deref() == Some(cut);
    if !cut.is_empty() && !disk.files().iter().any(saved) {
        return Err("what was cut was not saved".to_owned());
    }
    Ok(())
}

fn snapshot(plan: &Plan) -> (Counts, Vec<String>) {
    let (disk, whole) = disk_with_snapshot();
    let path = current_snapshot(&disk);
    let bytes = disk.bytes(&path).unwrap();
    run("snapshot", plan, &bytes, |damaged| {
        let mut ends = Vec::new();
        for on_damage in [OnDamage::Reject, OnDamage::Skip] {
            ends.push(match open_damaged(&disk, &path, damaged, on_damage) {
                Err(Error::Corrupt { .. }) => "refused",
                Err(error) => return Err(format!("refused with another error: {error}")),
                Ok((_, store, _)) => {
                    same(&store, &whole)?;
                    // The last newline is no part of a record; nothing else may go missing.
                    if damaged != &bytes[..bytes.len() - 1] {
                        return Err("opened".to_owned());
                    }
                    "the same records"
                }
            });
        }
        if ends[0] != ends[1] {
            return Err(format!("{ends:?}"));
        }
        Ok(ends[0].to_owned())
    })
}

fn current_snapshot(disk: &MemoryBackend) -> String {
    let manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
    manifest["currentSnapshot"].as_str().unwrap().to_owned()
}

/// 200 records in a snapshot, and a generation before it.
fn disk_with_snapshot() -> (MemoryBackend, Records) {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log(OnDamage::Reject));
    for half in 0..2 {
        for n in 0..100 {
            done(&store, set(&format!("k{}", half * 100 + n), &value(n)));
        }
        done(&store, Step::Compact);
    }
    let whole = records(&store);
    closed(store);
    assert_eq!(whole.len(), 200);
    (disk, whole)
}

fn manifest(plan: &Plan) -> (Counts, Vec<String>) {
    let (disk, _) = disk_with_snapshot();
    let store = opened(disk.clone(), &keep_log(OnDamage::Reject));
    done(&store, archive(&["k1", "k2"], "old"));
    done(&store, set("after", "1"));
    let whole = records(&store);
    let segments = archives(&store);
    closed(store);
    let path = "manifest.json";
    let bytes = disk.bytes(path).unwrap();
    let kept = [current_snapshot(&disk), log_path(&disk), "archive/archive-old.json".to_owned()];
    // It is small: all of it, always.
    run("manifest", &Plan { short: false, seed: plan.seed }, &bytes, |damaged| {
        match open_damaged(&disk, path, damaged, OnDamage::Reject) {
            Err(Error::Io { .. } | Error::Corrupt { .. } | Error::SnapshotMissing { .. }) => Ok("refused".to_owned()),
            Err(error) => Err(format!("refused with another error: {error}")),
            Ok((opened, store, _)) => {
                // Files that a sound manifest names must outlive an open by a damaged one.
                if let Some(lost) = kept.iter().find(|name| opened.bytes(name) != disk.bytes(name)) {
                    return Err(format!("{lost} was removed or changed"));
                }
                same(&store, &whole)?;
                let listed = store.archive_segments();
                if listed.iter().eq(segments.keys()) {
                    return Ok("the same records and archives".to_owned());
                }
                match listed.iter().find(|path| store.load_archive(path).is_ok()) {
                    None if !listed.is_empty() => Ok("the same records, and an archive that cannot be read".to_owned()),
                    _ => Err(format!("other archives: {listed:?}")),
                }
            }
        }
    })
}

fn segment(plan: &Plan) -> (Counts, Vec<String>) {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log(OnDamage::Reject));
    let ids: Vec<_> = (0..100).map(|n| format!("k{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        done(&store, set(id, &value(n)));
    }
    done(&store, archive(&ids.iter().map(String::as_str).collect::<Vec<_>>(), "s"));
    let whole = archives(&store);
    closed(store);
    let path = "archive/archive-s.json";
    let bytes = disk.bytes(path).unwrap();
    run("archive segment", plan, &bytes, |damaged| {
        let (_, store, _) =
            open_damaged(&disk, path, damaged, OnDamage::Reject).map_err(|error| format!("open refused: {error}"))?;
        Ok(match store.load_archive("s") {
            Err(Error::Corrupt { .. }) => "refused",
            Err(error) => return Err(format!("refused with another error: {error}")),
            Ok(segment) => {
                let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
                let found: Records = segment.records.iter().map(|(id, value)| (text(id), text(value))).collect();
                if found == whole[path] { "the same records" } else { "other records, unnoticed" }
            }
        }
        .to_owned())
    })
}
