//! The operation log: appending and syncing lines, reading them back, repairing a bad tail.

pub mod reader;
pub mod recovery;
pub mod room;
pub mod tail;
pub mod writer;

pub use reader::LogReader;
pub use recovery::{Loaded, Report, Scan, scan, scan_beside_writer};
pub use tail::scan_tail;
pub use writer::{AppendError, LineMark, Log, Syncing};
