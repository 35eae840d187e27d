//! Texts that travel sealed.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::schema::schema;

/// A text that travels sealed, opened. A field of a request is sealed because it has this type. Its `Debug` shows nothing; it is wiped when dropped.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Sealed(Zeroizing<String>);

impl Sealed {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one who must read it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

const PATTERN: &str = "^[a-z0-9-]{1,16}\\.[A-Za-z0-9+/]+={0,2}$";

schema!(Sealed, "Sealed", {
    "type": "string",
    "pattern": PATTERN,
    "description": "a libsodium sealed box to stepup's public key: `<kid>.<base64>`"
});

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// Whether a field with this schema is sealed: a text, or a list of texts.
pub(super) fn is_sealed(schema: &Value) -> bool {
    let of = |schema: Option<&Value>| {
        schema.and_then(|schema| schema.get("pattern")).and_then(Value::as_str) == Some(PATTERN)
    };
    of(Some(schema)) || of(schema.get("items"))
}
