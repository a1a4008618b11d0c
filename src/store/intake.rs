//! Sets of a buffered store that cross without a call: a caller in another language writes them to memory that it shares
//! with the engine, and whoever looks at the queue next takes them in.
//!
//! A call across the boundary costs as much as all that the engine does with a `set`. Buffered ones need no answer: they
//! are acknowledged when they are buffered. They are in the engine's hands as soon as they are published, so what is
//! promised of buffered writes holds while the caller's thread does something else, or never comes back.
//!
//! The caller publishes how many bytes are there. `inner` (see `store`) is held whenever any of them are taken, so that
//! they are taken in the order in which they were published, and once.
//!
//! What could go wrong if: the last thread that looks goes to sleep while something is published. It says so first and
//! looks again after that; the caller publishes first and looks after that whether anybody does. All four are
//! sequentially consistent, so at least one of the two notices.

use super::queue::Ops;
use super::{Inner, Phase, Shared, Store, WriteMode};
use crate::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Words of eight bytes of text.
const WORDS: usize = 8 * 1024;

/// The memory. Its layout is known to `lib/intake.js`.
#[repr(C, align(64))]
pub struct Intake {
    /// Bytes of text that the caller has published.
    published: AtomicU32,
    /// 1: nobody is going to look by himself. The caller calls.
    call: AtomicU32,
    /// How many sets may cross this way until the caller has to call. Changed only while it is in a call.
    allowed: AtomicU32,
    unused: [AtomicU32; 13],
    /// Lines: the time of what follows in milliseconds since 1970, where it differs from the one before; the JSON text of
    /// an id; the one of its value.
    text: [AtomicU64; WORDS],
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Intake").field("published", &self.published).finish_non_exhaustive()
    }
}

