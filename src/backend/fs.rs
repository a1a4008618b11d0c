//! The native file system.
//!
//! The only module that calls fsync and rename. `sync` is `fdatasync` where the platform has it: length and bytes
//! are durable, times need not be.

use super::{AgentPlace, Entry, Pinned, Stat, StorageBackend, StorageFile, StoreLock, Syncer};
use crate::agent_lock::{Place, check_no_agents};
use crate::error::{Error, Result};
use crate::format::names;
use crate::lock::DirLock;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// To remove files of this size takes a millisecond and more.
const LARGE: u64 = 4 << 20;

/// A store directory on the file system.
#[derive(Debug, Clone)]
pub struct FsBackend {
    root: PathBuf,
    /// Counts the bytes that are read, for who watches.
    read: Option<Arc<AtomicU64>>,
}

impl FsBackend {
    /// The store in `root`, which need not exist. A relative path is resolved once, here: a later change of the
    /// working directory does not move the store.
    ///
    /// # Errors
    /// `Io` where the working directory cannot be told.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = std::path::absolute(root.as_ref())
            .map_err(|source| Error::io("getcwd", root.as_ref().display().to_string(), source))?;
        Ok(FsBackend { root, read: None })
    }

    /// Counts the bytes that are read from now on.
    #[must_use]
    pub fn counting(self, read: Arc<AtomicU64>) -> Self {
        FsBackend { read: Some(read), ..self }
    }

    /// The store's directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn error<'a>(&'a self, syscall: &'static str, path: &'a str) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::io(syscall, self.full_path(path), source)
    }
}

fn stat_of(metadata: &std::fs::Metadata) -> Stat {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Stat { len: metadata.len(), modified_ns: modified.map_or(0, |since| since.as_nanos()) }
}

#[expect(clippy::disallowed_methods, reason = "the one place that syncs files")]
fn sync_file(file: &File) -> io::Result<()> {
    file.sync_data()
}

#[expect(clippy::disallowed_methods, reason = "the one place that syncs directories")]
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        // Windows cannot sync a directory; NTFS journals names.
        return Ok(());
    }
    match File::open(path)?.sync_all() {
        // Some network and FUSE file systems have no fsync for directories; there is nothing more to be had there.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::Unsupported => {
            Ok(())
        }
        other => other,
    }
}

struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl StorageBackend for FsBackend {
    fn full_path(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }

    fn create_dirs(&self) -> Result<()> {
        self.create_root()?;
        let mut changed = false;
        for folder in [names::SNAPSHOTS, names::OPS, names::ARCHIVE] {
            let path = self.at(folder);
            changed |= !path.exists();
            std::fs::create_dir_all(&path).map_err(self.error("mkdir", folder))?;
        }
        if changed { sync_folder(&self.root).map_err(self.error("fsync", "")) } else { Ok(()) }
    }

    fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
        let mut file = File::open(self.at(path)).map_err(self.error("open", path))?;
        // Opening a directory succeeds on Unix and reading it fails: say so here, with the path.
        let metadata = file.metadata().map_err(self.error("fstat", path))?;
        if metadata.is_dir() {
            return Err(Error::io("read", self.full_path(path), is_a_directory()));
        }
        if start > 0 {
            file.seek(SeekFrom::Start(start)).map_err(self.error("lseek", path))?;
        }
        Ok(match &self.read {
            Some(read) => Box::new(Counted { file, read: read.clone() }),
            None => Box::new(file),
        })
    }

    fn stat(&self, path: &str) -> Result<Stat> {
        std::fs::metadata(self.at(path)).map(|metadata| stat_of(&metadata)).map_err(self.error("stat", path))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let entries = match std::fs::read_dir(self.at(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(self.error("scandir", folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(self.error("scandir", folder))?;
            let metadata = match entry.metadata() {
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(self.error("stat", folder))?,
            };
            if let (Ok(name), false) = (entry.file_name().into_string(), metadata.is_dir()) {
                found.push(Entry { name, stat: stat_of(&metadata) });
            }
        }
        Ok(found)
    }

    fn create(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.at(path));
        let created = file.is_ok();
        // Who finds it can tell that it is being written: see `is_abandoned`.
        if let (Ok(file), true) = (&file, cfg!(unix)) {
            let _ = file.try_lock();
        }
        self.writable(path, file).inspect_err(|_| {
            // The caller has no file that it could remove.
            if created {
                let _ = std::fs::remove_file(self.at(path));
            }
        })
    }

    fn open(&self, path: &str) -> Result<Box<dyn StorageFile>> {
        self.writable(path, OpenOptions::new().read(true).write(true).open(self.at(path)))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that renames")]
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.at(from), self.at(to)).map_err(self.error("rename", to))
    }

    fn remove(&self, path: &str) -> Result<()> {
        std::fs::remove_file(self.at(path)).map_err(self.error("unlink", path))
    }

    fn remove_name(&self, path: &str) -> Result<Option<Box<dyn Send>>> {
        // Elsewhere a file that is open keeps its name.
        let large = if cfg!(target_os = "linux") { File::open(self.at(path)).ok() } else { None };
        let large = large.filter(|file| file.metadata().is_ok_and(|metadata| metadata.len() >= LARGE));
        self.remove(path)?;
        Ok(large.map(|file| Box::new(file) as Box<dyn Send>))
    }

    fn sync_dir(&self, folder: &str) -> Result<()> {
        sync_folder(&self.at(folder)).map_err(self.error("fsync", folder))
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>> {
        self.create_root()?;
        let lock = DirLock::acquire(&self.root)?;
        check_no_agents(&self.root)?;
        Ok(Box::new(lock))
    }

    fn join(&self, agent: &str) -> Result<Box<dyn AgentPlace>> {
        self.create_root()?;
        Ok(Box::new(Place::acquire(&self.root, agent)?))
    }

    fn pin(&self, path: &str) -> Result<(Vec<u8>, Box<dyn Pinned>)> {
        let mut file = File::open(self.at(path)).map_err(self.error("open", path))?;
        let metadata = file.metadata().map_err(self.error("fstat", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(self.error("read", path))?;
        Ok((bytes, Box::new(PinnedFile { _file: file, path: self.at(path), seen: seen(&metadata) })))
    }

    fn is_abandoned(&self, path: &str) -> bool {
        File::open(self.at(path)).is_ok_and(|file| file.try_lock().is_ok())
    }
}

/// What tells a file, and a state of it, from others while it is open.
type Seen = ((u64, u64), Stat);

fn seen(metadata: &std::fs::Metadata) -> Seen {
    (identity(metadata), stat_of(metadata))
}

struct PinnedFile {
    // As long as it is open, its number is no other file's.
    _file: File,
    path: PathBuf,
    seen: Seen,
}

impl Pinned for PinnedFile {
    fn is_current(&self) -> Result<bool> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other
                .map(|metadata| seen(&metadata) == self.seen)
                .map_err(|source| Error::io("stat", self.path.display().to_string(), source)),
        }
    }
}

impl FsBackend {
    /// Makes the store's own directory, durably, where it does not exist.
    fn create_root(&self) -> Result<()> {
        match std::fs::metadata(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(drop).map_err(self.error("stat", "")),
        }
        let missing: Vec<_> = self.root.ancestors().take_while(|path| !path.exists()).collect();
        std::fs::create_dir_all(&self.root).map_err(self.error("mkdir", ""))?;
        for parent in missing.into_iter().filter_map(Path::parent) {
            sync_folder(parent).map_err(|source| Error::io("fsync", parent.display().to_string(), source))?;
        }
        Ok(())
    }

    fn writable(&self, path: &str, file: io::Result<File>) -> Result<Box<dyn StorageFile>> {
        let file = file.map_err(self.error("open", path))?;
        let identity = identity(&file.metadata().map_err(self.error("fstat", path))?);
        Ok(Box::new(FsFile { file: Arc::new(file), identity, path: self.at(path) }))
    }
}

fn is_a_directory() -> io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::ISDIR.into();
    #[cfg(not(unix))]
    return io::ErrorKind::IsADirectory.into();
}

/// Device and inode: which file a path names.
fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
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

struct FsFile {
    file: Arc<File>,
    identity: (u64, u64),
    path: PathBuf,
}

impl FsFile {
    /// Nothing is done where there is no error: each write passes here twice.
    fn error(&self, syscall: &'static str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::io(syscall, self.path.display().to_string(), source)
    }
}

