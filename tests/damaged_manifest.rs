//! Failure: with one bit of the manifest flipped, `open` read the snapshot (or log) of the generation before, returned
//! its values without a word, and removed the current file as a leftover.
//! Cause: the numbers of two generations may differ in one bit, the file before is kept on purpose, and nothing compared
//! what the manifest calls current with what it calls previous.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed: that is what it is for")]

mod support;

use opslog_native::Error;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::format::manifest::Manifest;
use opslog_native::store::Options;
use support::model::set;
use support::{Step, closed, done, open, opened, records};

/// A store with two generations, and its manifest.
fn disk() -> (MemoryBackend, Manifest) {
    let disk = MemoryBackend::new();
    let store = opened(disk.clone(), &Options::default());
    for value in ["1", "2"] {
        done(&store, set("a", value));
        done(&store, Step::Compact);
    }
    closed(store);
    let manifest = Manifest::parse(&disk.bytes("manifest.json").unwrap(), "manifest.json").unwrap();
    (disk, manifest)
}

fn refused(disk: &MemoryBackend, damaged: &Manifest, options: &Options) {
    let disk = disk.after_kill();
    disk.put("manifest.json", &damaged.to_bytes());
    let before = disk.files();
    let error = open(disk.clone(), options).map(drop).expect_err("it must not open");
    assert!(matches!(&error, Error::Corrupt { path, .. } if path.ends_with("manifest.json")), "{error}");
    assert_eq!(disk.files(), before);
}

#[test]
fn a_manifest_that_calls_a_superseded_file_the_current_one_is_refused() {
    let (disk, sound) = disk();
    let snapshot = Manifest { current_snapshot: sound.previous.snapshot.clone().unwrap(), ..sound.clone() };
    let log = Manifest { active_ops: sound.previous.ops.last().unwrap().path.clone(), ..sound };
    for damaged in [snapshot, log] {
        for (read_only, skip_load) in [(false, false), (true, false), (false, true), (true, true)] {
            refused(&disk, &damaged, &Options { read_only, skip_load, ..Options::default() });
        }
    }
    assert_eq!(records(&opened(disk, &Options::default())), [("\"a\"".to_owned(), "2".to_owned())]);
}
