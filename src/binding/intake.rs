//! Memory that a store of the engine shares with JavaScript; see `store::intake` and `lib/intake.js`.

use super::registry::{get, with};
use crate::store::Intake;
use napi::bindgen_prelude::ToNapiValue;
use napi::{Result, check_status, sys};
use napi_derive::napi;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

/// An intake as an `ArrayBuffer`, which keeps it alive.
pub struct SharedMemory(Option<Arc<Intake>>);

impl ToNapiValue for SharedMemory {
    #[allow(unsafe_code, reason = "lends memory of the engine's to JavaScript by Node-API")]
    unsafe fn to_napi_value(env: sys::napi_env, SharedMemory(intake): Self) -> Result<sys::napi_value> {
        let mut value = ptr::null_mut();
        if let Some(intake) = intake {
            let hint = Arc::into_raw(intake).cast_mut().cast::<c_void>();
            // SAFETY: `hint` points to an `Intake`, all of which is atomics, so that it may be written through a shared
            // reference; it lives until `give_back`, which is called once the buffer is collected.
            let status = unsafe {
                sys::napi_create_external_arraybuffer(env, hint, size_of::<Intake>(), Some(give_back), hint, &mut value)
            };
            if status == sys::Status::napi_ok {
                return Ok(value);
            }
            // SAFETY: no buffer was made, so nobody calls `give_back`.
            drop(unsafe { Arc::from_raw(hint.cast::<Intake>()) });
            // Where memory cannot be lent (Electron), every set calls.
            if status != sys::Status::napi_no_external_buffers_allowed {
                check_status!(status, "memory could not be lent")?;
            }
        }
        // SAFETY: `value` is a place for the result.
        check_status!(unsafe { sys::napi_get_null(env, &mut value) }, "a value could not be handed over")?;
        Ok(value)
    }
}

#[allow(unsafe_code, reason = "takes back what was lent")]
unsafe extern "C" fn give_back(_env: sys::napi_env, _data: *mut c_void, hint: *mut c_void) {
    // SAFETY: it comes from `Arc::into_raw`, and a buffer is collected once.
    drop(unsafe { Arc::from_raw(hint.cast::<Intake>()) });
}

/// Memory for sets that cross without a call; null where a store has none, or cannot lend it.
#[napi(catch_unwind, ts_return_type = "ArrayBuffer | null")]
pub fn intake(handle: u32) -> SharedMemory {
    SharedMemory(get(handle).and_then(|store| store.intake()))
}

/// Takes in what stands in a store's intake, which is empty then.
#[napi(catch_unwind)]
pub fn take_in(handle: u32) {
    with(handle, crate::store::Store::take_in);
}
