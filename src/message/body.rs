//! The body of a request: one JSON object, in which each field is known and there once.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::schema::described;

/// The fields of a JSON object.
pub struct Fields {
    /// Each by its name; of one that is there more than once, the last.
    pub members: Map<String, Value>,
    /// The first name that is there more than once: readers differ in which of both they take.
    pub twice: Option<String>,
}

/// A body that is no JSON object.
pub enum NoObject {
    /// It is not JSON.
    NotJson {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// It is other JSON.
    Other,
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn read(body: &[u8]) -> Result<Self, NoObject> {
        serde_json::from_slice(body).map_err(|_| match serde_json::from_slice(body) {
            Ok(IgnoredAny) => NoObject::Other,
            Err(error) => NoObject::NotJson { line: error.line(), column: error.column() },
        })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Each)
    }
}

struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields { members: Map::new(), twice: None };
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if fields.members.contains_key(&name) {
                fields.twice.get_or_insert_with(|| name.clone());
            }
            fields.members.insert(name, value);
        }
        Ok(fields)
    }
}

/// The names of the fields of `T`.
pub(super) fn fields_of<T: JsonSchema>() -> Vec<String> {
    let schema = described::<T>();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

/// A field's name as its sender wrote it, if it may be repeated to them: only letters, `_` and `-`,
/// so that no code, number or address that stands there by mistake is.
pub fn showable(name: &str) -> Option<&str> {
    let plain = name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'-');
    (plain && (1..=40).contains(&name.len())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_named_and_the_last_is_kept() {
        let fields = Fields::read(br#"{"a":1,"b":2,"a":3,"b":{"c":1,"c":2}}"#).ok().unwrap();
        assert_eq!(fields.twice.as_deref(), Some("a"));
        assert_eq!(fields.members["a"], 3);
        assert!(Fields::read(br#"{"a":1,"b":2}"#).ok().unwrap().twice.is_none());
    }

    #[test]
    fn other_json_is_told_from_what_is_not_json() {
        for other in ["[]", "1", "\"a\"", "null"] {
            assert!(matches!(Fields::read(other.as_bytes()), Err(NoObject::Other)), "{other}");
        }
        for broken in ["", "{", "[1", "{\"a\":}", "{} {}"] {
            let read = Fields::read(broken.as_bytes());
            assert!(matches!(read, Err(NoObject::NotJson { .. })), "{broken}");
        }
    }

    #[test]
    fn only_what_looks_like_a_name_is_repeated() {
        for name in ["locate", "twoFactor", "email-backup"] {
            assert_eq!(showable(name), Some(name));
        }
        let long = "a".repeat(41);
        for text in ["", "12025550123", "a1", "ada@example.com", "two factor", "é", &long] {
            assert_eq!(showable(text), None, "{text}");
        }
    }
}
