//! The body of a request: one JSON object, in which each field is known and there once.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::kind::Rejected;

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

/// Reads the body of a request into its struct, which has these fields and no others.
pub(super) fn parse_known<T: DeserializeOwned>(
    body: Value,
    known: &[String],
) -> Result<T, Rejected> {
    let unknown = |name: &&String| *name != "v" && !known.contains(name);
    if let Some(name) = body.as_object().and_then(|members| members.keys().find(unknown)) {
        let why = format!("is not known here; known are: {}", known.join(", "));
        return Err(Rejected::foreign_field(name, &why));
    }
    parse(body)
}

/// Reads a body into its struct. The error names the field and never quotes its value.
pub(super) fn parse<T: DeserializeOwned>(body: Value) -> Result<T, Rejected> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let why = unquoted(&error.inner().to_string());
        match error.path().iter().next() {
            Some(Segment::Map { key }) => {
                Rejected::field(key, format!("field `{}`: {why}", error.path()))
            }
            // A field that is missing has no place; its name is in the sentence.
            _ => match named(&why) {
                Some(name) => Rejected::field(name, why.clone()),
                None => Rejected::malformed(why),
            },
        }
    })
}

/// The field that a serde message begins with, which is one of ours.
fn named(message: &str) -> Option<&str> {
    let starts = ["missing field `", "field `"];
    let name = starts.iter().find_map(|start| message.strip_prefix(start))?;
    name.split('`').next()
}

/// A serde message without what was sent, which it repeats in quotes: ``invalid type: integer `4711`,
/// expected a string``. Only words of our own stay quoted: the name of a field at the beginning, and
/// in serde's own sentences, which end with it, what is expected. A value may hold quotes, too, so all
/// between the first and the last goes.
pub(super) fn unquoted(message: &str) -> String {
    const QUOTES: [char; 2] = ['"', '`'];
    let begins_with = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    if begins_with(&["missing field `", "field `"]) {
        return message.to_owned();
    }
    let of_serde = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    let expected = message.rfind(", expected ").filter(|_| begins_with(&of_serde));
    let (told, expected) = message.split_at(expected.unwrap_or(message.len()));
    match (told.find(QUOTES), told.rfind(QUOTES)) {
        (Some(first), Some(last)) => format!("{}…{}{expected}", &told[..first], &told[last + 1..]),
        _ => message.to_owned(),
    }
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
}
