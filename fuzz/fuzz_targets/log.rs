//! A whole log in a sound store; also through the functions that work on a log without a store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::files;
use opslog_native_fuzz::{EMPTY, LOG, SNAPSHOT, bounded, disk, exercise, manifest, sealed};

fuzz_target!(|input: &[u8]| bounded(input, || check(input)));

fn check(input: &[u8]) {
    let Some((flags, log)) = input.split_first() else { return };
    let log = if flags & 32 == 0 { log.to_vec() } else { sealed(log) };
    let made = disk(&[("manifest.json", &manifest()), (SNAPSHOT, EMPTY), (LOG, &log)]);
    if flags & 16 == 0 {
        return exercise(&made, *flags);
    }
    let Ok((before, _)) = files::read(&made, LOG, 1000) else { return };
    let operation = br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1}"#;
    files::append(&made, LOG, &[operation, operation]).expect("nothing fails on a disk in memory");
    for _ in 0..2 {
        assert!(files::take_last(&made, LOG).expect("nothing fails on a disk in memory"));
    }
    let (after, report) = files::read(&made, LOG, 1000).expect("it was read before");
    assert_eq!((before, report.cut), (after, 0));
}
