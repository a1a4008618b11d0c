//! Makes a damaged store sound: keeps every operation and every record that can be read, and puts the damaged files
//! aside under names that nothing reads.
//!
//! - a snapshot with damage: its readable records are written to a new one; where none is left, the one before it counts
//! - a log with damage inside: its valid operations are written to a new one, one by one; a bad end is cut off and saved
//! - an archive segment with damage: its readable records are written in its place
//! - a manifest that is damaged or missing is made from the files; what it names and is missing is made, or struck off
//!
//! The directory lock is held throughout. A crash at any moment leaves the store as it was or repaired, and no byte of a
//! damaged file is lost: it is copied first, then the new files are written, then the manifest is replaced.

mod manifest;
mod readable;

use crate::backend::{self, StorageBackend};
use crate::clock;
use crate::error::{Error, Result};
use crate::files;
use crate::format::archive::Segment;
use crate::format::manifest::Manifest;
use crate::format::{names, op};
use crate::log::recovery::{copy_range, create_numbered};
use crate::log::{Loaded, Scan, scan};
use crate::verify;
use readable::Readable;

/// What was done, or is to be done, to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Another file holds what could be read of it.
    Rewritten,
    /// What does not count at its end was taken off and saved.
    Cut,
    /// It was missing, or nothing could be read; what holds its place says `replaced_by`.
    Replaced,
    /// It is missing, and the manifest no longer names it.
    Dropped,
    /// Numbers in it were put right.
    Corrected,
}

/// One thing that was done, or is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The file, as a path in the store.
    pub path: String,
    /// What is done to it.
    pub what: What,
    /// Why: the first damage in it.
    pub why: String,
    /// Records or operations that are kept.
    pub kept: u64,
    /// Lines, records or places that cannot be read and are not kept.
    pub lost: u64,
    /// Where the damaged file, or what was cut off it, is kept. Absent on a dry run.
    pub aside: Option<String>,
    /// The file that holds what was kept, where it is another one. Absent on a dry run.
    pub replaced_by: Option<String>,
}

/// Repairs a store; `dry_run`: says what would be done, and changes nothing. No steps: there is nothing to repair.
///
/// # Errors
/// `NoStore`, `Locked`, `Io`.
pub fn repair(backend: &dyn StorageBackend, dry_run: bool) -> Result<Vec<Step>> {
    verify::check_present(backend)?;
    let _lock = if dry_run { None } else { Some(backend.lock()?) };
    let mut work = Work { backend, dry_run, steps: Vec::new(), manifest_is_sound: false, moves: Vec::new() };
    if !dry_run {
        backend.create_dirs()?;
    }
    let (stored, mut manifest) = work.manifest()?;
    work.snapshot(&mut manifest)?;
    work.logs(&mut manifest)?;
    work.segments(&mut manifest)?;
    work.publish(stored.as_ref(), &manifest)?;
    Ok(work.steps)
}

struct Work<'a> {
    backend: &'a dyn StorageBackend,
    dry_run: bool,
    steps: Vec<Step>,
    manifest_is_sound: bool,
    /// Files that the new manifest does not name, and the copies whose places they take.
    moves: Vec<(String, String)>,
}

