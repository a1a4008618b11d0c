//! A whole directory: files of any name and content.
//!
//! The input is a byte of flags, then the files: each begins with a line `=== NAME`, the newline before the next such
//! line belongs to neither.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native_fuzz::{bounded, exercise};

fuzz_target!(|input: &[u8]| bounded(input, || check(input)));

fn check(input: &[u8]) {
    let Some((flags, mut rest)) = input.split_first() else { return };
    let disk = MemoryBackend::new();
    let marker = b"\n=== ";
    while let Some(at) = rest.windows(marker.len()).position(|part| part == marker) {
        rest = &rest[at + marker.len()..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        let (name, content) = (&rest[..end], &rest[end + 1..]);
        // the marker's newline may be the last byte of an empty file's name line
        rest = &rest[end..];
        let next = rest.windows(marker.len()).position(|part| part == marker).unwrap_or(rest.len());
        if let Ok(name) = std::str::from_utf8(name) {
            disk.put(name, &content[..next.saturating_sub(1).min(content.len())]);
        }
    }
    exercise(&disk, *flags);
}
