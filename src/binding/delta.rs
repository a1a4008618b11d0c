//! Reverse patches for callers: the rule by which the engine encodes `prev`.

use super::store::string;
use super::text::Utf8;
use crate::format::delta;
use napi_derive::napi;

/// The patch that turns `after` back into `before`, both JSON texts of objects; null where there is no difference.
#[napi(catch_unwind, ts_args_type = "before: string, after: string")]
pub fn create_delta(before: Utf8, after: Utf8) -> Option<String> {
    delta::create(&before, &after).map(string)
}
