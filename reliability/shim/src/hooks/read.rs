//! What only looks: these change nothing and can fail.

use super::{Call, judged, on_fd, record};
use crate::real::hook;
use crate::state::state;
use libc::{AT_FDCWD, DIR, dirent64, off_t, off64_t};
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

fn looked<R: super::Failure>(name: &'static str, folder: c_int, path: *const c_char, real: impl FnOnce() -> R) -> R {
    let mut state = state();
    let Some(path) = state.counts_at(folder, path) else {
        drop(state);
        return real();
    };
    judged(&mut state, &Call { name, path: &path, changes: false, bytes: 0 }, real, |state, _| {
        record(state, || format!("{name}\t{path}"));
    })
}

fn read_from(fd: c_int, real: impl FnOnce() -> isize) -> isize {
    on_fd("read", false, fd, real, |state, path| record(state, || format!("read\t{path}")))
}

type Filter = Option<unsafe extern "C" fn(*const dirent64) -> c_int>;
type Compare = Option<unsafe extern "C" fn(*mut *const dirent64, *mut *const dirent64) -> c_int>;

hook! {
    fn read(fd: c_int, ptr: *mut c_void, len: usize) -> isize | real {
        read_from(fd, || real(fd, ptr, len))
    }
    fn pread(fd: c_int, ptr: *mut c_void, len: usize, at: off_t) -> isize | real {
        read_from(fd, || real(fd, ptr, len, at))
    }
    fn pread64(fd: c_int, ptr: *mut c_void, len: usize, at: off64_t) -> isize | real {
        read_from(fd, || real(fd, ptr, len, at))
    }
    fn opendir(path: *const c_char) -> *mut DIR | real {
        looked("opendir", AT_FDCWD, path, || real(path))
    }
    fn scandir64(path: *const c_char, list: *mut *mut *mut dirent64, filter: Filter, compare: Compare) -> c_int | real {
        looked("opendir", AT_FDCWD, path, || real(path, list, filter, compare))
    }
    fn scandir(path: *const c_char, list: *mut *mut *mut dirent64, filter: Filter, compare: Compare) -> c_int | real {
        looked("opendir", AT_FDCWD, path, || real(path, list, filter, compare))
    }
    fn statx(folder: c_int, path: *const c_char, flags: c_int, mask: c_uint, into: *mut c_void) -> c_int | real {
        looked("stat", folder, path, || real(folder, path, flags, mask, into))
    }
    fn stat64(path: *const c_char, into: *mut libc::stat64) -> c_int | real {
        looked("stat", AT_FDCWD, path, || real(path, into))
    }
    fn lstat64(path: *const c_char, into: *mut libc::stat64) -> c_int | real {
        looked("stat", AT_FDCWD, path, || real(path, into))
    }
    fn fstat64(fd: c_int, into: *mut libc::stat64) -> c_int | real {
        on_fd("stat", false, fd, || real(fd, into), |state, path| record(state, || format!("stat\t{path}")))
    }
    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long | real {
        // libuv calls statx like this. Anything else that would change files goes the way that is seen.
        match number {
            libc::SYS_statx => {
                looked("stat", a as c_int, b as *const c_char, || real(number, a, b, c, d, e, f) as isize) as c_long
            }
            libc::SYS_copy_file_range if crate::state::is_followed(c as c_int) => {
                super::fail::<isize>(libc::ENOSYS) as c_long
            }
            _ => real(number, a, b, c, d, e, f),
        }
    }
}
