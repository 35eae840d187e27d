//! What others see of the product, from what it says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::declared::declared;
use super::read;

/// The members of an object that are all that there may be.
const CLOSED: &[&str] = &["arguments", "required"];

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_is_still_what_it_was() {
    let mut frozen = read("wire.json");
    // The test of messages looks at these, since only a product that runs has them.
    frozen.as_object_mut().unwrap().remove("metrics");
    let mut broken = Vec::new();
    differences("", &frozen, &wire().await, &mut broken);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_break_of_the_wire_is_seen_and_an_addition_is_none() {
    let listed = json!({ "queue": { "arguments": { "ttl": 1 } }, "required": ["a"],
        "outcomes": { "200": ["open"] } });
    let found = |place: &str, value: Value| {
        let (mut now, mut found) = (listed.clone(), Vec::new());
        let (parent, name) = place.rsplit_once('/').unwrap();
        now.pointer_mut(parent).unwrap()[name] = value;
        differences("", &listed, &now, &mut found);
        found.len()
    };
    assert_eq!(found("/more", json!([])), 0);
    assert_eq!(found("/outcomes/200", json!(["open", "resent"])), 0);
    assert_eq!(found("/outcomes/200", json!(["resent"])), 1);
    assert_eq!(found("/outcomes", json!({})), 1);
    assert_eq!(found("/required", json!(["a", "b"])), 1);
    assert_eq!(found("/required", json!([])), 1);
    assert_eq!(found("/queue/arguments/ttl", json!(2)), 1);
    assert_eq!(found("/queue/arguments/overflow", json!("x")), 1);
}

/// All that `listed` says and that is not so.
pub fn differences(place: &str, listed: &Value, now: &Value, found: &mut Vec<String>) {
    let is_closed = CLOSED.iter().any(|name| place.ends_with(&format!("/{name}")));
    match (listed, now) {
        (Value::Object(members), Value::Object(all)) => {
            for (name, value) in members {
                match all.get(name) {
                    Some(now) => differences(&format!("{place}/{name}"), value, now, found),
                    None => found.push(format!("{place}/{name} is gone")),
                }
            }
            let more = all.keys().filter(|name| is_closed && !members.contains_key(*name));
            found.extend(more.map(|name| format!("{place}/{name} is new, and may not be")));
        }
        (Value::Array(values), Value::Array(all)) => {
            let gone = values.iter().filter(|value| !all.contains(value));
            found.extend(gone.map(|value| format!("{place} lacks {value}")));
            let more = all.iter().filter(|value| is_closed && !values.contains(value));
            found.extend(more.map(|value| format!("{place} has {value}, and may not")));
        }
        _ if listed == now => {}
        _ => found.push(format!("{place} was {listed}, is {now}")),
    }
}

/// The wire of this version, but for the metrics.
pub async fn wire() -> Value {
    let (schemas, http) = (stepup::message::schemas(), stepup::ingress::openapi());
    let mut wire = declared().await;
    let queues = |exchange: &str, key: &str| -> Vec<String> {
        let bound_to = Value::from(format!("{exchange} {key}"));
        let queues = wire["queues"].as_object().unwrap().iter();
        let taking =
            queues.filter(|(_, queue)| queue["bound_to"].as_array().unwrap().contains(&bound_to));
        taking.map(|(name, _)| name.clone()).collect()
    };
    let sealed = &schemas["requests"]["challenge.verify"]["properties"]["guess"]["pattern"];
    let requests: Map<String, Value> = of(&schemas["requests"], |key, schema| {
        let mut request = fields(schema);
        request["sealed"] = names(schema, |field| contains(field, sealed));
        request["queues"] = queues("requests", key).into();
        let (route, operation) = operation(&http, key);
        request["http"] = route.into();
        request["outcomes"] = json!(outcomes(&http, operation));
        request
    });
    let commands: Map<String, Value> = of(&schemas["commands"], |key, schema| {
        let mut command = fields(schema);
        command["queues"] = queues("commands", key).into();
        command
    });
    wire["requests"] = requests.into();
    wire["commands"] = commands.into();
    wire["events"] = json!(words(&schemas["event"]["properties"]["type"]));
    wire["settings"] = json!(settings());
    wire
}

/// The metrics of a page with their labels.
pub fn metrics(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<&str> = types.map(|line| line.split(' ').next().unwrap()).collect();
    let mut found = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (full, labels) = match line.split_once('{') {
            Some((full, rest)) => (full, rest.split_once('}').unwrap().0),
            None => (line.split(' ').next().unwrap(), ""),
        };
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| full.strip_suffix(end));
        let name = base.filter(|base| names.contains(base)).unwrap_or(full);
        let labels = labels.split("\",").filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, _)| name).filter(|name| !["le", "quantile"].contains(name));
        let known: &mut BTreeSet<String> = found.entry(name.to_owned()).or_default();
        known.extend(labels.map(str::to_owned));
    }
    found
}

