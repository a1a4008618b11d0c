//! Reverse patches: what an update must undo, as `{"$set":{…},"$unset":[…]}` over top-level members.
//!
//! Upstream's format and rule: a patch is stored as `prev` when its text is shorter than the old record's
//! (`length` of the two JSON texts, in UTF-16 code units). Arrays count as objects with their indices as keys.

use super::json;
use std::borrow::Cow;
use std::collections::HashMap;

type Members<'a> = Vec<(Cow<'a, [u8]>, &'a [u8])>;

/// Own members of an object or array; `None` for other values.
fn own_members(text: &[u8]) -> Option<Members<'_>> {
    match text.get(json::skip_space(text, 0))? {
        b'{' => Some(json::members(text)?.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect()),
        b'[' => {
            let elements = json::elements(text)?.into_iter().enumerate();
            Some(elements.map(|(i, value)| (Cow::Owned(format!("\"{i}\"").into_bytes()), value)).collect())
        }
        _ => None,
    }
}

/// Looks members up by key. Records have few members and updates keep their order: the place of the last hit is
/// tried first, and a table is built only for large objects.
struct Lookup<'m, 'a> {
    members: &'m Members<'a>,
    table: Option<HashMap<&'m [u8], &'a [u8]>>,
    next: usize,
}

impl<'m, 'a> Lookup<'m, 'a> {
    fn new(members: &'m Members<'a>) -> Self {
        let table = (members.len() > 32).then(|| members.iter().map(|(key, value)| (&**key, *value)).collect());
        Lookup { members, table, next: 0 }
    }

    fn get(&mut self, key: &[u8]) -> Option<&'a [u8]> {
        if let Some((found, value)) = self.members.get(self.next)
            && **found == *key
        {
            self.next += 1;
            return Some(value);
        }
        if let Some(table) = &self.table {
            return table.get(key).copied();
        }
        let at = self.members.iter().position(|(found, _)| **found == *key)?;
        self.next = at + 1;
        self.members.get(at).map(|(_, value)| *value)
    }
}

/// The patch that turns `new` back into `old`; `None` where there is no difference or either is no object or array.
pub fn create(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    create_in_step(old, new).unwrap_or_else(|| create_by_key(old, new))
}

/// [`create`] for two objects with the same members in the same order and no white space, as most updates are: nothing
/// is looked up, and what is the same in both is read once. `None` for any other two texts.
#[expect(clippy::option_option, reason = "whether it can be told, and the patch if there is a difference")]
fn create_in_step(old: &[u8], new: &[u8]) -> Option<Option<Vec<u8>>> {
    const START: &[u8] = b"{\"$set\":{";
    let mut patch = Vec::new();
    let (mut at, mut other) = (0, 0);
    let mut before: &[u8] = b"{";
    loop {
        if !old.get(at..)?.starts_with(before) || !new.get(other..)?.starts_with(before) {
            return None;
        }
        (at, other) = (at + 1, other + 1);
        if before == b"}" {
            break;
        }
        let start = at;
        at = json::string_end(old, at)?;
        let key = old.get(start..at)?;
        if !new.get(other..)?.starts_with(key) {
            return None;
        }
        other += key.len();
        if old.get(at) != Some(&b':') || new.get(other) != Some(&b':') {
            return None;
        }
        (at, other) = (at + 1, other + 1);
        let end = json::value_end(old, at)?;
        let value = old.get(at..end)?;
        let rest = new.get(other..)?;
        at = end;
        // The same text, and it ends there: what follows a value tells a number from its beginning.
        if rest.starts_with(value) && matches!(rest.get(value.len()), Some(b',' | b'}')) {
            other += value.len();
        } else {
            other = json::value_end(new, other)?;
            if patch.is_empty() {
                patch.reserve(old.len());
                patch.extend_from_slice(START);
            } else {
                patch.push(b',');
            }
            patch.extend_from_slice(key);
            patch.push(b':');
            patch.extend_from_slice(value);
        }
        before = if old.get(at) == Some(&b',') { b"," } else { b"}" };
    }
    if at != old.len() || other != new.len() {
        return None;
    }
    if patch.is_empty() {
        return Some(None);
    }
    patch.extend_from_slice(b"}}");
    Some(Some(patch))
}

