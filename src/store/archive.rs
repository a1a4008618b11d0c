//! Archiving: records leave the store for a segment file, with a checkpoint that no longer holds them.

use super::checkpoint::{Job, Published};
use super::queue::{Item, Ticket, Value};
use super::{Disk, Inner, Shared, Store};
use crate::backend::{self, StorageBackend, discard, read_all};
use crate::clock;
use crate::error::{Error, Result};
use crate::format::archive::Segment;
use crate::format::manifest::Manifest;
use crate::format::op::Text;
use crate::format::{json, names};
use std::sync::Arc;

impl Store {
    /// Moves records to an archive segment. The ticket ends with [`Value::Count`].
    ///
    /// # Errors
    /// As [`Store::compact`], and `Invalid` for a segment whose name is no plain file name.
    pub fn archive(&self, ids: Vec<Text>, segment: &str) -> Result<Ticket> {
        let mut inner = self.shared.inner();
        inner.check_writable(self.shared.options.read_only)?;
        self.shared.check_loaded()?;
        self.check_background(&mut inner)?;
        check_segment(segment)?;
        let ticket = inner.next_ticket();
        let taken = inner.state.take(&ids);
        inner.changed.extend(taken.iter().map(|(_, id, _)| id.clone()));
        inner.barrier = inner.state.last_seq();
        inner.since_checkpoint = 0;
        inner.push(Item::Archive { ticket, segment: segment.to_owned(), ids, taken });
        Ok(ticket)
    }

    /// The records of an archive segment, as one JSON object; see [`load_archive`].
    ///
    /// # Errors
    /// As [`load_archive`].
    pub fn load_archive(&self, name: &str) -> Result<Segment> {
        let segments = self.shared.inner().manifest.archive_segments.clone();
        load_archive(&*self.shared.backend, &segments, name)
    }

    /// Paths of the archive segments.
    pub fn archive_segments(&self) -> Vec<String> {
        self.shared.inner().manifest.archive_segments.clone()
    }
}

/// Refuses names that would leave the archive folder.
fn check_segment(segment: &str) -> Result<()> {
    if !names::is_plain(segment) || segment.len() > 200 {
        return Err(Error::Invalid {
            message: format!(
                "Archive segment name must be a plain file name of at most 200 bytes (no '/', '\\' or control characters), got {}",
                String::from_utf8_lossy(&json::quote(segment))
            ),
        });
    }
    Ok(())
}

/// The path of the segment that `name` means: a path of the list, a bare segment name, or a part of exactly one path.
///
/// # Errors
/// `SegmentNotFound`, `Invalid` where the name is ambiguous.
pub fn resolve_segment<'a>(segments: &'a [String], name: &str) -> Result<&'a str> {
    if let Some(exact) = segments.iter().find(|path| *path == name || **path == names::archive(name)) {
        return Ok(exact);
    }
    let mut matching = segments.iter().filter(|path| !name.is_empty() && path.contains(name));
    match (matching.next(), matching.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err(Error::SegmentNotFound { name: name.to_owned() }),
        (Some(first), Some(second)) => Err(Error::Invalid {
            message: format!("Archive segment '{name}' is ambiguous: it could be {first} or {second}"),
        }),
    }
}

/// Reads the segment that `name` means; see [`resolve_segment`].
///
/// # Errors
/// As [`resolve_segment`], and `Corrupt`, `Io`.
pub fn load_archive(backend: &dyn StorageBackend, segments: &[String], name: &str) -> Result<Segment> {
    let path = resolve_segment(segments, name)?;
    if !names::is_inside(path, names::ARCHIVE) {
        return Err(Error::corrupt(
            backend.full_path(names::MANIFEST),
            format!("Archive path leaves the store: {path}"),
        ));
    }
    Segment::parse(&read_all(backend, path)?, &backend.full_path(path))
}

impl Shared {
    /// Carries out the archive call at the front of the queue.
    pub(super) fn commit_archive(self: &Arc<Self>, disk: &mut Disk) {
        let mut tries = 0;
        let done = loop {
            match self.try_archive(disk, tries) {
                Ok((Published::Stale, _)) => tries += 1,
                other => break other.map(|(_, archived)| archived),
            }
        };
        self.end_tries(disk);
        let mut inner = self.inner();
        inner.state.moment = None;
        match done {
            Ok(archived) => {
                if let Some(Item::Archive { ticket, .. }) = inner.queue.pop_front() {
                    inner.settle(ticket, Ok(Value::Count(archived)));
                }
            }
            Err(error) => inner.take_back(&error, |place, item| place == 0 && matches!(item, Item::Archive { .. })),
        }
        drop(inner);
        self.wake();
    }

