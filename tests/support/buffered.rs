//! Stores whose writes are buffered, and disks that hold a call up.

use super::faulty::Call;
use super::{closed, opened, quoted, records};
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Accepted, Durability, Options, Store, Ticket, WriteMode};

pub fn buffered(write_mode: WriteMode, durability: Durability, threshold: u64, size: u64) -> Options {
    Options {
        write_mode,
        durability,
        checkpoint_threshold: Some(threshold),
        group_commit_size: size,
        group_commit_ms: u64::MAX,
        checkpoint_on_close: false,
        ..Options::default()
    }
}

/// Makes a call that is acknowledged at once, or returns the ticket of the one that waits.
pub fn set(store: &Store, id: &str) -> Option<Ticket> {
    let accepted = super::intake::set(store, &quoted(id), "1").unwrap();
    store.kick();
    match accepted {
        Accepted::Done => None,
        Accepted::Through(ticket) | Accepted::Told(ticket) => Some(ticket),
    }
}

pub fn ids(store: &Store) -> Vec<String> {
    records(store).into_iter().map(|(id, _)| id.trim_matches('"').to_owned()).collect()
}

/// What the next process finds if this one is killed now.
pub fn after_kill(disk: &MemoryBackend) -> Vec<String> {
    let store = opened(disk.after_kill(), &Options { checkpoint_on_close: false, ..Options::default() });
    let found = ids(&store);
    closed(store);
    found
}

pub fn is_log_sync(call: &Call<'_>) -> bool {
    call.syscall == "fdatasync" && call.is_log()
}

pub fn is_directory_sync(call: &Call<'_>) -> bool {
    call.syscall == "fsync" && call.path.is_empty()
}
