//! The file that says what happened: one line for each call, fields separated by tabs.
//!
//! A line of a write ends with the number of its bytes, which follow, and a newline after them.

use std::ffi::{CString, c_int, c_void};

/// The file, or nothing where none was named.
pub(crate) struct Trace {
    fd: c_int,
}

/// A write that does not come back to our own hooks.
fn write_all(fd: c_int, mut bytes: &[u8]) {
    crate::real::hook_free_write(fd, &mut bytes);
}

impl Trace {
    pub(crate) fn open(path: &[u8]) -> Self {
        let path = CString::new(path).unwrap_or_default();
        if path.is_empty() {
            return Trace { fd: -1 };
        }
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        Trace { fd: crate::real::hook_free_open(&path, flags) }
    }

    pub(crate) fn line(&self, text: &str) {
        if self.fd >= 0 {
            write_all(self.fd, format!("{text}\n").as_bytes());
        }
    }

    pub(crate) fn bytes(&self, text: &str, ptr: *const c_void, len: usize) {
        if self.fd < 0 {
            return;
        }
        // SAFETY: the caller of write handed over so many readable bytes.
        let bytes = if len == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(ptr.cast::<u8>(), len) } };
        write_all(self.fd, &[format!("{text}\t{len}\n").as_bytes(), bytes, b"\n"].concat());
    }
}