impl StorageFile for FsFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        #[cfg(unix)]
        let written = std::os::unix::fs::FileExt::write_all_at(&*self.file, bytes, offset);
        #[cfg(not(unix))]
        let written = {
            use std::io::Write;
            (&*self.file).seek(SeekFrom::Start(offset)).and_then(|_| (&*self.file).write_all(bytes))
        };
        written.map_err(self.error("write"))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            #[cfg(unix)]
            let read = std::os::unix::fs::FileExt::read_at(&*self.file, rest, offset + filled as u64);
            #[cfg(windows)]
            let read = std::os::windows::fs::FileExt::seek_read(&*self.file, rest, offset + filled as u64);
            match read {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error("read")(error)),
            }
        }
        Ok(filled)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(self.error("ftruncate"))
    }

    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "no crate offers this call as a safe one")]
    fn write_behind(&mut self, offset: u64, len: u64) {
        use std::os::fd::AsRawFd;
        let range = (libc::off64_t::try_from(offset), libc::off64_t::try_from(len));
        let (Ok(offset), Ok(len)) = range else { return };
        // SAFETY: the call takes numbers only. What it answers does not matter: it waits for nothing, so it cannot know how
        // the writing went, and `sync` is told of a failure all the same.
        unsafe { libc::sync_file_range(self.file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn sync(&mut self) -> Result<()> {
        sync_file(&self.file).map_err(self.error("fdatasync"))
    }

    fn syncer(&self) -> Option<Syncer> {
        let (file, path) = (self.file.clone(), self.path.clone());
        let failed = move |source| Error::io("fdatasync", path.display().to_string(), source);
        Some(Box::new(move || sync_file(&file).map_err(&failed)))
    }

    fn check(&self, len: u64) -> Result<()> {
        let found = Looked::at(&self.path).map_err(self.error("open"))?;
        let path = || self.path.display().to_string();
        if found.identity != self.identity {
            return Err(Error::Changed { file: "operation log", what: "replaced", path: path() });
        }
        if found.protected {
            return Err(Error::io("open", path(), io::ErrorKind::PermissionDenied.into_os()));
        }
        if found.len != len {
            return Err(Error::Changed { file: "operation log", what: "changed", path: path() });
        }
        Ok(())
    }
}

/// What a look at a log's path shows before each append.
struct Looked {
    identity: (u64, u64),
    /// No write bit at all: somebody protected the file, and root, whom the kernel would let through, honours it.
    protected: bool,
    len: u64,
}

impl Looked {
    fn at(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(found) = without_times(path) {
            return found;
        }
        let metadata = std::fs::metadata(path)?;
        let protected = metadata.permissions().readonly();
        Ok(Looked { identity: identity(&metadata), protected, len: metadata.len() })
    }
}

/// Asks for no times: since Linux 6.13 a look at them has the next write store a new one, which makes the inode dirty and
/// so costs the sync after it another write of the disk (multigrain timestamps). `None` where the kernel has no `statx`.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "statx by its number: glibc has a function for it since 2.28 only, and rustix asks the kernel past libc"
)]
fn without_times(path: &Path) -> Option<io::Result<Looked>> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO | libc::STATX_SIZE;
    // SAFETY: all bytes zero is a value of this structure of numbers.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte, and the kernel writes into `found` only.
    let failed = unsafe {
        libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path.as_ptr(), libc::AT_STATX_SYNC_AS_STAT, mask, &raw mut found)
    };
    if failed != 0 {
        let error = io::Error::last_os_error();
        // EPERM: what keeps older containers from calls that it does not know.
        let unknown = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
        return (!unknown).then_some(Err(error));
    }
    let device = libc::makedev(found.stx_dev_major, found.stx_dev_minor);
    let protected = found.stx_mode & 0o222 == 0;
    Some(Ok(Looked { identity: (device, found.stx_ino), protected, len: found.stx_size }))
}

/// Turns a kind into the error that the operating system gives for it, so that it carries an errno.
trait IntoOs {
    fn into_os(self) -> io::Error;
}

impl IntoOs for io::ErrorKind {
    fn into_os(self) -> io::Error {
        #[cfg(unix)]
        if self == io::ErrorKind::PermissionDenied {
            return rustix::io::Errno::ACCESS.into();
        }
        self.into()
    }
}