fn create_by_key(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let (old, new) = (own_members(old)?, own_members(new)?);
    let mut set = Vec::new();
    let mut in_new = Lookup::new(&new);
    for (key, value) in &old {
        if in_new.get(key) != Some(value) {
            set.push(if set.is_empty() { b'{' } else { b',' });
            set.extend_from_slice(key);
            set.push(b':');
            set.extend_from_slice(value);
        }
    }
    let mut unset = Vec::new();
    let mut in_old = Lookup::new(&old);
    for (key, _) in &new {
        if in_old.get(key).is_none() {
            unset.push(if unset.is_empty() { b'[' } else { b',' });
            unset.extend_from_slice(key);
        }
    }
    if set.is_empty() && unset.is_empty() {
        return None;
    }
    let mut patch = Vec::with_capacity(set.len() + unset.len() + 20);
    patch.push(b'{');
    if !set.is_empty() {
        patch.extend_from_slice(b"\"$set\":");
        patch.extend_from_slice(&set);
        patch.push(b'}');
    }
    if !unset.is_empty() {
        patch.extend_from_slice(if set.is_empty() { b"\"$unset\":" } else { b",\"$unset\":" });
        patch.extend_from_slice(&unset);
        patch.push(b']');
    }
    patch.push(b'}');
    Some(patch)
}

/// The patch, if it is worth storing: shorter than `old` itself.
pub fn create_if_smaller(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    // A code unit is one to three bytes: mostly that is enough to know.
    let is_smaller = |patch: &Vec<u8>| patch.len() < old.len() / 3 || json::utf16_len(patch) < json::utf16_len(old);
    create(old, new).filter(is_smaller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patch(old: &str, new: &str) -> Option<String> {
        create(old.as_bytes(), new.as_bytes()).map(|patch| String::from_utf8(patch).unwrap())
    }

    #[test]
    fn changed_and_removed_members_are_set_and_added_ones_unset() {
        assert_eq!(
            patch(r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"b":9,"d":4}"#).unwrap(),
            r#"{"$set":{"b":2,"c":3},"$unset":["d"]}"#
        );
        assert_eq!(patch(r#"{"a":1}"#, r#"{"a":1,"b":2}"#).unwrap(), r#"{"$unset":["b"]}"#);
        assert_eq!(patch(r#"{"a":1}"#, r#"{"a":1}"#), None);
    }

    proptest! {
        #[test]
        fn in_step_or_by_key_the_patch_is_the_same(
            old in prop::collection::vec((0..4usize, 0..8usize), 0..6),
            new in prop::collection::vec((0..4usize, 0..8usize), 0..6),
            same_keys in any::<bool>(),
        ) {
            const VALUES: [&str; 8] = ["1", "12", "\"\"", "\"a,}\\\"\"", "[1,{\"a\":2}]", "{}", "{\"b\":[]}", "-1e2"];
            let object = |members: &[(usize, usize)], keys: &[(usize, usize)]| {
                let mut known = std::collections::BTreeSet::new();
                let members = members.iter().zip(keys).filter(|(_, (key, _))| known.insert(*key));
                let members: Vec<_> = members.map(|((_, value), (key, _))| format!("\"k{key}\":{}", VALUES[*value])).collect();
                format!("{{{}}}", members.join(","))
            };
            let (a, b) = (object(&old, &old), object(&new, if same_keys { &old } else { &new }));
            let by_key = create_by_key(a.as_bytes(), b.as_bytes());
            if let Some(in_step) = create_in_step(a.as_bytes(), b.as_bytes()) {
                prop_assert_eq!(in_step, by_key.clone());
            }
            prop_assert_eq!(create(a.as_bytes(), b.as_bytes()), by_key);
        }
    }

    #[test]
    fn names_of_object_prototype_are_members_like_others() {
        assert_eq!(
            patch(r#"{"__proto__":1,"constructor":2}"#, r#"{"toString":3}"#).unwrap(),
            r#"{"$set":{"__proto__":1,"constructor":2},"$unset":["toString"]}"#
        );
    }

    #[test]
    fn arrays_are_objects_of_their_indices_and_primitives_have_no_patch() {
        assert_eq!(patch("[1,2,3]", "[1,9]").unwrap(), r#"{"$set":{"1":2,"2":3}}"#);
        assert_eq!(patch("1", "2"), None);
        assert_eq!(patch(r#"{"a":1}"#, "2"), None);
    }

    #[test]
    fn large_objects_are_compared_in_any_order() {
        let object = |order: &mut dyn Iterator<Item = u32>| {
            let members: Vec<_> = order.map(|i| format!("\"k{i}\":{i}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(patch(&object(&mut (0..500)), &object(&mut (0..500).rev())), None);
        assert_eq!(
            patch(&object(&mut (0..500)), &object(&mut (1..501).rev())).unwrap(),
            r#"{"$set":{"k0":0},"$unset":["k500"]}"#
        );
    }

    #[test]
    fn size_is_counted_in_utf16_units() {
        assert!(
            create_if_smaller(r#"{"a":"ééééééééé","b":1}"#.as_bytes(), r#"{"a":"ééééééééé","b":2}"#.as_bytes())
                .is_some()
        );
        assert!(create_if_smaller(br#"{"b":1}"#, br#"{"b":2}"#).is_none());
    }
}
