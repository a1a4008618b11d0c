//! What `open` makes of damaged stores: what it mends, what it refuses, and what it leaves alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::backend::StorageBackend;
use opslog_native::backend::fs::FsBackend;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{OnDamage, Options, RecoveryReport, Store, Value};
use opslog_native::{Error, Result};
use support::model::{archive, delete, gone, put, set};
use support::{Cases, Step, archives, closed, done, history, log_path, log_text, open, opened, records, run, wait};

fn keep_log() -> Options {
    Options { checkpoint_on_close: false, ..Options::default() }
}

fn skipping() -> Options {
    Options { on_damage: OnDamage::Skip, ..keep_log() }
}

/// A disk with a store to which these steps were done, and nothing else in its log.
fn disk_with(steps: Vec<Step>) -> MemoryBackend {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &keep_log());
    for step in steps {
        done(&store, step);
    }
    closed(store);
    disk
}

/// A copy of a disk with another text in its log.
fn with_log(disk: &MemoryBackend, text: impl AsRef<[u8]>) -> MemoryBackend {
    let disk = disk.after_kill();
    disk.put(&log_path(&disk), text.as_ref());
    disk
}

fn line(id: &str, value: u32) -> String {
    format!(r#"{{"ts":"2026-11-22T14:33:54.125Z","op":"set","id":"{id}","prev":null,"data":{{"n":{value}}}}}"#)
}

fn ids(store: &Store) -> Vec<String> {
    records(store).into_iter().map(|(id, _)| id.trim_matches('"').to_owned()).collect()
}

fn refused(opened: Result<(Store, RecoveryReport)>) -> Error {
    opened.map(drop).expect_err("it must not open")
}

/// Everything on a disk.
fn bytes(disk: &MemoryBackend) -> Vec<(String, Vec<u8>)> {
    disk.files().into_iter().map(|path| (path.clone(), disk.bytes(&path).unwrap())).collect()
}

/// Files beside the log that hold exactly what was cut.
fn saved(disk: &MemoryBackend, cut: &[u8]) -> usize {
    disk.files().iter().filter(|path| path.contains(".jsonl.cut-") && disk.bytes(path).unwrap() == cut).count()
}

/// Opens a log that was cut at every byte, and checks that exactly the whole lines before it count. `batches` are the
/// lines that count together or not at all.
fn cut_everywhere(disk: &MemoryBackend, batches: &[std::ops::Range<usize>]) {
    let log = log_text(disk);
    let mut cases = Cases::default();
    for cut in 0..=log.len() {
        cases.run(|| {
            let disk = with_log(disk, &log.as_bytes()[..cut]);
            // A line counts with its newline or, if it is whole, without.
            let before = &log.as_bytes()[..cut];
            let mut lines = before.iter().filter(|byte| **byte == b'\n').count();
            let mut end = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if log.as_bytes().get(cut) == Some(&b'\n') && cut > end {
                lines += 1;
                end = cut;
            }
            if let Some(batch) = batches.iter().find(|batch| batch.start < lines && lines < batch.end) {
                lines = batch.start;
                end = log.split_inclusive('\n').take(lines).map(str::len).sum();
            }
            let before = bytes(&disk);
            let read_only = Options { read_only: true, ..Options::default() };
            assert_eq!(history(&opened(disk.clone(), &read_only)).len(), lines, "cut at {cut}, read only");
            assert_eq!(bytes(&disk), before, "cut at {cut}: a reader wrote");

            let (store, report) = open(disk.clone(), &keep_log()).unwrap();
            assert_eq!(history(&store).len(), lines, "cut at {cut}");
            let gone = &log.as_bytes()[end..cut];
            assert_eq!(report.logs.iter().map(|log| log.cut).sum::<u64>(), gone.len() as u64, "cut at {cut}");
            assert_eq!(saved(&disk, gone), usize::from(!gone.is_empty()), "cut at {cut}");
            let path = report.logs.first().and_then(|log| log.saved.clone());
            assert_eq!(path.is_some(), !gone.is_empty(), "cut at {cut}: where it was saved is told");
            // It goes on where the good lines end.
            done(&store, set("next", "1"));
            closed(store);
            let store = opened(disk.clone(), &keep_log());
            assert_eq!(history(&store).len(), lines + 1, "cut at {cut}, after another write");
            assert_eq!(done(&store, Step::Undo), Value::Bool(true));
            closed(store);
            let mended: String = log.split_inclusive('\n').take(lines).collect();
            assert_eq!(log_text(&disk), mended, "cut at {cut}");
        });
    }
}

#[test]
fn a_log_of_ours_cut_at_any_byte_opens_with_its_whole_lines() {
    cut_everywhere(&disk_with(vec![set("a", "{\"x\":\"é🚀\"}"), set("b", "[1,2]"), delete("b"), set("a", "3")]), &[]);
}

#[test]
fn a_log_of_upstreams_cut_at_any_byte_opens_with_its_whole_lines() {
    let lines: String = [line("a", 1), line("é🚀", 2), line("c", 3)].map(|line| line + "\n").concat();
    cut_everywhere(&with_log(&disk_with(vec![]), lines), &[]);
}

#[test]
fn a_batch_cut_at_any_byte_is_there_whole_or_not_at_all() {
    cut_everywhere(
        &disk_with(vec![
            set("a", "1"),
            Step::Batch(vec![put("b", "2"), put("é", "3"), gone("a"), put("c", "4")], true),
        ]),
        &[0..1, 1..5],
    );
}

#[test]
fn a_batch_after_another_cut_at_any_byte_takes_nothing_of_the_other_with_it() {
    let batch = |ids: [&str; 3]| Step::Batch(ids.iter().map(|id| put(id, "1")).collect(), true);
    cut_everywhere(&disk_with(vec![batch(["a", "b", "c"]), batch(["d", "e", "f"])]), &[0..3, 3..6]);
}

#[test]
fn what_undo_left_of_a_batch_stays_whatever_is_cut_off_after_it() {
    // For every number of lines left and every length of the next batch: the numbers on their lines may continue
    // each other, and only the seal between them says that they do not belong together.
    let mut cases = Cases::default();
    for (left, next) in (1..6).flat_map(|left| (2..6).map(move |next| (left, next))) {
        let mut steps = vec![Step::Batch((0..6).map(|n| put(&format!("old{n}"), "1")).collect(), true)];
        steps.extend((left..6).map(|_| Step::Undo));
        steps.push(Step::Batch((0..next).map(|n| put(&format!("new{n}"), "1")).collect(), true));
        let disk = disk_with(steps);
        let log = log_text(&disk);
        let sealed = log[..log.find("\"new0\"").unwrap()].rfind('\n').unwrap() + 1;
        for cut in sealed..log.len() - 1 {
            let disk = with_log(&disk, &log.as_bytes()[..cut]);
            cases.run(|| {
                assert_eq!(
                    opened(disk, &keep_log()).count(),
                    left,
                    "{left} lines left of a batch, then {next} more, cut {} bytes into those",
                    cut - sealed
                );
            });
        }
    }
}

#[test]
fn what_undo_left_of_a_batch_stays_after_a_restart_and_further_undos() {
    let disk = disk_with(vec![set("a", "1"), Step::Batch((0..5).map(|n| put(&n.to_string(), "1")).collect(), true)]);
    for left in (0..6).rev() {
        let store = opened(disk.clone(), &keep_log());
        assert_eq!(done(&store, Step::Undo), Value::Bool(true));
        assert_eq!(store.count(), left);
        drop(store);
        assert_eq!(opened(disk.after_kill(), &keep_log()).count(), left);
    }
    assert_eq!(log_text(&disk).trim(), "");
}

#[test]
fn an_undo_that_was_interrupted_inside_a_batch_keeps_the_rest_of_it() {
    let disk = disk_with(vec![Step::Batch(vec![put("a", "1"), put("b", "2"), put("c", "3")], true)]);
    let log = log_text(&disk);
    let last = log.trim_end().rfind('\n').unwrap() + 1;
    // The seal stands over the first byte of the line, and the rest of the line is still there.
    let mut interrupted = log.into_bytes();
    interrupted[last] = b'\n';
    assert_eq!(ids(&opened(with_log(&disk, interrupted), &keep_log())), ["a", "b"]);
}

#[test]
fn a_bad_line_inside_a_log_of_ours_is_corruption_with_line_and_byte() {
    let disk = disk_with(vec![set("a", "1"), set("b", "2"), set("c", "3")]);
    let log = log_text(&disk);
    let lines: Vec<_> = log.split_inclusive('\n').collect();
    let flipped = lines[1].replacen("\"data\":2", "\"data\":7", 1);
    let no_crc = format!("{}}}\n", &lines[1][..lines[1].find(",\"crc\"").unwrap()].replacen("\"op\"", "\"Op\"", 1));
    for bad in [
        &*flipped,
        "{\n",
        "\u{0}\u{0}\n",
        "not json\n",
        &lines[1][..20],
        &no_crc,
        &lines[1].replacen(",\"crc\"", ",\"x\":1,\"crc\"", 1),
    ] {
        let damaged = [lines[0], bad, if bad.ends_with('\n') { "" } else { "\n" }, lines[2]].concat();
        let disk = with_log(&disk, &damaged);
        let before = bytes(&disk);
        let error = refused(open(disk.clone(), &keep_log()));
        assert!(
            matches!(&error, Error::Corrupt { path, line: Some(2), byte: Some(byte), .. }
                if path.ends_with(&log_path(&disk)) && *byte == lines[0].len() as u64),
            "{bad:?}: {error}"
        );
        assert_eq!(bytes(&disk), before, "nothing was touched");

        // A store that skips it opens with the others, and keeps the damaged file.
        let (store, report) = open(disk.clone(), &skipping()).unwrap();
        assert_eq!(ids(&store), ["a", "c"], "{bad:?}");
        assert_eq!(report.logs[0].skipped, 1);
        let copies = disk.files().into_iter().filter(|path| path.contains(".damaged-"));
        assert_eq!(copies.filter(|path| disk.bytes(path).unwrap() == damaged.as_bytes()).count(), 1, "{bad:?}");
        // After a checkpoint the damage is past.
        done(&store, Step::Compact);
        closed(store);
        assert_eq!(ids(&opened(disk, &keep_log())), ["a", "c"]);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_log_of_ours_is_noticed() {
    let disk =
        disk_with(vec![set("a", "1"), Step::Batch(vec![put("b", "2"), put("c", "[3]")], true), set("d", "\"é\"")]);
    let log = log_text(&disk).into_bytes();
    let last_line = log[..log.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for at in 0..log.len() {
        let mut damaged = log.clone();
        damaged[at] ^= 1;
        match open(with_log(&disk, &damaged), &keep_log()) {
            Err(Error::Corrupt { line: Some(_), byte: Some(_), .. }) => assert!(at < last_line, "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
            // At the end of the file it is a bad tail.
            Ok((store, report)) => {
                assert!(at + 1 >= last_line, "byte {at} of {last_line}");
                // Without the newline between them the last two lines are one bad one, and with it goes a batch.
                let left = if at + 1 == last_line { 1 } else { 3 };
                assert_eq!((ids(&store).len(), report.logs.len()), (left, 1), "byte {at}");
            }
        }
    }
}

#[test]
fn bad_lines_inside_a_log_of_upstreams_are_skipped_and_counted_and_stay() {
    let text = format!("{}\n{{\"torn\n\nfoo\n{}\n{{}}\n{}\n", line("a", 1), line("b", 2), line("c", 3));
    let disk = with_log(&disk_with(vec![]), &text);
    for options in [Options { read_only: true, ..Options::default() }, keep_log()] {
        let (store, report) = open(disk.clone(), &options).unwrap();
        assert_eq!(ids(&store), ["a", "b", "c"]);
        assert_eq!((report.logs[0].skipped, report.logs[0].cut), (3, 0));
        assert_eq!(log_text(&disk), text);
    }
    let store = opened(disk.clone(), &keep_log());
    assert_eq!(done(&store, Step::Undo), Value::Bool(true));
    done(&store, set("d", "4"));
    assert_eq!(ids(&store), ["a", "b", "d"]);
    closed(store);
    // Damage from before a line of ours was there is not damage to ours: it is as upstream left it.
    let error = open(disk.clone(), &keep_log()).map(|(store, _)| ids(&store));
    assert!(matches!(&error, Ok(ids) if *ids == ["a", "b", "d"]), "{error:?}");
}

#[test]
fn any_run_of_invalid_lines_at_the_end_is_cut_and_saved() {
    for tail in ["x", "x\n", "\u{0}\u{0}\u{0}\u{0}", "x\ny\n\nz\n", "{\"ts\":\"t\"}\n", " ", "\n \n\t", "x\n\n\n"] {
        let disk = disk_with(vec![set("a", "1"), set("b", "2")]);
        let log = log_text(&disk);
        let disk = with_log(&disk, log.clone() + tail);
        let store = opened(disk.clone(), &keep_log());
        assert_eq!(ids(&store), ["a", "b"], "{tail:?}");
        done(&store, set("c", "3"));
        closed(store);
        let store = opened(disk.clone(), &keep_log());
        assert_eq!(ids(&store), ["a", "b", "c"], "{tail:?}");
        if !tail.trim().is_empty() {
            assert_eq!(saved(&disk, tail.as_bytes()), 1, "{tail:?}");
            assert!(log_text(&disk).starts_with(&(log + "{\"ts\"")), "{tail:?}");
        }
    }
}

#[test]
fn a_missing_or_empty_manifest_beside_data_is_refused_and_nothing_is_touched() {
    let sources = [
        disk_with(vec![set("a", "1")]),
        disk_with(vec![set("a", "1"), Step::Compact]),
        disk_with(vec![set("a", "1"), archive(&["a"], "s")]),
    ];
    for disk in sources {
        for manifest in [None, Some(&b""[..])] {
            let disk = disk.after_kill();
            match manifest {
                None => disk.remove("manifest.json").unwrap(),
                Some(text) => disk.put("manifest.json", text),
            }
            let before = bytes(&disk);
            for options in [Options::default(), Options { read_only: true, ..Options::default() }, skipping()] {
                let error = refused(open(disk.clone(), &options));
                assert!(matches!(&error, Error::Corrupt { path, .. } if path.ends_with("manifest.json")), "{error}");
            }
            assert_eq!(bytes(&disk), before);
        }
    }
}

#[test]
fn empty_files_of_an_interrupted_first_open_are_a_fresh_store() {
    let header = "{\"version\":1,\"timestamp\":\"2026-11-22T14:33:54.125Z\"}\n";
    for files in [
        &[][..],
        &[("manifest.json", "")],
        &[("snapshots/snap-1.jsonl", "")],
        &[("snapshots/snap-1.jsonl", header), ("ops/ops-1.jsonl", "")],
        &[("snapshots/snap-1.jsonl.1-0.tmp", "{\"vers")],
        &[
            ("snapshots/snap-1.jsonl", header),
            ("ops/ops-1.jsonl", ""),
            ("manifest.json.1-0.tmp", "{"),
            ("manifest.json", ""),
        ],
    ] {
        let disk = MemoryBackend::new();
        for (path, text) in files {
            disk.put(path, text.as_bytes());
        }
        let read_only = Options { read_only: true, ..Options::default() };
        assert!(matches!(refused(open(disk.clone(), &read_only)), Error::NoStore { .. }), "{files:?}");
        let store = opened(disk.clone(), &Options::default());
        assert_eq!(store.count(), 0);
        done(&store, set("a", "1"));
        closed(store);
        let store = opened(disk.clone(), &Options::default());
        assert_eq!(ids(&store), ["a"], "{files:?}");
    }
}

#[test]
fn directories_in_place_of_files_are_errors_with_their_path_and_touch_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(FsBackend::new(dir.path()).unwrap(), &keep_log());
    done(&store, set("a", "1"));
    done(&store, archive(&["a"], "s"));
    done(&store, set("b", "1"));
    let manifest = store.manifest();
    closed(store);
    for path in ["manifest.json", &manifest.current_snapshot, &manifest.active_ops] {
        let (at, aside) = (dir.path().join(path), dir.path().join("aside"));
        let content = std::fs::read(&at).unwrap();
        std::fs::remove_file(&at).unwrap();
        std::fs::write(&aside, &content).unwrap();
        std::fs::create_dir(&at).unwrap();
        for options in [keep_log(), Options { read_only: true, ..Options::default() }] {
            let error = refused(open(FsBackend::new(dir.path()).unwrap(), &options));
            assert!(matches!(&error, Error::Io { path, .. } if *path == at.display().to_string()), "{error}");
        }
        assert!(at.is_dir());
        std::fs::remove_dir(&at).unwrap();
        std::fs::write(&at, content).unwrap();
        std::fs::remove_file(aside).unwrap();
    }
    let store = opened(FsBackend::new(dir.path()).unwrap(), &keep_log());
    assert_eq!(ids(&store), ["b"]);
    let segment = dir.path().join("archive/archive-s.json");
    std::fs::remove_file(&segment).unwrap();
    std::fs::create_dir(&segment).unwrap();
    assert!(matches!(run(&store, &archive(&["b"], "s")), Err(Error::Io { .. })), "unreadable is not missing");
    assert_eq!(ids(&store), ["b"]);
}

#[test]
fn a_missing_log_or_snapshot_is_refused_with_its_path() {
    let disk = disk_with(vec![set("a", "1"), Step::Compact, set("b", "2")]);
    let log = log_path(&disk);
    let manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
    let snapshot = manifest["currentSnapshot"].as_str().unwrap().to_owned();
    for path in [log, snapshot] {
        let disk = disk.after_kill();
        disk.remove(&path).unwrap();
        let before = bytes(&disk);
        for options in [keep_log(), skipping(), Options { read_only: true, ..Options::default() }] {
            let error = refused(open(disk.clone(), &options));
            assert!(error.path().is_some_and(|found| found.ends_with(&path)), "{error}");
        }
        assert_eq!(bytes(&disk), before);
    }
}

#[test]
fn a_snapshot_that_is_cut_headerless_or_short_is_refused_and_nothing_is_touched() {
    let disk = disk_with(vec![set("a", "1"), set("b", "{\"x\":2}"), Step::Compact, set("c", "3")]);
    let manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
    let path = manifest["currentSnapshot"].as_str().unwrap();
    let sound = String::from_utf8(disk.bytes(path).unwrap()).unwrap();
    let upstream = "{\"version\":1,\"timestamp\":\"t\"}\n";
    let mut bad: Vec<String> = (0..sound.len()).map(|cut| sound[..cut].to_owned()).collect();
    bad.push(sound.lines().skip(1).map(|line| format!("{line}\n")).collect());
    bad.push(format!("{upstream}{{\"id\":\"a\",\"data\":1}}\n"));
    bad.push(format!("{upstream}{{\"id\":\"a\",\"data\":1}}\n{{\"id\":\"b\","));
    bad.push("{\"version\":1,\"timestamp\":\"t\",\"records\":{\"a\":1}}".to_owned());
    for text in bad {
        let disk = disk.after_kill();
        disk.put(path, text.as_bytes());
        let before = bytes(&disk);
        let error = refused(open(disk.clone(), &keep_log()));
        assert!(matches!(&error, Error::Corrupt { path: found, .. } if found.ends_with(path)), "{text:?}: {error}");
        assert_eq!(bytes(&disk), before);
    }
    // More records than the manifest counts are accepted.
    let more = format!("{upstream}{}", ["a", "b", "x"].map(|id| format!("{{\"id\":\"{id}\",\"data\":1}}\n")).concat());
    disk.put(path, more.as_bytes());
    assert_eq!(ids(&opened(disk, &keep_log())), ["a", "b", "x", "c"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let disk = MemoryBackend::new();
    closed(opened(disk.clone(), &Options { version: 3, ..Options::default() }));
    let before = bytes(&disk);
    let error = refused(open(disk.clone(), &Options { version: 2, ..Options::default() }));
    assert!(matches!(error, Error::NewerVersion { stored: 3, requested: 2, .. }), "{error}");
    assert_eq!(bytes(&disk), before);
    drop(opened(disk, &Options { version: 3, ..Options::default() }));
}

#[test]
fn a_failed_open_gives_the_lock_back() {
    let disk = disk_with(vec![set("a", "1"), set("b", "2")]);
    let log = log_text(&disk);
    let damaged = with_log(&disk, log.replacen("\"data\":1", "\"data\":5", 1));
    for _ in 0..2 {
        assert!(matches!(refused(open(damaged.clone(), &keep_log())), Error::Corrupt { .. }));
    }
    drop(opened(damaged, &skipping()));
}

#[test]
fn leftovers_of_a_crash_are_removed_and_nothing_else() {
    let disk = MemoryBackend::new();
    let header = "{\"version\":1,\"timestamp\":\"t\"}\n";
    let old = [
        ("snapshots/snap-1.jsonl", header),
        ("snapshots/snap-2.json", "{}"),
        ("snapshots/snap-3.jsonl.7-0.tmp", "x"),
        ("ops/ops-1.jsonl", ""),
        ("ops/agent-a-1.jsonl", ""),
        ("archive/archive-s.json.7-0.tmp", "x"),
        ("manifest.json.7-0.tmp", "x"),
    ];
    let kept = [
        ("ops/agent-b-1.jsonl", "x\n"),
        ("ops/ops-backup.jsonl", "x"),
        ("ops/notes.txt", "x"),
        ("snapshots/README", "x"),
        ("archive/archive-lost.json", "{}"),
        ("notes.tmp", "x"),
        ("my.json", "x"),
    ];
    let store = opened(disk.clone(), &keep_log());
    done(&store, set("a", "1"));
    done(&store, Step::Compact);
    done(&store, set("b", "2"));
    drop(store);
    for (path, text) in old.iter().chain(&kept) {
        disk.put(path, text.as_bytes());
    }
    // These are younger than the manifest: somebody may have put them there since.
    drop(opened(disk.clone(), &keep_log()));
    assert!(disk.bytes("snapshots/snap-1.jsonl").is_some());
    assert!(disk.bytes("snapshots/snap-3.jsonl.7-0.tmp").is_none());
    let manifest = disk.bytes("manifest.json").unwrap();
    let mut file = disk.create("younger").unwrap();
    file.write(0, &manifest).unwrap();
    disk.rename("younger", "manifest.json").unwrap();
    assert_eq!(ids(&opened(disk.clone(), &keep_log())), ["a", "b"]);
    for (path, _) in old {
        assert_eq!(disk.bytes(path), None, "{path}");
    }
    for (path, text) in kept {
        assert_eq!(disk.bytes(path).as_deref(), Some(text.as_bytes()), "{path}");
    }
    // The current and the previous generation stay.
    let count = |folder: &str, prefix: &str| {
        disk.files()
            .iter()
            .filter(|path| path.starts_with(&format!("{folder}/{prefix}")) && path.ends_with(".jsonl"))
            .count()
    };
    assert_eq!((count("snapshots", "snap-"), count("ops", "ops-1")), (2, 2));
}

#[test]
fn a_reader_and_a_read_only_open_remove_nothing() {
    let disk = disk_with(vec![set("a", "1")]);
    disk.put("snapshots/snap-3.jsonl.7-0.tmp", b"x");
    let before = bytes(&disk);
    let store = opened(disk.clone(), &Options { read_only: true, ..Options::default() });
    assert!(matches!(run(&store, &set("b", "1")), Err(Error::ReadOnly)));
    closed(store);
    assert_eq!(bytes(&disk), before);
}

#[test]
fn the_previous_snapshot_stays_until_the_next_checkpoint_and_logs_stay_for_readers() {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &Options::default());
    let mut snapshots = vec![store.manifest().current_snapshot.clone()];
    let mut logs = vec![store.manifest().active_ops.clone()];
    for n in 0..4 {
        done(&store, set(&n.to_string(), "1"));
        done(&store, Step::Compact);
        let manifest = store.manifest();
        let on_disk: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
        assert_eq!(on_disk["currentSnapshot"], *manifest.current_snapshot, "the manifest names the current files");
        assert_eq!(on_disk["activeOps"], *manifest.active_ops);
        snapshots.push(manifest.current_snapshot.clone());
        logs.push(manifest.active_ops.clone());
        let kept: Vec<_> = snapshots.iter().filter(|path| disk.bytes(path).is_some()).collect();
        assert_eq!(kept, snapshots.iter().rev().take(2).rev().collect::<Vec<_>>());
        assert!(logs.iter().all(|path| disk.bytes(path).is_some()), "a minute has not passed");
    }
    // What was superseded long ago goes.
    closed(store);
    let mut manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
    for entry in manifest["previous"]["ops"].as_array_mut().unwrap() {
        entry["since"] = 1.into();
    }
    disk.put("manifest.json", manifest.to_string().as_bytes());
    let store = opened(disk.clone(), &Options::default());
    done(&store, Step::Compact);
    let kept = logs.iter().filter(|path| disk.bytes(path).is_some()).count();
    assert_eq!(kept, 1, "the log before the current one");
}

#[test]
fn paths_that_leave_the_store_are_refused() {
    let disk = disk_with(vec![set("a", "1"), set("b", "1"), archive(&["a"], "s")]);
    disk.put("secret", b"{\"version\":1,\"timestamp\":\"t\"}\n");
    let manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
    for (member, path) in [
        ("currentSnapshot", "snapshots/../secret"),
        ("currentSnapshot", "secret"),
        ("currentSnapshot", "/etc/passwd"),
        ("activeOps", "../secret"),
        ("activeOps", "ops/../secret"),
        ("activeOps", "manifest.json"),
    ] {
        let disk = disk.after_kill();
        let mut manifest = manifest.clone();
        manifest[member] = path.into();
        disk.put("manifest.json", manifest.to_string().as_bytes());
        let error = refused(open(disk.clone(), &keep_log()));
        assert!(matches!(&error, Error::Corrupt { path, .. } if path.ends_with("manifest.json")), "{path}: {error}");
    }
    let store = opened(disk.clone(), &keep_log());
    for bad in ["", ".", "..", "../x", "a/b", "a\\b", "/x", "a\0b", "a\nb", &"x".repeat(300)] {
        assert!(matches!(run(&store, &archive(&["b"], bad)), Err(Error::Invalid { .. })), "{bad:?}");
        assert_eq!(ids(&store), ["b"]);
    }
    // What the previous generation names is never removed outside of the store.
    let mut manifest = manifest;
    manifest["previous"] =
        serde_json::json!({"snapshot": "secret", "ops": [{"path": "ops/../secret", "since": 1, "carried": 0}]});
    let disk = disk.after_kill();
    disk.put("manifest.json", manifest.to_string().as_bytes());
    let store = opened(disk.clone(), &keep_log());
    done(&store, Step::Compact);
    assert!(disk.bytes("secret").is_some());
}

#[test]
fn a_log_of_ours_is_never_renamed_over_and_names_do_not_collide() {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &Options::default());
    // Many checkpoints within a millisecond or two: every generation has names of its own.
    let mut names = std::collections::BTreeSet::new();
    for n in 0..50 {
        let tickets = [call(&store, set("a", &n.to_string())), call(&store, Step::Compact)];
        for ticket in tickets {
            wait(&store, ticket).unwrap();
        }
        let manifest = store.manifest();
        assert!(names.insert(manifest.current_snapshot.clone()));
        assert!(names.insert(manifest.active_ops.clone()));
    }
    assert_eq!(archives(&store).len(), 0);
}

fn call(store: &Store, step: Step) -> Option<u64> {
    support::call(store, &step).unwrap()
}
