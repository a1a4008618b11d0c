//! Options as the face passes them: validated, all of them given.

use crate::store::{Durability, OnDamage, Options, WriteMode};
use napi_derive::napi;

/// Options of `load`. Infinity is a count like others.
#[napi(object)]
pub struct OpenOptions {
    /// Absent: adaptive.
    pub checkpoint_threshold: Option<f64>,
    pub checkpoint_on_close: bool,
    pub version: f64,
    pub read_only: bool,
    pub skip_load: bool,
    #[napi(ts_type = "'immediate' | 'group' | 'async'")]
    pub write_mode: String,
    pub group_commit_size: f64,
    pub group_commit_ms: f64,
    #[napi(ts_type = "'fsync' | 'os'")]
    pub durability: String,
    #[napi(ts_type = "'reject' | 'skip'")]
    pub recovery: String,
    /// One of several writers.
    pub agent: Option<String>,
}

/// Infinity and everything beyond the range becomes the greatest count.
fn count(number: f64) -> u64 {
    number as u64
}

impl From<OpenOptions> for Options {
    fn from(options: OpenOptions) -> Self {
        Options {
            checkpoint_threshold: options.checkpoint_threshold.map(count),
            checkpoint_on_close: options.checkpoint_on_close,
            version: count(options.version),
            read_only: options.read_only,
            skip_load: options.skip_load,
            write_mode: match options.write_mode.as_str() {
                "group" => WriteMode::Group,
                "async" => WriteMode::Async,
                _ => WriteMode::Immediate,
            },
            group_commit_size: count(options.group_commit_size),
            group_commit_ms: count(options.group_commit_ms),
            durability: if options.durability == "os" { Durability::Os } else { Durability::Fsync },
            on_damage: if options.recovery == "skip" { OnDamage::Skip } else { OnDamage::Reject },
            agent: options.agent,
            ..Options::default()
        }
    }
}
