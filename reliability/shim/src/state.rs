//! Which calls count, and what is to happen to them.
//!
//! | mode | effect |
//! |---|---|
//! | `record` | every call goes to the trace, writes with their bytes |
//! | `kill` | SIGKILL instead of the `OPSLOG_SHIM_AT`th changing call; with `OPSLOG_SHIM_HALF`, if that is a write, after half of it |
//! | `control` | commands only (see the crate's text) |
//!
//! A *changing* call is one that may change what a crash leaves: creations, writes, syncs, renames, truncations,
//! unlinks, folders. `fail` counts all calls, also those that read.

use crate::trace::Trace;
use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Descriptors that are followed; a process of ours has far fewer.
const DESCRIPTORS: usize = 4096;

/// Which descriptors are of files that count: looked at without the lock by every call of the process.
static FOLLOWED: [AtomicBool; DESCRIPTORS] = [const { AtomicBool::new(false) }; DESCRIPTORS];

/// What is to happen.
enum Plan {
    Nothing,
    Record,
    List,
    Kill { at: u64, half: bool },
    Fail { at: u64, errno: c_int },
    FailAt { name: String, part: String, errno: c_int },
    Short { at: u64 },
    Budget { left: u64 },
}

/// What happens to one call.
pub(crate) enum Verdict {
    Go,
    Fail(c_int),
    /// Write so many bytes only.
    Part(usize),
    /// Write so many bytes only, then die.
    LastPart(usize),
}

/// A call that counts.
pub(crate) struct Call<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: &'a str,
    /// True where it may change what a crash leaves.
    pub(crate) changes: bool,
    /// Bytes that it writes; 0 for other calls.
    pub(crate) bytes: usize,
}

/// Everything that the calls share.
pub(crate) struct State {
    plan: Plan,
    seen: u64,
    seen_changes: u64,
    dir: Vec<u8>,
    control: Vec<u8>,
    paths: HashMap<c_int, String>,
    pub(crate) trace: Trace,
}

fn variable(name: &str) -> Vec<u8> {
    std::env::var_os(name).unwrap_or_default().as_bytes().to_vec()
}

/// True if the path has this part; at its end, if the part ends with `$`.
fn is_named(path: &str, part: &str) -> bool {
    part.strip_suffix('$').map_or_else(|| path.contains(part), |end| path.ends_with(end))
}

