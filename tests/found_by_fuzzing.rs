//! What `npm run check:fuzz` found: each test says the failure and its cause.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed: that is what it is for")]

mod support;

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::Options;
use support::model::set;
use support::{closed, done, log_text, opened, records};

/// Failure: in a `skipLoad` store the first `set` of a record wrote a log line that no reader accepts, or one with a
/// foreign member, where upstream's snapshot line held more than `id` and `data`, or `data` twice.
/// Cause: the line was not parsed but split: what follows `"data":` up to the last brace was taken for the value. That is
/// right only in files whose checksum says that we wrote them.
#[test]
fn a_record_line_with_more_members_is_looked_up_as_it_is_loaded() {
    for (line, value) in [
        (r#"{"id":"a","data":{"n":1},"x":2}"#, r#"{"n":1}"#),
        (r#"{"id":"a","data":"é","data":{"n":1}}"#, r#"{"n":1}"#),
        (r#"{"id":"a","data":{"n":1} }"#, r#"{"n":1}"#),
    ] {
        let disk = MemoryBackend::new();
        closed(opened(disk.clone(), &Options::default()));
        let manifest: serde_json::Value = serde_json::from_slice(&disk.bytes("manifest.json").unwrap()).unwrap();
        let snapshot = format!("{{\"version\":1,\"timestamp\":\"t\"}}\n{line}\n");
        disk.put(manifest["currentSnapshot"].as_str().unwrap(), snapshot.as_bytes());
        let loaded = Options { read_only: true, ..Options::default() };
        assert_eq!(records(&opened(disk.clone(), &loaded)), [("\"a\"".to_owned(), value.to_owned())]);

        let store = opened(disk.clone(), &Options { skip_load: true, ..Options::default() });
        done(&store, set("a", "2"));
        closed(store);
        assert!(
            log_text(&disk).contains(&format!("\"prev\":{value},\"data\":2,\"crc\"")),
            "{line}: {}",
            log_text(&disk)
        );
        assert_eq!(records(&opened(disk, &loaded)), [("\"a\"".to_owned(), "2".to_owned())]);
    }
}
