//! A new store made of records that come one after the other, in memory that does not grow with them: 8 bytes a record,
//! to tell how many ids there are.
//!
//! The records are written to the snapshot of a store that has no manifest until the end: until then there is no store,
//! and a crash leaves a temporary file that the next open removes. How many there are is not known when the header is
//! written, so its count has room; an id that comes twice stands there twice, and the later value counts for every reader.

use crate::backend::{self, StorageBackend, StorageFile, StoreLock, create_temporary, discard};
use crate::clock;
use crate::error::{Error, Result};
use crate::files;
use crate::format::manifest::{Manifest, Previous, Stats};
use crate::format::op::hex;
use crate::format::{names, snapshot};
use crate::verify;
use hashbrown::{DefaultHashBuilder, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Written in pieces of this size.
const PIECE: usize = 1 << 20;
/// Digits of any count.
const ROOM: usize = 20;

/// A store in the making. Dropping it without [`Import::finish`] leaves none.
pub struct Import {
    backend: Arc<dyn StorageBackend>,
    temporary: String,
    file: Box<dyn StorageFile>,
    timestamp: String,
    lines: Vec<u8>,
    /// Length of what has been written, and the checksum over it without the header.
    offset: u64,
    crc: u32,
    records: u64,
    hasher: DefaultHashBuilder,
    ids: HashSet<u64>,
    lock: Box<dyn StoreLock>,
    published: bool,
}

impl Import {
    /// Begins a store, where there is none; `None` where there is one.
    ///
    /// # Errors
    /// `Locked`, `Corrupt` where there are data without a manifest, `Io`.
    pub fn begin(backend: Arc<dyn StorageBackend>) -> Result<Option<Self>> {
        let lock = backend.lock()?;
        match verify::check_present(&*backend) {
            Err(Error::NoStore { .. }) => {}
            other => return other.map(|()| None),
        }
        backend.create_dirs()?;
        let (temporary, file) = create_temporary(&*backend, &names::snapshot(clock::now_ms()))?;
        let timestamp = clock::iso(clock::now_ms());
        let mut import = Import {
            backend,
            temporary,
            file,
            timestamp,
            lines: Vec::with_capacity(PIECE),
            offset: 0,
            crc: 0,
            records: 0,
            hasher: DefaultHashBuilder::default(),
            ids: HashSet::new(),
            lock,
            published: false,
        };
        import.offset = import.header(0).len() as u64;
        Ok(Some(import))
    }

    fn header(&self, crc: u32) -> Vec<u8> {
        let Import { timestamp, records, .. } = self;
        let mut header =
            format!("{{\"version\":1,\"timestamp\":\"{timestamp}\",\"count\":{records:ROOM$},\"crc\":\"").into_bytes();
        header.extend_from_slice(&if crc == 0 { *b"00000000" } else { hex(crc) });
        header.extend_from_slice(b"\"}\n");
        header
    }

    /// Adds a record: JSON texts of its id and its value.
    ///
    /// # Errors
    /// `Io`.
    pub fn push(&mut self, id: &[u8], value: &[u8]) -> Result<()> {
        snapshot::push_record(id, value, &mut self.lines);
        self.records += 1;
        self.ids.insert(self.hasher.hash_one(id));
        if self.lines.len() >= PIECE { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.file.write(self.offset, &self.lines)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.lines);
        self.offset += self.lines.len() as u64;
        self.lines.clear();
        Ok(())
    }

    /// Makes the store of what has been added; durable when it returns. True if an id came twice.
    ///
    /// # Errors
    /// `Io`; there is no store then.
    pub fn finish(mut self) -> Result<bool> {
        self.write()?;
        let header = self.header(0);
        let rest = usize::try_from(self.offset).unwrap_or(usize::MAX) - header.len();
        let crc = crc32c::crc32c_combine(crc32c::crc32c(&header), self.crc, rest);
        // A checksum of zero is written as it is.
        let header = self.header(crc);
        self.file.write(0, &header)?;
        self.file.sync()?;
        self.lock.check()?;
        // ORDER: an empty store first. A snapshot with records and no manifest would look like a store that lost it.
        let empty = files::write_snapshot(&*self.backend, 1, &[] as &[&[u8]])?;
        let active_ops = files::create_log(&*self.backend, None)?;
        let now = clock::iso(clock::now_ms());
        let mut manifest = Manifest {
            version: 1,
            current_snapshot: empty.clone(),
            active_ops,
            active_agent_ops: None,
            archive_segments: Vec::new(),
            stats: Stats {
                active_records: 0,
                archived_records: 0,
                ops_count: 0,
                created: now.clone(),
                last_checkpoint: now,
                other: serde_json::Map::new(),
            },
            previous: Previous::default(),
            other: serde_json::Map::new(),
        };
        backend::replace(&*self.backend, names::MANIFEST, &manifest.to_bytes())?;
        manifest.stats.active_records = self.ids.len() as u64;
        manifest.current_snapshot = free_name(&*self.backend)?;
        self.backend.rename(&self.temporary, &manifest.current_snapshot)?;
        self.published = true;
        self.backend.sync_dir(names::SNAPSHOTS)?;
        backend::replace(&*self.backend, names::MANIFEST, &manifest.to_bytes())?;
        discard(&*self.backend, &empty);
        Ok((self.ids.len() as u64) < self.records)
    }
}

/// A name that no snapshot has, greater than that of any that was there before.
fn free_name(backend: &dyn StorageBackend) -> Result<String> {
    let mut number = clock::now_ms();
    loop {
        let path = names::snapshot(number);
        match backend.stat(&path) {
            Err(error) if error.is_not_found() => return Ok(path),
            Err(error) => return Err(error),
            Ok(_) => number += 1,
        }
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if !self.published {
            discard(&*self.backend, &self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::store::{Opening, Options};
    use crate::verify::tests::findings;

    fn import(disk: &MemoryBackend, records: &[(&str, &str)]) -> Result<bool> {
        let mut import = Import::begin(Arc::new(disk.clone()))?.unwrap();
        for (id, value) in records {
            import.push(id.as_bytes(), value.as_bytes())?;
        }
        import.finish()
    }

    fn texts(disk: &MemoryBackend) -> String {
        let opening = Opening::load(Arc::new(disk.clone()), Options { read_only: true, ..Options::default() }).unwrap();
        let page = opening.page(0, usize::MAX);
        format!("{} {}", String::from_utf8(page.ids).unwrap(), String::from_utf8(page.values).unwrap())
    }

    #[test]
    fn the_records_are_a_sound_store() {
        let long = format!("\"{}\"", "x".repeat(PIECE));
        for records in [&[][..], &[("\"a\"", "1")], &[("\"a\"", "1"), ("\"b\"", &long), ("\"c\"", "{\"n\":1}")]] {
            let disk = MemoryBackend::new();
            assert!(!import(&disk, records).unwrap());
            assert_eq!(findings(&disk), []);
            let ids: Vec<_> = records.iter().map(|(id, _)| *id).collect();
            let values: Vec<_> = records.iter().map(|(_, value)| *value).collect();
            assert_eq!(texts(&disk), format!("[{}] [{}]", ids.join(","), values.join(",")));
        }
    }

    #[test]
    fn of_an_id_that_comes_twice_the_later_value_counts() {
        let disk = MemoryBackend::new();
        assert!(import(&disk, &[("\"a\"", "1"), ("\"b\"", "2"), ("\"a\"", "3")]).unwrap());
        assert_eq!(findings(&disk), []);
        assert_eq!(texts(&disk), r#"["a","b"] [3,2]"#);
    }

    #[test]
    fn a_crash_leaves_all_records_or_no_store() {
        for freeze in 1.. {
            let disk = MemoryBackend::new();
            disk.freeze_at_sync(freeze);
            let ended = import(&disk, &[("\"a\"", "1")]).is_ok();
            for after in [disk.after_kill(), disk.after_power_cut()] {
                match verify::verify(&after, &mut |_| Ok(())) {
                    Err(Error::NoStore { .. }) => assert!(import(&after, &[("\"b\"", "2")]).is_ok()),
                    other => {
                        other.unwrap();
                        assert_eq!(findings(&after), [], "{freeze}");
                        let found = texts(&after);
                        assert!(found == r#"["a"] [1]"# || !ended && found == "[] []", "{freeze}: {found}");
                    }
                }
            }
            if ended {
                return;
            }
        }
    }

    #[test]
    fn a_store_that_is_there_is_left_alone() {
        let disk = MemoryBackend::new();
        import(&disk, &[("\"a\"", "1")]).unwrap();
        assert!(Import::begin(Arc::new(disk.clone())).unwrap().is_none());
        assert_eq!(texts(&disk), r#"["a"] [1]"#);
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let disk = MemoryBackend::new();
        let mut given_up = Import::begin(Arc::new(disk.clone())).unwrap().unwrap();
        given_up.push(b"\"a\"", b"1").unwrap();
        drop(given_up);
        assert_eq!(disk.files(), Vec::<String>::new());
    }
}
