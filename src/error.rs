//! Every error of the engine: its message, its kind and the code that callers see.
//!
//! A kind says what the caller can do. Messages that upstream's callers match on keep upstream's words.

use crate::format::json;
use crate::format::op::Text;
use std::io;
use std::sync::Arc;

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that the engine can refuse or fail with.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call before `open` or after `close`.
    #[error("Store is not open. Call open() first.")]
    NotOpen,
    /// A mutation of a store that was opened with `readOnly`.
    #[error("Store is read-only. Cannot perform mutations.")]
    ReadOnly,
    /// `readOnly` where there is no store.
    #[error("Cannot open in readOnly mode: no existing store found")]
    NoStore {
        /// The store's directory.
        path: String,
    },
    /// Another process, or another store of this process, holds the directory.
    #[error("Store is locked by process {holder}{} {path}", if *.kernel { ":" } else { ". If this is stale, delete" })]
    Locked {
        /// True if the kernel says so: then it is not stale.
        kernel: bool,
        /// What the lock file says: a pid, or `unknown`.
        holder: String,
        /// The lock file.
        path: String,
    },
    /// Somebody else is making a checkpoint of a store of several agents.
    #[error("Compaction lock held by another agent (process {holder}: {path})")]
    CompactionLocked {
        /// What the lock file says: a pid, or `unknown`.
        holder: String,
        /// The lock file.
        path: String,
    },
    /// `delete` of an id that is not there.
    #[error("Record '{}' not found", json::unquote(id))]
    RecordNotFound {
        /// JSON text of the id.
        id: Text,
    },
    /// `loadArchive` of a segment that is not there.
    #[error("Archive segment '{name}' not found")]
    SegmentNotFound {
        /// The name as the caller wrote it.
        name: String,
    },
    /// The manifest names a snapshot that is missing.
    #[error("Snapshot file not found: {name}. The data directory may be corrupted. ({path})")]
    SnapshotMissing {
        /// The name in the manifest.
        name: String,
        /// The full path.
        path: String,
    },
    /// An argument that cannot be accepted.
    #[error("{message}")]
    Invalid {
        /// Names the argument and what it should be.
        message: String,
    },
    /// A file that is not what was written.
    #[error("{message} ({path}{})", place(*line, *byte))]
    Corrupt {
        /// What is wrong.
        message: String,
        /// The file.
        path: String,
        /// Line in the file, from 1, where known.
        line: Option<u64>,
        /// Byte offset of that line, from 0, where known.
        byte: Option<u64>,
    },
    /// The store was written by a newer schema version than the caller's.
    #[error(
        "Store was written with version {stored}, newer than the requested version {requested} ({path}). Open it with `version: {stored}` or later."
    )]
    NewerVersion {
        /// Version in the snapshot's header.
        stored: u64,
        /// Version in the options.
        requested: u64,
        /// The snapshot.
        path: String,
    },
    /// A checkpoint of a store that was opened without its records.
    #[error("Cannot compact in skipLoad mode — in-memory Map is incomplete")]
    NotLoaded,
    /// A store that cannot be written without its records having been loaded.
    #[error(
        "Cannot open with `skipLoad` for writing: {why} ({path}). Open the store once without `skipLoad` and close it."
    )]
    NeedsLoad {
        /// What there is to be done first.
        why: String,
        /// The file that says so.
        path: String,
    },
    /// The operating system refused.
    #[error("{syscall} '{path}': {source}")]
    Io {
        /// Name of the call, as Node spells it (`open`, `write`, `fsync`, …).
        syscall: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// The log or lock is not the file, or not of the length, that this store has been using.
    #[error(
        "The {file} was {what} by another program: {path}. Nothing was written; close the store and open it again."
    )]
    Changed {
        /// `operation log` or `lock file`.
        file: &'static str,
        /// What happened to it: `replaced`, `removed`, `changed`.
        what: &'static str,
        /// The log.
        path: String,
    },
    /// What the caller ended a call with: its storage backend's error, or why it gave the call up.
    #[error("The storage backend failed")]
    Backend {
        /// The caller's number for its error.
        number: u64,
    },
    /// The store cannot go on; it must be closed and opened again.
    #[error("{message}")]
    Failed {
        /// What happened and what to do.
        message: String,
        /// What caused it, where known.
        cause: Option<Box<Error>>,
    },
}

fn place(line: Option<u64>, byte: Option<u64>) -> String {
    match (line, byte) {
        (Some(line), Some(byte)) => format!(", line {line}, byte {byte}"),
        (Some(line), None) => format!(", line {line}"),
        (None, Some(byte)) => format!(", byte {byte}"),
        (None, None) => String::new(),
    }
}

impl Error {
    /// The code that JavaScript sees, apart from I/O errors, which keep Node's (`ENOENT`, …).
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotOpen => "OPSLOG_NOT_OPEN",
            Error::ReadOnly => "OPSLOG_READ_ONLY",
            Error::Locked { .. } | Error::CompactionLocked { .. } => "OPSLOG_LOCKED",
            Error::NoStore { .. } | Error::RecordNotFound { .. } | Error::SegmentNotFound { .. } => "OPSLOG_NOT_FOUND",
            Error::Invalid { .. } => "OPSLOG_INVALID",
            Error::SnapshotMissing { .. } | Error::Corrupt { .. } => "OPSLOG_CORRUPT",
            Error::NewerVersion { .. } | Error::NotLoaded | Error::NeedsLoad { .. } => "OPSLOG_INVALID",
            Error::Io { .. } | Error::Changed { .. } | Error::Backend { .. } | Error::Failed { .. } => "OPSLOG_FAILED",
        }
    }

    /// The file that the error is about, where there is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Error::NoStore { path }
            | Error::Locked { path, .. }
            | Error::CompactionLocked { path, .. }
            | Error::SnapshotMissing { path, .. }
            | Error::Corrupt { path, .. }
            | Error::NewerVersion { path, .. }
            | Error::NeedsLoad { path, .. }
            | Error::Changed { path, .. }
            | Error::Io { path, .. } => Some(path),
            Error::NotOpen
            | Error::ReadOnly
            | Error::NotLoaded
            | Error::RecordNotFound { .. }
            | Error::SegmentNotFound { .. }
            | Error::Backend { .. }
            | Error::Invalid { .. } => None,
            Error::Failed { cause, .. } => cause.as_ref().and_then(|cause| cause.path()),
        }
    }

    /// Wraps an I/O error with the call and the file.
    pub fn io(syscall: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Error::Io { syscall, path: path.into(), source: Arc::new(source) }
    }

    /// A damaged file, with no place in it.
    pub fn corrupt(path: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Corrupt { message: message.into(), path: path.into(), line: None, byte: None }
    }

    /// True where the cause is that the file does not exist. Nothing else counts as absence.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
