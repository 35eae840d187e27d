//! JSON Schemas of all that travels, made from the types that read and write it.

use serde_json::{Map, Value, json};

use super::catalogue::{requests, travelling};
use super::command::Command;
use super::event::Stamped;
use super::json_schema::{described, writer};
use super::outcome::Outcome;

/// Requests and commands by their keys, the schema of all events, and that of all outcomes.
pub fn schemas() -> Value {
    let requests: Map<String, Value> =
        requests().map(|request| (request.key.to_owned(), travelling(request).into())).collect();
    let commands = described::<Command>();
    let variants = commands.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let commands: Map<String, Value> = variants
        .filter_map(|variant| {
            Some((variant.pointer("/properties/type/const")?.as_str()?.to_owned(), variant.clone()))
        })
        .collect();
    json!({
        "requests": requests,
        "commands": commands,
        "event": writer().into_root_schema_for::<Stamped<'static>>(),
        "outcome": writer().into_root_schema_for::<Outcome>(),
    })
}
