//! One live writer per agent id, and no single writer beside agents.
//!
//! Each agent holds a kernel lock on a file of its own, `.agent-<id>.lock`, as long as it is open. A single writer takes
//! `.lock` first and then looks for live agents; an agent takes its own lock first and then looks at `.lock`. So of two
//! that come at once at least one sees the other. Upstream knows none of these files.
//!
//! What agents write they write under a second lock, [`AppendLock`]: in common to append, alone to change the manifest.

use crate::append_lock::AppendLock;
use crate::backend::AgentPlace;
use crate::error::{Error, Result};
use crate::format::names;
use crate::lock::{self, DirLock};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how long apart, a lock is tried that somebody holds for a look.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(2);

/// An agent's place in a directory, held until dropped.
#[derive(Debug)]
pub struct AgentLock {
    file: File,
    path: PathBuf,
}

impl AgentLock {
    /// Takes the place of an agent.
    ///
    /// # Errors
    /// `Locked` where the same agent, or a single writer, is live; `Io`.
    pub fn acquire(dir: &Path, agent: &str) -> Result<Self> {
        let path = dir.join(names::agent_lock(agent));
        let error = |syscall| {
            let path = path.display().to_string();
            move |source| Error::io(syscall, path, source)
        };
        let mut tries = 0;
        let mut file = loop {
            let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = options.map_err(error("open"))?;
            match file.try_lock() {
                Ok(()) => {}
                // Somebody who goes, or a single writer, may be looking whether it is held.
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(locked(&mut file, &path)),
                Err(TryLockError::Error(cause)) => return Err(error("flock")(cause)),
            }
            // Its last holder may have removed it between our two calls.
            if lock::same_file(&file, &path).map_err(error("stat"))? {
                break file;
            }
        };
        // For people, and for the message that the next one gets.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        written.map_err(error("write"))?;
        let own = AgentLock { file, path };
        DirLock::check_free(dir)?;
        Ok(own)
    }
}

impl Drop for AgentLock {
    fn drop(&mut self) {
        // ORDER: removed while it is held, or another agent's new lock would be.
        if lock::same_file(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// An agent's place in a directory: who it is, and its share of what agents write under.
#[derive(Debug)]
pub struct Place {
    append: AppendLock,
    // Dropped last: as long as it is held nobody removes the files of the other.
    own: Option<AgentLock>,
    dir: PathBuf,
}

impl Place {
    /// Takes an agent's place; see [`AgentLock::acquire`] and [`AppendLock::open`].
    ///
    /// # Errors
    /// Theirs.
    pub fn acquire(dir: &Path, agent: &str) -> Result<Self> {
        let own = AgentLock::acquire(dir, agent)?;
        Ok(Place { append: AppendLock::open(dir)?, own: Some(own), dir: dir.to_owned() })
    }
}

impl AgentPlace for Place {
    fn appending(&self, wait: bool) -> Result<Option<Box<dyn Send + Sync>>> {
        Ok(self.append.shared(wait)?.map(|held| Box::new(held) as Box<dyn Send + Sync>))
    }

    fn changing(&self, patience: Duration) -> Result<Box<dyn Send + Sync>> {
        Ok(Box::new(self.append.alone(patience)?))
    }

    fn opened(&self) {
        self.append.opened();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.own = None;
        self.append.remove_unless(|| look_for_agents(&self.dir).is_err());
    }
}

/// Checks that no agent is live in a directory, for who has its `.lock`.
///
/// # Errors
/// `Locked` where one is; `Io`.
pub fn check_no_agents(dir: &Path) -> Result<()> {
    for _ in 0..TRIES {
        match look_for_agents(dir) {
            // Somebody who goes may be looking as well.
            Err(Error::Locked { .. }) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    look_for_agents(dir)
}

fn look_for_agents(dir: &Path) -> Result<()> {
    let entries = std::fs::read_dir(dir);
    for entry in entries.map_err(|source| Error::io("scandir", dir.display().to_string(), source))? {
        let entry = entry.map_err(|source| Error::io("scandir", dir.display().to_string(), source))?;
        if !names::is_agent_lock(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|source| Error::io("open", path.display().to_string(), source))?,
        };
        match file.try_lock() {
            // The rest of a crash.
            Ok(()) => drop(AgentLock { file, path }),
            Err(TryLockError::WouldBlock) => return Err(locked(&mut file, &path)),
            Err(TryLockError::Error(source)) => return Err(Error::io("flock", path.display().to_string(), source)),
        }
    }
    Ok(())
}

fn locked(file: &mut File, path: &Path) -> Error {
    let mut text = String::new();
    let read = file.read_to_string(&mut text).is_ok() && !text.is_empty();
    let holder = if read { text } else { "unknown".to_owned() };
    Error::Locked { kernel: true, holder, path: path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_id_has_one_live_holder_and_the_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = AgentLock::acquire(dir.path(), "a/b").unwrap();
        let refused = AgentLock::acquire(dir.path(), "a/b");
        assert!(matches!(refused, Err(Error::Locked { holder, .. }) if holder == std::process::id().to_string()));
        let other = AgentLock::acquire(dir.path(), "a").unwrap();
        drop((first, other));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        AgentLock::acquire(dir.path(), "a/b").unwrap();
    }

    #[test]
    fn agents_and_a_single_writer_keep_each_other_out() {
        let dir = tempfile::tempdir().unwrap();
        let agent = AgentLock::acquire(dir.path(), "a").unwrap();
        assert!(matches!(check_no_agents(dir.path()), Err(Error::Locked { .. })));
        drop(agent);
        check_no_agents(dir.path()).unwrap();
        let writer = DirLock::acquire(dir.path()).unwrap();
        assert!(matches!(AgentLock::acquire(dir.path(), "a"), Err(Error::Locked { .. })));
        drop(writer);
        AgentLock::acquire(dir.path(), "a").unwrap();
    }

    #[test]
    fn what_a_crashed_agent_left_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(names::agent_lock("a"));
        std::fs::write(&path, "1").unwrap();
        check_no_agents(dir.path()).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "1").unwrap();
        AgentLock::acquire(dir.path(), "a").unwrap();
    }
}
