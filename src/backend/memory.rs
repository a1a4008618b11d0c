//! A disk in memory that keeps live and durable bytes apart, fails at a chosen call and stops at a chosen sync.
//!
//! Strict where file systems may be lax: a name survives a power cut only if its folder was synced, bytes only if
//! the file was. What a test can do with it:
//! - [`MemoryBackend::fail_at`]: the Nth changing call fails (a write leaves half of its bytes)
//! - [`MemoryBackend::freeze_at_sync`]: the Nth sync takes effect and every later call fails
//! - [`MemoryBackend::process`]: several processes share the disk, one step at a time, and each may be killed
//! - [`MemoryBackend::after_kill`] and [`MemoryBackend::after_power_cut`]: the disk that the next process finds

use super::{AgentPlace, Entry, Pinned, Stat, StorageBackend, StorageFile, StoreLock, Syncer};
use crate::clock;
use crate::error::{Error, Result};
use crate::format::names;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// Changing calls that fail, by number.
    failing: std::ops::Range<u64>,
    /// A full disk takes nothing, instead of what fits.
    takes_nothing: bool,
    freeze_at_sync: Option<u64>,
    frozen: bool,
    locked: bool,
    agents: BTreeSet<String>,
    /// Agents that append now.
    appending: usize,
    /// Files that whoever created them still holds.
    held: HashSet<Inode>,
    /// Somebody changes the manifest, or waits for those who append.
    changing: bool,
}

/// The files of one store, in memory. Clones share the disk.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    disk: Arc<Mutex<Disk>>,
    process: Option<Arc<Process>>,
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

/// One of several processes that use a disk.
pub struct Process {
    /// Is called before each call of the backend, and while a call waits for a lock.
    step: Box<dyn Fn() + Send + Sync>,
    killed: AtomicBool,
}

impl Process {
    /// Every later call of the process fails and changes nothing: what it does on its way out is never seen.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
    }
}

impl MemoryBackend {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as another process sees it. `step` is called before each of its calls.
    pub fn process(&self, step: impl Fn() + Send + Sync + 'static) -> (Self, Arc<Process>) {
        let process = Arc::new(Process { step: Box::new(step), killed: AtomicBool::new(false) });
        (MemoryBackend { disk: self.disk.clone(), process: Some(process.clone()) }, process)
    }

