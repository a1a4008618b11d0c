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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long between two looks at a compaction lock that somebody holds who knows no other.
const PAUSE: Duration = Duration::from_millis(10);

/// How long somebody who opens the store waits for agents that have the lock: one may have been stopped, and `open` always
/// settles. Longer than what they do with it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long between two of its tries.
const TRY: Duration = Duration::from_millis(1);

/// How often, and how long apart, an agent that goes tries the gate.
const GATE_TRIES: u32 = 50;
const GATE_PAUSE: Duration = Duration::from_millis(1);

/// One agent's handles of the lock.
#[derive(Debug)]
pub struct AppendLock {
    gate: Arc<Handle>,
    agents: Arc<Handle>,
    dir: PathBuf,
    /// How long whoever opens the store still waits for the other agents.
    patience: Mutex<Duration>,
    /// True once it has been opened: from then on its owner waits as long as it takes.
    opened: AtomicBool,
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

/// In common with others, or alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Shared,
    Alone,
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

    /// Locks the file, and waits as long as it takes.
    fn wait(self: &Arc<Self>, how: How) -> Result<Unlock> {
        let lock = if how == How::Alone { File::lock } else { File::lock_shared };
        loop {
            match lock(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|()| Unlock(self.clone())).map_err(|source| self.error(source)),
            }
        }
    }

    /// Locks the file, if whoever has it gives it back before `until`.
    fn wait_until(self: &Arc<Self>, how: How, until: Instant) -> Result<Unlock> {
        loop {
            match self.try_now(how)? {
                Some(held) => return Ok(held),
                None if Instant::now() < until => std::thread::sleep(TRY),
                None => return Err(self.held_too_long()),
            }
        }
    }

    /// Locks the file, if that can be done at once.
    fn try_now(self: &Arc<Self>, how: How) -> Result<Option<Unlock>> {
        let lock = if how == How::Alone { File::try_lock } else { File::try_lock_shared };
        match lock(&self.file) {
            Ok(()) => Ok(Some(Unlock(self.clone()))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(self.error(source)),
        }
    }

    /// The error for a lock that somebody keeps. Who makes a checkpoint has written its pid to the compaction lock, and
    /// holds it; who appends is not known.
    fn held_too_long(&self) -> Error {
        let path = self.path.with_file_name(names::COMPACT_LOCK);
        let held = File::open(&path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
        let pid = if held { std::fs::read_to_string(&path).ok() } else { None };
        let holder = pid.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned());
        Error::Locked { kernel: true, holder, path: self.path.display().to_string() }
    }

    fn is_in_place(&self) -> Result<bool> {
        let same = lock::same_file(&self.file, &self.path);
        same.map_err(|source| Error::io("stat", self.path.display().to_string(), source))
    }
}

impl AppendLock {
    /// Opens the lock of a directory, for an agent that has its own lock there. Until [`AppendLock::opened`] its calls
    /// wait for other agents for half a minute together.
    ///
    /// # Errors
    /// `Locked` where that was not long enough; `Io`.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_within(dir, PATIENCE)
    }

    fn open_within(dir: &Path, patience: Duration) -> Result<Self> {
        let start = Instant::now();
        loop {
            let gate = Arc::new(Handle::open(dir.join(names::AGENTS_GATE))?);
            let agents = Arc::new(Handle::open(dir.join(names::AGENTS))?);
            // Whoever removes the files has the gate alone, and found no agent's lock: not ours. Found under its name
            // now, a file stays there.
            let held = gate.wait_until(How::Shared, start + patience)?;
            if gate.is_in_place()? && agents.is_in_place()? {
                drop(held);
                let patience = Mutex::new(patience.saturating_sub(start.elapsed()));
                return Ok(AppendLock { gate, agents, dir: dir.to_owned(), patience, opened: AtomicBool::new(false) });
            }
        }
    }

    /// The store is open: from now on its writes wait as long as it takes.
    pub fn opened(&self) {
        self.opened.store(true, Ordering::Relaxed);
    }

    fn wait(&self, handle: &Arc<Handle>, how: How) -> Result<Unlock> {
        if self.opened.load(Ordering::Relaxed) {
            return handle.wait(how);
        }
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let held = handle.wait_until(how, start + *patience);
        *patience = patience.saturating_sub(start.elapsed());
        held
    }

    /// Takes the lock in common with other agents. Where one has it alone, or is about to: waits, or answers `None`.
    ///
    /// # Errors
    /// `Locked` where the store is being opened and this took too long; `Io`.
    pub fn shared(&self, wait: bool) -> Result<Option<Held>> {
        let (gate, agents) = if wait {
            (self.wait(&self.gate, How::Shared)?, self.wait(&self.agents, How::Shared)?)
        } else {
            let Some(gate) = self.gate.try_now(How::Shared)? else { return Ok(None) };
            let Some(agents) = self.agents.try_now(How::Shared)? else { return Ok(None) };
            (gate, agents)
        };
        drop(gate);
        Ok(Some(Held { _compact: None, _agents: agents, _gate: None }))
    }

    /// Takes the lock alone. Waits for other agents, and so long for who knows only the compaction lock.
    ///
    /// # Errors
    /// `CompactionLocked`; `Locked` where the store is being opened and the other agents took too long; `Io`.
    pub fn alone(&self, patience: Duration) -> Result<Held> {
        let start = Instant::now();
        loop {
            let gate = self.wait(&self.gate, How::Alone)?;
            let agents = self.wait(&self.agents, How::Alone)?;
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
            match self.gate.try_now(How::Alone) {
                Ok(None) => std::thread::sleep(GATE_PAUSE),
                other => return other.ok().flatten(),
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
    fn who_opens_does_not_wait_for_ever_for_an_agent_that_was_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let stopped = AppendLock::open(dir.path()).unwrap();
        let opening = AppendLock::open_within(dir.path(), 2 * PAUSE).unwrap();
        let held = stopped.shared(true).unwrap();
        assert!(matches!(opening.alone(NOW), Err(Error::Locked { holder, .. }) if holder == "unknown"));
        drop(held);
        let held = stopped.alone(NOW).unwrap();
        let pid = std::process::id().to_string();
        let refused = AppendLock::open_within(dir.path(), 2 * PAUSE);
        assert!(matches!(refused, Err(Error::Locked { holder, .. }) if holder == pid));
        assert!(matches!(opening.shared(true), Err(Error::Locked { holder, .. }) if holder == pid));
        // It has been opened: what it has accepted waits.
        opening.opened();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| opening.shared(true).map(drop));
            std::thread::sleep(6 * PAUSE);
            assert!(!waiting.is_finished());
            drop(held);
            waiting.join().unwrap().unwrap();
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
