//! From an HTTP request to the message it publishes: strict, pure, and nothing secret in clear.
//!
//! A misspelt field is refused here, as the workers do for apps that speak AMQP: who writes `locate` for
//! `locale` learns it. What the values mean is judged by the workers.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::endpoint::{Endpoint, REVIEW_CONTACTS};
use super::problem::Problem;
use crate::domain::id::{AppName, request_id};
use crate::domain::keys::PublicKey;
use crate::message::{Exchange, Fields, NoObject, Outgoing};

/// The longest `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A message to publish, and where its outcome can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message.
    pub outgoing: Outgoing,
    /// The request's id, as the worker derives it from the message's. Where a challenge is opened,
    /// it is the new challenge's id, too.
    pub request: Uuid,
    /// Where its outcome can be read, if it can be.
    pub location: Option<String>,
}

/// The message's id: a function of app and `Idempotency-Key`, or `fresh` where none was sent.
///
/// # Errors
/// 400 for a key that is not 1 to 255 visible ASCII characters, or more than one.
pub fn message_id(headers: &HeaderMap, app: &AppName, fresh: Uuid) -> Result<Uuid, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(fresh) };
    let visible = |text: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
    };
    match (key.to_str().ok().filter(visible), keys.next()) {
        (Some(key), None) => Ok(request_id(app, key)),
        (None | Some(_), _) => {
            let detail = "Idempotency-Key must be one header of 1 to 255 visible ASCII characters";
            Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", detail))
        }
    }
}

/// Whether the body claims to be JSON.
///
/// # Errors
/// 415 where it does not.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "send the body as JSON with `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// Reads a request; `path` holds the path's members by name.
///
/// # Errors
/// 400 for what is no JSON; 404 for a challenge that is no UUID; 422 for a field that is missing,
/// unknown, there twice or of a wrong type. No problem repeats a value.
pub fn accept(
    endpoint: &'static Endpoint,
    path: Vec<(String, String)>,
    headers: &HeaderMap,
    body: &[u8],
    app: &AppName,
    id: Uuid,
    seal: &PublicKey,
) -> Result<Accepted, Problem> {
    let mut members = object(body)?;
    if let Some(unknown) =
        members.keys().find(|name| !endpoint.body.iter().any(|field| field.name == *name))
    {
        let known: Vec<_> = endpoint.body.iter().map(|field| field.name).collect();
        let detail = format!("this field is not known here; known are: {}", known.join(", "));
        return Err(Problem::foreign_field(unknown, detail));
    }
    for field in endpoint.body {
        field.check(members.get(field.name))?;
    }
    for (name, text) in path {
        members.insert(name, text.into());
    }
    for field in endpoint.path {
        let checked = field.check(members.get(field.name));
        // Whatever is no challenge looks like one that is not known.
        let of_ours = matches!(field.name, "challenge" | "reset");
        checked.map_err(|why| if of_ours { Problem::not_found() } else { why })?;
    }
    for field in endpoint.body.iter().filter(|field| field.sealed) {
        let sealed = |clear: &mut Value| {
            if let Some(text) = clear.as_str() {
                *clear = seal.seal(text.as_bytes()).into();
            }
        };
        match members.get_mut(field.name) {
            Some(Value::Array(list)) => list.iter_mut().for_each(sealed),
            Some(value) => sealed(value),
            None => {}
        }
    }
    let request = request_id(app, &id.to_string());
    let named = members.get("challenge").and_then(Value::as_str);
    let challenge =
        if endpoint.opens { Some(request) } else { named.and_then(|id| id.parse().ok()) };
    let account = members.get("account").and_then(Value::as_str).unwrap_or_default();
    // A review has the id of its request.
    let location = match challenge {
        Some(challenge) => Some(format!("/v1/challenges/{challenge}")),
        None if endpoint.key == REVIEW_CONTACTS.key => {
            Some(format!("/v1/accounts/{account}/reviews/{request}"))
        }
        None => None,
    };
    let outgoing = Outgoing {
        exchange: Exchange::Requests,
        key: endpoint.key.to_owned(),
        id,
        body: Value::Object(members).to_string(),
        delay: None,
        traceparent: traceparent(headers),
    };
    Ok(Accepted { outgoing, request, location })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match Fields::read(body) {
        Ok(Fields { members, twice: None }) => Ok(members),
        Ok(Fields { twice: Some(name), .. }) => {
            Err(Problem::foreign_field(&name, "a field is there more than once: send it once"))
        }
        Err(why) => {
            let (status, kind) = match why {
                NoObject::NotJson { .. } | NoObject::NotUtf8 { .. } => {
                    (StatusCode::BAD_REQUEST, "malformed")
                }
                NoObject::Other | NoObject::Unreadable { .. } => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
                }
            };
            Err(Problem::new(status, kind, why.to_string()))
        }
    }
}

/// The trace this request belongs to (W3C, version 00), if that is what the header says.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let lowercase_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    (lengths == [2, 32, 16, 2] && text.split('-').all(lowercase_hex)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
