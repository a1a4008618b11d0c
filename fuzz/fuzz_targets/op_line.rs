//! One line of a log: read, written out as callers see it and as a line, and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::format::{json, op};
use opslog_native::log::Loaded;
use opslog_native_fuzz::{bounded, sealed};
use serde_json::value::RawValue;

fuzz_target!(|line: &[u8]| {
    bounded(line, || {
        check(line);
        let sealed = sealed(line);
        if sealed != line {
            check(&sealed);
        }
    });
});

fn check(line: &[u8]) {
    // serde_json looks at a text that it need not decode as strictly as we do, and nests without a limit there
    let second = serde_json::from_slice::<&RawValue>(line).is_ok();
    assert_eq!(json::is_valid(line), second, "what is JSON");
    let Ok(parsed) = op::parse(line) else { return };
    assert!(second, "an operation that is not JSON");
    let loaded = Loaded::parse(line).expect("it was read before");
    assert_eq!(*loaded.id, *parsed.id);
    let mut shown = Vec::new();
    loaded.push_shown(&mut shown);
    assert!(shown.len() <= 2 * line.len() + 64, "{} bytes from {}", shown.len(), line.len());
    for batch in [None, Some(0), Some(u64::MAX)] {
        let mut written = Vec::new();
        op::push_shown_line(&shown, batch, None, &mut written).expect("what was shown can be written");
        let again = &written[..written.len() - 1];
        let read = op::parse(again).expect("what was written can be read");
        assert!(read.checked && read.batch == batch);
        assert_eq!((&read.id, read.data, read.prev), (&parsed.id, parsed.data, parsed.prev));
        let mut twice = Vec::new();
        Loaded::parse(again).expect("it was read before").push_shown(&mut twice);
        assert_eq!(twice, shown);
    }
}
