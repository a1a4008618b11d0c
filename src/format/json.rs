//! A scanner for JSON texts: finds where values end and splits objects, without decoding.
//!
//! Accepts exactly what `JSON.parse` accepts (RFC 8259), lone surrogate escapes included, which `serde_json` refuses
//! in strings. Not recursive: depth costs one bit a level.

/// One member of an object: the key as it stands (with quotes), and the value as it stands.
pub type Member<'a> = (&'a [u8], &'a [u8]);

/// True if `text` is one JSON value, white space around it allowed.
pub fn is_valid(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && trimmed(text).is_some()
}

/// The single value in `text` without the white space around it; `None` if `text` is not one JSON value.
/// The caller has checked that `text` is UTF-8.
fn trimmed(text: &[u8]) -> Option<&[u8]> {
    let start = skip_space(text, 0);
    let end = value_end(text, start)?;
    if skip_space(text, end) == text.len() { text.get(start..end) } else { None }
}

/// Splits an object text into its members, in order, duplicates included.
/// `None` if `text` is not one JSON object (white space around it allowed).
pub fn members(text: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut found = Vec::new();
    let end = for_each_member(text, |key, value| found.push((key, value)))?;
    if skip_space(text, end) == text.len() { Some(found) } else { None }
}

/// Calls `each` for every member of the object that starts `text` (after white space) and returns where it ends.
/// `None` where the text is not valid; `each` may have been called by then.
pub fn for_each_member<'a>(text: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8])) -> Option<usize> {
    let mut at = skip_space(text, 0);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        let key_end = string_end(text, at)?;
        let key = text.get(at..key_end)?;
        at = skip_space(text, key_end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = skip_space(text, at + 1);
        let end = value_end(text, at)?;
        each(key, text.get(at..end)?);
        at = skip_space(text, end);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Splits an array text into its elements.
pub fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut at = skip_space(text, 0);
    if text.get(at) != Some(&b'[') {
        return None;
    }
    at = skip_space(text, at + 1);
    if text.get(at) == Some(&b']') {
        return (skip_space(text, at + 1) == text.len()).then_some(found);
    }
    loop {
        let end = value_end(text, at)?;
        found.push(text.get(at..end)?);
        at = skip_space(text, end);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b']' => return (skip_space(text, at + 1) == text.len()).then_some(found),
            _ => return None,
        }
    }
}

/// First position at or after `at` that is not JSON white space.
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Containers that are open while a value is scanned: one bit each, set for objects.
#[derive(Default)]
struct Nesting {
    low: u64,
    depth: usize,
    high: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.high.push(self.low);
            self.low = 0;
        }
        self.low = self.low << 1 | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.low >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.low = self.high.pop().unwrap_or_default();
        }
    }

    fn in_object(&self) -> bool {
        self.low & 1 == 1
    }
}