impl Work<'_> {
    fn step(
        &mut self,
        path: &str,
        what: What,
        why: String,
        counts: (u64, u64),
        aside: Option<String>,
        by: Option<String>,
    ) {
        let (kept, lost) = counts;
        self.steps.push(Step { path: path.to_owned(), what, why, kept, lost, aside, replaced_by: by });
    }

    /// A durable copy of a damaged file, under a name that nothing reads.
    fn copy_aside(&self, path: &str) -> Result<Option<String>> {
        if self.dry_run {
            return Ok(None);
        }
        copy_range(self.backend, path, 0, |number| names::damaged(path, number)).map(Some)
    }

    /// The stored manifest, if it can be read, and the one to go on with.
    fn manifest(&mut self) -> Result<(Option<Manifest>, Manifest)> {
        let bytes = match backend::read_all(self.backend, names::MANIFEST) {
            Err(error) if error.is_not_found() => None,
            other => Some(other?),
        };
        let parsed = Manifest::parse(bytes.as_deref().unwrap_or_default(), "");
        match parsed.map(|manifest| (manifest::keeps_inside(&manifest), manifest)) {
            Ok((None, manifest)) => {
                self.manifest_is_sound = true;
                Ok((Some(manifest.clone()), manifest))
            }
            Ok((Some(why), _)) => self.rebuild(bytes, why),
            Err(Error::Corrupt { message, .. }) if bytes.is_some() => self.rebuild(bytes, message),
            Err(_) => self.rebuild(bytes, "the manifest is missing".to_owned()),
        }
    }

    fn rebuild(&mut self, bytes: Option<Vec<u8>>, why: String) -> Result<(Option<Manifest>, Manifest)> {
        let manifest = manifest::from_files(self.backend, bytes.as_deref().unwrap_or_default())?;
        let aside = if bytes.is_some() { self.copy_aside(names::MANIFEST)? } else { None };
        self.step(names::MANIFEST, What::Replaced, why, (0, 0), aside, Some(names::MANIFEST.to_owned()));
        Ok((None, manifest))
    }

    fn snapshot(&mut self, manifest: &mut Manifest) -> Result<()> {
        let path = manifest.current_snapshot.clone();
        let read = Readable::of_snapshot(self.backend, &path, manifest.stats.active_records)?;
        let readable = match read {
            Some(readable) if readable.lost == 0 => {
                // Of a manifest that was made from the files.
                if manifest.stats.active_records == 0 {
                    manifest.stats.active_records = readable.records.len() as u64;
                }
                return Ok(());
            }
            Some(readable) if readable.version.is_some() || !readable.records.is_empty() => readable,
            other => return self.snapshot_before(manifest, other.map(|readable| readable.why)),
        };
        let (kept, lost) = (readable.records.len() as u64, readable.lost);
        let aside = self.copy_aside(&path)?;
        let by = self.write_snapshot(manifest, &readable)?;
        self.superseded(&path, aside.as_ref());
        self.step(&path, What::Rewritten, readable.why, (kept, lost), aside, by);
        Ok(())
    }

    fn write_snapshot(&self, manifest: &mut Manifest, readable: &Readable) -> Result<Option<String>> {
        manifest.stats.active_records = readable.records.len() as u64;
        if self.dry_run {
            return Ok(None);
        }
        // COMPAT: upstream's first manifest always says 1.
        let from_manifest = readable.checked && readable.lost > 0 && self.manifest_is_sound;
        let version = readable.version.filter(|_| !from_manifest).unwrap_or(manifest.version);
        manifest.current_snapshot = files::write_snapshot(self.backend, version, &readable.pages())?;
        Ok(Some(manifest.current_snapshot.clone()))
    }

    /// Nothing of the current snapshot can be read: the one before it, with the logs that lead from there to here.
    fn snapshot_before(&mut self, manifest: &mut Manifest, why: Option<String>) -> Result<()> {
        let path = manifest.current_snapshot.clone();
        let single = manifest.active_agent_ops.is_none();
        let previous = manifest.previous.snapshot.clone().filter(|_| single);
        let read = previous.map(|path| Readable::of_snapshot(self.backend, &path, 0)).transpose()?.flatten();
        let found = read.filter(|readable| readable.lost == 0);
        let mut operations = Vec::new();
        if found.is_some() {
            for log in &manifest.previous.ops {
                let mut ops = self.operations(&log.path)?.unwrap_or_default().ops;
                ops.truncate(log.covered_of(ops.len()).unwrap_or(if log.covered.is_some() { ops.len() } else { 0 }));
                operations.append(&mut ops);
            }
        }
        let why = why.unwrap_or_else(|| "the manifest names this file, and it is missing".to_owned());
        let aside = if self.backend.stat(&path).is_ok() { self.copy_aside(&path)? } else { None };
        let readable = found.unwrap_or_default();
        let by = self.write_snapshot(manifest, &readable)?;
        self.superseded(&path, aside.as_ref());
        let kept = (readable.records.len() + operations.len()) as u64;
        self.step(&path, What::Replaced, why, (kept, 1), aside, by);
        if !operations.is_empty() {
            let current = manifest.active_ops.clone();
            operations.append(&mut self.operations(&current)?.unwrap_or_default().ops);
            if let Some(log) = self.write_log(None, &operations)? {
                let aside = self.copy_aside(&current)?;
                self.superseded(&current, aside.as_ref());
                manifest.active_ops = log;
            }
        }
        Ok(())
    }

    /// The valid operations of a log; `None` where there is no such file.
    fn operations(&self, path: &str) -> Result<Option<Scan>> {
        match scan(self.backend, path, false) {
            Err(Error::Corrupt { .. }) => scan(self.backend, path, true).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    fn logs(&mut self, manifest: &mut Manifest) -> Result<()> {
        if let Some(mut agents) = manifest.active_agent_ops.take() {
            for (agent, path) in &mut agents {
                let Some(old) = path.as_str().map(str::to_owned) else { continue };
                let new = self.log(&old, Some(agent))?;
                if manifest.active_ops == old {
                    manifest.active_ops.clone_from(&new);
                }
                *path = new.into();
            }
            manifest.active_agent_ops = Some(agents);
        } else {
            manifest.active_ops = self.log(&manifest.active_ops.clone(), None)?;
        }
        Ok(())
    }

    /// Repairs a log; gives the path of the one that counts then.
    fn log(&mut self, path: &str, agent: Option<&str>) -> Result<String> {
        let Some(mut scan) = self.operations(path)? else {
            let by = if self.dry_run { None } else { Some(files::create_log(self.backend, agent)?) };
            let why = "the manifest names this file, and it is missing".to_owned();
            self.step(path, What::Replaced, why, (0, 1), None, by.clone());
            return Ok(by.unwrap_or_else(|| path.to_owned()));
        };
        let kept = scan.ops.len() as u64;
        if scan.report.skipped == 0 {
            if scan.report.cut > 0 {
                let why = format!("{} bytes at its end do not count", scan.report.cut);
                let lost = scan.report.cut_lines.max(1);
                if !self.dry_run {
                    scan.repair(self.backend)?;
                }
                self.step(path, What::Cut, why, (kept, lost), scan.report.saved.clone(), None);
            }
            return Ok(path.to_owned());
        }
        let lost = scan.report.skipped + scan.report.cut_lines;
        let why = format!("{lost} line(s) are damaged");
        let aside = self.copy_aside(path)?;
        let by = self.write_log(agent, &scan.ops)?;
        self.superseded(path, aside.as_ref());
        self.step(path, What::Rewritten, why, (kept, lost), aside, by.clone());
        Ok(by.unwrap_or_else(|| path.to_owned()))
    }

    /// A new log with these operations, each on its own: what was one write once may have lost its middle.
    fn write_log(&self, agent: Option<&str>, operations: &[Loaded]) -> Result<Option<String>> {
        if self.dry_run {
            return Ok(None);
        }
        let (mut lines, mut shown) = (Vec::new(), Vec::new());
        for operation in operations {
            shown.clear();
            operation.push_shown(&mut shown);
            op::push_shown_line(&shown, None, None, &mut lines).map_err(|message| Error::Invalid { message })?;
        }
        let name = |number| agent.map_or_else(|| names::ops(number), |agent| names::agent_ops(agent, number));
        let (path, mut file) = create_numbered(self.backend, name)?;
        file.write(0, &lines)?;
        file.sync()?;
        self.backend.sync_dir(names::OPS)?;
        Ok(Some(path))
    }

    fn segments(&mut self, manifest: &mut Manifest) -> Result<()> {
        let (mut kept, mut archived) = (Vec::new(), 0);
        for path in std::mem::take(&mut manifest.archive_segments) {
            let Some(readable) = Readable::of_segment(self.backend, &path)? else {
                let why = "the manifest names this file, and it is missing".to_owned();
                self.step(&path, What::Dropped, why, (0, 1), None, None);
                continue;
            };
            archived += readable.records.len() as u64;
            if readable.lost > 0 {
                let counts = (readable.records.len() as u64, readable.lost);
                let aside = self.copy_aside(&path)?;
                let period = path.strip_prefix("archive/archive-").and_then(|name| name.strip_suffix(".json"));
                if !self.dry_run {
                    let (version, period) = (readable.version.unwrap_or(1), period.unwrap_or("unknown").to_owned());
                    let mut segment = Segment { version, period, ..Segment::default() };
                    segment.merge(readable.records);
                    backend::replace(self.backend, &path, &segment.to_bytes(&clock::iso(clock::now_ms())))?;
                }
                self.step(&path, What::Rewritten, readable.why, counts, aside, None);
            }
            kept.push(path);
        }
        manifest.archive_segments = kept;
        manifest.stats.archived_records = archived;
        Ok(())
    }

    /// The new manifest does not name a file any more: it takes the place of its copy once that manifest is there.
    fn superseded(&mut self, path: &str, copy: Option<&String>) {
        if let Some(copy) = copy {
            self.moves.push((path.to_owned(), copy.clone()));
        }
    }

    fn publish(&mut self, stored: Option<&Manifest>, manifest: &Manifest) -> Result<()> {
        if stored != Some(manifest) {
            if self.steps.is_empty() {
                let why = "its counts are not those of the files".to_owned();
                self.step(names::MANIFEST, What::Corrected, why, (0, 0), None, None);
            }
            if !self.dry_run {
                backend::replace(self.backend, names::MANIFEST, &manifest.to_bytes())?;
            }
        }
        // ORDER: after the manifest is there for good; until then the old one names them.
        for (path, copy) in std::mem::take(&mut self.moves) {
            self.backend.rename(&path, &copy)?;
            self.backend.sync_dir(backend::folder_of(&path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
