//! The look at a log before each append: does its path still lead to the file that is open, may it be written, and is it
//! as long as it was left?
//!
//! To follow a path takes the kernel longer than to append a line. In a burst of appends it is followed once in a
//! millisecond, and the open file is asked in between, which also tells that it was removed or replaced (it has no name
//! then). What that cannot tell is that the file was given another name: such a look answers as if that had been done up to
//! a millisecond later.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Looks that follow each other faster than this are a burst. No sync of a disk is that fast.
const CLOSE: Duration = Duration::from_micros(100);
/// So many of them are before the first that does not follow the path.
const FIRST: u32 = 64;
/// How often the path is followed in a burst.
const FOLLOWED: Duration = Duration::from_millis(1);

/// A log's path and file, and how often they were looked at lately.
pub(super) struct Look {
    path: PathBuf,
    #[cfg(target_os = "linux")]
    path_of_kernel: Option<std::ffi::CString>,
    identity: (u64, u64),
    burst: Cell<Burst>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Burst {
    /// How many looks have followed each other closely.
    close: u32,
    last: Option<Instant>,
    /// When the path was followed last.
    followed: Option<Instant>,
}

impl Burst {
    /// Notes a look. True if it must follow the path.
    fn must_follow(&mut self, now: Instant) -> bool {
        let within = |then: Option<Instant>, span| then.is_some_and(|then| now.saturating_duration_since(then) < span);
        self.close = if within(self.last, CLOSE) { self.close.saturating_add(1) } else { 0 };
        self.last = Some(now);
        let must = self.close < FIRST || !within(self.followed, FOLLOWED);
        if must {
            self.followed = Some(now);
        }
        must
    }
}

impl Look {
    /// Of a file that was opened by its path.
    pub(super) fn of(path: PathBuf, file: &File) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        #[cfg(target_os = "linux")]
        let path_of_kernel = {
            use std::os::unix::ffi::OsStrExt;
            std::ffi::CString::new(path.as_os_str().as_bytes()).ok()
        };
        Ok(Look {
            path,
            #[cfg(target_os = "linux")]
            path_of_kernel,
            identity,
            burst: Cell::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// [`super::StorageFile::check_to_append`].
    pub(super) fn check_to_append(&self, file: &File, len: u64) -> Result<()> {
        if self.is_as_left(file, len) { Ok(()) } else { self.check(len) }
    }

    /// [`super::StorageFile::check`].
    pub(super) fn check(&self, len: u64) -> Result<()> {
        let path = || self.path.display().to_string();
        let found = self.follow().map_err(|source| Error::io("open", path(), source))?;
        if found.identity != self.identity {
            return Err(Error::Changed { file: "operation log", what: "replaced", path: path() });
        }
        if found.protected {
            return Err(Error::io("open", path(), not_permitted()));
        }
        if found.len != len {
            return Err(Error::Changed { file: "operation log", what: "changed", path: path() });
        }
        Ok(())
    }

    /// True if the file itself says all that there is to know. Where it does not, its path tells what has happened.
    fn is_as_left(&self, file: &File, len: u64) -> bool {
        let mut burst = self.burst.get();
        let must_follow = burst.must_follow(Instant::now());
        self.burst.set(burst);
        !must_follow && ask(file).is_some_and(|found| found.named && !found.protected && found.len == len)
    }

    fn follow(&self) -> io::Result<Followed> {
        #[cfg(target_os = "linux")]
        if let Some(found) = self.path_of_kernel.as_deref().and_then(kernel::follow) {
            return found;
        }
        let metadata = std::fs::metadata(&self.path)?;
        let protected = metadata.permissions().readonly();
        Ok(Followed { identity: identity(&metadata), protected, len: metadata.len() })
    }
}

/// What is found at the end of a path.
struct Followed {
    identity: (u64, u64),
    /// No write bit at all: somebody protected the file, and root, whom the kernel would let through, honours it.
    protected: bool,
    len: u64,
}

/// What an open file tells.
struct Asked {
    /// It has a name: it was not removed, nor another one put in its place.
    named: bool,
    protected: bool,
    len: u64,
}

/// `None` where that takes as long as following the path, or is not known to tell the same.
fn ask(file: &File) -> Option<Asked> {
    #[cfg(target_os = "linux")]
    return kernel::ask(file);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}

/// Device and inode: which file a path names.
pub(super) fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        (0, 0)
    }
}

/// With the number that the operating system gives for it.
fn not_permitted() -> io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::ACCESS.into();
    #[cfg(not(unix))]
    return io::ErrorKind::PermissionDenied.into();
}

