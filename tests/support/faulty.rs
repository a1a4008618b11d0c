//! A disk in memory whose calls fail, or take their time, by a rule of the test.

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::backend::{AgentPlace, Entry, Pinned, Stat, StorageBackend, StorageFile, StoreLock, Syncer};
use opslog_native::{Error, Result};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A call that would change something, or a look whether something has changed.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub syscall: &'static str,
    pub path: &'a str,
    pub bytes: &'a [u8],
}

impl Call<'_> {
    /// True if it writes to a log.
    pub fn appends(&self) -> bool {
        self.syscall == "write" && self.is_log()
    }

    pub fn is_log(&self) -> bool {
        self.path.starts_with("ops/") && self.path.ends_with(".jsonl")
    }

    pub fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

type Rule = Box<dyn FnMut(&Call<'_>) -> bool + Send>;

/// Clones share disk and rule.
#[derive(Clone)]
pub struct Faulty {
    pub disk: MemoryBackend,
    rule: Arc<Mutex<Rule>>,
    gate: Arc<Mutex<Option<(Rule, Gate)>>>,
    /// How long each sync takes at most, in microseconds.
    slow: Arc<AtomicU64>,
}

/// Holds calls until it is opened, or dropped.
pub struct Held(Gate);

type Gate = Arc<(Mutex<GateState>, Condvar)>;

#[derive(Default)]
struct GateState {
    waiting: usize,
    open: bool,
}

impl Held {
    /// Waits until a call is held.
    pub fn until_one_waits(&self) {
        let (state, changed) = &*self.0;
        let _held = changed.wait_while(state.lock().unwrap(), |state| state.waiting == 0).unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().open = true;
        changed.notify_all();
    }
}

impl Faulty {
    pub fn new(disk: MemoryBackend) -> Self {
        Faulty { disk, rule: Arc::new(Mutex::new(Box::new(|_| false))), gate: Arc::default(), slow: Arc::default() }
    }

    /// From now on each sync takes its time: up to `most`, less as often as more.
    pub fn take_time(&self, most: Duration) {
        self.slow.store(u64::try_from(most.as_micros()).unwrap(), Ordering::Relaxed);
    }

    fn take_its_time(&self, syscall: &str) {
        let most = self.slow.load(Ordering::Relaxed);
        if most > 0 && syscall.ends_with("sync") {
            std::thread::sleep(Duration::from_micros(RandomState::new().hash_one(0) % most));
        }
    }

    /// From now on calls wait for which `rule` is true, before they do anything, until what is returned is dropped.
    #[must_use]
    pub fn hold_where(&self, rule: impl FnMut(&Call<'_>) -> bool + Send + 'static) -> Held {
        let gate = Gate::default();
        *self.gate.lock().unwrap() = Some((Box::new(rule), gate.clone()));
        Held(gate)
    }

    fn wait_at_gate(&self, call: &Call<'_>) {
        let held = self.gate.lock().unwrap().as_mut().and_then(|(rule, gate)| rule(call).then(|| gate.clone()));
        let Some(gate) = held else { return };
        let (state, changed) = &*gate;
        let mut state = state.lock().unwrap();
        state.waiting += 1;
        changed.notify_all();
        while !state.open {
            state = changed.wait(state).unwrap();
        }
        state.waiting -= 1;
    }

    /// From now on calls fail for which `rule` is true; a write leaves half of its bytes.
    pub fn fail_where(&self, rule: impl FnMut(&Call<'_>) -> bool + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    pub fn work_again(&self) {
        self.fail_where(|_| false);
    }

    fn check(&self, syscall: &'static str, path: &str, bytes: &[u8]) -> Result<()> {
        self.wait_at_gate(&Call { syscall, path, bytes });
        self.take_its_time(syscall);
        if (self.rule.lock().unwrap())(&Call { syscall, path, bytes }) {
            // 28 is ENOSPC, 5 is EIO: what a full and what a broken disk say.
            let errno = if syscall.ends_with("sync") { 5 } else { 28 };
            return Err(Error::io(syscall, self.full_path(path), std::io::Error::from_raw_os_error(errno)));
        }
        Ok(())
    }

    fn file(&self, path: &str, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        Box::new(FaultyFile { disk: self.clone(), path: path.to_owned(), file })
    }
}

impl StorageBackend for Faulty {
    fn full_path(&self, path: &str) -> String {
        self.disk.full_path(path)
    }

    fn create_dirs(&self) -> Result<()> {
        self.disk.create_dirs()
    }

    fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
        self.check("read", path, &[])?;
        let input = self.disk.read(path, start)?;
        Ok(Box::new(FaultyRead { disk: self.clone(), path: path.to_owned(), input }))
    }

    fn stat(&self, path: &str) -> Result<Stat> {
        self.disk.stat(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        self.disk.list(folder)
    }

    fn create(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        self.check("open", path, &[])?;
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn open(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.check("rename", to, &[])?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.check("unlink", path, &[])?;
        self.disk.remove(path)
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        self.check("fsync", folder, &[])?;
        self.disk.sync_dir(folder)
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>> {
        self.disk.lock()
    }

    fn join(&self, agent: &str) -> Result<Box<dyn AgentPlace>> {
        self.disk.join(agent)
    }

    fn pin(&self, path: &str) -> Result<(Vec<u8>, Box<dyn Pinned>)> {
        let (bytes, pinned) = self.disk.pin(path)?;
        Ok((bytes, Box::new(FaultyPin { disk: self.clone(), path: path.to_owned(), pinned })))
    }

    fn is_abandoned(&self, path: &str) -> bool {
        self.disk.is_abandoned(path)
    }
}

/// Each piece that is read is a call "read on".
struct FaultyRead {
    disk: Faulty,
    path: String,
    input: Box<dyn Read + Send>,
}

impl Read for FaultyRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.disk.check("read on", &self.path, &[]).map_err(|_| std::io::Error::from_raw_os_error(5))?;
        self.input.read(buffer)
    }
}

struct FaultyPin {
    disk: Faulty,
    path: String,
    pinned: Box<dyn Pinned>,
}

impl Pinned for FaultyPin {
    fn is_current(&self) -> Result<bool> {
        self.disk.check("stat", &self.path, &[])?;
        self.pinned.is_current()
    }
}

struct FaultyFile {
    disk: Faulty,
    path: String,
    file: Box<dyn StorageFile>,
}

impl StorageFile for FaultyFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.disk.check("write", &self.path, bytes) {
            self.file.write(offset, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write(offset, bytes)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.file.read(offset, buffer)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.disk.check("ftruncate", &self.path, &[])?;
        self.file.truncate(len)
    }

    fn sync(&mut self) -> Result<()> {
        self.disk.check("fdatasync", &self.path, &[])?;
        self.file.sync()
    }

    fn syncer(&self) -> Option<Syncer> {
        let (disk, path, sync) = (self.disk.clone(), self.path.clone(), self.file.syncer()?);
        Some(Box::new(move || {
            disk.check("fdatasync", &path, &[])?;
            sync()
        }))
    }

    fn check(&self, len: u64) -> Result<()> {
        self.file.check(len)
    }
}