fn of(messages: &Value, describe: impl Fn(&str, &Value) -> Value) -> Map<String, Value> {
    let messages = messages.as_object().unwrap().iter();
    messages.map(|(key, schema)| (key.clone(), describe(key, schema))).collect()
}

/// The fields of a message: what must be there, and what may.
fn fields(schema: &Value) -> Value {
    let required = schema["required"].as_array().unwrap();
    let optional = schema["properties"].as_object().unwrap().keys();
    let optional = optional.filter(|name| !required.contains(&json!(name)));
    json!({ "required": required, "optional": optional.collect::<Vec<_>>() })
}

fn names(schema: &Value, is_it: impl Fn(&Value) -> bool) -> Value {
    let fields = schema["properties"].as_object().unwrap().iter();
    fields.filter(|(_, field)| is_it(field)).map(|(name, _)| name.clone()).collect()
}

/// Whether a value is anywhere in another.
fn contains(whole: &Value, wanted: &Value) -> bool {
    whole == wanted
        || match whole {
            Value::Object(members) => members.values().any(|value| contains(value, wanted)),
            Value::Array(values) => values.iter().any(|value| contains(value, wanted)),
            _ => false,
        }
}

/// `PUT /v1/…`, and what OpenAPI says of it.
fn operation<'a>(http: &'a Value, key: &str) -> (String, &'a Value) {
    let paths = http["paths"].as_object().unwrap().iter();
    let mut operations = paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, found)| (format!("{} {path}", method.to_uppercase()), found))
    });
    let found = operations.find(|(_, operation)| operation["operationId"] == key);
    found.unwrap_or_else(|| panic!("/openapi.json does not know {key}"))
}

/// The outcomes by their status.
fn outcomes(http: &Value, operation: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let responses = operation["responses"].as_object().unwrap().iter();
    let outcomes = responses.map(|(status, response)| {
        let place = response["$ref"].as_str().map(|place| place.trim_start_matches('#'));
        let response = place.map_or(response, |place| http.pointer(place).unwrap());
        (status.clone(), outcome_words(response))
    });
    outcomes.collect()
}

/// The words that any `outcome` of a schema may be.
fn outcome_words(schema: &Value) -> BTreeSet<String> {
    let inner: Vec<&Value> = match schema {
        Value::Object(members) => members.values().collect(),
        Value::Array(values) => values.iter().collect(),
        _ => Vec::new(),
    };
    let own = schema.get("outcome").map(words).unwrap_or_default();
    inner.into_iter().flat_map(outcome_words).chain(own).collect()
}

/// The words that a schema allows.
fn words(schema: &Value) -> BTreeSet<String> {
    match schema {
        Value::Object(members) => {
            let listed = members.get("enum").and_then(Value::as_array).into_iter().flatten();
            let words = listed.chain(members.get("const")).filter_map(Value::as_str);
            let inner = ["oneOf", "anyOf", "allOf"].iter().filter_map(|name| members.get(*name));
            inner.flat_map(words_of_all).chain(words.map(str::to_owned)).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn words_of_all(schemas: &Value) -> BTreeSet<String> {
    schemas.as_array().into_iter().flatten().flat_map(words).collect()
}

/// The names that `stepup config check` shows.
fn settings() -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    let shown = command.args(["config", "check"]).env_clear().output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let names = shown.lines().filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| name.starts_with("STEPUP_"));
    names.map(str::to_owned).collect()
}
