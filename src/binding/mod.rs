//! The Node.js addon: converts, calls the engine, converts back. The only folder that names napi.
//!
//! Stores are named by small numbers: passing one costs a tenth of passing an external object or calling a method,
//! and a stale number is an error instead of a dangling pointer. Hot calls are free functions that return a number:
//! 0 done, n > 0 done once `settled` reaches n, n < 0 told by itself as ticket -n, NaN failed (see `lastFailure`).

// Exports are used by Node.js, not by Rust.
#![allow(unreachable_pub, dead_code, missing_docs, reason = "exports, documented in index.d.ts and lib/")]

mod check;
mod delta;
mod errors;
mod external;
mod files;
mod import;
mod intake;
mod locks;
mod metrics;
mod options;
mod registry;
mod store;
mod streams;
mod text;

/// For the engine's own memory. Records are many small allocations, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of which version of the package the addon is: binding.js refuses any other.
#[napi_derive::napi(catch_unwind)]
pub fn engine_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
