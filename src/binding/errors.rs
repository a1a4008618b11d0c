//! Engine errors as plain objects; the face makes JavaScript errors of them, with Node's words for system errors.

use crate::Error;
use napi_derive::napi;
use std::cell::RefCell;

/// What went wrong.
#[napi(object)]
pub struct Failure {
    /// The engine's message.
    pub message: String,
    /// `OPSLOG_…`; the face replaces it by the name of `errno` where there is one.
    pub code: String,
    /// True if an argument is to blame.
    pub argument: bool,
    pub path: Option<String>,
    pub syscall: Option<String>,
    /// The operating system's error number, positive.
    pub errno: Option<i32>,
    /// JSON text of the id of the record that was not found.
    pub id: Option<String>,
    pub line: Option<f64>,
    pub byte: Option<f64>,
    /// The face's number for an error of the caller's backend.
    pub backend: Option<f64>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let mut failure = Failure {
            message: error.to_string(),
            code: error.code().to_owned(),
            argument: false,
            path: error.path().map(str::to_owned),
            syscall: None,
            errno: None,
            id: None,
            line: None,
            byte: None,
            backend: None,
        };
        match error {
            Error::Io { syscall, source, .. } => {
                failure.syscall = Some((*syscall).to_owned());
                failure.errno = source.raw_os_error();
            }
            Error::Corrupt { line, byte, .. } => {
                // Exact up to 2^53, far beyond any file.
                failure.line = line.map(|line| line as f64);
                failure.byte = byte.map(|byte| byte as f64);
            }
            Error::Backend { number } => failure.backend = Some(*number as f64),
            Error::Invalid { .. } => failure.argument = true,
            Error::RecordNotFound { id } => failure.id = Some(String::from_utf8_lossy(id).into_owned()),
            Error::Failed { .. }
            | Error::Changed { .. }
            | Error::NotOpen
            | Error::ReadOnly
            | Error::NoStore { .. }
            | Error::Locked { .. }
            | Error::CompactionLocked { .. }
            | Error::SegmentNotFound { .. }
            | Error::SnapshotMissing { .. }
            | Error::NewerVersion { .. }
            | Error::NotLoaded
            | Error::NeedsLoad { .. } => {}
        }
        failure
    }
}

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Remembers an error for [`last_failure`].
pub fn remember(error: Error) {
    LAST.with(|last| *last.borrow_mut() = Some(error));
}

/// What made the last call on this thread return NaN.
#[napi(catch_unwind)]
pub fn last_failure() -> Failure {
    let last = LAST.with(|last| last.borrow_mut().take());
    (&last.unwrap_or_else(|| Error::Failed { message: "The call failed unexpectedly".to_owned(), cause: None })).into()
}
