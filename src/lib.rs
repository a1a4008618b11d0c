//! Storage engine of `opslog-native`: an embedded, event-sourced document store.
//!
//! Every change is a line in an append-only log; the state is the last snapshot plus the log. The engine knows
//! nothing of Node.js: values are JSON texts (bytes) and are never decoded, ids are the JSON texts of strings.
//!
//! - [`mod@format`]: bytes to structures and back; names of files
//! - [`backend`]: where bytes live (file system, memory)
//! - [`log`]: appending, syncing, reading and repairing the operation log
//! - [`state`]: the ordered map of records and the history since the last checkpoint
//! - [`store`]: the verbs (open, write, undo, checkpoint, archive, close)
//! - [`files`]: the files of a store one by one, for callers who keep the state themselves
//! - [`verify`], [`repair`]: finding all damage of a store, and making it sound again
//! - [`import`]: a new store out of records that come one after the other
//! - [`lock`], [`agent_lock`], [`append_lock`]: one writer per directory, or one per agent id, and when agents may write
//!
//! The formats, the commit protocol and what is assumed of the file system are in `docs/design.md`.

pub mod agent_lock;
pub mod append_lock;
pub mod backend;
#[cfg(feature = "binding")]
mod binding;
pub mod clock;
pub mod error;
pub mod files;
pub mod format;
pub mod import;
pub mod lock;
pub mod log;
pub mod repair;
pub mod state;
pub mod store;
pub mod verify;

pub use error::{Error, Result};
