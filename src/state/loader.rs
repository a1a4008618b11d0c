//! Puts many records in at once, as [`Records::set`] does one by one.
//!
//! The texts of records that stand side by side share their memory: an allocation of its own would cost each a tenth of
//! its size and more time than all the rest of loading. Pieces of that memory are filled by a [`Packer`] and taken in by
//! a [`Loader`], which may be two threads: half of the time of loading goes into each.

use super::records::{Record, Records};
use crate::format::text::{Bytes, length};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// Values up to this size share their memory: for larger ones an allocation of their own is no loss.
pub(super) const SHARED: usize = 2048;

/// Shared memory comes in pieces of this size, less the counters that stand before it: allocators give sizes between
/// two powers of two more than they ask for.
const PIECE: usize = 16 * 1024 - 16;

/// Pieces of about so many bytes go from thread to thread together. They take no memory more: they are what the records
/// will stand in.
const LOAD: usize = 1 << 20;

/// Records side by side in the same memory.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    parts: Vec<Part>,
}

/// Where a record's value begins in a piece and where it ends; the hash of its id.
#[derive(Debug)]
struct Part {
    value: u32,
    to: u32,
    hash: u64,
}

/// Makes pieces of records.
#[derive(Debug)]
pub struct Packer {
    hasher: DefaultHashBuilder,
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

impl Packer {
    /// Adds a record. `full` is called with pieces to which nothing will be added.
    pub fn push(&mut self, id: &[u8], value: &[u8], mut full: impl FnMut(Piece)) {
        let (hash, both) = (self.hasher.hash_one(id), id.len() + value.len());
        if both > SHARED || self.bytes.len() + both > PIECE {
            self.finish().into_iter().for_each(&mut full);
        }
        if both > SHARED {
            let bytes = Record::joined(id, value);
            let part = Part { value: length(id.len()), to: length(both), hash };
            return full(Piece { bytes, parts: vec![part] });
        }
        self.bytes.extend_from_slice(id);
        let end_of_id = length(self.bytes.len());
        self.bytes.extend_from_slice(value);
        self.parts.push(Part { value: end_of_id, to: length(self.bytes.len()), hash });
    }

    /// The piece that is not full, if there is one.
    pub fn finish(&mut self) -> Option<Piece> {
        if self.parts.is_empty() {
            return None;
        }
        let bytes = Bytes::copy(&self.bytes);
        self.bytes.clear();
        let parts = Vec::with_capacity(self.parts.len());
        Some(Piece { bytes, parts: std::mem::replace(&mut self.parts, parts) })
    }
}

/// Pieces on their way from one thread to another, some at a time: waking the other one takes longer than putting in a
/// few large records.
#[derive(Debug, Default)]
pub struct Loads {
    pieces: Vec<Piece>,
    bytes: usize,
}

impl Loads {
    /// Adds a piece. `full` is called with what is to go.
    pub fn push(&mut self, piece: Piece, full: impl FnOnce(Vec<Piece>)) {
        self.bytes += piece.bytes.len();
        self.pieces.push(piece);
        if self.bytes >= LOAD {
            full(self.finish());
        }
    }

    /// The pieces that are left, if there are any.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// Takes pieces in.
#[derive(Debug)]
pub struct Loader<'a> {
    records: &'a mut Records,
}

impl<'a> Loader<'a> {
    /// `count`: how many records there will be, if that is known.
    pub fn new(records: &'a mut Records, count: usize) -> Self {
        records.reserve(count);
        Loader { records }
    }

    /// What makes the pieces for it.
    pub fn packer(&self) -> Packer {
        Packer { hasher: self.records.hasher().clone(), bytes: Vec::with_capacity(PIECE), parts: Vec::new() }
    }

    /// Puts the records of a piece in. Pieces come in order.
    pub fn take_in(&mut self, Piece { bytes, parts }: Piece) {
        let mut from = 0;
        for Part { value, to, hash } in parts {
            self.records.load(hash, Record::part(&bytes, from, value, to));
            from = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_records_do_not_go_to_the_other_thread_one_by_one() {
        let mut records = Records::default();
        let mut loader = Loader::new(&mut records, 0);
        let (mut packer, mut loads, mut sent) = (loader.packer(), Loads::default(), Vec::new());
        for n in 0..1000 {
            let id = format!("\"{n}\"");
            packer.push(id.as_bytes(), &[b'1'; 2 * SHARED], |piece| loads.push(piece, |load| sent.push(load)));
        }
        packer.finish().into_iter().for_each(|piece| loads.push(piece, |load| sent.push(load)));
        let size = |load: &Vec<Piece>| load.iter().map(|piece| piece.bytes.len()).sum::<usize>();
        assert!(sent.len() > 2 && sent.iter().all(|load| (LOAD..LOAD + 3 * SHARED).contains(&size(load))));
        sent.push(loads.finish());
        sent.into_iter().flatten().for_each(|piece| loader.take_in(piece));
        let ids: Vec<_> = records.iter().map(|record| record.id().to_vec()).collect();
        assert_eq!(ids, (0..1000).map(|n| format!("\"{n}\"").into_bytes()).collect::<Vec<_>>());
    }
}
