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
    /// It is JSON with something that cannot be read.
    Unreadable {
        /// What it has, as the end of a sentence.
        what: &'static str,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// It is not UTF-8.
    NotUtf8 {
        /// The first byte that is not, from 1.
        byte: usize,
    },
}

impl NoObject {
    fn of(body: &[u8], error: &serde_json::Error) -> Self {
        if let Err(error) = std::str::from_utf8(body) {
            return Self::NotUtf8 { byte: error.valid_up_to() + 1 };
        }
        // What is passed over is not looked at, so an error of the form alone is left.
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
            return Self::NotJson { line: error.line(), column: error.column() };
        }
        if error.is_data() {
            return Self::Other;
        }
        // serde_json tells these apart by its sentence only.
        let sentence = error.to_string();
        let what = if sentence.starts_with("number out of range") {
            "a number that is out of range"
        } else if sentence.starts_with("recursion limit exceeded") {
            "too many lists or objects within each other"
        } else {
            "a text with half a character"
        };
        Self::Unreadable { what, line: error.line(), column: error.column() }
    }
}

/// The sentence for its sender; it quotes nothing.
impl fmt::Display for NoObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { line, column } => {
                write!(f, "the body is not JSON (line {line}, column {column})")
            }
            Self::Other => f.write_str("the body is not a JSON object"),
            Self::Unreadable { what, line, column } => {
                write!(f, "the body has {what} (line {line}, column {column})")
            }
            Self::NotUtf8 { byte } => write!(f, "the body is not UTF-8 (byte {byte})"),
        }
    }
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn read(body: &[u8]) -> Result<Self, NoObject> {
        serde_json::from_slice(body).map_err(|error| NoObject::of(body, &error))
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
    fn what_cannot_be_read_is_said() {
        let digits = "9".repeat(400);
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (body, why) in [
            (
                format!(r#"{{"version":{digits}}}"#).into_bytes(),
                "the body has a number that is out of range",
            ),
            (br#"{"version":1e999}"#.to_vec(), "the body has a number that is out of range"),
            (format!(r#"{{"a":{deep}}}"#).into_bytes(), "the body has too many lists"),
            (br#"{"a":"\ud800"}"#.to_vec(), "the body has a text with half a character"),
            (b"{\"a\":\"\xFF\"}".to_vec(), "the body is not UTF-8 (byte 7)"),
            (b"\xFF".to_vec(), "the body is not UTF-8 (byte 1)"),
        ] {
            let told = Fields::read(&body).err().unwrap().to_string();
            assert!(told.starts_with(why), "{told}");
            assert!(!told.contains("99"), "{told}");
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
