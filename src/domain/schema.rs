//! JSON Schemas of the ground's types, for the documents that are made from the code.

/// Says of a type which JSON it is written as.
macro_rules! schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use schema;

/// A moment, as it is written everywhere.
pub struct Moment;

schema!(Moment, "Moment", { "type": "string", "format": "date-time" });

/// An address of a person's machine.
pub struct IpText;

schema!(IpText, "Ip", {
    "anyOf": [{ "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }]
});

schema!(super::phone::Country, "Country", {
    "type": "string", "pattern": "^[A-Z]{2}$", "description": "ISO 3166-1 alpha-2"
});
