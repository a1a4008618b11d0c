//! Stores that upstream 0.1.4 to 0.8.1 wrote open to exactly the state that each must give.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed: that is what it is for"
)]

mod support;

use opslog_native::backend::fs::FsBackend;
use opslog_native::store::{Options, Store};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{Cases, Step, archives, closed, done, open, records};

/// A case, its version, its folder and what it must open to.
struct Golden {
    version: String,
    case: String,
    folder: PathBuf,
    expected: Value,
}

fn goldens() -> Vec<Golden> {
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("__test__/fixtures/stores");
    let mut found = Vec::new();
    for version in std::fs::read_dir(stores).unwrap().map(Result::unwrap) {
        for folder in std::fs::read_dir(version.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if folder.is_dir() {
                let case = folder.file_name().unwrap().to_string_lossy().into_owned();
                let expected = std::fs::read(folder.with_file_name(format!("{case}.expected.json"))).unwrap();
                let version = version.file_name().to_string_lossy().into_owned();
                found.push(Golden { version, case, folder, expected: parsed(&String::from_utf8(expected).unwrap()) });
            }
        }
    }
    found.sort_by_key(|golden| (golden.version.clone(), golden.case.clone()));
    assert_eq!(found.len(), 38, "8 versions, 4 cases, and agents from 0.3.0 on");
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below a folder, and its bytes.
fn bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(bytes(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Parses JSON in which strings may hold lone surrogates, which `serde_json` refuses: they become `<lone d800>`.
fn parsed(text: &str) -> Value {
    let surrogate = |at: usize| {
        let hex = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(hex, 16).ok().filter(|unit| (0xd800..0xe000).contains(unit))
    };
    let (mut out, mut at) = (String::new(), 0);
    while at < text.len() {
        match (surrogate(at), surrogate(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..)) => {
                out.push_str(&text[at..at + 12]);
                at += 12;
            }
            (Some(lone), _) => {
                out.push_str(&format!("<lone {lone:x}>"));
                at += 6;
            }
            (None, _) => {
                let len = if text[at..].starts_with('\\') { 2 } else { text[at..].chars().next().unwrap().len_utf8() };
                out.push_str(&text[at..at + len]);
                at += len;
            }
        }
    }
    serde_json::from_str(&out).unwrap()
}

fn values(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(id, data)| Value::Array(vec![parsed(id), parsed(data)])).collect()
}

/// Operations with all members, the timestamp included.
fn operations(store: &Store) -> Value {
    let (json, next) = store.operations(None, 0, usize::MAX);
    assert_eq!(next, None);
    parsed(&String::from_utf8(json).unwrap())
}

fn check_records_and_archives(store: &Store, golden: &Golden) {
    let (found, expected) = (values(&records(store)), &golden.expected["records"]);
    assert_eq!(&found, expected);
    assert_eq!(found.to_string(), expected.to_string(), "the order of members");
    let archived: serde_json::Map<_, _> =
        archives(store).iter().map(|(path, pairs)| (path.clone(), values(pairs))).collect();
    let expected = golden.expected.get("archive").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    assert_eq!(Value::Object(archived), expected);
}

fn check(store: &Store, golden: &Golden) {
    check_records_and_archives(store, golden);
    assert_eq!(store.stats().ops_count, golden.expected["opsCount"].as_u64().unwrap());
    if let Some(ops) = golden.expected.get("ops") {
        assert_eq!(&operations(store), ops);
    }
}

#[test]
fn every_store_of_upstream_opens_to_its_state_and_a_read_only_open_changes_no_byte() {
    let mut cases = Cases::default();
    for golden in goldens() {
        cases.run(|| {
            let name = format!("{}/{}", golden.version, golden.case);
            eprintln!("{name}");
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("store");
            copy(&golden.folder, &root);
            let before = bytes(&root);

            let read_only = Options { read_only: true, ..Options::default() };
            let (store, report) = open(FsBackend::new(&root).unwrap(), &read_only).unwrap();
            check(&store, &golden);
            assert_eq!(report.logs.iter().any(|log| log.cut > 0), golden.case == "torn", "{name}");
            closed(store);
            assert_eq!(bytes(&root), before, "{name}: a reader wrote");

            if golden.case == "agents" {
                // What single-writer mode makes of it is another matter; here it is only read.
                return;
            }
            let (store, report) = open(FsBackend::new(&root).unwrap(), &Options::default()).unwrap();
            check(&store, &golden);
            for log in report.logs {
                let saved = std::fs::read(log.saved.unwrap()).unwrap();
                assert_eq!(saved.len() as u64, log.cut, "{name}");
            }
            done(&store, Step::Compact);
            check_records_and_archives(&store, &golden);
            closed(store);

            let (store, report) = open(FsBackend::new(&root).unwrap(), &Options::default()).unwrap();
            assert!(report.logs.is_empty(), "{name}");
            check_records_and_archives(&store, &golden);
            assert_eq!(store.stats().ops_count, 0, "{name}");
        });
    }
}

#[test]
fn undo_works_through_the_log_of_every_version_back_to_its_snapshot() {
    let mut cases = Cases::default();
    for golden in goldens().into_iter().filter(|golden| golden.case == "wal" || golden.case == "torn") {
        cases.run(|| {
            eprintln!("{}/{}", golden.version, golden.case);
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("store");
            copy(&golden.folder, &root);
            let options = Options { checkpoint_on_close: false, ..Options::default() };
            let ops = golden.expected["opsCount"].as_u64().unwrap();
            let mut states = Vec::new();
            for left in (0..ops).rev() {
                let (store, _) = open(FsBackend::new(&root).unwrap(), &options).unwrap();
                states.push(records(&store));
                assert_eq!(done(&store, Step::Undo), opslog_native::store::Value::Bool(true));
                assert_eq!(store.stats().ops_count, left);
                let after = records(&store);
                closed(store);
                let (store, _) = open(FsBackend::new(&root).unwrap(), &options).unwrap();
                assert_eq!(records(&store), after, "what was undone in memory is undone in the log");
            }
            let (store, _) = open(FsBackend::new(&root).unwrap(), &options).unwrap();
            assert_eq!(done(&store, Step::Undo), opslog_native::store::Value::Bool(false));
        });
    }
}
