//! The schemas of messages are true of the documented examples, and none is missing.

use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use stepup::domain::keys::Keyring;
use stepup::message::Queue;
use stepup::message::{EventKind, OutcomeKind, schemas};

use crate::contracts::{examples, sealed};

/// The schema of a message, as `stepup schemas` prints it.
fn schema<'a>(schemas: &'a Value, kind: &str, key: &str) -> Option<&'a Value> {
    match kind {
        "request" => schemas["requests"].get(key),
        "command" => schemas["commands"].get(key),
        kind => schemas.get(kind),
    }
}

/// Why `body` does not fit, if it does not.
fn misfit(schema: &Value, body: &Value) -> Option<String> {
    let (mut known, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("urn:message", schema.clone()).unwrap();
    let index = compiler.compile("urn:message", &mut known).unwrap();
    known.validate(body, index).err().map(|why| format!("{why:#}"))
}

#[test]
fn every_documented_message_fits_its_schema() {
    let (schemas, keys) = (schemas(), Keyring::for_tests());
    let mut checked = 0;
    for (kind, key, body) in examples() {
        let schema = schema(&schemas, &kind, &key).unwrap_or_else(|| panic!("{kind} {key}"));
        let body = sealed(body, &keys);
        assert_eq!(misfit(schema, &body), None, "{kind} {key}");
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn a_wrong_message_does_not_fit() {
    let (schemas, keys) = (schemas(), Keyring::for_tests());
    for (kind, key, body) in examples() {
        let schema = schema(&schemas, &kind, &key).unwrap();
        let body = sealed(body, &keys);
        for required in schema["required"].as_array().unwrap() {
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(required.as_str().unwrap());
            assert!(misfit(schema, &less).is_some(), "{kind} {key} without {required}");
        }
        for name in body.as_object().unwrap().keys() {
            let mut wrong = body.clone();
            wrong[name] = json!({ "what": "ever" });
            assert!(misfit(schema, &wrong).is_some(), "{kind} {key} with another {name}");
        }
    }
    for (kind, key, body) in examples().into_iter().filter(|(kind, ..)| kind == "request") {
        let schema = schema(&schemas, &kind, &key).unwrap();
        let mut body = sealed(body, &keys);
        body["v"] = json!(1);
        assert_eq!(misfit(schema, &body), None, "{key} with its version");
        body["locate"] = json!("en");
        assert!(misfit(schema, &body).is_some(), "{key} with a field that it does not have");
    }
    // A secret in clear is no secret.
    let clear = json!({ "account": "acme", "challenge": "1a14dd77-51e1-54ae-8676-f683f76e3fe1",
        "guess": "123456" });
    assert!(misfit(&schemas["requests"]["challenge.verify"], &clear).is_some());
}

#[test]
fn the_example_of_a_request_has_all_its_fields() {
    let schemas = schemas();
    for (kind, key, body) in examples().into_iter().filter(|(kind, ..)| kind == "request") {
        let properties = schema(&schemas, &kind, &key).unwrap()["properties"].clone();
        let known = properties.as_object().unwrap().keys().filter(|name| *name != "v");
        let shown = body.as_object().unwrap().keys();
        assert_eq!(shown.collect::<Vec<_>>(), known.collect::<Vec<_>>(), "{key}");
    }
}

#[test]
fn no_message_lacks_a_schema() {
    let schemas = schemas();
    for queue in Queue::ALL {
        for (exchange, key) in queue.bindings() {
            let kind = match exchange.label() {
                "requests" => "request",
                "commands" => "command",
                _ => continue,
            };
            let found = schema(&schemas, kind, &key);
            let hint = "add it to the REQUESTS of its area, or derive JsonSchema";
            assert!(found.is_some_and(Value::is_object), "no schema of {kind} {key}: {hint}");
        }
    }
    let words = |kind: &str, name: &str| schemas[kind]["properties"][name]["enum"].clone();
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.label()).collect();
    assert_eq!(words("event", "type"), json!(kinds));
    let outcomes: Vec<&str> = OutcomeKind::ALL.iter().map(|kind| kind.label()).collect();
    assert_eq!(words("outcome", "outcome"), json!(outcomes));
}