impl Intake {
    fn new() -> Self {
        Intake {
            published: AtomicU32::new(0),
            call: AtomicU32::new(1),
            allowed: AtomicU32::new(0),
            unused: [const { AtomicU32::new(0) }; 13],
            text: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    fn published(&self) -> usize {
        (self.published.load(Ordering::SeqCst) as usize).min(8 * WORDS)
    }

    /// Copies bytes of the text.
    fn read(&self, from: usize, to: usize) -> Vec<u8> {
        let (first, last) = (from / 8, to.div_ceil(8));
        let words = self.text.get(first..last).unwrap_or_default();
        let mut bytes = vec![0; 8 * words.len()];
        for (target, word) in bytes.chunks_exact_mut(8).zip(words) {
            target.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(to - 8 * first);
        bytes.drain(..from - 8 * first);
        bytes
    }

    /// Writes a set as a caller in another language does (`put` in `lib/intake.js`): for tests, which have none. False where it
    /// does not fit, or has to call. If nobody is going to look by himself after that, [`Store::take_in`] is due.
    #[doc(hidden)]
    pub fn put(&self, ts: u64, id: &str, data: &str) -> bool {
        let (start, lines) = (self.published(), format!("{ts}\n{id}\n{data}\n"));
        if self.allowed() == 0 || !self.is_watched() || start + lines.len() > 8 * WORDS {
            return false;
        }
        for (at, byte) in (start..).zip(lines.bytes()) {
            let Some(word) = self.text.get(at / 8) else { return false };
            let mut bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes.iter_mut().skip(at % 8).take(1).for_each(|place| *place = byte);
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        self.allowed.fetch_sub(1, Ordering::Relaxed);
        self.published.fetch_add(u32::try_from(lines.len()).unwrap_or_default(), Ordering::SeqCst);
        true
    }

    /// True while somebody is going to look by himself.
    #[doc(hidden)]
    pub fn is_watched(&self) -> bool {
        self.call.load(Ordering::SeqCst) == 0
    }

    /// How many sets may cross this way until the caller has to call.
    #[doc(hidden)]
    pub fn allowed(&self) -> u32 {
        self.allowed.load(Ordering::Relaxed)
    }
}

/// How far the engine is with the intake.
#[derive(Debug, Default)]
pub(super) struct Taking {
    intake: Option<Arc<Intake>>,
    /// Bytes of the text that have been taken.
    taken: usize,
    /// The time that was written last, in milliseconds since 1970.
    ts: u64,
    /// When all of it had been taken. What was put there since was called since, whatever the caller's clock says.
    since: u64,
    /// Sets have to call: there is an error to tell, or it is not known how many more fit the buffer.
    closed: bool,
}

impl Store {
    /// The memory for sets without a call; `None` for a store whose writes are not buffered, that is not the only one that
    /// writes its directory, whose files somebody else keeps, or that has not loaded its records.
    ///
    /// One thread may write to it, the one that makes all calls of the store.
    pub fn intake(&self) -> Option<Arc<Intake>> {
        if !self.shared.lends() || self.shared.options.skip_load {
            return None;
        }
        let intake = self.shared.intake.get_or_init(|| Arc::new(Intake::new())).clone();
        self.shared.inner().taking.intake = Some(intake.clone());
        Some(intake)
    }

    /// Takes in what stands in the intake, and begins it anew. For its caller's thread only.
    pub fn take_in(&self) {
        if self.shared.intake.get().is_some() {
            let mut inner = self.shared.inner();
            if self.take_all_in(&mut inner) {
                self.end_change(inner);
            }
        }
    }

    /// As [`Store::take_in`]. True if there was anything.
    pub(super) fn take_all_in(&self, inner: &mut Inner) -> bool {
        let Some(intake) = self.shared.intake.get() else { return false };
        let taken = inner.take_in(&self.shared);
        inner.taking.taken = 0;
        intake.published.store(0, Ordering::SeqCst);
        intake.allowed.store(inner.allowed(&self.shared), Ordering::Relaxed);
        taken
    }

    /// A `set` has gone well: others may follow without a call.
    pub(super) fn allow_intake(&self, inner: &mut Inner) {
        if let Some(intake) = self.shared.intake.get() {
            intake.allowed.store(inner.allowed(&self.shared), Ordering::Relaxed);
            inner.taking.closed = false;
            inner.taking.since = clock::now_ms();
            inner.show_whether_watched();
        }
    }
}

impl Inner {
    /// Somebody is going to look at the queue, and into the intake.
    pub(super) fn arm(&mut self) {
        self.armed = true;
        self.show_whether_watched();
    }

    /// Nobody is any more, unless he is asked to.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
        self.show_whether_watched();
    }

    /// As [`Inner::disarm`]; if there is something in the intake, it is taken in and somebody is going to look after all. True
    /// then.
    pub(super) fn rest(&mut self, shared: &Shared) -> bool {
        // ORDER: before the look. Who publishes after it sees that he has to call.
        self.disarm();
        let taken = self.take_in(shared);
        if taken {
            self.arm();
        }
        taken
    }

    /// The next `set` calls.
    pub(super) fn close_intake(&mut self) {
        self.taking.closed = true;
        self.show_whether_watched();
    }

    fn show_whether_watched(&self) {
        if let Some(intake) = &self.taking.intake {
            let watched = self.armed && !self.taking.closed;
            intake.call.store(u32::from(!watched), Ordering::SeqCst);
        }
    }

    /// Applies and queues what has been published. True if that was anything.
    pub(super) fn take_in(&mut self, shared: &Shared) -> bool {
        let Some(intake) = &self.taking.intake else { return false };
        let published = intake.published();
        if published <= self.taking.taken {
            return false;
        }
        let bytes = intake.read(self.taking.taken, published);
        self.taking.taken = published;
        let now = clock::now_ms();
        let since = std::mem::replace(&mut self.taking.since, now).min(now);
        let mut lines = bytes.split(|&byte| byte == b'\n');
        while let Some(mut id) = lines.next() {
            if id.first().is_some_and(u8::is_ascii_digit) {
                let ts = std::str::from_utf8(id).ok().and_then(|text| text.parse().ok());
                self.taking.ts = ts.unwrap_or(self.taking.ts);
                id = lines.next().unwrap_or_default();
            }
            let Some(data) = lines.next() else { break };
            let op = self.state.set(id, data, self.taking.ts.clamp(since, now));
            // As what was buffered before a failure: it stays in memory, and the failure has been told.
            if self.failed.is_none() {
                self.accept_acknowledged(Ops::from_buf([op]), shared);
            }
        }
        true
    }

    /// How many sets may be acknowledged before one has to wait: for its group to be written, or for a checkpoint.
    fn allowed(&self, shared: &Shared) -> u32 {
        let options = &shared.options;
        if self.failed.is_some() || self.phase != Phase::Open {
            return 0;
        }
        if options.write_mode == WriteMode::Async {
            return u32::MAX;
        }
        let until_full = options.group_commit_size.saturating_sub(self.buffered);
        let until_checkpoint = self.operations_until_checkpoint();
        u32::try_from(until_full.min(until_checkpoint).saturating_sub(1)).unwrap_or(u32::MAX)
    }
}
