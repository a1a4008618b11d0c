//! The lock under which agents of one directory write: in common to append, alone to change the manifest.
//!
//! Two files, locked by the kernel. `.agents.lock` is the lock itself. The kernel lets more and more holders in common in
//! while somebody waits to be alone, so everybody passes `.agents-gate.lock` first: in common and for a moment only on the
//! way to appending, alone and until the end by who changes the manifest. Nobody waits longer than for the appends that
//! have begun.
//!
//! Who is alone has `.compact-lock` as well, the lock file of upstream: its agents, and those of callers' backends, know no
//! other.
//!
//! The files stay while any agent lives, and the last one removes them. So an open file is the one that everybody else
//! uses, once it was found under its name by an agent that has its own lock: see [`AppendLock::open`].

use crate::error::{Error, Result};
use crate::format::names;
use crate::lock::{self, DirLock};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long between two looks at a compaction lock that somebody holds who knows no other.
const PAUSE: Duration = Duration::from_millis(10);

/// How often, and how long apart, an agent that goes tries the gate.
const GATE_TRIES: u32 = 50;
const GATE_PAUSE: Duration = Duration::from_millis(1);

/// One agent's handles of the lock.
#[derive(Debug)]
pub struct AppendLock {
    gate: Arc<Handle>,
    agents: Arc<Handle>,
    dir: PathBuf,
}

#[derive(Debug)]
struct Handle {
    file: File,
    path: PathBuf,
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Held {
    // In this order: the compaction lock's file is removed while nobody else can be looking for it.
    _compact: Option<DirLock>,
    _agents: Unlock,
    _gate: Option<Unlock>,
}

#[derive(Debug)]
struct Unlock(Arc<Handle>);

impl Drop for Unlock {
    fn drop(&mut self) {
        // Everybody else waits for it: what fails once is tried again.
        let _ = self.0.file.unlock().or_else(|_| self.0.file.unlock());
    }
}

impl Handle {
    fn open(path: PathBuf) -> Result<Self> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(|source| Error::io("open", path.display().to_string(), source))?;
        Ok(Handle { file, path })
    }

    fn error(&self, source: io::Error) -> Error {
        Error::io("flock", self.path.display().to_string(), source)
    }

    /// Locks the file by one of the calls that wait.
    fn wait(self: &Arc<Self>, lock: fn(&File) -> io::Result<()>) -> Result<Unlock> {
        loop {
            match lock(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|()| Unlock(self.clone())).map_err(|source| self.error(source)),
            }
        }
    }

    /// Locks the file in common if nobody has it alone.
    fn try_shared(self: &Arc<Self>) -> Result<Option<Unlock>> {
        match self.file.try_lock_shared() {
            Ok(()) => Ok(Some(Unlock(self.clone()))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(self.error(source)),
        }
    }

    fn is_in_place(&self) -> Result<bool> {
        let same = lock::same_file(&self.file, &self.path);
        same.map_err(|source| Error::io("stat", self.path.display().to_string(), source))
    }
}

impl AppendLock {
    /// Opens the lock of a directory, for an agent that has its own lock there.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(dir: &Path) -> Result<Self> {
        loop {
            let gate = Arc::new(Handle::open(dir.join(names::AGENTS_GATE))?);
            let agents = Arc::new(Handle::open(dir.join(names::AGENTS))?);
            // Whoever removes the files has the gate alone, and found no agent's lock: not ours. Found under its name
            // now, a file stays there.
            let held = gate.wait(File::lock_shared)?;
            if gate.is_in_place()? && agents.is_in_place()? {
                drop(held);
                return Ok(AppendLock { gate, agents, dir: dir.to_owned() });
            }
        }
    }

    /// Takes the lock in common with other agents. Where one has it alone, or is about to: waits, or answers `None`.
    ///
    /// # Errors
    /// `Io`.
    pub fn shared(&self, wait: bool) -> Result<Option<Held>> {
        let (gate, agents) = if wait {
            (self.gate.wait(File::lock_shared)?, self.agents.wait(File::lock_shared)?)
        } else {
            let Some(gate) = self.gate.try_shared()? else { return Ok(None) };
            let Some(agents) = self.agents.try_shared()? else { return Ok(None) };
            (gate, agents)
        };
        drop(gate);
        Ok(Some(Held { _compact: None, _agents: agents, _gate: None }))
    }

    /// Takes the lock alone. Waits for other agents, and so long for who knows only the compaction lock.
    ///
    /// # Errors
    /// `CompactionLocked`, `Io`.
    pub fn alone(&self, patience: Duration) -> Result<Held> {
        let start = Instant::now();
        loop {
            let gate = self.gate.wait(File::lock)?;
            let agents = self.agents.wait(File::lock)?;
            match DirLock::acquire_as(&self.dir, names::COMPACT_LOCK) {
                Ok(compact) => return Ok(Held { _compact: Some(compact), _agents: agents, _gate: Some(gate) }),
                // Agents may append meanwhile.
                Err(Error::Locked { .. }) if start.elapsed() < patience => drop((agents, gate)),
                Err(Error::Locked { holder, path, .. }) => return Err(Error::CompactionLocked { holder, path }),
                Err(error) => return Err(error),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The gate alone, if nobody keeps it for longer than a moment.
    fn try_gate(&self) -> Option<Unlock> {
        for _ in 0..GATE_TRIES {
            match self.gate.file.try_lock() {
                Ok(()) => return Some(Unlock(self.gate.clone())),
                Err(TryLockError::WouldBlock) => std::thread::sleep(GATE_PAUSE),
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }

    /// Removes the files of an agent that has given its own lock back, if it was the last. Best effort.
    pub(crate) fn remove_unless(&self, anybody: impl FnOnce() -> bool) {
        let Some(gate) = self.try_gate() else { return };
        // ORDER: agents are looked for while the gate is held; one that comes later finds that its file has gone.
        if !anybody() && self.gate.is_in_place().unwrap_or(false) {
            let _ = std::fs::remove_file(&self.agents.path);
            let _ = std::fs::remove_file(&self.gate.path);
        }
        drop(gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn appends_go_together_and_a_change_goes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (AppendLock::open(dir.path()).unwrap(), AppendLock::open(dir.path()).unwrap());
        let first = a.shared(true).unwrap().unwrap();
        let second = b.shared(false).unwrap().unwrap();
        drop((first, second));
        let alone = a.alone(NOW).unwrap();
        assert!(b.shared(false).unwrap().is_none());
        drop(alone);
        assert!(b.shared(false).unwrap().is_some());
    }

    #[test]
    fn who_waits_to_be_alone_comes_before_later_appends() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, other] = [(); 3].map(|()| AppendLock::open(dir.path()).unwrap());
        let held = a.shared(true).unwrap().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| other.alone(NOW).map(drop));
            // Sooner or later the other is at the gate.
            while b.shared(false).unwrap().is_some() {
                std::thread::yield_now();
            }
            drop(held);
            waiting.join().unwrap().unwrap();
            assert!(b.shared(true).unwrap().is_some());
        });
    }

    #[test]
    fn a_compaction_lock_of_somebody_else_is_respected_and_agents_append_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let a = AppendLock::open(dir.path()).unwrap();
        let theirs = DirLock::acquire_as(dir.path(), names::COMPACT_LOCK).unwrap();
        assert!(matches!(a.alone(2 * PAUSE), Err(Error::CompactionLocked { .. })));
        assert!(a.shared(false).unwrap().is_some());
        drop(theirs);
        drop(a.alone(NOW).unwrap());
        assert!(!dir.path().join(names::COMPACT_LOCK).exists());
    }
}
