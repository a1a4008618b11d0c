//! The end of a log, without what stands before it: for who appends to a log that was not read.
//!
//! Goes back from the end, in growing windows, to the last line after which nothing can depend on what stands before
//! it: a valid line that ends its batch, or is none of one, and that is no part of the last long write. From there on the log is read as recovery reads a whole one,
//! so that everything that recovery says of a bad tail holds. A last write that is longer than the first window is trusted
//! by its end: what is missing in it is found when the log is read, which comes before anything is appended.

use super::recovery::{Scan, parse, scan_from, start_of_write};
use crate::backend::StorageBackend;
use crate::backend::lines::read_lines;
use crate::error::{Error, Result};

/// The first window; a batch or a line that is longer makes it larger.
const WINDOW: u64 = 64 * 1024;

/// Reads the end of a log: what must be mended, and where it ends. It holds no operations then.
///
/// # Errors
/// As [`scan_from`]; damage further up is not looked for.
pub fn scan_tail(backend: &dyn StorageBackend, path: &str, skip: bool) -> Result<Scan> {
    let start = trusted_line(backend, path)?;
    let mut scan = scan_from(backend, path, start, skip).map_err(|error| match error {
        // Lines were counted from the middle of the file.
        Error::Corrupt { message, path, byte, .. } => Error::Corrupt { message, path, line: None, byte },
        other => other,
    })?;
    scan.ops.clear();
    Ok(scan)
}

/// Where the last line begins that can be trusted without those before it; 0 where there is none.
fn trusted_line(backend: &dyn StorageBackend, path: &str) -> Result<u64> {
    let len = backend.stat(path)?.len;
    let mut window = WINDOW;
    loop {
        let start = len.saturating_sub(window);
        // A window begins anywhere in a line.
        let mut is_part = start > 0;
        let (mut last, mut current) = (None, None);
        read_lines(backend, path, start, |line| {
            if std::mem::take(&mut is_part) {
                return Ok(());
            }
            let Ok(parsed) = parse(&line) else { return Ok(()) };
            // A line says nothing of what stands before it in its write, until another write follows.
            let write = start_of_write(&line, &parsed);
            if parsed.batch.is_none_or(|remaining| remaining == 0) {
                match (write, current) {
                    (None, _) => (last, current) = (Some(line.offset), None),
                    (Some(start), Some((same, _))) if same == start => current = Some((start, line.offset)),
                    (Some(start), earlier) => {
                        last = earlier.map(|(_, offset)| offset).or(last);
                        current = Some((start, line.offset));
                    }
                }
            }
            Ok(())
        })?;
        match (last, current) {
            (Some(offset), _) => return Ok(offset),
            (None, _) if start == 0 => return Ok(0),
            (None, Some((begin, offset))) if begin < start => return Ok(offset),
            (None, _) => window = window.saturating_mul(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recovery::scan;
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::format::op::push_shown_line;
    use proptest::prelude::*;

    const LOG: &str = "ops/ops-1.jsonl";

    fn push(out: &mut Vec<u8>, length: usize, batch: Option<u64>) {
        let text = "x".repeat(length);
        let shown = format!(r#"{{"ts":"t","op":"set","id":"a","prev":null,"data":"{text}"}}"#);
        push_shown_line(shown.as_bytes(), batch, None, out).unwrap();
    }

    /// What a log is made of.
    #[derive(Debug, Clone)]
    enum Part {
        Line(usize),
        Batch(u64, usize),
        /// The first lines of a batch, sealed after an undo.
        Sealed(usize),
        Blank,
        /// A line with room, and room on a line of its own.
        Room(usize),
        Loose,
    }

    fn any_part() -> impl Strategy<Value = Part> {
        let length = prop_oneof![9 => 0usize..300, 1 => 60_000usize..140_000];
        prop_oneof![
            4 => length.clone().prop_map(Part::Line),
            2 => (2u64..6, length.clone()).prop_map(|(lines, length)| Part::Batch(lines, length)),
            1 => length.prop_map(Part::Sealed),
            1 => Just(Part::Blank),
            1 => (1usize..9000).prop_map(Part::Room),
            1 => Just(Part::Loose),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
        #[test]
        fn the_end_is_what_it_is_when_the_whole_log_is_read(
            parts in prop::collection::vec(any_part(), 0..25),
            cut in prop_oneof![Just(0usize), 1usize..2000],
            foreign in prop::sample::select(&["", "x", "\t\t", "\tx\t\n", "\n", "foreign\n", "{}\n\n", "foreign\nmore"][..]),
        ) {
            let mut bytes = Vec::new();
            for part in parts {
                match part {
                    Part::Line(length) => push(&mut bytes, length, None),
                    Part::Batch(lines, length) => (0..lines).rev().for_each(|left| push(&mut bytes, length, Some(left))),
                    Part::Sealed(length) => {
                        push(&mut bytes, length, Some(2));
                        push(&mut bytes, length, Some(1));
                        bytes.push(b'\n');
                    }
                    Part::Blank => bytes.push(b'\n'),
                    Part::Room(tabs) => {
                        push(&mut bytes, 10, None);
                        bytes.pop();
                        bytes.resize(bytes.len() + tabs, b'\t');
                        bytes.push(b'\n');
                    }
                    Part::Loose => bytes.extend_from_slice(b"\t\t\t\n"),
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes.extend_from_slice(foreign.as_bytes());
            let disk = MemoryBackend::new();
            disk.put(LOG, &bytes);
            let (whole, tail) = (scan(&disk, LOG, false).unwrap(), scan_tail(&disk, LOG, false).unwrap());
            prop_assert_eq!(tail.end, whole.end);
            prop_assert_eq!((tail.newline_missing, tail.room, tail.loose), (whole.newline_missing, whole.room, whole.loose));
            prop_assert_eq!(tail.report, whole.report);
        }
    }

    #[test]
    fn damage_further_up_is_not_looked_for() {
        let mut bytes = Vec::new();
        push(&mut bytes, 10, None);
        bytes.extend_from_slice(b"damaged\n");
        push(&mut bytes, 10, None);
        let disk = MemoryBackend::new();
        disk.put(LOG, &bytes);
        assert!(scan(&disk, LOG, false).is_err());
        assert_eq!(scan_tail(&disk, LOG, false).unwrap().end, bytes.len() as u64);
    }

    #[test]
    fn damage_at_the_end_is_told_with_its_byte() {
        let mut bytes = Vec::new();
        push(&mut bytes, 10, None);
        let at = bytes.len() as u64;
        bytes.extend_from_slice(b"damaged\n");
        push(&mut bytes, 10, Some(1));
        let disk = MemoryBackend::new();
        disk.put(LOG, &bytes);
        let error = scan_tail(&disk, LOG, false).unwrap_err();
        assert!(matches!(error, Error::Corrupt { line: None, byte: Some(byte), .. } if byte == at), "{error}");
    }
}
