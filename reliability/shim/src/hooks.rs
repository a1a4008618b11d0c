//! The functions that are taken over, by what they do.
//!
//! `open` and `fcntl` are variadic in C. Defining them with all arguments that they can have is the same thing on the
//! calling conventions of Linux (x86-64, aarch64).

mod data;
mod names;
mod open;
mod read;

use crate::state::{Call, State, Verdict, is_followed, state};
use std::ffi::c_int;

/// A result that tells of failure as its kind of function does.
pub(crate) trait Failure: Copy {
    const FAILED: Self;
    fn failed(self) -> bool;
}

impl Failure for c_int {
    const FAILED: Self = -1;
    fn failed(self) -> bool {
        self < 0
    }
}

impl Failure for isize {
    const FAILED: Self = -1;
    fn failed(self) -> bool {
        self < 0
    }
}

impl<T> Failure for *mut T {
    const FAILED: Self = std::ptr::null_mut();
    fn failed(self) -> bool {
        self.is_null()
    }
}

pub(crate) fn errno() -> c_int {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn fail<R: Failure>(errno: c_int) -> R {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    R::FAILED
}

/// A call on a path, or on a descriptor whose path is known: counted, judged, made, and noted if it succeeded.
pub(crate) fn judged<R: Failure>(
    state: &mut State,
    call: &Call<'_>,
    real: impl FnOnce() -> R,
    note: impl FnOnce(&mut State, R),
) -> R {
    if let Verdict::Fail(errno) = state.judge(call) {
        return fail(errno);
    }
    let result = real();
    // What is noted must not change what the caller sees.
    let kept = errno();
    if !result.failed() {
        note(state, result);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = kept };
    result
}

/// [`judged`] for a call on a descriptor; goes straight to `real` where the descriptor does not count.
pub(crate) fn on_fd<R: Failure>(
    name: &'static str,
    changes: bool,
    fd: c_int,
    real: impl FnOnce() -> R,
    note: impl FnOnce(&mut State, &str),
) -> R {
    if !is_followed(fd) {
        return real();
    }
    let mut state = state();
    let Some(path) = state.path(fd) else {
        drop(state);
        return real();
    };
    judged(&mut state, &Call { name, path: &path, changes, bytes: 0 }, real, |state, _| note(state, &path))
}

/// Notes a call in the trace, if calls are recorded.
pub(crate) fn record(state: &State, text: impl FnOnce() -> String) {
    if state.records() {
        state.trace.line(&text());
    }
}
