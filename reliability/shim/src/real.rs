//! The functions that ours stand in front of.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function of the next library in the search order, looked up once.
pub(crate) struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Next { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Its address.
    pub(crate) fn get(&self) -> *mut c_void {
        let known = self.found.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the name is a C string; dlsym has no other requirement.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        assert!(!found.is_null(), "libc has no {:?}", self.name);
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

/// Defines functions under libc's names. `| real` names the function that would have been called.
macro_rules! hook {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty | $real:ident $body:block)*) => {$(
        /// Stands in front of libc's function of this name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            static NEXT: $crate::real::Next = {
                const NAME: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!(),
                };
                $crate::real::Next::new(NAME)
            };
            // SAFETY: libc's function of this name has this signature.
            let $real: unsafe extern "C" fn($($ty),*) -> $ret = unsafe { std::mem::transmute(NEXT.get()) };
            // SAFETY: arguments are the caller's, who called a function with these very requirements.
            #[allow(unused_unsafe, reason = "some bodies call nothing unsafe")]
            unsafe { $body }
        }
    )*};
}
pub(crate) use hook;

/// Opens a file without coming back to the hooks.
pub(crate) fn hook_free_open(path: &CStr, flags: i32) -> i32 {
    static OPEN: Next = Next::new(c"open64");
    type Open = unsafe extern "C" fn(*const std::ffi::c_char, i32, libc::mode_t) -> i32;
    // SAFETY: open64 has this signature where a mode is given.
    unsafe { std::mem::transmute::<*mut c_void, Open>(OPEN.get())(path.as_ptr(), flags, 0o644) }
}

/// Writes all bytes without coming back to the hooks; what cannot be written is given up.
pub(crate) fn hook_free_write(fd: i32, bytes: &mut &[u8]) {
    static WRITE: Next = Next::new(c"write");
    type Write = unsafe extern "C" fn(i32, *const c_void, usize) -> isize;
    while !bytes.is_empty() {
        // SAFETY: write has this signature, and the slice is readable.
        let wrote =
            unsafe { std::mem::transmute::<*mut c_void, Write>(WRITE.get())(fd, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(wrote) {
            Ok(wrote) if wrote > 0 => *bytes = bytes.get(wrote..).unwrap_or_default(),
            _ => return,
        }
    }
}
