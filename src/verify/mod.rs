//! Looks at every file that belongs to a store's state and tells all that is wrong with it. Changes nothing.
//!
//! Unlike opening, it does not stop at the first damage and keeps nothing in memory but what it is looking at: findings
//! go to the caller one by one. Only documents of upstream's (archive segments, snapshots before 0.7) are read whole.
//!
//! Works beside a live writer: a log that seems damaged is read again until two looks agree, and where a checkpoint
//! replaces the manifest meanwhile, what the new one names is looked at as well.
//!
//! What could go wrong if: half a line that is being written is taken for damage (two looks); a file is removed by a
//! checkpoint while it is looked at (the manifest is read again); a format without checksums (upstream's files, archive
//! segments) holds another valid text than was written: nobody can tell.

mod archive;
mod log;
pub(crate) mod manifest;
mod snapshot;

pub(crate) use archive::{SegmentPart, segment_parts};
pub(crate) use snapshot::{SnapshotPart, snapshot_parts};

use crate::backend::StorageBackend;
use crate::backend::lines::Line;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use std::collections::HashSet;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is not what was written: data are lost, or may be.
    Damage,
    /// The file cannot be read: nobody knows.
    Unreadable,
    /// The end of a write that a crash cut off; it was not acknowledged, and the next writer takes it off.
    Unfinished,
    /// A number that is not right and that nothing depends on.
    Note,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as a path in the store.
    pub path: String,
    /// Line in the file, from 1, where known.
    pub line: Option<u64>,
    /// Byte at which that line begins, from 0, where known.
    pub byte: Option<u64>,
    /// What it is.
    pub message: String,
}

/// What a file is to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `manifest.json`
    Manifest,
    /// The current snapshot.
    Snapshot,
    /// A current log, a single writer's or an agent's.
    Log,
    /// An archive segment.
    Archive,
}

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Its path in the store.
    pub path: String,
    /// What it is.
    pub role: Role,
    /// Its length in bytes.
    pub bytes: u64,
    /// Records or operations in it that are sound.
    pub entries: u64,
    /// Those of them that a checksum vouches for.
    pub checked: u64,
    /// Findings in it, notes included.
    pub findings: u64,
}

/// What is told while a store is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something was found.
    Finding(Finding),
    /// A file has been looked at.
    Looked(Looked),
    /// So many bytes have been read since the last time.
    Progress(u64),
}

/// Who is told. An error ends the look.
pub type Tell<'a> = dyn FnMut(Event) -> Result<()> + 'a;

/// After so many bytes progress is told.
const STEP: u64 = 1 << 20;
/// How often what a changing manifest names is looked at before it is given up.
const ATTEMPTS: u32 = 100;

/// A file that is being looked at: counts what is found.
pub(crate) struct Desk<'a, 'b> {
    tell: &'a mut Tell<'b>,
    path: String,
    findings: u64,
    /// Byte up to which progress was told.
    told: u64,
}

impl<'a, 'b> Desk<'a, 'b> {
    pub(crate) fn new(tell: &'a mut Tell<'b>, path: &str) -> Self {
        Desk { tell, path: path.to_owned(), findings: 0, told: 0 }
    }

    pub(crate) fn find(&mut self, severity: Severity, place: Option<(u64, u64)>, message: &str) -> Result<()> {
        self.findings += 1;
        (self.tell)(Event::Finding(Finding {
            severity,
            path: self.path.clone(),
            line: place.map(|(line, _)| line),
            byte: place.map(|(_, byte)| byte),
            message: message.to_owned(),
        }))
    }

    pub(crate) fn damage(&mut self, line: &Line<'_>, message: &str) -> Result<()> {
        self.find(Severity::Damage, Some((line.number, line.offset)), message)
    }

    pub(crate) fn at(&mut self, byte: u64) -> Result<()> {
        if byte < self.told + STEP {
            return Ok(());
        }
        let read = byte - self.told;
        self.told = byte;
        (self.tell)(Event::Progress(read))
    }

