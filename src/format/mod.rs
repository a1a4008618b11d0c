//! Bytes to structures and back: op lines, snapshots, manifest, archive segments, names of files.
//!
//! Values stay JSON texts throughout: nothing here decodes a number or a member, so that every text survives as it
//! was written.

pub mod archive;
pub mod delta;
pub mod json;
pub mod manifest;
pub mod names;
pub mod op;
pub mod pages;
pub mod shapes;
pub mod snapshot;
mod snapshot_output;
pub mod text;
