//! Where the stored value of each id stands, for a store that was opened without its records.
//!
//! Built in one pass over snapshot and log, which are checked as they are when they are loaded. Holds 16 bytes for each
//! line, and neither ids nor values: an id is found by its hash, and the line says whether it is the one. Places of one
//! hash are looked at from the last line of the log backwards, so the first one that fits is what counts.
//! A snapshot of the format before 0.7 is one document, whose records are held in memory.

use crate::backend::StorageBackend;
use crate::backend::lines::Lines;
use crate::error::{Error, Result};
use crate::format::op::{self, OpKind, Text};
use crate::format::snapshot;
use crate::log::LogReader;
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;
use std::io::Read;

/// Which files an index is about.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub snapshot: String,
    /// The least number of records in a snapshot that does not say how many it has.
    pub least: u64,
    pub log: String,
    /// Where the log ends.
    pub end: u64,
}

/// A line. Ordered by hash, and then as the lines count: the log after the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    hash: u32,
    /// Length of the line; `u32::MAX` for all that are longer.
    len: u32,
    offset: u64,
}

/// Marks the offset of a line of the log.
const IN_LOG: u64 = 1 << 63;

impl Place {
    fn key(&self) -> (u32, u64) {
        (self.hash, self.offset)
    }
}

pub(super) struct Index {
    files: Files,
    places: Vec<Place>,
    /// Records of a snapshot that has no lines.
    document: HashMap<Text, Text>,
    hash: Hash,
    /// Invalid lines of the log that were skipped.
    pub skipped: u64,
}

/// The hash of ids. Its keys are this process's: nobody can choose ids that have the same.
struct Hash {
    hasher: DefaultHashBuilder,
    /// Fewer bits, for tests of what happens when ids share a hash.
    mask: u32,
}

impl Hash {
    fn of(&self, id: &[u8]) -> u32 {
        (self.hasher.hash_one(id) >> 32) as u32 & self.mask
    }

    fn place(&self, id: &[u8], offset: u64, len: u64) -> Place {
        Place { hash: self.of(id), len: u32::try_from(len).unwrap_or(u32::MAX), offset }
    }
}

impl Index {
    /// Reads snapshot and log. `skip`: skip invalid lines of the log wherever they stand.
    ///
    /// # Errors
    /// As [`snapshot::Reader::open`] and [`LogReader::each`].
    pub(super) fn build(backend: &dyn StorageBackend, files: Files, skip: bool) -> Result<Self> {
        Self::with_hash(backend, files, skip, Hash { hasher: DefaultHashBuilder::default(), mask: u32::MAX })
    }

    fn with_hash(backend: &dyn StorageBackend, files: Files, skip: bool, hash: Hash) -> Result<Self> {
        let (mut places, mut document) = (Vec::new(), HashMap::new());
        snapshot::Reader::open(backend, &files.snapshot, files.least)?.each(|place, id, value| match place {
            Some((offset, len)) => places.push(hash.place(id, offset, len)),
            None => drop(document.insert(Text::from(id), Text::from(value))),
        })?;
        let mut log = LogReader::open(backend, &files.log, files.end, skip)?;
        log.each(|line, parsed| {
            places.push(hash.place(&parsed.id, line.offset | IN_LOG, line.bytes.len() as u64));
            true
        })?;
        places.shrink_to_fit();
        places.sort_unstable_by_key(Place::key);
        let skipped = log.skipped();
        Ok(Index { files, places, document, hash, skipped })
    }

    /// The stored value of a record; `None` where there is none.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` where a file is not what it was any more.
    pub(super) fn find(&self, backend: &dyn StorageBackend, id: &[u8]) -> Result<Option<Text>> {
        let hash = self.hash.of(id);
        let end = self.places.partition_point(|place| place.hash <= hash);
        let candidates = self.places.get(..end).unwrap_or_default().iter().rev();
        for place in candidates.take_while(|place| place.hash == hash) {
            if let Some(found) = self.look(backend, place, id)? {
                return Ok(found);
            }
        }
        Ok(self.document.get(id).cloned())
    }

    /// What a line says of a record: nothing, its value, or that it is deleted.
    fn look(&self, backend: &dyn StorageBackend, place: &Place, id: &[u8]) -> Result<Option<Option<Text>>> {
        let offset = place.offset & !IN_LOG;
        let path = if place.offset == offset { &self.files.snapshot } else { &self.files.log };
        let bytes = line_at(backend, path, offset, place.len)?;
        let found = if place.offset == offset {
            snapshot::parse_record(&bytes).map(|(found, value)| (*found == *id).then(|| Some(value.into())))
        } else {
            op::parse(&bytes).ok().map(|line| {
                let data = line.data.filter(|_| line.kind == OpKind::Set);
                (*line.id == *id).then(|| data.map(Text::from))
            })
        };
        found.ok_or_else(|| Error::Corrupt {
            message: "The file was changed since it was opened".to_owned(),
            path: backend.full_path(path),
            line: None,
            byte: Some(offset),
        })
    }
}

