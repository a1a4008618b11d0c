//! The manifest: its members, and that the paths in it are files of this store.

use super::{Counts, Desk, Role, Severity, Tell};
use crate::backend::{StorageBackend, read_all};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names::{self, Kind};
use crate::format::snapshot;

/// What there is to be looked at.
pub(super) struct Found {
    pub(super) manifest: Option<Manifest>,
    pub(super) files: Vec<(Role, String)>,
    bytes: Vec<u8>,
}

/// True if the manifest is another one by now.
pub(super) fn has_changed(backend: &dyn StorageBackend, found: &Found) -> Result<bool> {
    match read_all(backend, names::MANIFEST) {
        Err(error) if error.is_not_found() => Ok(!found.bytes.is_empty()),
        other => Ok(other? != found.bytes),
    }
}

/// Reads the manifest; tells what is wrong with it if `tells`. Without one all files in the folders count.
pub(super) fn look(backend: &dyn StorageBackend, tells: bool, tell: &mut Tell<'_>) -> Result<Found> {
    let mut desk = Desk::new(tell, names::MANIFEST);
    let (bytes, missing) = match read_all(backend, names::MANIFEST) {
        Err(error) if error.is_not_found() => (Vec::new(), true),
        other => (other?, false),
    };
    let parsed = if bytes.is_empty() {
        let files = in_folders(backend)?;
        if !holds_data(backend, &files)? {
            return Err(Error::NoStore { path: backend.full_path("") });
        }
        let what = if missing { "missing" } else { "empty" };
        Err(format!("the manifest is {what}, and there is data beside it"))
    } else {
        match Manifest::parse(&bytes, "") {
            Ok(manifest) => Ok(manifest),
            Err(Error::Corrupt { message, .. }) => Err(message),
            Err(error) => return Err(error),
        }
    };
    let mut files = Vec::new();
    let manifest = match parsed {
        Ok(manifest) => {
            for (role, path) in named(&manifest) {
                let sound = names::is_inside(&path, folder_of(role));
                let superseded = is_superseded(&manifest, &path);
                if tells && !sound {
                    desk.find(Severity::Damage, None, &format!("a path leaves the store: {path}"))?;
                } else if tells && superseded {
                    desk.find(Severity::Damage, None, &format!("both current and superseded: {path}"))?;
                }
                if sound && !files.contains(&(role, path.clone())) {
                    files.push((role, path));
                }
            }
            Some(manifest)
        }
        Err(what) => {
            if tells {
                desk.find(Severity::Damage, None, &what)?;
            }
            files = in_folders(backend)?;
            None
        }
    };
    if tells {
        let entries = u64::from(manifest.is_some());
        desk.done(Role::Manifest, bytes.len() as u64, Counts { entries, checked: 0 })?;
    }
    Ok(Found { manifest, files, bytes })
}

/// The files that belong to the state.
///
/// # Errors
/// `Io`.
pub(crate) fn files(backend: &dyn StorageBackend) -> Result<Vec<(Role, String)>> {
    let manifest = read_all(backend, names::MANIFEST).and_then(|bytes| Manifest::parse(&bytes, ""));
    manifest.map_or_else(|_| in_folders(backend), |manifest| Ok(named(&manifest)))
}

fn folder_of(role: Role) -> &'static str {
    match role {
        Role::Manifest => "",
        Role::Snapshot => names::SNAPSHOTS,
        Role::Log => names::OPS,
        Role::Archive => names::ARCHIVE,
    }
}

fn named(manifest: &Manifest) -> Vec<(Role, String)> {
    let mut files = vec![(Role::Snapshot, manifest.current_snapshot.clone())];
    files.extend(manifest.logs().into_iter().map(|path| (Role::Log, path)));
    files.extend(manifest.archive_segments.iter().map(|path| (Role::Archive, path.clone())));
    files
}

fn is_superseded(manifest: &Manifest, path: &str) -> bool {
    let previous = &manifest.previous;
    previous.snapshot.as_deref() == Some(path) || previous.ops.iter().any(|log| log.path == path)
}

pub(crate) fn in_folders(backend: &dyn StorageBackend) -> Result<Vec<(Role, String)>> {
    let mut files = Vec::new();
    for role in [Role::Snapshot, Role::Log, Role::Archive] {
        let folder = folder_of(role);
        let mut found = Vec::new();
        for entry in backend.list(folder)? {
            let belongs = match role {
                Role::Snapshot => names::kind(&entry.name) == Kind::Snapshot,
                Role::Log => matches!(names::kind(&entry.name), Kind::Ops | Kind::AgentOps),
                Role::Archive => entry.name.starts_with("archive-") && entry.name.ends_with(".json"),
                Role::Manifest => false,
            };
            if belongs {
                found.push((role, format!("{folder}/{}", entry.name)));
            }
        }
        found.sort_by(|(_, a), (_, b)| a.cmp(b));
        files.extend(found);
    }
    Ok(files)
}

/// True if anything stands in any of the files: empty ones are what an interrupted first open leaves.
fn holds_data(backend: &dyn StorageBackend, files: &[(Role, String)]) -> Result<bool> {
    for (role, path) in files {
        let mut records = 0;
        match backend.stat(path) {
            Ok(stat) if stat.len == 0 => {}
            // One that cannot be read may hold anything.
            Ok(_) if *role == Role::Snapshot => {
                let read =
                    snapshot::Reader::open(backend, path, 0).and_then(|reader| reader.each(|_, _, _| records += 1));
                if records > 0 || read.is_err() {
                    return Ok(true);
                }
            }
            Ok(_) => return Ok(true),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
