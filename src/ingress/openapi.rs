//! The door's description of itself: OpenAPI 3.1, made from the endpoints, the fields they check, the
//! table of statuses, and the types of what is answered.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::accept::IDEMPOTENCY_KEY_MAX;
use super::activity;
use super::answer::status_of;
use super::endpoint::Endpoint;
use super::field::Field;
use super::problem::DOOR_PROBLEMS;
use super::route::{ACTIVITY, CHALLENGE, ENDPOINTS, OPENAPI, REVIEW, lower_case};
use crate::domain::activity::Row;
use crate::message::{
    ChallengeView, Outcome, OutcomeKind, ReviewView, reader, requests, travelling, writer,
};

/// Made once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// `GET /openapi.json`. It says nothing that is not public, so it asks for no key.
pub async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The whole document.
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (path, method, endpoint) in ENDPOINTS {
        let method = lower_case(*method);
        paths.entry(path).or_default().insert(method.to_owned(), asking(endpoint));
    }
    for (path, operation) in [
        (CHALLENGE, challenge_view()),
        (REVIEW, review()),
        (ACTIVITY, report()),
        (OPENAPI, itself()),
    ] {
        paths.entry(path).or_default().insert("get".into(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stepup",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Two-factor authentication for apps that do not speak AMQP.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "api_key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "api_key": { "type": "http", "scheme": "bearer" } },
            "responses": problems(),
            "schemas": { "Outcome": outcome(), "Problem": problem(None) },
        },
    })
}

/// What publishes a request and answers with its outcome.
fn asking(endpoint: &Endpoint) -> Value {
    let message = requests().find(|request| request.key == endpoint.key);
    let message = message.map_or(Value::Null, |request| travelling(request).into());
    let mut parameters: Vec<Value> =
        endpoint.path.iter().map(|field| in_path(field.name, schema(field, &message))).collect();
    parameters.push(json!({
        "name": "Idempotency-Key", "in": "header",
        "description": "Names the request within the app: repeats get the first outcome.",
        "schema": { "type": "string", "pattern": format!("^[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}$") },
    }));
    let ok =
        OutcomeKind::ALL.iter().filter(|kind| status_of(endpoint.key, **kind).0 == StatusCode::OK);
    let ok: Vec<&str> = ok.map(|kind| kind.label()).collect();
    let mut responses = json!({
        "200": json_response("The outcome.", json!({
            "allOf": [
                { "$ref": "#/components/schemas/Outcome" },
                { "properties": { "outcome": { "enum": ok } } },
            ],
        })),
        "202": {
            "description": "Stored; the outcome is not there yet.",
            "headers": { "Location": {
                "description": "Where the outcome will be, if a challenge is concerned.",
                "schema": { "type": "string", "format": "uri-reference" },
            } },
            "content": { "application/json": { "schema": {
                "type": "object",
                "properties": {
                    "outcome": { "const": "accepted" },
                    "request": { "type": "string", "format": "uuid" },
                },
                "required": ["outcome", "request"],
            } } },
        },
    });
    refer(&mut responses, problem_statuses());
    json!({
        "operationId": endpoint.key,
        "description": message.get("description"),
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": body(endpoint, &message) } },
        },
        "responses": responses,
    })
}

