//! How schemas are made from types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Makes schemas of what is read. Nothing is referred to: each schema stands by itself.
pub fn reader() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
}

/// Makes schemas of what is written.
pub fn writer() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with(|settings| settings.inline_subschemas = true).into_generator()
}

/// The schema of what is read as `T`.
pub fn described<T: JsonSchema>() -> Schema {
    reader().into_root_schema_for::<T>()
}
