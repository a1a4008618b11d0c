//! The operation log: appending and syncing lines, reading them back, repairing a bad tail.

pub mod recovery;
pub mod writer;

pub use recovery::{Loaded, Report, Scan, scan, scan_beside_writer};
pub use writer::{AppendError, LineMark, Log};
