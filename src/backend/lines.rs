//! Reads a file line by line without copying what lies within one piece.

use super::StorageBackend;
use crate::error::{Error, Result};
use std::io::{ErrorKind, Read};

/// Files are read in pieces of this size; a longer line makes the piece longer.
const PIECE: usize = 1 << 20;

/// A line as it stands in a file.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its bytes, without the newline.
    pub bytes: &'a [u8],
    /// Byte at which it begins.
    pub offset: u64,
    /// Its number, from 1.
    pub number: u64,
    /// True if a newline ends it.
    pub ended: bool,
}

impl Line<'_> {
    /// True if it holds nothing but white space: every reader skips it.
    pub fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    /// Byte after the line and its newline.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + u64::from(self.ended)
    }
}

/// Calls `each` for every line of a file from byte `start` on (where a line begins; it counts as the first), in order,
/// and returns the file's length.
///
/// # Errors
/// `Io` where the file cannot be read, or what `each` fails with.
pub fn read_lines(
    backend: &dyn StorageBackend,
    path: &str,
    start: u64,
    mut each: impl FnMut(Line<'_>) -> Result<()>,
) -> Result<u64> {
    let mut input = backend.read(path, start)?;
    let mut piece = vec![0; PIECE];
    // Bytes of a line whose end is not there yet stand at the front of the piece.
    let (mut held, mut offset, mut number) = (0, start, 0);
    loop {
        if held == piece.len() {
            piece.resize(piece.len() * 2, 0);
        }
        let read = fill(&mut *input, piece.get_mut(held..).unwrap_or_default())
            .map_err(|source| Error::io("read", backend.full_path(path), source))?;
        let filled = held + read;
        let (mut first, mut searched) = (0, held);
        while let Some(length) = piece.get(searched..filled).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = searched + length;
            number += 1;
            each(Line { bytes: piece.get(first..end).unwrap_or_default(), offset, number, ended: true })?;
            offset += (end + 1 - first) as u64;
            (first, searched) = (end + 1, end + 1);
        }
        if read == 0 {
            if first < filled {
                let bytes = piece.get(first..filled).unwrap_or_default();
                each(Line { bytes, offset, number: number + 1, ended: false })?;
                offset += bytes.len() as u64;
            }
            return Ok(offset);
        }
        piece.copy_within(first..filled, 0);
        held = filled - first;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryBackend;
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_a_piece_ends() {
        for (length, count) in [(10, 3), (PIECE - 1, 3), (PIECE, 2), (PIECE / 3, 9), (3 * PIECE, 2), (0, 5)] {
            for ended in [true, false] {
                let disk = MemoryBackend::new();
                let mut bytes = [vec![b'x'; length], b"\n".to_vec()].concat().repeat(count);
                if !ended {
                    bytes.pop();
                }
                disk.put("f", &bytes);
                let mut found = Vec::new();
                let len = read_lines(&disk, "f", 0, |line| {
                    assert!(line.bytes.iter().all(|byte| *byte == b'x'));
                    found.push((line.bytes.len(), line.offset, line.number, line.ended));
                    Ok(())
                });
                assert_eq!(len.unwrap(), bytes.len() as u64);
                let step = length as u64 + 1;
                let mut expected: Vec<_> = (0..count as u64).map(|n| (length, n * step, n + 1, true)).collect();
                if !ended {
                    expected.last_mut().unwrap().3 = false;
                    if length == 0 {
                        expected.pop();
                    }
                }
                assert_eq!(found, expected, "{length} {count} {ended}");
            }
        }
    }
}
