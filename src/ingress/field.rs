//! A member of a request: what it must be, and how that is checked before anybody reads it.

use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;
use crate::domain::moment;
use crate::domain::schema::schema;

/// The longest guess, in characters.
pub const GUESS_MAX: usize = 32;

/// A member of a request: what it is called, what it must be, and how that is checked.
pub struct Field {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) sealed: bool,
    pub(super) must_be: &'static str,
    pub(super) fits: fn(&Value) -> bool,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

pub(super) const ID: &str =
    "a text of 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit";

impl Field {
    pub(super) const fn required<T>(name: &'static str, must_be: &'static str) -> Self
    where
        T: DeserializeOwned + JsonSchema,
    {
        let (fits, schema) = (reads_as::<T>, T::json_schema);
        Self { name, required: true, sealed: false, must_be, fits, schema }
    }

    pub(super) const fn optional<T>(name: &'static str, must_be: &'static str) -> Self
    where
        T: DeserializeOwned + JsonSchema,
    {
        Self { required: false, ..Self::required::<T>(name, must_be) }
    }

    pub(super) const fn sealed(self) -> Self {
        Self { sealed: true, ..self }
    }

    pub(super) fn check(&self, value: Option<&Value>) -> Result<(), Problem> {
        let (name, must_be) = (self.name, self.must_be);
        match value {
            None if self.required => {
                Err(Problem::field(name, format!("`{name}` is missing; it must be {must_be}")))
            }
            Some(value) if !(self.fits)(value) => {
                Err(Problem::field(name, format!("`{name}` must be {must_be}")))
            }
            None | Some(_) => Ok(()),
        }
    }
}

fn reads_as<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

pub(super) fn is_moment(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| moment(text).is_some())
}

/// What a person typed, before it is sealed.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Guess;

impl TryFrom<String> for Guess {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=GUESS_MAX).contains(&text.chars().count());
        fits.then_some(Self).ok_or("is not 1 to 32 characters")
    }
}

schema!(Guess, "Guess", { "type": "string", "minLength": 1, "maxLength": GUESS_MAX });

/// A version of the directory.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Version(#[expect(dead_code, reason = "only its form is checked here")] i64);

schema!(Version, "Version", { "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX });

/// An address of a person's machine.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Ip(#[expect(dead_code, reason = "only its form is checked here")] IpAddr);

schema!(Ip, "Ip", {
    "anyOf": [{ "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }]
});

/// Numbers in clear, before each is sealed: sealed, this many are still one message.
#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct Numbers;

/// The longest list of numbers.
const NUMBERS_MAX: usize = 500;

impl TryFrom<Vec<String>> for Numbers {
    type Error = &'static str;

    fn try_from(list: Vec<String>) -> Result<Self, Self::Error> {
        (list.len() <= NUMBERS_MAX).then_some(Self).ok_or("are more than 500")
    }
}

schema!(Numbers, "Numbers", {
    "type": "array", "items": { "type": "string" }, "maxItems": NUMBERS_MAX
});