    fn done(self, role: Role, bytes: u64, counts: Counts) -> Result<()> {
        if bytes > self.told {
            (self.tell)(Event::Progress(bytes - self.told))?;
        }
        let Desk { tell, path, findings, .. } = self;
        (tell)(Event::Looked(Looked { path, role, bytes, entries: counts.entries, checked: counts.checked, findings }))
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) entries: u64,
    pub(crate) checked: u64,
}

/// Looks at a whole store.
///
/// # Errors
/// `NoStore` where there is no store; what `tell` fails with. A file that cannot be read is a finding.
pub fn verify(backend: &dyn StorageBackend, tell: &mut Tell<'_>) -> Result<()> {
    let mut seen = HashSet::new();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let found = manifest::look(backend, attempt == 1, tell)?;
        if look_at_files(backend, &found, &mut seen, attempt >= ATTEMPTS, tell)? {
            return Ok(());
        }
    }
}

/// Checks that there is a store, or the rest of one.
///
/// # Errors
/// `NoStore` where there is none; `Io`.
pub fn check_present(backend: &dyn StorageBackend) -> Result<()> {
    manifest::look(backend, false, &mut |_| Ok(())).map(drop)
}

/// Bytes of all files that belong to a store's state, as far as that can be told now.
pub fn bytes_to_read(backend: &dyn StorageBackend) -> u64 {
    let files = manifest::files(backend).unwrap_or_default();
    let length = |path: &str| backend.stat(path).map_or(0, |stat| stat.len);
    files.iter().map(|(_, path)| length(path)).sum::<u64>() + length(names::MANIFEST)
}

/// Looks at what a manifest names, or at everything where there is none. False if another manifest has come meanwhile
/// and a file has gone with the old one.
fn look_at_files(
    backend: &dyn StorageBackend,
    found: &manifest::Found,
    seen: &mut HashSet<String>,
    last: bool,
    tell: &mut Tell<'_>,
) -> Result<bool> {
    let mut archived = Some(0);
    for (role, path) in &found.files {
        if !seen.insert(path.clone()) {
            // Counted in an earlier round.
            archived = archived.filter(|_| *role != Role::Archive);
            continue;
        }
        let mut desk = Desk::new(tell, path);
        let looked = look_at(backend, *role, path, found.manifest.as_ref(), &mut desk);
        let counts = match looked {
            Ok(counts) => counts,
            Err(error) if error.is_not_found() => {
                if !last && manifest::has_changed(backend, found)? {
                    seen.remove(path);
                    return Ok(false);
                }
                desk.find(Severity::Damage, None, "the manifest names this file, and it is missing")?;
                Counts::default()
            }
            Err(error @ Error::Io { .. }) if error.path().is_some() => {
                desk.find(Severity::Unreadable, None, &format!("cannot be read: {error}"))?;
                Counts::default()
            }
            Err(error) => return Err(error),
        };
        if *role == Role::Archive {
            archived = archived.filter(|_| desk.findings == 0).map(|sum| sum + counts.entries);
        }
        let bytes = backend.stat(path).map_or(0, |stat| stat.len);
        desk.done(*role, bytes, counts)?;
    }
    let Some(manifest) = &found.manifest else { return Ok(true) };
    if let Some(archived) = archived.filter(|archived| *archived != manifest.stats.archived_records)
        && !manifest::has_changed(backend, found)?
    {
        let said = manifest.stats.archived_records;
        let message = format!("stats.archivedRecords is {said}, and the archive segments hold {archived}");
        Desk::new(tell, names::MANIFEST).find(Severity::Note, None, &message)?;
    }
    Ok(true)
}

fn look_at(
    backend: &dyn StorageBackend,
    role: Role,
    path: &str,
    manifest: Option<&Manifest>,
    desk: &mut Desk<'_, '_>,
) -> Result<Counts> {
    match role {
        Role::Manifest => Ok(Counts::default()),
        Role::Snapshot => snapshot::look(backend, path, manifest.map_or(0, |of| of.stats.active_records), desk),
        Role::Log => log::look(backend, path, desk),
        Role::Archive => archive::look(backend, path, desk),
    }
}

#[cfg(test)]
pub(crate) mod tests;
