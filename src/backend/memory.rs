//! A disk in memory that keeps live and durable bytes apart, fails at a chosen call and stops at a chosen sync.
//!
//! Strict where file systems may be lax: a name survives a power cut only if its folder was synced, bytes only if
//! the file was. What a test can do with it:
//! - [`MemoryBackend::fail_at`]: the Nth changing call fails (a write leaves half of its bytes)
//! - [`MemoryBackend::freeze_at_sync`]: the Nth sync takes effect and every later call fails
//! - [`MemoryBackend::after_kill`] and [`MemoryBackend::after_power_cut`]: the disk that the next process finds

use super::{Entry, Stat, StorageBackend, StorageFile, StoreLock};
use crate::error::{Error, Result};
use crate::format::names;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Inode = u64;

#[derive(Debug, Clone, Default)]
struct Disk {
    /// Bytes as processes see them.
    live: HashMap<Inode, Vec<u8>>,
    /// Bytes as of the last sync of each file.
    durable: HashMap<Inode, Vec<u8>>,
    /// Names as processes see them.
    names: BTreeMap<String, Inode>,
    /// Names as of the last sync of their folder.
    durable_names: BTreeMap<String, Inode>,
    /// When each file was last written, counted in changes.
    modified: HashMap<Inode, u64>,
    next: Inode,
    changes: u64,
    syncs: u64,
    fail_at: Option<u64>,
    freeze_at_sync: Option<u64>,
    frozen: bool,
    locked: bool,
}

/// The files of one store, in memory. Clones share the disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryBackend {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the `n`th changing call from now (counted from 1) fail once with `StorageFull`.
    pub fn fail_at(&self, n: u64) {
        let mut disk = self.disk();
        disk.fail_at = Some(disk.changes + n);
    }

    /// Lets everything after the `n`th sync from now (counted from 1) fail, as if the machine stopped there.
    pub fn freeze_at_sync(&self, n: u64) {
        let mut disk = self.disk();
        disk.freeze_at_sync = Some(disk.syncs + n);
    }

    /// Changing calls so far.
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// Syncs so far, of files and folders.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// The disk that a process finds after this one was killed: everything that was written.
    pub fn after_kill(&self) -> Self {
        let disk = self.disk().clone();
        Self::restarted(Disk { durable: disk.live.clone(), durable_names: disk.names.clone(), ..disk })
    }

    /// The disk that a process finds after a power cut: only what was synced.
    pub fn after_power_cut(&self) -> Self {
        let disk = self.disk().clone();
        let names = disk.durable_names.clone();
        let live = names.values().map(|inode| (*inode, disk.durable.get(inode).cloned().unwrap_or_default())).collect();
        Self::restarted(Disk { live, names, ..disk })
    }

    fn restarted(mut disk: Disk) -> Self {
        disk.fail_at = None;
        disk.freeze_at_sync = None;
        disk.frozen = false;
        disk.locked = false;
        MemoryBackend { disk: Arc::new(Mutex::new(disk)) }
    }

    /// A file's bytes, for tests.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(path).and_then(|inode| disk.live.get(inode)).cloned()
    }

    /// Puts a file there, durable, for tests.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut disk = self.disk();
        let inode = disk.new_inode();
        disk.live.insert(inode, bytes.to_vec());
        disk.durable.insert(inode, bytes.to_vec());
        disk.names.insert(path.to_owned(), inode);
        disk.durable_names.insert(path.to_owned(), inode);
    }

    /// Names of all files, for tests.
    pub fn files(&self) -> Vec<String> {
        self.disk().names.keys().cloned().collect()
    }
}

impl Disk {
    fn new_inode(&mut self) -> Inode {
        self.next += 1;
        self.modified.insert(self.next, self.changes);
        self.next
    }

    fn find(&self, syscall: &'static str, path: &str) -> Result<Inode> {
        self.alive(syscall, path)?;
        self.names.get(path).copied().ok_or_else(|| Error::io(syscall, path, os_error(io::ErrorKind::NotFound)))
    }

    fn alive(&self, syscall: &'static str, path: &str) -> Result<()> {
        if self.frozen { Err(Error::io(syscall, path, io::Error::other("the machine has stopped"))) } else { Ok(()) }
    }

    /// Counts a changing call and fails it where the test asked for that.
    fn change(&mut self, syscall: &'static str, path: &str) -> Result<()> {
        self.alive(syscall, path)?;
        self.changes += 1;
        if self.fail_at == Some(self.changes) {
            return Err(Error::io(syscall, path, os_error(io::ErrorKind::StorageFull)));
        }
        Ok(())
    }

    fn count_sync(&mut self) {
        self.syncs += 1;
        self.frozen |= self.freeze_at_sync == Some(self.syncs);
    }
}

fn os_error(kind: io::ErrorKind) -> io::Error {
    #[cfg(unix)]
    match kind {
        io::ErrorKind::NotFound => return rustix::io::Errno::NOENT.into(),
        io::ErrorKind::AlreadyExists => return rustix::io::Errno::EXIST.into(),
        io::ErrorKind::StorageFull => return rustix::io::Errno::NOSPC.into(),
        _ => {}
    }
    kind.into()
}

