//! What the simulator answers to a request that it does not understand.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::ledger::Unrecorded;

/// An error answer (RFC 9457). Never contains a number, an address or a text.
#[derive(Debug)]
pub(super) struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A sentence for the caller.
    pub detail: String,
    /// `recipient` if another recipient would have been accepted.
    pub scope: Option<&'static str>,
    /// Seconds, a date, or anything else.
    pub retry_after: Option<HeaderValue>,
}

impl Problem {
    /// A problem of no particular scope.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), scope: None, retry_after: None }
    }

    /// The call cannot be recorded, so it is not accepted either.
    pub fn unavailable(reason: &Unrecorded) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_string())
    }

    /// The request is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "status": self.status.as_u16(),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "detail": self.detail,
        });
        if let Some(scope) = self.scope {
            body["scope"] = scope.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after);
        }
        response
    }
}

/// The number `name` of a query string, if it is there.
pub(super) fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Problem> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let number = value.map(str::parse).transpose();
    number.map_err(|_| Problem::bad_request(format!("{name} must be a whole number")))
}

/// The code of an origin-bound message, whose last line is `@domain #code`.
pub(super) fn code(text: &str) -> Option<&str> {
    let (domain, rest) = text.trim_end().lines().last()?.strip_prefix('@')?.split_once(" #")?;
    let code = rest.split_whitespace().next()?;
    (!domain.is_empty() && !domain.contains(' ')).then_some(code)
}
