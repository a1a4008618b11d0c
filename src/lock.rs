//! One writer per directory.
//!
//! The lock is the kernel's (`flock` on `.lock`), so it ends with its holder, however that ends. The file's text is
//! the holder's pid and nothing else, as upstream writes it: upstream knows no kernel lock, so the text keeps its
//! processes out, and a text without a kernel lock may be one of theirs.
//!
//! `.lock-owner` names the `.lock` (device, inode, time of change) that this implementation wrote. A `.lock` that it
//! names and that no kernel lock protects is the rest of a crash, whatever process has that pid by now, here or in
//! another pid namespace. Any other text counts by its pid: stale if that process is dead, a zombie, or started after
//! the file was written (a reused pid, or pid 1 of a container that was started again).

use crate::backend::StoreLock;
use crate::error::{Error, Result};
use crate::format::names;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a lock file that changes under our hands is looked at again. Each turn means that another opener made
/// progress, so a handful would do.
const ATTEMPTS: u32 = 100;

/// How long an empty lock file may be the work of an upstream process that has created it and not yet written.
const EMPTY_GRACE: Duration = Duration::from_millis(100);

/// A lock of a directory, held until dropped.
#[derive(Debug)]
pub struct DirLock {
    file: Option<File>,
    path: PathBuf,
}

impl DirLock {
    /// Takes the lock of `dir`, which must exist. Never waits for a holder.
    ///
    /// # Errors
    /// `Locked` where a live holder has it, `Io` where the files cannot be read or written.
    pub fn acquire(dir: &Path) -> Result<Self> {
        Self::acquire_as(dir, names::LOCK)
    }

    /// Takes the lock whose file in `dir` has this name; see [`DirLock::acquire`].
    ///
    /// # Errors
    /// As [`DirLock::acquire`].
    pub fn acquire_as(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        for _ in 0..ATTEMPTS {
            if let Some(file) = attempt(&path)? {
                return Ok(DirLock { file: Some(file), path });
            }
        }
        Err(locked(&path, "unknown", true))
    }

    /// Checks that nobody holds the writer's lock of a directory, which is not taken.
    ///
    /// # Errors
    /// `Locked`, `Io`.
    pub fn check_free(dir: &Path) -> Result<()> {
        let path = dir.join(names::LOCK);
        let error = |syscall| {
            let path = path.display().to_string();
            move |source| Error::io(syscall, path, source)
        };
        let mut file = match File::open(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(error("open"))?,
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(&path, &holder(&mut file, &path), true)),
            Err(TryLockError::Error(cause)) => return Err(error("flock")(cause)),
        }
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        match parse_pid(&text) {
            Some(pid) if !is_ours(&path, &file) && is_alive_since(pid, &file) => {
                Err(locked(&path, &pid.to_string(), false))
            }
            _ => Ok(()),
        }
    }

    fn remove(&mut self) {
        let Some(file) = self.file.take() else { return };
        // Only our own: the path may name another holder's file by now. Unlinked while the kernel lock is held, so
        // that nobody can have taken this file in between.
        if same_file(&file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(owner_path(&self.path));
            if std::fs::remove_file(&self.path).is_err() {
                // It stays with our pid in it: what says that it is nobody's must stay as well.
                let _ = fingerprint(&file).and_then(|text| std::fs::write(owner_path(&self.path), text));
            }
        }
    }
}

impl StoreLock for DirLock {
    fn check(&self) -> Result<()> {
        let ours = self.file.as_ref().map_or(Ok(false), |file| same_file(file, &self.path));
        match ours.map_err(|source| Error::io("stat", self.path.display().to_string(), source))? {
            true => Ok(()),
            false => {
                let path = self.path.display().to_string();
                Err(Error::Changed { file: "lock file", what: "replaced or removed", path })
            }
        }
    }

    fn release(mut self: Box<Self>) {
        self.remove();
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The name of a lock's file, without its folder.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The file that says which lock file this implementation wrote.
fn owner_path(path: &Path) -> PathBuf {
    path.with_file_name(names::lock_owner(&name_of(path)))
}

/// One try: the locked file, or `None` where the file changed meanwhile and the next try sees more.
fn attempt(path: &Path) -> Result<Option<File>> {
    let error = |syscall| move |source| Error::io(syscall, path.display().to_string(), source);
    let mut old = match OpenOptions::new().read(true).write(true).open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return create(path),
        other => other.map_err(error("open"))?,
    };
    match old.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(path, &holder(&mut old, path), true)),
        Err(TryLockError::Error(cause)) => return Err(error("flock")(cause)),
    }
    if !same_file(&old, path).map_err(error("stat"))? {
        return Ok(None);
    }
    let mut text = String::new();
    // Not UTF-8 is not a pid: what could be read does not matter then.
    let _ = old.read_to_string(&mut text);
    if text.trim().is_empty() && age(&old).is_some_and(|age| age < EMPTY_GRACE) {
        std::thread::sleep(EMPTY_GRACE / 10);
        return Ok(None);
    }
    if let Some(pid) = parse_pid(&text)
        && !is_ours(path, &old)
        && is_alive_since(pid, &old)
    {
        return Err(locked(path, &pid.to_string(), false));
    }
    replace(path)
}