/// A line that begins at `offset`, without its newline.
fn line_at(backend: &dyn StorageBackend, path: &str, offset: u64, len: u32) -> Result<Vec<u8>> {
    if len == u32::MAX {
        let mut lines = Lines::of_log(backend, path, offset)?;
        return Ok(lines.next()?.map(|line| line.bytes.to_vec()).unwrap_or_default());
    }
    let mut bytes = Vec::with_capacity(len as usize);
    let read = backend.read(path, offset)?.take(u64::from(len)).read_to_end(&mut bytes);
    read.map_err(|source| Error::io("read", backend.full_path(path), source))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::format::op::{Parts, Prev, Timestamp};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn files(log: &[u8]) -> Files {
        Files { snapshot: "s".into(), least: 0, log: "l".into(), end: log.len() as u64 }
    }

    fn id(n: u16) -> Vec<u8> {
        format!("\"id{n}\"").into_bytes()
    }

    fn snapshot_of(records: &[(u16, u32)], checked: bool) -> Vec<u8> {
        let disk = MemoryBackend::new();
        let mut lines = Vec::new();
        for (n, value) in records {
            snapshot::push_record(&id(*n), value.to_string().as_bytes(), &mut lines);
        }
        if !checked {
            return [b"{\"version\":1,\"timestamp\":\"t\"}\n".to_vec(), lines].concat();
        }
        let mut file = disk.create("s").unwrap();
        snapshot::write(&mut *file, &snapshot::Header::new(1, records.len() as u64), "t", |out| {
            out.append(&mut lines);
            Ok(false)
        })
        .unwrap();
        disk.bytes("s").unwrap()
    }

    fn push_line(out: &mut Vec<u8>, n: u16, value: Option<u32>) {
        let data = value.map(|value| value.to_string().into_bytes());
        Parts {
            ts: &Timestamp::Millis(0),
            kind: if data.is_some() { OpKind::Set } else { OpKind::Delete },
            id: &id(n),
            prev: &if data.is_some() { Prev::Null } else { Prev::Full(b"{}"[..].into()) },
            data: data.as_deref(),
            origin: None,
        }
        .push_line(None, None, out);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_loading_gives(
            records in prop::collection::vec((0u16..40, any::<u32>()), 0..60),
            changes in prop::collection::vec((0u16..40, prop::option::weighted(0.7, any::<u32>())), 0..120),
            checked in any::<bool>(),
            mask in prop::sample::select(&[0, 3, u32::MAX][..]),
        ) {
            let mut log = Vec::new();
            let mut expected: BTreeMap<u16, u32> = records.iter().copied().collect();
            for (n, value) in &changes {
                push_line(&mut log, *n, *value);
                match value {
                    Some(value) => drop(expected.insert(*n, *value)),
                    None => drop(expected.remove(n)),
                }
            }
            let disk = MemoryBackend::new();
            disk.put("s", &snapshot_of(&records, checked));
            // What was appended since is none of the index's.
            let files = files(&log);
            push_line(&mut log, 0, Some(7));
            disk.put("l", &log);
            let hash = Hash { hasher: DefaultHashBuilder::default(), mask };
            let index = Index::with_hash(&disk, files, false, hash).unwrap();
            for n in 0..45 {
                let found = index.find(&disk, &id(n)).unwrap();
                let value = expected.get(&n).map(|value| value.to_string().into_bytes());
                prop_assert_eq!(found.as_deref(), value.as_deref());
            }
        }
    }

    #[test]
    fn an_id_that_is_not_stored_costs_no_read() {
        let (disk, mut log) = (MemoryBackend::new(), Vec::new());
        disk.put("s", &snapshot_of(&[(1, 1), (2, 2)], true));
        push_line(&mut log, 3, Some(3));
        disk.put("l", &log);
        let index = Index::build(&disk, files(&log), false).unwrap();
        // Without its files an index can answer only what it knows by itself.
        let nothing = MemoryBackend::new();
        assert!(index.find(&nothing, &id(1)).is_err());
        assert_eq!(index.find(&nothing, &id(4)).unwrap(), None);
    }

    #[test]
    fn a_document_of_the_format_before_0_7_is_found_in_and_changed_by_the_log() {
        let (disk, mut log) = (MemoryBackend::new(), Vec::new());
        disk.put("s", br#"{"version":1,"timestamp":"t","records":{"id1":{"n": 1},"id2":{"n":2},"id3":3}}"#);
        push_line(&mut log, 2, None);
        push_line(&mut log, 3, Some(33));
        disk.put("l", &log);
        let index = Index::build(&disk, files(&log), false).unwrap();
        let found = |n| index.find(&disk, &id(n)).unwrap().map(|value| value.to_vec());
        assert_eq!([found(1), found(2), found(3)], [Some(br#"{"n":1}"#.to_vec()), None, Some(b"33".to_vec())]);
    }

    #[test]
    fn damage_anywhere_is_noticed_when_the_index_is_built() {
        let (disk, mut log) = (MemoryBackend::new(), Vec::new());
        let snapshot = snapshot_of(&[(1, 1), (2, 2)], true);
        push_line(&mut log, 3, Some(3));
        push_line(&mut log, 4, Some(4));
        for at in 0..snapshot.len() {
            let mut damaged = snapshot.clone();
            damaged[at] ^= 1;
            disk.put("s", &damaged);
            disk.put("l", &log);
            assert!(matches!(Index::build(&disk, files(&log), false), Err(Error::Corrupt { .. })), "snapshot {at}");
        }
        disk.put("s", &snapshot);
        for at in 0..log.len() {
            let mut damaged = log.clone();
            damaged[at] ^= 1;
            disk.put("l", &damaged);
            assert!(matches!(Index::build(&disk, files(&log), false), Err(Error::Corrupt { .. })), "log {at}");
        }
    }

    #[test]
    fn a_file_that_was_changed_since_is_noticed_when_it_is_read() {
        let (disk, mut log) = (MemoryBackend::new(), Vec::new());
        disk.put("s", &snapshot_of(&[(1, 1)], true));
        push_line(&mut log, 3, Some(3));
        disk.put("l", &log);
        let index = Index::build(&disk, files(&log), false).unwrap();
        disk.put("s", b"");
        disk.put("l", b"something else of another length, with which nothing can be done");
        assert!(matches!(index.find(&disk, &id(1)), Err(Error::Corrupt { .. })));
        assert!(matches!(index.find(&disk, &id(3)), Err(Error::Corrupt { .. })));
    }
}
