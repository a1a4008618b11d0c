//! Reads a file line by line without copying what lies within one piece.

use super::StorageBackend;
use crate::error::{Error, Result};
use crate::log::room;
use std::io::{ErrorKind, Read};

/// Files are read in pieces of this size; a longer line makes the piece longer.
const PIECE: usize = 64 << 10;

/// A line as it stands in a file.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its bytes, without the newline; of a line of a log also without its room.
    pub bytes: &'a [u8],
    /// Byte at which it begins.
    pub offset: u64,
    /// Its number, from 1.
    pub number: u64,
    /// True if a newline ends it.
    pub ended: bool,
    /// Bytes of room between its text and its newline, of a line of a log; see [`crate::log::room`].
    pub room: u64,
    /// True where it stands behind the room of another line, without a newline between.
    pub torn: bool,
}

impl Line<'_> {
    /// True if it holds nothing but white space: every reader skips it.
    pub fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    /// Byte after the line, its room and its newline.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + self.room + u64::from(self.ended)
    }
}

/// A file that is read line by line.
pub struct Lines {
    input: Box<dyn Read + Send>,
    path: String,
    piece: Vec<u8>,
    /// Where in the piece the next line begins.
    first: usize,
    /// Up to where no newline was found.
    searched: usize,
    filled: usize,
    offset: u64,
    number: u64,
    ended: bool,
    of_log: bool,
    torn: bool,
}

impl Lines {
    /// Opens a file at byte `start`, where a line begins; it counts as the first.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(backend: &dyn StorageBackend, path: &str, start: u64) -> Result<Self> {
        Ok(Lines {
            input: backend.read(path, start)?,
            path: backend.full_path(path),
            piece: vec![0; PIECE],
            first: 0,
            searched: 0,
            filled: 0,
            offset: start,
            number: 0,
            ended: false,
            of_log: false,
            torn: false,
        })
    }

    /// [`Lines::open`] for a log, whose lines may have room.
    ///
    /// # Errors
    /// `Io`.
    pub fn of_log(backend: &dyn StorageBackend, path: &str, start: u64) -> Result<Self> {
        Ok(Lines { of_log: true, ..Lines::open(backend, path, start)? })
    }

    /// The next line; `None` at the end of the file.
    ///
    /// # Errors
    /// `Io` where the file cannot be read.
    #[allow(clippy::should_implement_trait, reason = "a line borrows from the reader, which an Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Line<'_>>> {
        let end = loop {
            let rest = self.piece.get(self.searched..self.filled).unwrap_or_default();
            if let Some(length) = memchr::memchr(b'\n', rest) {
                break Some(self.searched + length);
            }
            self.searched = self.filled;
            if self.ended {
                break None;
            }
            self.fill()?;
        };
        let (first, offset) = (self.first, self.offset);
        let to = end.unwrap_or(self.filled);
        if end.is_none() && first == to {
            return Ok(None);
        }
        let torn = std::mem::take(&mut self.torn);
        // The rest of a torn line is no line for who counts them.
        self.number += u64::from(!torn);
        let whole = self.piece.get(first..to).unwrap_or_default();
        let (mut bytes, mut room, mut next) = (whole, 0, end.map_or(to, |end| end + 1));
        let mut ended = end.is_some();
        if let Some((text, tabs)) = room::split(whole).filter(|_| self.of_log) {
            (bytes, room) = (text, tabs as u64);
            if text.len() + tabs < whole.len() {
                // What stands behind its room is the rest of a write that a power cut has torn: a line of its own.
                (next, ended) = (first + text.len() + tabs, false);
                self.torn = true;
            }
        }
        self.first = next;
        self.searched = next;
        self.offset += (next - first) as u64;
        Ok(Some(Line { bytes, offset, number: self.number, ended, room, torn }))
    }

    /// The file's length, once the last line has been read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Moves the line whose end is missing to the front of the piece and reads on behind it.
    fn fill(&mut self) -> Result<()> {
        self.piece.copy_within(self.first..self.filled, 0);
        self.filled -= self.first;
        self.searched -= self.first;
        self.first = 0;
        if self.filled == self.piece.len() {
            self.piece.resize(self.piece.len() * 2, 0);
        }
        let read = fill(&mut *self.input, self.piece.get_mut(self.filled..).unwrap_or_default())
            .map_err(|source| Error::io("read", self.path.clone(), source))?;
        self.filled += read;
        self.ended = read == 0;
        Ok(())
    }
}

/// Calls `each` for every line of a log from byte `start` on (where a line begins; it counts as the first), in order,
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
    let mut lines = Lines::of_log(backend, path, start)?;
    while let Some(line) = lines.next()? {
        each(line)?;
    }
    Ok(lines.offset())
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
