//! Reads a log line by line, in bounded memory.

use crate::backend::StorageBackend;
use crate::error::{Error, Result};
use std::io::{BufRead, BufReader};

/// A line as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct RawLine<'a> {
    /// Its bytes, without the newline.
    pub bytes: &'a [u8],
    /// Byte at which it begins.
    pub offset: u64,
    /// Its number, from 1.
    pub number: u64,
    /// True if a newline ends it.
    pub ended: bool,
}

impl RawLine<'_> {
    /// True if it holds nothing but white space: every reader skips it.
    pub fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    /// Byte after the line and its newline.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + u64::from(self.ended)
    }
}

/// Calls `each` for every line of a log, in order, and returns the file's length.
///
/// # Errors
/// `Io` where the file cannot be read, or what `each` fails with.
pub fn read_lines(
    backend: &dyn StorageBackend,
    path: &str,
    mut each: impl FnMut(RawLine<'_>) -> Result<()>,
) -> Result<u64> {
    let mut input = BufReader::with_capacity(256 * 1024, backend.read(path)?);
    let (mut line, mut offset, mut number) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read =
            input.read_until(b'\n', &mut line).map_err(|source| Error::io("read", backend.full_path(path), source))?;
        if read == 0 {
            return Ok(offset);
        }
        number += 1;
        let bytes = line.strip_suffix(b"\n");
        each(RawLine { bytes: bytes.unwrap_or(&line), offset, number, ended: bytes.is_some() })?;
        offset += read as u64;
    }
}
