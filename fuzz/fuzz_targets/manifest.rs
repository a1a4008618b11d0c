//! A manifest beside sound files; the files of an agent's store are there as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::format::manifest::Manifest;
use opslog_native_fuzz::{EMPTY, LOG, SEGMENT, SNAPSHOT, bounded, disk, exercise};

const LINES: &[u8] = br#"{"ts":"t","op":"set","id":"a","prev":null,"data":{"n":1}}
{"ts":"t","op":"set","id":"b","prev":null,"data":{"n":2}}
"#;
const AGENTS: &[u8] = br#"{"ts":"t","op":"set","id":"a","prev":null,"data":{"n":3},"agent":"one","clock":1}
{"ts":"t","op":"delete","id":"a","prev":{"n":3},"agent":"one","clock":2}
"#;

fuzz_target!(|input: &[u8]| bounded(input, || check(input)));

fn check(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    if let Ok(manifest) = Manifest::parse(bytes, "m") {
        let written = manifest.to_bytes();
        let again = Manifest::parse(&written, "m").expect("what was written can be read");
        assert_eq!(again, manifest);
    }
    let made = disk(&[
        ("manifest.json", bytes),
        (SNAPSHOT, EMPTY),
        (LOG, LINES),
        ("ops/agent-one-1767323045678.jsonl", AGENTS),
        ("ops/agent-two-1767323045678.jsonl", b""),
        (SEGMENT, br#"{"version":1,"period":"2025-Q4","timestamp":"t","records":{"old":{"n":1}}}"#),
    ]);
    exercise(&made, *flags);
}
