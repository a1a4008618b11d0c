//! Where the bytes of a store live: a plain blocking interface over named files.
//!
//! The engine's multi-step commits are written against this trait, so that the very same code runs on the file
//! system ([`fs`]) and on a disk in memory ([`memory`]) that tests freeze at every sync and fail at every call.
//!
//! Paths are relative to the store, with `/` between folder and name; an empty path is the store's own directory.
//! What the engine assumes of an implementation: `create` is exclusive, `rename` is atomic and replaces, a file's
//! bytes are durable after [`StorageFile::sync`] and its name after [`StorageBackend::sync_dir`] of its folder.

pub mod fs;
pub mod lines;
pub mod memory;

use crate::clock;
use crate::error::Result;
use std::io::Read;
use std::thread::JoinHandle;
use std::time::Duration;

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes.
    pub len: u64,
    /// Last modification, nanoseconds since 1970.
    pub modified_ns: u128,
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name without folder.
    pub name: String,
    /// Length and age.
    pub stat: Stat,
}

/// The files of one store. All calls block; an error names the call and the path.
///
/// # Errors
/// Every method fails with [`crate::Error::Io`]; absence is `NotFound` and nothing else is.
pub trait StorageBackend: Send + Sync {
    /// The path that messages show.
    fn full_path(&self, path: &str) -> String;
    /// Makes the store's directory and its folders durable, where they do not exist.
    fn create_dirs(&self) -> Result<()>;
    /// Opens a file for reading from byte `start` on.
    fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>>;
    /// Length and age of a file.
    fn stat(&self, path: &str) -> Result<Stat>;
    /// Files in a folder (no sub-folders); empty where the folder does not exist.
    fn list(&self, folder: &str) -> Result<Vec<Entry>>;
    /// Creates a file for writing; fails with `AlreadyExists` where the name is taken.
    fn create(&self, path: &str) -> Result<Box<dyn StorageFile>>;
    /// Opens an existing file for writing.
    fn open(&self, path: &str) -> Result<Box<dyn StorageFile>>;
    /// Gives a file another name, replacing what had it. The new name is durable after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> Result<()>;
    /// Removes a file's name. What the file holds goes when the answer is dropped: of a large one, that takes a while.
    fn remove_name(&self, path: &str) -> Result<Option<Box<dyn Send>>> {
        self.remove(path).map(|()| None)
    }
    /// Makes the names in a folder durable.
    fn sync_dir(&self, folder: &str) -> Result<()>;
    /// Takes the store for writing; released when dropped.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] where another writer has it.
    fn lock(&self) -> Result<Box<dyn StoreLock>>;
    /// Takes an agent's place among the agents of the store; released when dropped.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] where the same agent, or a single writer, is live.
    fn join(&self, agent: &str) -> Result<Box<dyn AgentPlace>>;
    /// Reads a whole file, and remembers which one it was.
    fn pin(&self, path: &str) -> Result<(Vec<u8>, Box<dyn Pinned>)>;
    /// The present time, for names and for how long files are kept: milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }
    /// True for a file that whoever created it does not hold any more.
    fn is_abandoned(&self, path: &str) -> bool;
}

/// An agent's place in a store. Dropping it gives it back.
pub trait AgentPlace: Send + Sync {
    /// Nobody changes the manifest until this is dropped; any number of agents may hold it at once. Waits for who is
    /// changing it; `None` where somebody is and `wait` is false.
    ///
    /// # Errors
    /// `Locked` where another agent took too long while the store is being opened; `Io`.
    fn appending(&self, wait: bool) -> Result<Option<Box<dyn Send + Sync>>>;
    /// Nobody else appends or changes the manifest until this is dropped. Waits for other agents, and so long for
    /// somebody who knows only the compaction lock.
    ///
    /// # Errors
    /// `CompactionLocked` where that was not long enough; `Locked` where another agent took too long while the store is
    /// being opened; `Io`.
    fn changing(&self, patience: Duration) -> Result<Box<dyn Send + Sync>>;
    /// The store is open: from now on these calls wait for other agents as long as it takes.
    fn opened(&self) {}
}

/// A file that was read.
pub trait Pinned: Send + Sync {
    /// True if its path still names it, and it has not been changed.
    ///
    /// # Errors
    /// `Io`.
    fn is_current(&self) -> Result<bool>;
}

/// Makes bytes and length of a file durable.
pub type Syncer = Box<dyn Fn() -> Result<()> + Send>;

