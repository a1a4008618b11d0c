//! Objects with the same members in the same order are told apart from their members: the names cross to JavaScript once
//! instead of with every record, which makes reading all records of a store a third faster there (docs/performance.md).
//!
//! Only objects whose members JavaScript enumerates as they stand have a shape: no name twice, none that looks like an
//! array index, no `__proto__`, no escapes. Whatever else is a value of its own.

use super::json;

/// Nor are larger objects: their names are a small part of them, and one of each shape crosses twice.
const LARGE: usize = 2048;
/// More names than this are not worth it.
const MOST_NAMES: usize = 64;
/// Nor are more shapes than this in one piece: each new one is compared with all before it.
const MOST_SHAPES: usize = 32;

/// The names of an object's members, as they stand.
type Names<'a> = Vec<&'a [u8]>;

/// Values taken apart.
#[derive(Debug, Default)]
pub struct Shapes<'a> {
    names: Vec<Names<'a>>,
    templates: Vec<u8>,
    values: Vec<u8>,
    runs: Vec<(usize, u64)>,
}

/// What [`Shapes`] makes: JSON texts of arrays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apart {
    /// An object of each shape.
    pub templates: Vec<u8>,
    /// Number of a shape, counted from 1, and how many of it follow; in turn. Shape 0 is for values that have none.
    pub runs: Vec<u8>,
    /// For each object of a shape the values of its members, for all others the value itself.
    pub values: Vec<u8>,
}

impl<'a> Shapes<'a> {
    /// Nothing yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Shapes { values: Vec::with_capacity(bytes), ..Shapes::default() }
    }

    /// Adds a value.
    pub fn push(&mut self, value: &'a [u8]) {
        let last = self.runs.last().map_or(0, |(shape, _)| *shape);
        let shape = if value.len() > LARGE {
            self.push_whole(value)
        } else if last > 0 && self.push_as(last, value) {
            last
        } else {
            self.push_other(value)
        };
        match self.runs.last_mut() {
            Some((last, count)) if *last == shape => *count += 1,
            _ => self.runs.push((shape, 1)),
        }
    }

    /// Adds an object if it has that shape.
    fn push_as(&mut self, shape: usize, value: &[u8]) -> bool {
        let Some(names) = self.names.get(shape - 1) else { return false };
        let (before, mut names, mut same, values) = (self.values.len(), names.iter(), true, &mut self.values);
        let end = json::for_each_member(value, |name, member| {
            same = same && names.next().is_some_and(|expected| *expected == name);
            if same {
                values.extend_from_slice(member);
                values.push(b',');
            }
        });
        same = same && names.next().is_none() && end == Some(value.len());
        if !same {
            self.values.truncate(before);
        }
        same
    }

    /// Adds a value that has not the shape of the one before.
    fn push_other(&mut self, value: &'a [u8]) -> usize {
        if let Some(shape) = self.shape_of(value)
            && self.push_as(shape, value)
        {
            return shape;
        }
        self.push_whole(value)
    }

    fn push_whole(&mut self, value: &[u8]) -> usize {
        self.values.extend_from_slice(value);
        self.values.push(b',');
        0
    }

    /// The shape of an object, a new one if need be.
    fn shape_of(&mut self, value: &'a [u8]) -> Option<usize> {
        let names: Names<'a> = json::members(value)?.into_iter().map(|(name, _)| name).collect();
        if let Some(known) = self.names.iter().position(|known| *known == names) {
            return Some(known + 1);
        }
        let plain = |name: &&[u8]| {
            let text = name.get(1..name.len() - 1).unwrap_or_default();
            !text.first().is_none_or(u8::is_ascii_digit) && !text.contains(&b'\\') && text != b"__proto__"
        };
        let again = |(at, name): (usize, &&[u8])| names.iter().take(at).any(|before| before == name);
        let count = 1..=MOST_NAMES;
        if self.names.len() >= MOST_SHAPES || !count.contains(&names.len()) || !names.iter().all(plain) {
            return None;
        }
        if names.iter().enumerate().any(again) {
            return None;
        }
        self.templates.extend_from_slice(value);
        self.templates.push(b',');
        self.names.push(names);
        Some(self.names.len())
    }

    /// What was added.
    pub fn finish(self) -> Apart {
        let runs = self.runs.iter().flat_map(|(shape, count)| format!("{shape},{count},").into_bytes()).collect();
        Apart { templates: array(self.templates), runs: array(runs), values: array(self.values) }
    }
}

/// Elements with a comma behind each, as an array.
fn array(mut elements: Vec<u8>) -> Vec<u8> {
    match elements.last_mut() {
        Some(comma) => *comma = b']',
        None => elements.push(b']'),
    }
    elements.insert(0, b'[');
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(values: &[&str]) -> [String; 3] {
        let mut shapes = Shapes::with_capacity(0);
        values.iter().for_each(|value| shapes.push(value.as_bytes()));
        let Apart { templates, runs, values } = shapes.finish();
        [templates, runs, values].map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn objects_of_the_same_names_share_them() {
        let [templates, runs, values] =
            apart(&[r#"{"a":1,"b":[2]}"#, r#"{"a":3,"b":{"c":4}}"#, r#"{"b":5,"a":6}"#, r#"{"a":7,"b":8}"#, "9"]);
        assert_eq!(templates, r#"[{"a":1,"b":[2]},{"b":5,"a":6}]"#);
        assert_eq!(runs, "[1,2,2,1,1,1,0,1]");
        assert_eq!(values, r#"[1,[2],3,{"c":4},5,6,7,8,9]"#);
    }

    #[test]
    fn what_javascript_would_enumerate_otherwise_stays_whole() {
        for value in [
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"1":2}"#,
            r#"{"__proto__":1}"#,
            r#"{"\u0061":1}"#,
            r#"{"":1}"#,
            "{}",
            "[1]",
            "null",
            r#""text""#,
        ] {
            assert_eq!(apart(&[value, value]), ["[]".to_owned(), "[0,2]".to_owned(), format!("[{value},{value}]")]);
        }
        assert_eq!(apart(&[]), ["[]", "[]", "[]"]);
    }

    #[test]
    fn large_objects_stay_whole() {
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(LARGE));
        assert_eq!(apart(&[&large, &large]), ["[]".to_owned(), "[0,2]".to_owned(), format!("[{large},{large}]")]);
    }

    #[test]
    fn one_name_more_or_less_is_another_shape() {
        let [_, runs, values] =
            apart(&[r#"{"a":1,"b":2}"#, r#"{"a":3}"#, r#"{"a":4,"b":5,"c":6}"#, r#"{"a":7,"c":8}"#]);
        assert_eq!(runs, "[1,1,2,1,3,1,4,1]");
        assert_eq!(values, "[1,2,3,4,5,6,7,8]");
    }

    #[test]
    fn there_are_only_so_many_shapes_and_names() {
        let many: Vec<String> = (0..MOST_SHAPES + 5).map(|n| format!("{{\"n{n}\":{n}}}")).collect();
        let [_, runs, _] = apart(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(runs.ends_with(&format!("{MOST_SHAPES},1,0,5]")), "{runs}");
        let wide =
            |names: usize| format!("{{{}}}", (0..names).map(|n| format!("\"n{n}\":0")).collect::<Vec<_>>().join(","));
        assert_eq!(apart(&[&wide(MOST_NAMES)])[1], "[1,1]");
        assert_eq!(apart(&[&wide(MOST_NAMES + 1)])[1], "[0,1]");
    }
}
