//! An archive segment: read, written and read again; and added to by an archive call.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::format::archive::Segment;
use opslog_native::store::Options;
use opslog_native_fuzz::{EMPTY, LOG, SEGMENT, SNAPSHOT, bounded, disk, exercise, files, manifest, open};

fuzz_target!(|input: &[u8]| bounded(input, || check(input)));

fn check(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let parsed = Segment::parse(bytes, "a");
    if let Ok(segment) = &parsed {
        let again = Segment::parse(&segment.to_bytes("t"), "a").expect("what was written can be read");
        assert_eq!(again, *segment);
    }
    let made = disk(&[("manifest.json", &manifest()), (SNAPSHOT, EMPTY), (LOG, b""), (SEGMENT, bytes)]);
    let (store, _) = open(&made, &Options::default()).expect("a segment is not looked at by open");
    let before = files(&made);
    let archive = |id: &[u8]| -> bool {
        match store.set(id, b"{\"n\":1}") {
            Ok(opslog_native::store::Accepted::Through(ticket) | opslog_native::store::Accepted::Told(ticket)) => {
                store.wait(ticket).expect("nothing fails on a disk in memory");
            }
            other => drop(other.expect("the store is open")),
        }
        let ticket = store.archive(vec![id.into()], "2025-Q4").expect("the store is open");
        store.wait(ticket).is_ok()
    };
    // A damaged segment is not replaced by a sound one.
    assert_eq!(archive(b"\"new\""), parsed.is_ok());
    match parsed {
        Err(_) => assert_eq!(made.bytes(SEGMENT), Some(bytes.to_vec())),
        Ok(segment) => {
            let now = store.load_archive("2025-Q4").expect("it was written");
            let mut expected = segment;
            expected.merge([(b"\"new\""[..].into(), b"{\"n\":1}"[..].into())]);
            let sorted = |segment: &Segment| {
                let mut records = segment.records.clone();
                records.sort();
                records
            };
            assert_eq!(sorted(&now), sorted(&expected));
        }
    }
    drop((before, store));
    exercise(&made, *flags);
}