fn locked(path: &Path, holder: &str, kernel: bool) -> Error {
    Error::Locked { kernel, holder: holder.to_owned(), path: path.display().to_string() }
}

/// The pid in a lock file that the kernel says is held.
fn holder(file: &mut File, path: &Path) -> String {
    let mut text = String::new();
    let read = file.read_to_string(&mut text).is_ok() && same_file(file, path).unwrap_or(false);
    parse_pid(&text).filter(|_| read).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}

/// What JavaScript's `parseInt(text, 10)` makes of it, as upstream reads it; only positive numbers are pids.
fn parse_pid(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok().filter(|pid| *pid > 0)
}

/// A file with our pid, locked, under a temporary name.
fn prepare(lock: &Path) -> Result<(File, PathBuf)> {
    // A crashed process with the same pid may have left a file of this name.
    let (mut file, path) = loop {
        let path = lock.with_file_name(names::temporary(&name_of(lock)));
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {}
            other => break (other.map_err(|source| Error::io("open", path.display().to_string(), source))?, path),
        }
    };
    let error = |syscall| {
        let path = path.display().to_string();
        move |source| Error::io(syscall, path, source)
    };
    let written = file.write_all(std::process::id().to_string().as_bytes());
    if let Err(cause) = written {
        let _ = std::fs::remove_file(&path);
        return Err(error("write")(cause));
    }
    if let Err(cause) = file.try_lock() {
        let _ = std::fs::remove_file(&path);
        return Err(error("flock")(io::Error::from(cause)));
    }
    Ok((file, path))
}

/// No lock file: make one. It appears under its name with text and kernel lock, so that nobody sees it half made
/// (upstream would take an empty file for a stale one and remove it).
fn create(path: &Path) -> Result<Option<File>> {
    let (file, temporary) = prepare(path)?;
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Ok(()) => claim(path, file),
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        // A file system without hard links: create it in place, exclusively.
        Err(_) => create_in_place(path),
    }
}

fn create_in_place(path: &Path) -> Result<Option<File>> {
    let error = |syscall| move |source| Error::io(syscall, path.display().to_string(), source);
    let mut file = match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        other => other.map_err(error("open"))?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(cause)) => return Err(error("flock")(cause)),
    }
    file.write_all(std::process::id().to_string().as_bytes()).map_err(error("write"))?;
    claim(path, file)
}

/// A stale lock file, whose kernel lock we hold: put ours in its place. Whoever waits for the old one finds that the
/// path names another file and looks again.
#[expect(clippy::disallowed_methods, reason = "the lock file is not data: atomic replacement, never synced")]
fn replace(path: &Path) -> Result<Option<File>> {
    let (file, temporary) = prepare(path)?;
    if let Err(source) = std::fs::rename(&temporary, path) {
        let _ = std::fs::remove_file(&temporary);
        return Err(Error::io("rename", path.display().to_string(), source));
    }
    claim(path, file)
}

/// Records that the lock file is ours, once the path names it.
fn claim(path: &Path, file: File) -> Result<Option<File>> {
    match same_file(&file, path) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(source) => {
            // It got its name a moment ago and its kernel lock is ours, so nobody has put another in its place. With
            // our pid in it and without the kernel lock it would keep this process out.
            let _ = std::fs::remove_file(path);
            return Err(Error::io("stat", path.display().to_string(), source));
        }
    }
    // Where this fails the lock holds all the same; only a crash would then be judged by the pid alone.
    let _ = fingerprint(&file).and_then(|text| std::fs::write(owner_path(path), text));
    Ok(Some(file))
}

/// True if `.lock-owner` names this very file, unchanged since this implementation wrote it.
fn is_ours(path: &Path, file: &File) -> bool {
    match (std::fs::read_to_string(owner_path(path)), fingerprint(file)) {
        (Ok(recorded), Ok(current)) => recorded == current,
        _ => false,
    }
}

fn fingerprint(file: &File) -> io::Result<String> {
    let metadata = file.metadata()?;
    let written = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Ok(format!("{inode} {}", written.as_nanos()))
}