/// `statx` without times: since Linux 6.13 a look at them has the next write store a new one, which makes the inode dirty
/// and so costs the sync after it another write of the disk (multigrain timestamps).
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "statx by its number: glibc has a function for it since 2.28 only, and rustix asks the kernel past libc"
)]
mod kernel {
    use super::{Asked, Followed};
    use std::ffi::CStr;
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    const WRITABLE: u16 = 0o222;

    fn statx(folder: libc::c_int, path: &CStr, flags: libc::c_int, mask: libc::c_uint) -> io::Result<libc::statx> {
        // SAFETY: all bytes zero is a value of this structure of numbers.
        let mut found: libc::statx = unsafe { std::mem::zeroed() };
        let flags = flags | libc::AT_STATX_SYNC_AS_STAT;
        // SAFETY: `path` ends with a zero byte, and the kernel writes into `found` only.
        let failed = unsafe { libc::syscall(libc::SYS_statx, folder, path.as_ptr(), flags, mask, &raw mut found) };
        if failed == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
    }

    /// `None` where the kernel has no `statx`.
    pub(super) fn follow(path: &CStr) -> Option<io::Result<Followed>> {
        let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO | libc::STATX_SIZE;
        match statx(libc::AT_FDCWD, path, 0, mask) {
            // EPERM: what keeps older containers from calls that it does not know.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => None,
            found => Some(found.map(|found| Followed {
                identity: (libc::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
                protected: found.stx_mode & WRITABLE == 0,
                len: found.stx_size,
            })),
        }
    }

    pub(super) fn ask(file: &File) -> Option<Asked> {
        let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_NLINK | libc::STATX_SIZE;
        let found = statx(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH, mask).ok()?;
        Some(Asked { named: found.stx_nlink > 0, protected: found.stx_mode & WRITABLE == 0, len: found.stx_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    /// Which of some looks follow the path, each so long after the one before.
    fn followed(gaps: impl IntoIterator<Item = Duration>) -> Vec<bool> {
        let (mut burst, mut now) = (Burst::default(), Instant::now());
        let looks = gaps.into_iter().map(|gap| {
            now += gap;
            burst.must_follow(now)
        });
        looks.collect()
    }

    #[test]
    fn looks_that_are_apart_follow_the_path() {
        assert!(followed(vec![CLOSE; 1000]).into_iter().all(|followed| followed));
    }

    #[test]
    fn a_burst_follows_the_path_once_in_a_millisecond() {
        let looks = followed(vec![micros(10); 464]);
        assert!(looks[..=FIRST as usize - 1].iter().all(|followed| *followed));
        let rest = &looks[FIRST as usize..];
        assert_eq!(rest.iter().filter(|followed| **followed).count(), rest.len() / 100);
        assert!(rest.windows(100).all(|looks| looks.contains(&true)));
    }

    #[test]
    fn a_pause_ends_a_burst() {
        let looks = followed((0..200).map(|n| if n == 100 { CLOSE } else { micros(1) }));
        assert!(!looks[99] && looks[100..=100 + FIRST as usize - 1].iter().all(|followed| *followed) && !looks[165]);
    }

    /// A look in a burst, at a file after something has happened to it.
    fn after(happens: impl FnOnce(&Path)) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "12345").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let look = Look::of(path.clone(), &file).unwrap();
        look.check_to_append(&file, 5).unwrap();
        // However long this takes.
        let later = Some(Instant::now() + Duration::from_secs(3600));
        look.burst.set(Burst { close: FIRST, last: later, followed: later });
        happens(&path);
        let found = look.check_to_append(&file, 5);
        assert_eq!(look.burst.get().followed, later);
        found
    }

    #[test]
    fn a_burst_notices_what_happens_to_the_file() {
        after(|_| {}).unwrap();
        let changed = |result: Result<()>| match result {
            Err(Error::Changed { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(changed(after(|path| fs::write(path, "123456").unwrap())), "changed");
        assert_eq!(changed(after(|path| fs::write(path, "1234").unwrap())), "changed");
        assert_eq!(
            changed(after(|path| {
                let other = path.with_extension("new");
                fs::write(&other, "12345").unwrap();
                #[expect(clippy::disallowed_methods, reason = "what an editor does")]
                fs::rename(other, path).unwrap();
            })),
            "replaced"
        );
        assert!(matches!(after(|path| fs::remove_file(path).unwrap()), Err(Error::Io { .. })));
        let protect = |path: &Path| {
            let mut permissions = fs::metadata(path).unwrap().permissions();
            permissions.set_readonly(true);
            fs::set_permissions(path, permissions).unwrap();
        };
        assert!(matches!(after(protect), Err(Error::Io { .. })));
    }
}
