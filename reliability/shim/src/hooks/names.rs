//! What changes the names in folders.

use super::{Call, judged, record};
use crate::real::hook;
use crate::state::state;
use libc::{AT_FDCWD, mode_t};
use std::ffi::{c_char, c_int, c_uint};

/// A call that changes what is at one path.
pub(super) fn changed(
    name: &'static str,
    path: *const c_char,
    real: impl FnOnce() -> c_int,
    line: impl FnOnce(&str) -> String,
) -> c_int {
    changed_at(name, AT_FDCWD, path, real, line)
}

fn changed_at(
    name: &'static str,
    folder: c_int,
    path: *const c_char,
    real: impl FnOnce() -> c_int,
    line: impl FnOnce(&str) -> String,
) -> c_int {
    let mut state = state();
    let Some(path) = state.counts_at(folder, path) else {
        drop(state);
        return real();
    };
    judged(&mut state, &Call { name, path: &path, changes: true, bytes: 0 }, real, |state, _| {
        record(state, || line(&path));
    })
}

/// A call that gives a file another name, or a further one.
fn named(
    name: &'static str,
    from: (c_int, *const c_char),
    to: (c_int, *const c_char),
    real: impl FnOnce() -> c_int,
) -> c_int {
    let mut state = state();
    let (Some(from), Some(to)) = (state.counts_at(from.0, from.1), state.counts_at(to.0, to.1)) else {
        drop(state);
        return real();
    };
    judged(&mut state, &Call { name, path: &to, changes: true, bytes: 0 }, real, |state, _| {
        record(state, || format!("{name}\t{from}\t{to}"));
    })
}

hook! {
    fn rename(from: *const c_char, to: *const c_char) -> c_int | real {
        named("rename", (AT_FDCWD, from), (AT_FDCWD, to), || real(from, to))
    }
    fn renameat(from: c_int, old: *const c_char, to: c_int, new: *const c_char) -> c_int | real {
        named("rename", (from, old), (to, new), || real(from, old, to, new))
    }
    fn renameat2(from: c_int, old: *const c_char, to: c_int, new: *const c_char, flags: c_uint) -> c_int | real {
        named("rename", (from, old), (to, new), || real(from, old, to, new, flags))
    }
    fn link(from: *const c_char, to: *const c_char) -> c_int | real {
        named("link", (AT_FDCWD, from), (AT_FDCWD, to), || real(from, to))
    }
    fn linkat(from: c_int, old: *const c_char, to: c_int, new: *const c_char, flags: c_int) -> c_int | real {
        named("link", (from, old), (to, new), || real(from, old, to, new, flags))
    }
    fn unlink(path: *const c_char) -> c_int | real {
        changed("unlink", path, || real(path), |path| format!("unlink\t{path}"))
    }
    fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int | real {
        let name = if flags & libc::AT_REMOVEDIR != 0 { "rmdir" } else { "unlink" };
        changed_at(name, folder, path, || real(folder, path, flags), |path| format!("{name}\t{path}"))
    }
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int | real {
        changed("mkdir", path, || real(path, mode), |path| format!("mkdir\t{path}"))
    }
    fn mkdirat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int | real {
        changed_at("mkdir", folder, path, || real(folder, path, mode), |path| format!("mkdir\t{path}"))
    }
    fn rmdir(path: *const c_char) -> c_int | real {
        changed("rmdir", path, || real(path), |path| format!("rmdir\t{path}"))
    }
}