/// The body as the door checks it, with what the message says of each field.
fn body(endpoint: &Endpoint, message: &Value) -> Value {
    let properties: Map<String, Value> =
        endpoint.body.iter().map(|field| (field.name.to_owned(), schema(field, message))).collect();
    let required = endpoint.body.iter().filter(|field| field.required).map(|field| field.name);
    json!({
        "type": "object",
        "properties": properties,
        "required": required.collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}

fn schema(field: &Field, message: &Value) -> Value {
    let mut schema = Value::from((field.schema)(&mut reader()));
    let said = &message["properties"][field.name];
    for word in ["description", "default"] {
        if let (Some(members), Some(text)) = (schema.as_object_mut(), said.get(word)) {
            members.entry(word).or_insert_with(|| text.clone());
        }
    }
    schema
}

fn in_path(name: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn json_response(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn challenge_view() -> Value {
    let view: Value = writer().into_root_schema_for::<ChallengeView>().into();
    let known = "The challenge, or the one that the request with this id led to; or the outcome of \
        a request that led to none.";
    let either = json!({ "anyOf": [view, { "$ref": "#/components/schemas/Outcome" }] });
    let mut responses = json!({ "200": json_response(known, either) });
    refer(&mut responses, [401, 404, 405, 500, 503]);
    json!({
        "operationId": "challenge.view",
        "description": "What is known of a challenge.",
        "parameters": [in_path("challenge", json!({ "type": "string", "format": "uuid" }))],
        "responses": responses,
    })
}

fn review() -> Value {
    let view: Value = writer().into_root_schema_for::<ReviewView>().into();
    let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$" });
    let mut responses =
        json!({ "200": json_response("The review, with a page of members.", view) });
    refer(&mut responses, [401, 404, 405, 422, 500, 503]);
    json!({
        "operationId": "team.review.view",
        "description": "What a review of contacts has found so far.",
        "parameters": [
            in_path("account", id.clone()),
            in_path("review", json!({ "type": "string", "format": "uuid" })),
            { "name": "after", "in": "query", "schema": id },
        ],
        "responses": responses,
    })
}

fn report() -> Value {
    let row: Value = writer().into_root_schema_for::<Row>().into();
    let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$" });
    let moment = json!({ "type": "string", "format": "date-time" });
    let mut parameters = vec![in_path("account", id.clone())];
    for (name, schema) in [
        ("member", id),
        ("action", json!({ "type": "string", "pattern": "^[a-z_]{1,64}$" })),
        ("from", moment.clone()),
        ("to", moment),
        (
            "limit",
            json!({
                "type": "integer", "minimum": 1, "maximum": activity::PAGE_ROWS_MAX,
                "default": activity::PAGE_ROWS,
            }),
        ),
        (
            "cursor",
            json!({
                "type": "string", "pattern": "^[A-Za-z0-9_-]{11}$",
                "description": "`next_cursor` of the page before",
            }),
        ),
        ("format", json!({ "type": "string", "enum": ["json", "csv"] })),
    ] {
        parameters.push(json!({ "name": name, "in": "query", "schema": schema }));
    }
    let mut responses = json!({ "200": {
        "description": "A page of the Activity report, newest first.",
        "headers": { "Link": {
            "description": "The next page, if there is one (RFC 8288).",
            "schema": { "type": "string" },
        } },
        "content": {
            "application/json": { "schema": {
                "type": "object",
                "properties": {
                    "activity": { "type": "array", "items": row },
                    "next_cursor": { "type": ["string", "null"] },
                },
                "required": ["activity", "next_cursor"],
            } },
            "text/csv": { "schema": { "type": "string" } },
        },
    } });
    refer(&mut responses, [401, 404, 405, 422, 500, 503]);
    json!({
        "operationId": "activity.report",
        "description": "Who changed whose number or second factor.",
        "parameters": parameters,
        "responses": responses,
    })
}

fn itself() -> Value {
    let mut responses =
        json!({ "200": json_response("This document.", json!({ "type": "object" })) });
    refer(&mut responses, [405, 500, 503]);
    json!({
        "operationId": "openapi",
        "description": "This document.",
        "security": [],
        "responses": responses,
    })
}

/// Points from each status to its problem.
fn refer(responses: &mut Value, statuses: impl IntoIterator<Item = u16>) {
    for status in statuses {
        responses[status.to_string()] =
            json!({ "$ref": format!("#/components/responses/{status}") });
    }
}

/// Every status of a problem, with the words that are its `outcome` and what to do about each.
fn refusals() -> BTreeMap<u16, Vec<(&'static str, &'static str)>> {
    let outcomes = OutcomeKind::ALL.iter().map(|kind| {
        let (status, advice) = kind.answer();
        (status, kind.label(), advice)
    });
    let outcomes = outcomes.filter(|(status, ..)| *status != 200);
    let door = DOOR_PROBLEMS.iter().map(|(kind, status, detail)| (status.as_u16(), *kind, *detail));
    let mut refusals: BTreeMap<u16, Vec<(&str, &str)>> = BTreeMap::new();
    for (status, kind, detail) in outcomes.chain(door) {
        refusals.entry(status).or_default().push((kind, detail));
    }
    refusals
}

fn problem_statuses() -> Vec<u16> {
    refusals().into_keys().collect()
}

/// The table of refusals: a response for each status.
fn problems() -> Map<String, Value> {
    let retry = json!({ "Retry-After": {
        "description": "Seconds after which it is worth repeating.",
        "schema": { "type": "integer", "minimum": 1 },
    } });
    let response = |(status, kinds): (u16, Vec<(&str, &str)>)| {
        let lines = kinds.iter().map(|(kind, detail)| format!("- `{kind}`: {detail}"));
        let mut words: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        words.dedup();
        let mut response = json!({
            "description": lines.collect::<Vec<_>>().join("\n"),
            "content": { "application/problem+json": { "schema": problem(Some((status, &words))) } },
        });
        if matches!(status, 409 | 429 | 503) {
            response["headers"] = retry.clone();
        }
        (status.to_string(), response)
    };
    refusals().into_iter().map(response).collect()
}

fn outcome() -> Value {
    writer().into_root_schema_for::<Outcome>().into()
}

/// A problem (RFC 9457) beside whatever the outcome carries; of one status, or any.
fn problem(of: Option<(u16, &[&str])>) -> Value {
    let mut problem = outcome();
    let (status, words) = match of {
        Some((status, words)) => (json!({ "const": status }), json!({ "enum": words })),
        None => (json!({ "type": "integer" }), json!({ "type": "string" })),
    };
    problem["title"] = json!("Problem");
    problem["description"] = json!("What went wrong, and what to do (RFC 9457).");
    for (name, schema) in [
        ("type", json!({ "type": "string", "pattern": "^urn:stepup:" })),
        ("title", json!({ "type": "string" })),
        ("status", status),
        ("detail", json!({ "type": "string" })),
        ("outcome", words),
    ] {
        problem["properties"][name] = schema;
    }
    problem["required"] = json!(["type", "title", "status", "detail", "outcome"]);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_with_the_schema_of_its_message() {
        let document = document();
        for (path, method, endpoint) in ENDPOINTS {
            let operation = &document["paths"][path][lower_case(*method)];
            assert_eq!(operation["operationId"], endpoint.key, "{path}");
            assert!(
                operation["description"].is_string(),
                "{}: declare its message (RequestBody) and list it",
                endpoint.key
            );
            let names: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let described = operation["parameters"].as_array().unwrap().iter();
            let described = described.filter(|parameter| parameter["in"] == "path");
            let described: Vec<&Value> = described.map(|parameter| &parameter["name"]).collect();
            assert_eq!(described, names, "{path}");
        }
        for path in super::super::route::VIEWS {
            assert!(document["paths"][path]["get"].is_object(), "{path} is not described");
        }
    }

    #[test]
    fn what_the_door_refuses_is_what_the_document_lists() {
        let text = include_str!("../../docs/http.md");
        let (_, rows) = text.split_once("What the door itself refuses:").unwrap();
        let (rows, _) = rows.split_once("No problem repeats").unwrap();
        let listed: Vec<(&str, &str)> = rows
            .lines()
            .skip_while(|line| !line.starts_with("|---"))
            .filter_map(|line| {
                let (kind, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
                Some((kind, &rest[..3]))
            })
            .collect();
        let ours: Vec<(&str, String)> =
            DOOR_PROBLEMS.iter().map(|(kind, status, _)| (*kind, status.as_str().into())).collect();
        assert_eq!(listed, ours.iter().map(|(k, s)| (*k, s.as_str())).collect::<Vec<_>>());
    }

    #[test]
    fn every_refusal_is_in_the_response_of_its_status() {
        let document = document();
        for kind in OutcomeKind::ALL.iter().filter(|kind| kind.answer().0 != 200) {
            let status = kind.answer().0.to_string();
            let response = &document["components"]["responses"][status.as_str()];
            let schema = &response["content"]["application/problem+json"]["schema"];
            let words = schema["properties"]["outcome"]["enum"].as_array().unwrap();
            assert!(words.contains(&json!(kind.label())), "{kind:?}");
        }
    }

    #[test]
    fn nothing_is_referred_to_that_is_not_there() {
        let document = document();
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