    /// One try; tells how many records it took.
    fn try_archive(self: &Arc<Self>, disk: &mut Disk, tries: u32) -> Result<(Published, u64)> {
        self.begin_try(disk, tries)?;
        let through;
        let (segment, taken, ids, count) = {
            let mut inner = self.inner();
            through = self.stored_through(disk, &inner);
            let Some(Item::Archive { segment, taken, ids, .. }) = inner.queue.front() else {
                return Ok((Published::Done, 0));
            };
            let (segment, ids) = (segment.clone(), ids.clone());
            let taken: Vec<(Text, Text)> = taken.iter().map(|(_, id, value)| (id.clone(), value.clone())).collect();
            (segment, taken, ids, inner.begin_moment(1))
        };
        let archived = taken.len() as u64;
        let job = Job { through, count, waiting: Vec::new(), asked: true, tries, base: String::new() };
        Ok((self.archive_now(disk, &job, &segment, taken, &ids)?, archived))
    }

    fn archive_now(
        self: &Arc<Self>,
        disk: &mut Disk,
        job: &Job,
        segment: &str,
        taken: Vec<(Text, Text)>,
        ids: &[Text],
    ) -> Result<Published> {
        let backend = &*self.backend;
        let path = names::archive(segment);
        let stored = || match read_all(backend, &path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        let old = stored()?;
        let mut content = match &old {
            Some(bytes) => Segment::parse(bytes, &backend.full_path(&path))?,
            None => Segment { version: self.options.version, period: segment.to_owned(), records: Vec::new() },
        };
        // What no manifest counts is the rest of an archive call that never ended: its records are in the store.
        let listed = disk.manifest.archive_segments.contains(&path);
        if !listed {
            content.records.clear();
        }
        let before = content.records.len();
        let calls = taken.len();
        content.merge(taken);
        let added = (content.records.len() - before) as u64;
        // Records that were in the segment already may be the rest of a call that a crash interrupted, and not counted.
        let recounted = if content.records.len() - before < calls {
            let others = disk.manifest.archive_segments.iter().filter(|other| **other != path);
            let counts = others.map(|other| {
                load_archive(backend, std::slice::from_ref(other), other).map(|segment| segment.records.len() as u64)
            });
            Some(counts.sum::<Result<u64>>()? + content.records.len() as u64)
        } else {
            None
        };
        let (temporary, _held) =
            backend::write_temporary(backend, &path, &content.to_bytes(&clock::iso(clock::now_ms())))?;
        let snapshot = self.write_snapshot(job.count).inspect_err(|_| discard(backend, &temporary))?;
        let change = |manifest: &mut Manifest| {
            if !manifest.archive_segments.contains(&path) {
                manifest.archive_segments.push(path.clone());
            }
            if let Some(log) = manifest.previous.ops.last_mut() {
                log.archived = true;
            }
            manifest.stats.archived_records = recounted.unwrap_or(manifest.stats.archived_records + added);
        };
        let several = disk.several.is_some();
        let published = self.publish(disk, job, snapshot, true, change, |count| {
            // Another agent may have added to it, or have written one of the records since they were taken.
            if several && (stored()? != old || self.inner().is_written_since(job.through, ids)) {
                return Ok(false);
            }
            // ORDER: the segment is there, durably, before a manifest counts that no longer has its records. A crash
            // between the two leaves the records in both places; archiving them again gives the same segment.
            backend.rename(&temporary, &path)?;
            let counts = backend.sync_dir(names::ARCHIVE).and_then(|()| count());
            if counts.is_err() {
                // Still under the lock: nobody has added to it.
                match &old {
                    Some(bytes) => backend::replace(backend, &path, bytes)?,
                    None => discard(backend, &path),
                }
            }
            counts.map(|()| true)
        });
        if !matches!(published, Ok(Published::Done)) {
            discard(backend, &temporary);
        }
        published
    }
}

impl Inner {
    /// True if a stored operation after `through` is one of these records': what was taken is not what is there.
    fn is_written_since(&self, through: u64, ids: &[Text]) -> bool {
        let last = self.last_stored();
        self.state.history.iter().any(|op| op.seq > through && op.seq <= last && ids.contains(&op.id))
    }
}
