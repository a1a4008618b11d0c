//! What is written into files, and made durable.

use super::open::is_control;
use super::{Call, errno, fail, on_fd, record};
use crate::real::hook;
use crate::state::{State, Verdict, is_followed, state};
use libc::{iovec, off_t, off64_t};
use std::ffi::{c_char, c_int, c_void};

/// Where bytes go: at the descriptor's position, or at a given one.
type At = Option<i64>;

/// Writes `len` bytes from `ptr` on. `real` writes so many of them.
fn written(fd: c_int, ptr: *const c_void, len: usize, at: At, real: impl FnOnce(usize) -> isize) -> isize {
    if !is_followed(fd) {
        return real(len);
    }
    let mut state = state();
    if is_control(&state, fd) {
        // SAFETY: the caller handed over so many readable bytes.
        let text = unsafe { std::slice::from_raw_parts(ptr.cast::<u8>(), len) };
        state.command(text);
        return len as isize;
    }
    let Some(path) = state.path(fd) else {
        drop(state);
        return real(len);
    };
    let verdict = state.judge(&Call { name: "write", path: &path, changes: true, bytes: len });
    let wrote = match verdict {
        Verdict::Fail(errno) => return fail(errno),
        Verdict::Go => real(len),
        Verdict::Part(part) => real(part),
        Verdict::LastPart(part) => {
            real(part);
            state.die("half of a write", &path)
        }
    };
    let kept = errno();
    note(&state, fd, ptr, wrote, at);
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = kept };
    wrote
}

fn note(state: &State, fd: c_int, ptr: *const c_void, wrote: isize, at: At) {
    let Ok(wrote) = usize::try_from(wrote) else { return };
    if state.records() {
        // SAFETY: asks for the position of the caller's descriptor.
        let at = at.unwrap_or_else(|| unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) } - wrote as i64);
        state.trace.bytes(&format!("write\t{fd}\t{at}"), ptr, wrote);
    }
}

/// The bytes of a vector, in one piece.
///
/// # Safety
/// As for writev.
unsafe fn gathered(parts: *const iovec, count: c_int) -> Vec<u8> {
    let mut bytes = Vec::new();
    for at in 0..usize::try_from(count).unwrap_or_default() {
        // SAFETY: the caller promises so many parts of readable bytes.
        let part = unsafe { &*parts.add(at) };
        if part.iov_len > 0 {
            // SAFETY: as above.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len) });
        }
    }
    bytes
}

/// A vector is written in one piece: the same thing to the file.
///
/// # Safety
/// As for pwritev.
unsafe fn written_parts(fd: c_int, parts: *const iovec, count: c_int, at: At, real: impl FnOnce() -> isize) -> isize {
    if !is_followed(fd) {
        return real();
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { gathered(parts, count) };
    let ptr = bytes.as_ptr().cast();
    match at {
        // SAFETY: comes back to the hook below, with the bytes just gathered.
        None => unsafe { write(fd, ptr, bytes.len()) },
        // SAFETY: as above.
        Some(at) => unsafe { pwrite64(fd, ptr, bytes.len(), at) },
    }
}

fn synced(name: &'static str, fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    on_fd(name, true, fd, real, |state, _| record(state, || format!("{name}\t{fd}")))
}

fn cut(fd: c_int, len: i64, real: impl FnOnce() -> c_int) -> c_int {
    on_fd("ftruncate", true, fd, real, |state, _| record(state, || format!("ftruncate\t{fd}\t{len}")))
}

fn cut_path(path: *const c_char, len: i64, real: impl FnOnce() -> c_int) -> c_int {
    super::names::changed("truncate", path, real, |path| format!("truncate\t{path}\t{len}"))
}

hook! {
    fn write(fd: c_int, ptr: *const c_void, len: usize) -> isize | real {
        written(fd, ptr, len, None, |len| real(fd, ptr, len))
    }
    fn pwrite(fd: c_int, ptr: *const c_void, len: usize, at: off_t) -> isize | real {
        written(fd, ptr, len, Some(at), |len| real(fd, ptr, len, at))
    }
    fn pwrite64(fd: c_int, ptr: *const c_void, len: usize, at: off64_t) -> isize | real {
        written(fd, ptr, len, Some(at), |len| real(fd, ptr, len, at))
    }
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> isize | real {
        written_parts(fd, parts, count, None, || real(fd, parts, count))
    }
    fn pwritev(fd: c_int, parts: *const iovec, count: c_int, at: off_t) -> isize | real {
        written_parts(fd, parts, count, Some(at), || real(fd, parts, count, at))
    }
    fn pwritev64(fd: c_int, parts: *const iovec, count: c_int, at: off64_t) -> isize | real {
        written_parts(fd, parts, count, Some(at), || real(fd, parts, count, at))
    }
    fn fsync(fd: c_int) -> c_int | real {
        synced("fsync", fd, || real(fd))
    }
    fn fdatasync(fd: c_int) -> c_int | real {
        synced("fdatasync", fd, || real(fd))
    }
    fn ftruncate(fd: c_int, len: off_t) -> c_int | real {
        cut(fd, len, || real(fd, len))
    }
    fn ftruncate64(fd: c_int, len: off64_t) -> c_int | real {
        cut(fd, len, || real(fd, len))
    }
    fn truncate(path: *const c_char, len: off_t) -> c_int | real {
        cut_path(path, len, || real(path, len))
    }
    fn truncate64(path: *const c_char, len: off64_t) -> c_int | real {
        cut_path(path, len, || real(path, len))
    }
    fn copy_file_range(from: c_int, at: *mut off64_t, to: c_int, to_at: *mut off64_t, len: usize, flags: u32) -> isize | real {
        // Callers fall back to read and write, which are seen.
        if is_followed(to) { fail(libc::ENOSYS) } else { real(from, at, to, to_at, len, flags) }
    }
    fn sendfile(to: c_int, from: c_int, at: *mut off_t, len: usize) -> isize | real {
        if is_followed(to) { fail(libc::EINVAL) } else { real(to, from, at, len) }
    }
    fn sendfile64(to: c_int, from: c_int, at: *mut off64_t, len: usize) -> isize | real {
        if is_followed(to) { fail(libc::EINVAL) } else { real(to, from, at, len) }
    }
}
