//! Preloaded into a Node process (`LD_PRELOAD`): takes over the libc calls by which Rust's standard library and libuv
//! reach files, and records them, kills the process at one of them, or makes one of them fail.
//!
//! Only files below the directory `OPSLOG_SHIM_DIR` count. `OPSLOG_SHIM_MODE` says what is done (see [`state`]);
//! `OPSLOG_SHIM_TRACE` names the file for what there is to tell. Writing a line to the file `OPSLOG_SHIM_CONTROL` gives
//! a command to the shim of the writing process: `mark TEXT` puts a line into the trace; `record`, `list` (every call,
//! also those that fail, by name), `fail N ERRNO`, `fail-at NAME PART ERRNO` (the first
//! call of that name whose path has that part; with `$` behind it, at its end), `short N`, `budget BYTES` (ENOSPC once so many were written) and `off`
//! choose what happens from now on, counting from here.
//!
//! All calls that count hold one lock while they run. So the trace has them in an order in which they happened, and
//! nothing else happens to the files while the process is being killed.
//!
//! Raw system calls (rustix's, Go's) and io_uring would escape. The engine makes none on files, as strace shows, and
//! the harness tells libuv not to use io_uring.
#![cfg(target_os = "linux")]

mod hooks;
mod real;
mod state;
mod trace;
