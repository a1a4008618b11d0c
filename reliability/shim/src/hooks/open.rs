//! Opening and closing: which descriptors count.

use super::{Call, judged, on_fd, record};
use crate::real::hook;
use crate::state::{State, is_followed, state};
use libc::mode_t;
use std::ffi::{CString, c_char, c_int};

/// The name under which the descriptor of the control file is known: no path is like it.
const CONTROL: &str = "\0control";

/// True for the descriptor of the control file.
pub(super) fn is_control(state: &State, fd: c_int) -> bool {
    state.path(fd).is_some_and(|path| path == CONTROL)
}

fn exists(path: &str) -> bool {
    let Ok(path) = CString::new(path) else { return false };
    // SAFETY: a C string; access writes nothing.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

fn opened(folder: c_int, path: *const c_char, flags: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let mut state = state();
    if state.is_control(path) {
        let fd = real();
        state.follow(fd, CONTROL.to_owned());
        return fd;
    }
    let Some(name) = state.counts_at(folder, path) else {
        drop(state);
        return real();
    };
    let existed = exists(&name);
    let creates = flags & libc::O_CREAT != 0 && !existed;
    let cuts = flags & libc::O_TRUNC != 0 && existed;
    let call = Call { name: if creates { "create" } else { "open" }, path: &name, changes: creates || cuts, bytes: 0 };
    judged(&mut state, &call, real, |state, fd| {
        record(state, || format!("open\t{fd}\t{}\t{}\t{name}", u8::from(creates), u8::from(cuts)));
        state.follow(fd, name.clone());
    })
}

hook! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int | real {
        opened(libc::AT_FDCWD, path, flags, || real(path, flags, mode))
    }
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int | real {
        opened(libc::AT_FDCWD, path, flags, || real(path, flags, mode))
    }
    fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int | real {
        opened(folder, path, flags, || real(folder, path, flags, mode))
    }
    fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int | real {
        opened(folder, path, flags, || real(folder, path, flags, mode))
    }
    fn creat(path: *const c_char, mode: mode_t) -> c_int | real {
        opened(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_TRUNC, || real(path, mode))
    }
    fn creat64(path: *const c_char, mode: mode_t) -> c_int | real {
        opened(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_TRUNC, || real(path, mode))
    }
    fn close(fd: c_int) -> c_int | real {
        if !is_followed(fd) {
            return real(fd);
        }
        let mut state = state();
        let Some(path) = state.path(fd) else {
            return real(fd);
        };
        state.forget(fd);
        if path == CONTROL {
            return real(fd);
        }
        // A close that fails has closed: so it is on Linux, whatever the error.
        let closed = real(fd);
        let call = Call { name: "close", path: &path, changes: false, bytes: 0 };
        judged(&mut state, &call, || closed, |state, _| record(state, || format!("close\t{fd}")))
    }
    fn dup(fd: c_int) -> c_int | real {
        copied(fd, || real(fd))
    }
    fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int | real {
        if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
            copied(fd, || real(fd, command, argument))
        } else {
            real(fd, command, argument)
        }
    }
    fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int | real {
        if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
            copied(fd, || real(fd, command, argument))
        } else {
            real(fd, command, argument)
        }
    }
    fn flock(fd: c_int, how: c_int) -> c_int | real {
        let waits = how & (libc::LOCK_NB | libc::LOCK_UN) == 0;
        // Calls that are judged go one at a time, and whoever has the lock may have to get through: waits before that.
        while waits && real(fd, how | libc::LOCK_NB) != 0 && is_taken() {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        let locked = on_fd("flock", false, fd, || real(fd, how), |state, path| record(state, || format!("flock\t{path}")));
        if waits && locked != 0 {
            // It was to fail: then it has not been taken.
            let kept = super::errno();
            real(fd, libc::LOCK_UN);
            return super::fail(kept);
        }
        locked
    }
}

/// True if the last call failed because somebody else has the lock.
fn is_taken() -> bool {
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}

fn copied(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if !is_followed(fd) {
        return real();
    }
    let mut state = state();
    let copy = real();
    if let (Some(path), true) = (state.path(fd), copy >= 0) {
        record(&state, || format!("open\t{copy}\t0\t0\t{path}"));
        state.follow(copy, path);
    }
    copy
}
