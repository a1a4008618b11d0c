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
    #[allow(unsafe_code, reason = "called by Node-API")]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut text = Utf8(buffer());
        // SAFETY: the value is one of this environment.
        unsafe { read(env, value, &mut text.0) }?;
        Ok(text)
    }
}

fn buffer() -> Vec<u8> {
    BUFFERS.with(|buffers| buffers.borrow_mut().pop()).unwrap_or_else(|| Vec::with_capacity(FIRST))
}

/// Appends a string to a buffer.
///
/// # Safety
/// `value` is a value of the environment `env`, on its thread.
#[allow(unsafe_code, reason = "reads a string by Node-API")]
unsafe fn read(env: sys::napi_env, value: sys::napi_value, buffer: &mut Vec<u8>) -> Result<()> {
    let (before, mut written) = (buffer.len(), 0);
    // One call does where the string fits with room to spare (a character that does not fit is left out).
    let space = buffer.spare_capacity_mut();
    // SAFETY: there are so many bytes behind what is there; Node-API writes at most that many and says how many.
    let status =
        unsafe { sys::napi_get_value_string_utf8(env, value, space.as_mut_ptr().cast(), space.len(), &mut written) };
    check_status!(status, "a string is expected")?;
    if written + 4 >= space.len() {
        let mut len = 0;
        // SAFETY: without a buffer the call only measures.
        check_status!(unsafe { sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &mut len) })?;
        buffer.reserve(len + 1);
        let space = buffer.spare_capacity_mut();
        // SAFETY: as above.
        check_status!(unsafe {
            sys::napi_get_value_string_utf8(env, value, space.as_mut_ptr().cast(), space.len(), &mut written)
        })?;
        if written != len {
            return Err(Error::new(Status::GenericFailure, "a string could not be read"));
        }
    }
    // SAFETY: `written` bytes were initialised by the call, and are within the capacity.
    unsafe { buffer.set_len(before + written) };
    Ok(())
}

/// A string from JavaScript as its JSON text, where that is the string between quotation marks: to make the text of an id
/// here takes less time than to have `JSON.stringify` make it.
pub struct Quoted(Utf8);

impl Quoted {
    /// The JSON text that `JSON.stringify` writes; `None` where something must be escaped, or may have to be, and for long
    /// ones: the text of the longest strings would be none that JavaScript can read.
    pub fn text(&self) -> Option<&[u8]> {
        let inner = self.0.get(1..self.0.len() - 1).filter(|inner| inner.len() <= KEEP)?;
        // What begins with 0xef may be U+FFFD, which also stands for half of a surrogate pair.
        let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\' || byte == 0xef;
        // No early end: so the compiler makes it look at many bytes at once.
        let plain = !inner.iter().fold(false, |found, byte| found | special(*byte));
        plain.then_some(&self.0)
    }
}

impl TypeName for Quoted {
    fn type_name() -> &'static str {
        "String"
    }

    fn value_type() -> ValueType {
        ValueType::String
    }
}

impl ValidateNapiValue for Quoted {}

impl FromNapiValue for Quoted {
    #[allow(unsafe_code, reason = "called by Node-API")]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut text = Utf8(buffer());
        text.0.push(b'"');
        // SAFETY: the value is one of this environment.
        unsafe { read(env, value, &mut text.0) }?;
        text.0.push(b'"');
        Ok(Quoted(text))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(id: &str) -> Quoted {
        Quoted(Utf8(format!("\"{id}\"").into_bytes()))
    }

    #[test]
    fn what_must_be_escaped_has_no_text() {
        for id in ["\"", "\\", "\n", "\0", "\u{1f}", "a\"", "\\b", "\u{fffd}", "x\u{fffd}y"] {
            assert_eq!(quoted(id).text(), None, "{id:?}");
        }
        for id in ["", " ", "task-1", "\u{7f}", "\u{2028}", "é", "日本語", "👩‍🚀"] {
            assert!(quoted(id).text().is_some(), "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_the_one_that_json_has(id in any::<String>()) {
            if let Some(text) = quoted(&id).text() {
                prop_assert_eq!(text.to_vec(), serde_json::to_vec(&id).unwrap());
            }
        }
    }
}