    /// The disk, for the next call of this process.
    fn enter(&self, syscall: &'static str, path: &str) -> Result<MutexGuard<'_, Disk>> {
        if let Some(process) = &self.process {
            let stopped = || process.killed.load(Ordering::Acquire);
            if !stopped() {
                (process.step)();
            }
            if stopped() {
                return Err(Error::io(syscall, path, io::Error::other("the process was killed")));
            }
        }
        Ok(self.disk())
    }

    /// Tries until somebody else has given a lock back.
    fn wait<R>(&self, path: &str, mut attempt: impl FnMut(&mut Disk) -> Option<R>) -> Result<R> {
        loop {
            if let Some(result) = attempt(&mut *self.enter("flock", path)?) {
                return Ok(result);
            }
            if self.process.is_none() {
                std::thread::yield_now();
            }
        }
    }

    /// Lets the `n`th changing call from now (counted from 1) fail once with `StorageFull`.
    pub fn fail_at(&self, n: u64) {
        self.fail_from(n, 1);
    }

    /// [`MemoryBackend::fail_at`] for several calls in a row.
    pub fn fail_from(&self, n: u64, count: u64) {
        let mut disk = self.disk();
        disk.failing = disk.changes + n..disk.changes + n + count;
    }

    /// Whether a write that fails leaves nothing, instead of half of its bytes.
    pub fn take_nothing(&self, nothing: bool) {
        self.disk().takes_nothing = nothing;
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

    /// The disk that a process finds after this one was killed: everything that was written, durable only as far as it
    /// was.
    pub fn after_kill(&self) -> Self {
        Self::restarted(self.disk().clone())
    }

    /// The disk that a process finds after a power cut: only what was synced.
    pub fn after_power_cut(&self) -> Self {
        let disk = self.disk().clone();
        let names = disk.durable_names.clone();
        let live = names.values().map(|inode| (*inode, disk.durable.get(inode).cloned().unwrap_or_default())).collect();
        Self::restarted(Disk { live, names, ..disk })
    }

    fn restarted(mut disk: Disk) -> Self {
        disk.failing = 0..0;
        disk.freeze_at_sync = None;
        disk.frozen = false;
        disk.locked = false;
        disk.agents.clear();
        disk.held.clear();
        disk.appending = 0;
        disk.changing = false;
        MemoryBackend { disk: Arc::new(Mutex::new(disk)), process: None }
    }

    fn sync_file(&self, inode: Inode, path: &str) -> Result<()> {
        let mut disk = self.enter("fdatasync", path)?;
        disk.change("fdatasync", path)?;
        let bytes = disk.live.get(&inode).cloned().unwrap_or_default();
        disk.durable.insert(inode, bytes);
        disk.count_sync();
        Ok(())
    }

    fn locked(&self, path: &str) -> Error {
        Error::Locked { kernel: true, holder: "unknown".to_owned(), path: self.full_path(path) }
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
        if self.failing.contains(&self.changes) {
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
        self.enter("mkdir", "")?.alive("mkdir", "")
    }

    fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
        let disk = self.enter("open", path)?;
        let inode = disk.find("open", path)?;
        let mut bytes = io::Cursor::new(disk.live.get(&inode).cloned().unwrap_or_default());
        bytes.set_position(start);
        Ok(Box::new(bytes))
    }

    fn stat(&self, path: &str) -> Result<Stat> {
        let disk = self.enter("stat", path)?;
        let inode = disk.find("stat", path)?;
        Ok(disk.stat(inode))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let disk = self.enter("scandir", folder)?;
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
        let mut disk = self.enter("open", path)?;
        disk.change("open", path)?;
        if disk.names.contains_key(path) {
            return Err(Error::io("open", path, os_error(io::ErrorKind::AlreadyExists)));
        }
        let inode = disk.new_inode();
        disk.live.insert(inode, Vec::new());
        disk.names.insert(path.to_owned(), inode);
        disk.held.insert(inode);
        Ok(Box::new(MemoryFile { disk: self.clone(), inode, path: path.to_owned(), is_held: true }))
    }

    fn open(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        let inode = self.enter("open", path)?.find("open", path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), inode, path: path.to_owned(), is_held: false }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut disk = self.enter("rename", to)?;
        disk.change("rename", to)?;
        let inode = disk.find("rename", from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut disk = self.enter("unlink", path)?;
        disk.change("unlink", path)?;
        disk.find("unlink", path)?;
        disk.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        let mut disk = self.enter("fsync", folder)?;
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
        let mut disk = self.enter("flock", names::LOCK)?;
        if !disk.agents.is_empty() || std::mem::replace(&mut disk.locked, true) {
            return Err(self.locked(names::LOCK));
        }
        Ok(Box::new(MemoryLock { disk: self.clone() }))
    }

    fn join(&self, agent: &str) -> Result<Box<dyn AgentPlace>> {
        let path = names::agent_lock(agent);
        let mut disk = self.enter("flock", &path)?;
        if disk.locked || !disk.agents.insert(agent.to_owned()) {
            return Err(self.locked(&path));
        }
        Ok(Box::new(MemoryPlace { disk: self.clone(), agent: agent.to_owned() }))
    }

    fn pin(&self, path: &str) -> Result<(Vec<u8>, Box<dyn Pinned>)> {
        let disk = self.enter("open", path)?;
        let inode = disk.find("open", path)?;
        let bytes = disk.live.get(&inode).cloned().unwrap_or_default();
        Ok((bytes, Box::new(MemoryPinned { disk: self.clone(), inode, path: path.to_owned() })))
    }

    fn now_ms(&self) -> u64 {
        // What several processes do depends on nothing but the order of their steps.
        match &self.process {
            None => clock::now_ms(),
            Some(_) => 1_000_000_000_000 + self.disk().changes / 8 * 1_000,
        }
    }

    fn is_abandoned(&self, path: &str) -> bool {
        let found = self.enter("flock", path).ok().and_then(|disk| Some((*disk.names.get(path)?, disk)));
        found.is_some_and(|(inode, disk)| !disk.held.contains(&inode))
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

/// An agent's place.
struct MemoryPlace {
    disk: MemoryBackend,
    agent: String,
}

impl AgentPlace for MemoryPlace {
    fn appending(&self, wait: bool) -> Result<Option<Box<dyn Send + Sync>>> {
        let enter = |disk: &mut Disk| {
            disk.appending += usize::from(!disk.changing);
            (!disk.changing).then_some(())
        };
        let held = if wait {
            Some(self.disk.wait(names::AGENTS, enter)?)
        } else {
            enter(&mut *self.disk.enter("flock", names::AGENTS)?)
        };
        Ok(held.map(|()| Box::new(Appending(self.disk.clone())) as Box<dyn Send + Sync>))
    }

    fn changing(&self, _patience: Duration) -> Result<Box<dyn Send + Sync>> {
        self.disk.wait(names::AGENTS, |disk| (!std::mem::replace(&mut disk.changing, true)).then_some(()))?;
        let held = Box::new(Changing(self.disk.clone()));
        self.disk.wait(names::AGENTS, |disk| (disk.appending == 0).then_some(()))?;
        Ok(held)
    }
}

impl Drop for MemoryPlace {
    fn drop(&mut self) {
        self.disk.disk().agents.remove(&self.agent);
    }
}

struct Appending(MemoryBackend);

impl Drop for Appending {
    fn drop(&mut self) {
        self.0.disk().appending -= 1;
    }
}

struct Changing(MemoryBackend);

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.disk().changing = false;
    }
}

struct MemoryPinned {
    disk: MemoryBackend,
    inode: Inode,
    path: String,
}

impl Pinned for MemoryPinned {
    fn is_current(&self) -> Result<bool> {
        // Nothing in a store that is pinned is changed in its place.
        Ok(self.disk.enter("stat", &self.path)?.names.get(&self.path) == Some(&self.inode))
    }
}

struct MemoryFile {
    disk: MemoryBackend,
    inode: Inode,
    path: String,
    is_held: bool,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.is_held {
            self.disk.disk().held.remove(&self.inode);
        }
    }
}

impl StorageFile for MemoryFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut disk = self.disk.enter("write", &self.path)?;
        let failed = disk.change("write", &self.path);
        let written = match &failed {
            // A full disk takes what fits.
            Err(_) if !disk.frozen && !disk.takes_nothing => bytes.get(..bytes.len() / 2).unwrap_or_default(),
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
        let disk = self.disk.enter("read", &self.path)?;
        disk.alive("read", &self.path)?;
        let bytes = disk.live.get(&self.inode).and_then(|file| file.get(to_usize(offset)..)).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..len), bytes.get(..len)) {
            target.copy_from_slice(source);
        }
        Ok(len)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        let mut disk = self.disk.enter("ftruncate", &self.path)?;
        disk.change("ftruncate", &self.path)?;
        disk.live.entry(self.inode).or_default().truncate(to_usize(len));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.disk.sync_file(self.inode, &self.path)
    }

    fn syncer(&self) -> Option<Syncer> {
        let (disk, inode, path) = (self.disk.clone(), self.inode, self.path.clone());
        Some(Box::new(move || disk.sync_file(inode, &path)))
    }

    fn check(&self, len: u64) -> Result<()> {
        let disk = self.disk.enter("stat", &self.path)?;
        if disk.find("open", &self.path)? != self.inode || disk.stat(self.inode).len != len {
            return Err(Error::Changed { file: "operation log", what: "changed", path: self.path.clone() });
        }
        Ok(())
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
