//! JSON texts of ids and values: shared, never changed.

use smallvec::SmallVec;
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use triomphe::ThinArc;

/// Bytes that texts and records share, never changed. One word: their length lies with them.
#[derive(Clone)]
pub(crate) struct Bytes(ThinArc<(), u8>);

impl Bytes {
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        Bytes(ThinArc::from_header_and_slice((), bytes))
    }

    /// Two texts, one behind the other.
    pub(crate) fn joined(first: &[u8], second: &[u8]) -> Self {
        // As most records are: put together on the stack.
        let mut both = SmallVec::<[u8; 512]>::with_capacity(first.len() + second.len());
        both.extend_from_slice(first);
        both.extend_from_slice(second);
        Bytes::copy(&both)
    }

    /// True if it is the same memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ptr() == other.0.ptr()
    }

    /// How many share them.
    #[cfg(test)]
    pub(crate) fn sharers(&self) -> usize {
        ThinArc::strong_count(&self.0)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.slice
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self).fmt(f)
    }
}

/// JSON text of an id or a value: a part of bytes that several texts may share. Cloning it copies nothing.
#[derive(Clone)]
pub struct Text {
    bytes: Bytes,
    /// 32 bits each, for texts are many. No JavaScript string has more than 2^30 characters.
    from: u32,
    to: u32,
}

impl Text {
    /// A part of `bytes`; what lies beyond their end is left out.
    pub(crate) fn part(bytes: &Bytes, part: Range<u32>) -> Self {
        Text { bytes: bytes.clone(), from: part.start, to: part.end }
    }

    /// Two texts side by side in the same memory.
    pub(crate) fn pair(first: &[u8], second: &[u8]) -> (Self, Self) {
        let both: Text = Bytes::joined(first, second).into();
        let middle = length(first.len());
        (Text { to: middle, ..both.clone() }, Text { from: middle, ..both })
    }

    /// The bytes that it is a part of, and which part.
    pub(crate) fn whole(&self) -> (&Bytes, Range<u32>) {
        (&self.bytes, self.from..self.to)
    }
}

/// A length as texts keep it.
#[expect(clippy::panic, reason = "a length that no JavaScript string has, and that would be cut silently otherwise")]
pub(crate) fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_| panic!("a text of {len} bytes is too long"))
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self).fmt(f)
    }
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        Text { from: 0, to: length(bytes.len()), bytes }
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Bytes::copy(bytes).into()
    }
}

impl<const N: usize> From<&[u8; N]> for Text {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<[u8; N]> for Text {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Cow<'_, [u8]>> for Text {
    fn from(bytes: Cow<'_, [u8]>) -> Self {
        (*bytes).into()
    }
}
