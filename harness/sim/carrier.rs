//! `POST /carrier/messages`: the SMS carrier, a webhook in the manner of Standard Webhooks.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, State as Shared, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::{
    faults::Fault,
    ledger::{Channel, Content, Record, Unrecorded},
    problem::Problem,
    signature::SignedCall,
    state::{State, new_provider_ref, now, recipient},
    wire::Wire,
};

/// How long a `hang` holds the connection open, at most.
pub(super) const HANG: Duration = Duration::from_secs(120);

/// The longest text, in characters.
const MAX_TEXT_CHARACTERS: usize = 1600;

/// The longest `webhook-id` or `reference`, in bytes.
const MAX_ID_BYTES: usize = 255;

/// The body of a call.
#[derive(Deserialize)]
struct Body {
    to: String,
    text: String,
    reference: String,
}

/// A call that is well-formed and, where a secret is set, signed.
struct Call {
    webhook_id: String,
    to: String,
    text: String,
    reference: String,
}

/// What becomes of a call.
enum Verdict {
    /// Ours now; the fault says how to answer.
    Accepted { provider_ref: String, fault: Option<Fault> },
    /// Spoiled by a fault that does not accept.
    Spoiled(Fault),
}

/// Accepts one text message, or misbehaves as ordered.
pub(super) async fn post(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    wire.is_for_the_carrier();
    let verdict = match read(&state, &headers, body) {
        Ok(call) => judge(&state, call).map_err(|reason| Problem::unavailable(&reason)),
        Err(problem) => Err(record_problem(&state, &headers, problem)),
    };
    match verdict {
        Ok(Verdict::Accepted { provider_ref, fault }) => {
            if let Some(fault) = fault {
                sleep(fault.delay()).await;
                if fault == Fault::HangUp {
                    wire.hang_up();
                }
            }
            Json(json!({ "id": provider_ref })).into_response()
        }
        Ok(Verdict::Spoiled(fault)) => spoil(fault, &wire).await,
        Err(problem) => problem.into_response(),
    }
}

/// Checks signature and form, in this order: what is not signed is not looked into.
fn read(
    state: &State,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Call, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), "unreadable body"))?;
    let webhook_id = text(headers, "webhook-id");
    if let Some(secret) = &state.sms_secret {
        let call = SignedCall {
            id: webhook_id,
            timestamp: text(headers, "webhook-timestamp"),
            signatures: text(headers, "webhook-signature"),
            body: &body,
        };
        if !secret.verifies(&call, now().unix_timestamp()) {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "no valid webhook-signature"));
        }
    }
    let malformed = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    if webhook_id.is_empty() || webhook_id.len() > MAX_ID_BYTES {
        return Err(malformed("the header webhook-id must have 1 to 255 bytes"));
    }
    // The parser's message may quote the body, and with it the code.
    let body: Body = serde_json::from_slice(&body)
        .map_err(|_| malformed("the body must be a JSON object with to, text and reference"))?;
    if body.reference.is_empty() || body.reference.len() > MAX_ID_BYTES {
        return Err(malformed("reference must have 1 to 255 bytes"));
    }
    if body.text.is_empty() || body.text.chars().count() > MAX_TEXT_CHARACTERS {
        return Err(malformed("text must have 1 to 1600 characters"));
    }
    match recipient(&body.to) {
        Some((Channel::Sms, to)) if to == body.to => {
            let Body { text, reference, .. } = body;
            Ok(Call { webhook_id: webhook_id.to_owned(), to, text, reference })
        }
        _ => Err(malformed("to must be + and 8 to 15 digits")),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Writes down a call that was not even read. Its id is what it claims.
fn record_problem(state: &State, headers: &HeaderMap, problem: Problem) -> Problem {
    let id = text(headers, "webhook-id");
    let mut record = Record::new(Channel::Sms, now());
    record.entry.reference = (!id.is_empty() && id.len() <= MAX_ID_BYTES).then(|| id.to_owned());
    record.entry.answer = Some(problem.status.as_u16());
    match state.books().ledger.append(vec![record]) {
        Ok(()) => problem,
        Err(reason) => Problem::unavailable(&reason),
    }
}

fn judge(state: &State, call: Call) -> Result<Verdict, Unrecorded> {
    let mut record = Record::new(Channel::Sms, now());
    let entry = &mut record.entry;
    let mut books = state.books();
    // A message once accepted is answered alike for ever, whatever goes wrong with others.
    if let Some(provider_ref) = books.ledger.provider_ref_for(&call.webhook_id) {
        let provider_ref = provider_ref.to_owned();
        (entry.to, entry.reference) = (Some(call.to), Some(call.reference));
        entry.provider_ref = Some(provider_ref.clone());
        (entry.accepted, entry.repeat, entry.answer) = (true, true, Some(200));
        books.ledger.append(vec![record])?;
        return Ok(Verdict::Accepted { provider_ref, fault: None });
    }
    let fault = books.faults.take(&call.to);
    entry.fault = fault.as_ref().map(|fault| fault.name().into());
    entry.answer = status(fault.as_ref());
    (entry.to, entry.reference) = (Some(call.to.clone()), Some(call.reference));
    let verdict = match fault {
        Some(fault) if !fault.accepts() => Verdict::Spoiled(fault),
        fault => {
            let provider_ref = new_provider_ref();
            entry.provider_ref = Some(provider_ref.clone());
            entry.accepted = true;
            entry.shown = fault != Some(Fault::Lose);
            record.content = entry.shown.then(|| Content { text: call.text, ..Content::default() });
            record.webhook_id = Some(call.webhook_id);
            Verdict::Accepted { provider_ref, fault }
        }
    };
    books.ledger.append(vec![record])?;
    drop(books);
    state.ring(&call.to);
    Ok(verdict)
}

/// The HTTP status under `fault`; none if there is no answer.
fn status(fault: Option<&Fault>) -> Option<u16> {
    match fault {
        None | Some(Fault::Slow { .. } | Fault::Lose) => Some(200),
        Some(Fault::Status { status, .. }) => Some(*status),
        Some(Fault::Throttle { .. }) => Some(429),
        Some(Fault::Refuse) => Some(422),
        Some(Fault::Hang | Fault::HangUp) => None,
    }
}

/// The answer, or the lack of one, to a call that is not accepted.
async fn spoil(fault: Fault, wire: &Wire) -> Response {
    let Some(status) = status(Some(&fault)) else {
        // Ends earlier when the client leaves.
        sleep(HANG).await;
        wire.hang_up();
        return StatusCode::NO_CONTENT.into_response();
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut problem = Problem::new(status, "a fault was ordered for this recipient");
    problem.retry_after = fault.retry_after(now().into());
    problem.scope = (fault == Fault::Refuse).then_some("recipient");
    problem.into_response()
}