fn number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl State {
    fn new() -> Self {
        let plan = match variable("OPSLOG_SHIM_MODE").as_slice() {
            b"record" => Plan::Record,
            b"kill" => Plan::Kill { at: number("OPSLOG_SHIM_AT"), half: number("OPSLOG_SHIM_HALF") == 1 },
            _ => Plan::Nothing,
        };
        State {
            plan,
            seen: 0,
            seen_changes: 0,
            dir: variable("OPSLOG_SHIM_DIR"),
            control: variable("OPSLOG_SHIM_CONTROL"),
            paths: HashMap::new(),
            trace: Trace::open(&variable("OPSLOG_SHIM_TRACE")),
        }
    }

    /// The path, if it counts: the directory itself, or below it. Paths must be absolute.
    pub(crate) fn counts(&self, path: &[u8]) -> Option<String> {
        let rest = path.strip_prefix(self.dir.as_slice()).filter(|_| !self.dir.is_empty())?;
        (rest.is_empty() || rest.starts_with(b"/")).then(|| OsStr::from_bytes(path).to_string_lossy().into_owned())
    }

    /// [`State::counts`] for a path as the calls of the `at` family take it.
    pub(crate) fn counts_at(&self, folder: c_int, path: *const c_char) -> Option<String> {
        if path.is_null() {
            return None;
        }
        // SAFETY: callers hand over C strings, as libc demands.
        let path = unsafe { CStr::from_ptr(path) }.to_bytes();
        match self.paths.get(&folder) {
            Some(known) if !path.starts_with(b"/") && !path.is_empty() => {
                self.counts(&[known.as_bytes(), b"/", path].concat())
            }
            Some(known) if path.is_empty() => Some(known.clone()),
            _ => self.counts(path),
        }
    }

    pub(crate) fn is_control(&self, path: *const c_char) -> bool {
        // SAFETY: as above.
        !self.control.is_empty() && !path.is_null() && unsafe { CStr::from_ptr(path) }.to_bytes() == self.control
    }

    pub(crate) fn path(&self, fd: c_int) -> Option<String> {
        self.paths.get(&fd).cloned()
    }

    pub(crate) fn follow(&mut self, fd: c_int, path: String) {
        if let Some(flag) = usize::try_from(fd).ok().and_then(|fd| FOLLOWED.get(fd)) {
            flag.store(true, Ordering::Relaxed);
            self.paths.insert(fd, path);
        }
    }

    pub(crate) fn forget(&mut self, fd: c_int) {
        if let Some(flag) = usize::try_from(fd).ok().and_then(|fd| FOLLOWED.get(fd)) {
            flag.store(false, Ordering::Relaxed);
        }
        self.paths.remove(&fd);
    }

    /// Counts a call and says what happens to it. Does not return where the process dies here.
    pub(crate) fn judge(&mut self, call: &Call<'_>) -> Verdict {
        self.seen += 1;
        self.seen_changes += u64::from(call.changes);
        let half = call.bytes / 2;
        match &mut self.plan {
            Plan::Nothing | Plan::Record => Verdict::Go,
            Plan::List => {
                self.trace.line(&format!("call\t{}\t{}", call.name, call.path));
                Verdict::Go
            }
            Plan::Kill { at, half: halves } => {
                if !call.changes || self.seen_changes != *at {
                    return Verdict::Go;
                }
                if *halves && half > 0 {
                    return Verdict::LastPart(half);
                }
                self.die(call.name, call.path)
            }
            Plan::Fail { at, errno } if *at == self.seen => {
                let errno = *errno;
                self.trace.line(&format!("hit\t{}\t{}", call.name, call.path));
                Verdict::Fail(errno)
            }
            Plan::FailAt { name, part, errno } if name == call.name && is_named(call.path, part) => {
                let errno = *errno;
                self.trace.line(&format!("hit\t{}\t{}", call.name, call.path));
                self.plan = Plan::Nothing;
                Verdict::Fail(errno)
            }
            Plan::Short { at } if *at == self.seen => {
                self.trace.line(&format!("hit\t{}\t{}", call.name, call.path));
                if half > 0 { Verdict::Part(half) } else { Verdict::Go }
            }
            Plan::Fail { .. } | Plan::FailAt { .. } | Plan::Short { .. } => Verdict::Go,
            Plan::Budget { left } => {
                let bytes = call.bytes as u64;
                if bytes <= *left {
                    *left -= bytes;
                    return Verdict::Go;
                }
                match std::mem::take(left) {
                    0 => {
                        self.trace.line(&format!("hit\t{}\t{}", call.name, call.path));
                        Verdict::Fail(libc::ENOSPC)
                    }
                    room => Verdict::Part(room as usize),
                }
            }
        }
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn die(&mut self, name: &str, path: &str) -> ! {
        self.trace.line(&format!("killed\t{name}\t{path}"));
        // SAFETY: plain system calls; nothing of this process runs afterwards.
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
    }

    /// Carries a command out.
    pub(crate) fn command(&mut self, text: &[u8]) {
        for line in String::from_utf8_lossy(text).lines() {
            let mut words = line.splitn(2, ' ');
            let (word, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let numbers: Vec<u64> = rest.split(' ').filter_map(|text| text.parse().ok()).collect();
            let first = numbers.first().copied().unwrap_or_default();
            match word {
                "mark" => {
                    self.trace.line(&format!("mark\t{rest}"));
                    continue;
                }
                "fail" => {
                    let errno = numbers.get(1).and_then(|errno| c_int::try_from(*errno).ok()).unwrap_or(libc::EIO);
                    self.plan = Plan::Fail { at: first, errno };
                }
                "fail-at" => {
                    let mut words = rest.split(' ').map(str::to_owned);
                    let (name, part) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                    let errno = words.next().and_then(|text| text.parse().ok()).unwrap_or(libc::EIO);
                    self.plan = Plan::FailAt { name, part, errno };
                }
                "short" => self.plan = Plan::Short { at: first },
                "budget" => self.plan = Plan::Budget { left: first },
                "record" => self.plan = Plan::Record,
                "list" => self.plan = Plan::List,
                _ => self.plan = Plan::Nothing,
            }
            (self.seen, self.seen_changes) = (0, 0);
        }
    }

    /// True where calls are written down.
    pub(crate) fn records(&self) -> bool {
        matches!(self.plan, Plan::Record)
    }
}

/// The state, locked: as long as it is held no other call that counts runs.
pub(crate) fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    let state = STATE.get_or_init(|| Mutex::new(State::new()));
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// False for descriptors that surely do not count.
pub(crate) fn is_followed(fd: c_int) -> bool {
    usize::try_from(fd).ok().and_then(|fd| FOLLOWED.get(fd)).is_some_and(|flag| flag.load(Ordering::Relaxed))
}