/// True if the path still names the open file.
pub(crate) fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let by_path = match std::fs::metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let by_file = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok((by_path.dev(), by_path.ino()) == (by_file.dev(), by_file.ino()))
    }
    #[cfg(not(unix))]
    Ok(by_path.created().ok() == by_file.created().ok())
}

fn age(file: &File) -> Option<Duration> {
    file.metadata().ok()?.modified().ok()?.elapsed().ok()
}

/// True if the process exists, is no zombie, and was there when the file was written.
fn is_alive_since(pid: u32, file: &File) -> bool {
    match process_start(pid) {
        Process::Gone => false,
        Process::Unknown => true,
        Process::StartedAt(start) => {
            let written = file.metadata().and_then(|metadata| metadata.modified());
            // Start times have a resolution of 10 ms and are computed from the boot time in whole seconds.
            written.map_or(true, |written| start <= written + Duration::from_secs(1))
        }
    }
}

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "other systems tell less"))]
enum Process {
    Gone,
    StartedAt(std::time::SystemTime),
    Unknown,
}

#[cfg(target_os = "linux")]
fn process_start(pid: u32) -> Process {
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(_) => return exists(pid),
    };
    // The second field is the command in parentheses, which may contain anything; fields are counted after it.
    let fields: Vec<_> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
    if let Some(&("Z" | "X" | "x")) = fields.first() {
        return Process::Gone;
    }
    let ticks = fields.get(19).and_then(|ticks| ticks.parse::<u64>().ok());
    match (ticks, boot_time()) {
        (Some(ticks), Some(boot)) => {
            // USER_HZ is 100 on every architecture that Linux runs Node.js on.
            Process::StartedAt(std::time::UNIX_EPOCH + Duration::from_secs(boot) + Duration::from_millis(ticks * 10))
        }
        _ => Process::Unknown,
    }
}

#[cfg(target_os = "linux")]
fn boot_time() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn process_start(pid: u32) -> Process {
    exists(pid)
}

#[cfg(unix)]
fn exists(pid: u32) -> Process {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return Process::Gone;
    };
    match rustix::process::test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => Process::Gone,
        Ok(()) | Err(_) => Process::Unknown,
    }
}

#[cfg(not(unix))]
fn process_start(_pid: u32) -> Process {
    // Windows: the kernel lock alone decides between processes of ours; an upstream holder counts as alive.
    Process::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dir: &Path) -> String {
        std::fs::read_to_string(dir.join(names::LOCK)).unwrap()
    }

    #[test]
    fn the_file_holds_the_pid_and_nothing_else_and_goes_with_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(text(dir.path()), std::process::id().to_string());
        drop(lock);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_held_lock_refuses_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = DirLock::acquire(dir.path()).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(&refused, Error::Locked { holder, .. } if *holder == std::process::id().to_string()),
            "{refused}"
        );
    }

    #[test]
    fn unparsable_and_dead_holders_do_not_block() {
        let dir = tempfile::tempdir().unwrap();
        for stale in ["", "not a pid", "-5", "999999999", "0"] {
            std::fs::write(dir.path().join(names::LOCK), stale).unwrap();
            drop(DirLock::acquire(dir.path()).unwrap());
        }
    }

    #[test]
    fn a_live_process_without_kernel_lock_is_an_upstream_holder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(names::LOCK), std::process::id().to_string()).unwrap();
        assert!(matches!(DirLock::acquire(dir.path()), Err(Error::Locked { .. })));
    }

    #[test]
    fn the_rest_of_a_crash_of_ours_does_not_block_even_if_its_pid_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = DirLock::acquire(dir.path()).unwrap();
        // The kernel lock goes, the files stay: what kill -9 leaves.
        drop(lock.file.take());
        assert_eq!(text(dir.path()), std::process::id().to_string());
        drop(DirLock::acquire(dir.path()).unwrap());
    }

    #[test]
    fn release_leaves_a_lock_that_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(names::LOCK)).unwrap();
        std::fs::write(dir.path().join(names::LOCK), "1").unwrap();
        drop(lock);
        assert_eq!(text(dir.path()), "1");
    }

    #[test]
    fn of_many_openers_at_once_exactly_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            if round % 2 == 0 {
                std::fs::write(dir.path().join(names::LOCK), "999999999").unwrap();
            }
            let barrier = std::sync::Barrier::new(8);
            let winners: Vec<_> = std::thread::scope(|scope| {
                let openers: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            DirLock::acquire(dir.path())
                        })
                    })
                    .collect();
                openers.into_iter().filter_map(|opener| opener.join().unwrap().ok()).collect()
            });
            assert_eq!(winners.len(), 1, "round {round}");
        }
    }
}
