//! What went wrong, for the caller: RFC 9457 problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::message::showable;

/// Seconds after which a request that met a fault is worth repeating.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What the door itself refuses: the kind, its status, and what it means. In the order of
/// docs/http.md.
pub const DOOR_PROBLEMS: &[(&str, StatusCode, &str)] = &[
    ("malformed", StatusCode::BAD_REQUEST, "the body is not JSON, not UTF-8, or broke off"),
    (
        "idempotency_key",
        StatusCode::BAD_REQUEST,
        "Idempotency-Key is not one header of 1 to 255 visible ASCII characters",
    ),
    ("unauthorized", StatusCode::UNAUTHORIZED, "no API key, or a wrong one"),
    ("not_found", StatusCode::NOT_FOUND, "no such path, or not for this app"),
    ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "see the header Allow"),
    ("too_slow", StatusCode::REQUEST_TIMEOUT, "the body did not come within 5 s"),
    ("too_large", StatusCode::PAYLOAD_TOO_LARGE, "the body is over 16 KiB"),
    (
        "unsupported_media_type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the body is not announced as application/json",
    ),
    (
        "invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "a field or parameter is missing, unknown, there twice or wrong",
    ),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR, "a fault of stepup: tell the operator"),
    ("bad_outcome", StatusCode::BAD_GATEWAY, "ingress and workers are of different versions"),
    (
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "not answered: repeat with the same Idempotency-Key",
    ),
];

/// A problem. Its type is `urn:stepup:<kind>` and never changes its meaning; the kind is its
/// `outcome`, too, so that callers find that member in every answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    members: Map<String, Value>,
    header: Option<(&'static str, String)>,
    fault: Option<Fault>,
}

impl Problem {
    /// A problem of this kind; `detail` says what to do and never quotes the request.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let mut members = Map::new();
        members.insert("outcome".into(), kind.into());
        members.insert("type".into(), format!("urn:stepup:{kind}").into());
        members.insert("title".into(), kind.replace('_', " ").into());
        members.insert("status".into(), status.as_u16().into());
        members.insert("detail".into(), detail.into().into());
        Self { status, members, header: None, fault: None }
    }

    /// A field of the request that cannot be used (422).
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with("field", name)
    }

    /// A field or parameter whose name is the caller's own text, which is repeated only where it is a
    /// name (422).
    pub fn foreign_field(name: &str, detail: impl Into<String>) -> Self {
        match showable(name) {
            Some(name) => Self::field(name, detail),
            None => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail),
        }
    }

    /// What is not there, or not for this app: both look the same (404).
    pub fn not_found() -> Self {
        let detail = "nothing here is known to this app by this path: check the path and the ids";
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// A dependency failed: whether a request was stored is unknown (503).
    pub fn fault(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::unavailable() }
    }

    /// No answer in time: whether a request was stored is unknown (503).
    pub fn unavailable() -> Self {
        let detail = "not answered now, and whether a change was stored is unknown: \
            repeat with the same Idempotency-Key";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// Something broke on our side (500).
    pub fn internal() -> Self {
        let detail = "stepup failed over this request: repeat with the same Idempotency-Key, and \
            tell the operator if it stays so";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// One more member beside the standard ones.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// With a header.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// With `Retry-After`, in seconds.
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with_header("retry-after", seconds.to_string())
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A member of the body.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }
}

/// The fault behind a 503 is among the response's extensions, for the layer that observes.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content = [(header::CONTENT_TYPE, "application/problem+json")];
        let body = Value::Object(self.members).to_string();
        let mut response = (self.status, content, body).into_response();
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(fault);
        }
        response
    }
}