impl StorageBackend for MemoryBackend {
    fn full_path(&self, path: &str) -> String {
        format!("memory:{path}")
    }

    fn create_dirs(&self) -> Result<()> {
        self.disk().alive("mkdir", "")
    }

    fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
        let disk = self.disk();
        let inode = disk.find("open", path)?;
        let mut bytes = io::Cursor::new(disk.live.get(&inode).cloned().unwrap_or_default());
        bytes.set_position(start);
        Ok(Box::new(bytes))
    }

    fn stat(&self, path: &str) -> Result<Stat> {
        let disk = self.disk();
        let inode = disk.find("stat", path)?;
        Ok(disk.stat(inode))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let disk = self.disk();
        disk.alive("scandir", folder)?;
        let inside = disk.names.iter().filter(|(path, _)| super::folder_of(path) == folder);
        Ok(inside
            .map(|(path, inode)| Entry {
                name: path.rsplit('/').next().unwrap_or_default().to_owned(),
                stat: disk.stat(*inode),
            })
            .collect())
    }

    fn create(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        let mut disk = self.disk();
        disk.change("open", path)?;
        if disk.names.contains_key(path) {
            return Err(Error::io("open", path, os_error(io::ErrorKind::AlreadyExists)));
        }
        let inode = disk.new_inode();
        disk.live.insert(inode, Vec::new());
        disk.names.insert(path.to_owned(), inode);
        Ok(Box::new(MemoryFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn open(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        let inode = self.disk().find("open", path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut disk = self.disk();
        disk.change("rename", to)?;
        let inode = disk.find("rename", from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut disk = self.disk();
        disk.change("unlink", path)?;
        disk.find("unlink", path)?;
        disk.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        let mut disk = self.disk();
        disk.change("fsync", folder)?;
        let inside = |path: &String| super::folder_of(path) == folder;
        let mut durable = std::mem::take(&mut disk.durable_names);
        durable.retain(|path, _| !inside(path));
        durable.extend(disk.names.iter().filter(|(path, _)| inside(path)).map(|(path, inode)| (path.clone(), *inode)));
        disk.durable_names = durable;
        disk.count_sync();
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>> {
        let mut disk = self.disk();
        if std::mem::replace(&mut disk.locked, true) {
            return Err(Error::Locked {
                kernel: true,
                holder: "unknown".to_owned(),
                path: self.full_path(names::LOCK),
            });
        }
        Ok(Box::new(MemoryLock { disk: self.clone() }))
    }
}

impl Disk {
    fn stat(&self, inode: Inode) -> Stat {
        Stat {
            len: self.live.get(&inode).map_or(0, Vec::len) as u64,
            modified_ns: self.modified.get(&inode).copied().unwrap_or_default().into(),
        }
    }
}

struct MemoryLock {
    disk: MemoryBackend,
}

impl StoreLock for MemoryLock {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn release(self: Box<Self>) {}
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.disk().locked = false;
    }
}

struct MemoryFile {
    disk: MemoryBackend,
    inode: Inode,
    path: String,
}

impl StorageFile for MemoryFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut disk = self.disk.disk();
        let failed = disk.change("write", &self.path);
        let written = match &failed {
            // A full disk takes what fits.
            Err(_) if !disk.frozen => bytes.get(..bytes.len() / 2).unwrap_or_default(),
            Err(_) => &[],
            Ok(()) => bytes,
        };
        let changes = disk.changes;
        disk.modified.insert(self.inode, changes);
        let file = disk.live.entry(self.inode).or_default();
        let (start, end) = (to_usize(offset), to_usize(offset) + written.len());
        if file.len() < end {
            file.resize(end, 0);
        }
        if let Some(target) = file.get_mut(start..end) {
            target.copy_from_slice(written);
        }
        failed
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let disk = self.disk.disk();
        disk.alive("read", &self.path)?;
        let bytes = disk.live.get(&self.inode).and_then(|file| file.get(to_usize(offset)..)).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..len), bytes.get(..len)) {
            target.copy_from_slice(source);
        }
        Ok(len)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        let mut disk = self.disk.disk();
        disk.change("ftruncate", &self.path)?;
        disk.live.entry(self.inode).or_default().truncate(to_usize(len));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let mut disk = self.disk.disk();
        disk.change("fdatasync", &self.path)?;
        let bytes = disk.live.get(&self.inode).cloned().unwrap_or_default();
        disk.durable.insert(self.inode, bytes);
        disk.count_sync();
        Ok(())
    }

    fn check(&self, len: u64) -> Result<()> {
        let disk = self.disk.disk();
        if disk.find("open", &self.path)? != self.inode || disk.stat(self.inode).len != len {
            return Err(Error::Changed { file: "operation log", what: "changed", path: self.path.clone() });
        }
        Ok(())
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