/// Where the JSON value that starts at `at` ends; `None` if there is no valid value.
pub fn value_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut open = Nesting::default();
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'{' => {
                at = skip_space(text, at + 1);
                if text.get(at) == Some(&b'}') {
                    at += 1;
                } else {
                    open.push(true);
                    at = member_value(text, at)?;
                    continue;
                }
            }
            b'[' => {
                at = skip_space(text, at + 1);
                if text.get(at) == Some(&b']') {
                    at += 1;
                } else {
                    open.push(false);
                    continue;
                }
            }
            b't' => at = word_end(text, at, b"true")?,
            b'f' => at = word_end(text, at, b"false")?,
            b'n' => at = word_end(text, at, b"null")?,
            _ => at = number_end(text, at)?,
        }
        loop {
            if open.depth == 0 {
                return Some(at);
            }
            at = skip_space(text, at);
            match (text.get(at)?, open.in_object()) {
                (b',', true) => {
                    at = member_value(text, skip_space(text, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at = skip_space(text, at + 1);
                    break;
                }
                (b'}', true) | (b']', false) => {
                    open.pop();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// From the key at `at` to the start of the member's value.
fn member_value(text: &[u8], at: usize) -> Option<usize> {
    let colon = skip_space(text, string_end(text, at)?);
    (text.get(colon) == Some(&b':')).then(|| skip_space(text, colon + 1))
}

fn word_end(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    (text.get(at..end) == Some(word)).then_some(end)
}

/// Where the string whose opening quote is at `at` ends (after the closing quote).
pub fn string_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = plain_end(text, at + 1);
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match text.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

/// Skips what is nothing special inside a string, eight bytes at a time; less than eight may be left.
fn plain_end(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The highest bit of every byte that is zero, and of none below the first such byte.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(Ok(bytes)) = text.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let word = u64::from_le_bytes(bytes);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let special = quotes | escapes | controls;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at
}

fn number_end(text: &[u8], mut at: usize) -> Option<usize> {
    let digits = |mut at: usize| {
        let start = at;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        (at > start).then_some(at)
    };
    if text.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = digits(at + 1 + sign)?;
    }
    Some(at)
}

/// Appends a valid JSON text without the white space between its tokens (indented documents of old versions).
pub fn push_compact(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            b'"' => {
                let end = string_end(text, at).unwrap_or(text.len());
                out.extend_from_slice(text.get(at..end).unwrap_or_default());
                at = end;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// Length of a UTF-8 text in UTF-16 code units: what JavaScript's `length` says.
pub fn utf16_len(text: &[u8]) -> usize {
    // Every byte that starts a character counts one, and four-byte characters are surrogate pairs.
    text.iter().map(|&byte| usize::from(byte & 0xc0 != 0x80) + usize::from(byte >= 0xf0)).sum()
}

/// The text that `JSON.stringify` writes for a string.
pub fn quote(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for &byte in text.as_bytes() {
        push_escaped(byte, &mut out);
    }
    out.push(b'"');
    out
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        8 => b'b',
        9 => b't',
        10 => b'n',
        12 => b'f',
        13 => b'r',
        0..=0x1f => {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The string that a valid JSON string text means, as UTF-16 code units (lone surrogates are kept).
fn decode(raw: &[u8]) -> Vec<u16> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    let mut units = Vec::with_capacity(inner.len());
    let mut rest = std::str::from_utf8(inner).unwrap_or_default().chars();
    let mut buffer = [0; 2];
    while let Some(c) = rest.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        match rest.next() {
            Some('b') => units.push(8),
            Some('f') => units.push(12),
            Some('n') => units.push(10),
            Some('r') => units.push(13),
            Some('t') => units.push(9),
            Some('u') => {
                let hex: String = rest.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&hex, 16).unwrap_or(0xfffd));
            }
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut buffer)),
            None => {}
        }
    }
    units
}

/// The text that `JSON.stringify(JSON.parse(raw))` gives for a valid string text: the one spelling of an id.
pub fn canonical_string(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return raw.into();
    }
    let mut out = vec![b'"'];
    for unit in char::decode_utf16(decode(raw)) {
        match unit {
            Ok(c) if c.is_ascii() => push_escaped(u8::try_from(c).unwrap_or(b'?'), &mut out),
            Ok(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => out.extend_from_slice(format!("\\u{:04x}", lone.unpaired_surrogate()).as_bytes()),
        }
    }
    out.push(b'"');
    out.into()
}

/// What a valid JSON string text means, for messages and file names; lone surrogates become U+FFFD.
pub fn unquote(raw: &[u8]) -> String {
    if raw.contains(&b'\\') {
        return String::from_utf16_lossy(&decode(raw));
    }
    String::from_utf8_lossy(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_json_parse_accepts() {
        let good = [
            "0",
            "-0",
            "1e21",
            "1E-7",
            "12.5e+3",
            "true",
            "null",
            "\"\\ud800\"",
            "[]",
            "{}",
            " [1 , {\"a\" : [ ] } ]\n",
            "\"\u{2028}\u{7f}\"",
            "{\"a\":1,\"a\":2}",
        ];
        for text in good {
            assert!(is_valid(text.as_bytes()), "{text}");
        }
        let bad = [
            "",
            "01",
            "+1",
            ".5",
            "1.",
            "1e",
            "tru",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "1 2",
            "[1}",
            "{\"a\":1]",
            "{\"a\"}",
            "\u{feff}1",
            "NaN",
            "\"",
            "[",
            "{\"a\":",
            "\u{a0}1",
        ];
        for text in bad {
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
        assert!(!is_valid(b"\"\xff\""), "invalid UTF-8");
    }

    proptest! {
        #[test]
        fn strings_end_at_the_first_quote_wherever_it_stands(
            plain in prop::collection::vec(prop_oneof![Just(b'a'), 0x20u8..0x22, 0x23u8..0x5c, 0x5du8..], 0..40),
            special in prop::sample::select(vec!["\"rest of the text", "\x1f", "\\n\"and so on", "\\x\""]),
        ) {
            let text = [b"\"", &plain[..], special.as_bytes()].concat();
            let end = match special.as_bytes().get(..2) {
                Some(b"\"r") => Some(plain.len() + 2),
                Some(b"\\n") => Some(plain.len() + 4),
                _ => None,
            };
            prop_assert_eq!(string_end(&text, 0), end);
        }
    }

    #[test]
    fn depth_is_not_limited_by_the_stack() {
        let mut text = b"[".repeat(100_000);
        assert!(!is_valid(&text));
        text.extend(b"]".repeat(100_000));
        assert!(is_valid(&text));
        let mixed = [b"[{\"a\":".repeat(1_000), b"1".to_vec(), b"}]".repeat(1_000)].concat();
        assert!(is_valid(&mixed));
        let crossed = [b"[{\"a\":".repeat(1_000), b"1".to_vec(), b"]}".repeat(1_000)].concat();
        assert!(!is_valid(&crossed));
    }

    #[test]
    fn splits_members_and_elements_as_they_stand() {
        let text = br#" {"a" : 1, "__proto__":{"x":[1,2]},"":"\ud800"} "#;
        let found = members(text).unwrap();
        assert_eq!(
            found,
            [(&b"\"a\""[..], &b"1"[..]), (b"\"__proto__\"", b"{\"x\":[1,2]}"), (b"\"\"", b"\"\\ud800\"")]
        );
        assert_eq!(elements(b"[1, [2],\"3\"]").unwrap(), [&b"1"[..], b"[2]", b"\"3\""]);
        assert!(members(b"{} x").is_none());
        assert!(elements(b"[1").is_none());
    }

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!(
            &*canonical_string(br#""a\u0062\/\u00e9\uD83D\uDE00\u0001\ud800""#),
            "\"ab/é😀\\u0001\\ud800\"".as_bytes()
        );
        assert_eq!(quote("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\u0001é\"".as_bytes());
        assert_eq!(unquote(br#""a\"b""#), "a\"b");
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::vec((".*", inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(value in any_json(), cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
            let text = serde_json::to_vec(&value).unwrap();
            prop_assert!(is_valid(&text));
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            prop_assert!(is_valid(&pretty));
            let mut compact = Vec::new();
            push_compact(&pretty, &mut compact);
            prop_assert_eq!(&compact, &text);
            let as_str = std::str::from_utf8(&text).unwrap();
            prop_assert_eq!(utf16_len(&text), as_str.encode_utf16().count());
            // Damaged texts: both say the same (serde_json refuses numbers beyond f64, which JavaScript reads as Infinity).
            let mut damaged = text.clone();
            let at = flip.0.index(damaged.len());
            damaged[at] ^= 1 << (flip.1 % 8);
            for text in [&text[..cut.index(text.len())], &damaged] {
                let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok() && std::str::from_utf8(text).is_ok();
                prop_assert_eq!(is_valid(text), theirs, "{:?}", String::from_utf8_lossy(text));
            }
        }
    }
}