/// A file that is being written.
///
/// # Errors
/// As for [`StorageBackend`]. After a failed `write` any part of the bytes may stand in the file.
pub trait StorageFile: Send {
    /// Writes all of `bytes` at `offset`.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> Result<()>;
    /// Begins to make a range durable, without waiting for it: `sync` will have less to do, and is what tells whether it
    /// went well.
    fn write_behind(&mut self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Makes bytes and length durable.
    fn sync(&mut self) -> Result<()>;
    /// A call that does the same, for as long as the file is open, also while it is being written; `None` where there is none.
    fn syncer(&self) -> Option<Syncer> {
        None
    }
    /// Checks that the path still names this file, that it may be written, and that it is `len` bytes long.
    fn check(&self, len: u64) -> Result<()>;
}

/// The right to write a store. Dropping it gives it back.
pub trait StoreLock: Send + Sync {
    /// Checks that the directory is still the one that was locked, and the lock still ours.
    fn check(&self) -> Result<()>;
    /// Gives the lock back and removes its traces.
    fn release(self: Box<Self>);
}

/// Reads a whole file.
///
/// # Errors
/// As [`StorageBackend::read`].
pub fn read_all(backend: &dyn StorageBackend, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = backend.read(path, 0)?.read_to_end(&mut bytes);
    read.map_err(|source| crate::Error::io("read", backend.full_path(path), source))?;
    Ok(bytes)
}

/// Replaces `path` by a file with these bytes, durably. A crash leaves the old file or the new one.
///
/// # Errors
/// As [`replace_name`], or of the folder's sync: the new file is there then, but may not survive a power cut.
pub fn replace(backend: &dyn StorageBackend, path: &str, bytes: &[u8]) -> Result<()> {
    replace_name(backend, path, bytes)?;
    backend.sync_dir(folder_of(path))
}

/// Replaces `path` by a file with these bytes, which are durable; the name is once its folder is synced.
///
/// # Errors
/// As [`StorageBackend`]; the old file stands then, and the temporary one is removed.
pub fn replace_name(backend: &dyn StorageBackend, path: &str, bytes: &[u8]) -> Result<()> {
    let (temporary, _held) = write_temporary(backend, path, bytes)?;
    backend.rename(&temporary, path).inspect_err(|_| discard(backend, &temporary))
}

/// Creates a temporary file beside `path`, under a name that no file has.
///
/// # Errors
/// `Io`, other than that a name is taken: a crashed process with the same pid may have left one.
pub fn create_temporary(backend: &dyn StorageBackend, path: &str) -> Result<(String, Box<dyn StorageFile>)> {
    loop {
        let temporary = crate::format::names::temporary(path);
        match backend.create(&temporary) {
            Err(crate::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (temporary, file)),
        }
    }
}

/// Writes a temporary file beside `path`, durably; returns its name. As long as the file is held, nobody takes it for the
/// rest of a crash.
///
/// # Errors
/// As [`StorageBackend`]; the temporary file is removed.
pub fn write_temporary(
    backend: &dyn StorageBackend,
    path: &str,
    bytes: &[u8],
) -> Result<(String, Box<dyn StorageFile>)> {
    let (temporary, mut file) = create_temporary(backend, path)?;
    // ORDER: sync before any rename, or a power cut leaves the new name on an empty file.
    let written = file.write(0, bytes).and_then(|()| file.sync());
    written.inspect_err(|_| discard(backend, &temporary))?;
    Ok((temporary, file))
}

/// Removes a file that never counted. Best effort: what stays is removed at the next open.
pub fn discard(backend: &dyn StorageBackend, path: &str) {
    let _ = backend.remove(path);
}

/// Removes files that do not count any more. Best effort, as for [`discard`]. The space of large ones is given back by the
/// thread that is answered: for the snapshot of a large store that takes as long as a third of a checkpoint.
pub fn discard_superseded(backend: &dyn StorageBackend, paths: &[String]) -> Option<JoinHandle<()>> {
    let large: Vec<_> = paths.iter().filter_map(|path| backend.remove_name(path).ok().flatten()).collect();
    if large.is_empty() {
        return None;
    }
    // Where there is no thread to be had they go at once.
    std::thread::Builder::new().name("opslog-remove".to_owned()).spawn(move || drop(large)).ok()
}

/// The folder part of a path; empty for files of the store's own directory.
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
