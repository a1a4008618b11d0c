//! Strings from JavaScript as UTF-8 bytes, read into buffers that are used again.

use napi::bindgen_prelude::{FromNapiValue, ToNapiValue, TypeName, ValidateNapiValue};
use napi::{Error, Result, Status, ValueType, check_status, sys};
use std::cell::RefCell;
use std::ops::Deref;
use std::ptr;

/// Buffers larger than this are not kept.
const KEEP: usize = 1 << 20;
/// Nor more of them than this on one thread: texts that are read on the caller's thread may be dropped on another,
/// which reads none.
const MOST: usize = 4;
const FIRST: usize = 4096;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of a JavaScript string. Lone surrogates become U+FFFD: callers pass JSON texts, in which they are
/// escaped.
pub struct Utf8(Vec<u8>);

impl Deref for Utf8 {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Utf8 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Utf8 {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if buffer.capacity() <= KEEP {
            buffer.clear();
            // Not kept where the thread is ending.
            let _ = BUFFERS.try_with(|buffers| {
                let mut buffers = buffers.borrow_mut();
                if buffers.len() < MOST {
                    buffers.push(buffer);
                }
            });
        }
    }
}

impl TypeName for Utf8 {
    fn type_name() -> &'static str {
        "String"
    }

    fn value_type() -> ValueType {
        ValueType::String
    }
}

impl ValidateNapiValue for Utf8 {}

impl FromNapiValue for Utf8 {
    #[allow(unsafe_code, reason = "reads a string by Node-API")]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut buffer =
            BUFFERS.with(|buffers| buffers.borrow_mut().pop()).unwrap_or_else(|| Vec::with_capacity(FIRST));
        let mut written = 0;
        // One call does where the string fits with room to spare (a character that does not fit is left out).
        let (target, capacity) = (buffer.as_mut_ptr().cast(), buffer.capacity());
        // SAFETY: `buffer` has `capacity` bytes; Node-API writes at most that many and says how many.
        let status = unsafe { sys::napi_get_value_string_utf8(env, value, target, capacity, &mut written) };
        check_status!(status, "a string is expected")?;
        if written + 4 >= buffer.capacity() {
            let mut len = 0;
            // SAFETY: without a buffer the call only measures.
            check_status!(unsafe { sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &mut len) })?;
            buffer.reserve(len + 1);
            // SAFETY: as above.
            check_status!(unsafe {
                sys::napi_get_value_string_utf8(env, value, buffer.as_mut_ptr().cast(), buffer.capacity(), &mut written)
            })?;
            if written != len {
                return Err(Error::new(Status::GenericFailure, "a string could not be read"));
            }
        }
        // SAFETY: `written` bytes were initialised by the call, and are within the capacity.
        unsafe { buffer.set_len(written) };
        Ok(Utf8(buffer))
    }
}

/// JSON text on its way to JavaScript. Text in ASCII, which most is, is handed over without being decoded.
pub struct JsonText(pub Vec<u8>);

impl TypeName for JsonText {
    fn type_name() -> &'static str {
        "String"
    }

    fn value_type() -> ValueType {
        ValueType::String
    }
}

impl ToNapiValue for JsonText {
    #[allow(unsafe_code, reason = "makes a string by Node-API")]
    unsafe fn to_napi_value(env: sys::napi_env, JsonText(bytes): Self) -> Result<sys::napi_value> {
        let mut value = ptr::null_mut();
        let (text, len) = (bytes.as_ptr().cast(), bytes.len().cast_signed());
        let status = if bytes.is_ascii() {
            // SAFETY: `text` has `len` bytes, which Node-API copies.
            unsafe { sys::napi_create_string_latin1(env, text, len, &mut value) }
        } else {
            // SAFETY: as above.
            unsafe { sys::napi_create_string_utf8(env, text, len, &mut value) }
        };
        check_status!(status, "a text could not be handed over")?;
        Ok(value)
    }
}
