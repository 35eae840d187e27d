//! From an outcome to an HTTP response.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::accept::Accepted;
use super::problem::Problem;
use crate::message::{Outcome, OutcomeKind, requests};

/// The body of a 200, or the problem, for an outcome as it came back over AMQP; `key` is the routing
/// key of what was asked.
///
/// # Errors
/// The outcome's own members as a problem, unless it is what was asked for.
pub fn replied(key: &str, outcome: &[u8]) -> Result<Value, Problem> {
    let Some((kind, mut body)) = read(outcome) else {
        let detail = "the outcome was not understood: are all processes of the same version?";
        return Err(Problem::new(StatusCode::BAD_GATEWAY, "bad_outcome", detail));
    };
    let (status, detail) = status_of(key, kind);
    if status.is_success() {
        return Ok(Value::Object(body));
    }
    // Over HTTP a request is named by a header, from which the message_id was made.
    if body.get("detail").is_some_and(|detail| detail == Outcome::ID_REUSED) {
        let detail = "the Idempotency-Key was used for another request: use a new one";
        body.insert("detail".to_owned(), detail.into());
    }
    let mut problem = Problem::new(status, kind.label(), detail);
    let seconds = body.get("retry_after").and_then(Value::as_u64);
    if status == StatusCode::TOO_MANY_REQUESTS || seconds.is_some() {
        problem = problem.retry_after(seconds.unwrap_or_default().max(1));
    }
    Err(body.into_iter().fold(problem, |problem, (name, value)| problem.with(&name, value)))
}

fn read(outcome: &[u8]) -> Option<(OutcomeKind, Map<String, Value>)> {
    let body: Map<String, Value> = serde_json::from_slice(outcome).ok()?;
    Some((OutcomeKind::parse(body.get("outcome")?.as_str()?)?, body))
}

/// The status of an outcome of the request with this key, and what the caller can do about it.
pub fn status_of(key: &str, kind: OutcomeKind) -> (StatusCode, &'static str) {
    let exceptions = requests().find(|request| request.key == key).map(|r| r.exceptions);
    let exception = exceptions.into_iter().flatten().find(|exception| exception.outcome == kind);
    let (status, advice) =
        exception.map_or(kind.answer(), |exception| (exception.status, exception.advice));
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), advice)
}

/// 202: the request is stored, its outcome not yet there. `Location` says where it will be.
pub fn pending(accepted: &Accepted) -> Response {
    let body = json!({ "outcome": "accepted", "request": accepted.request });
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    if let Some(location) = &accepted.location
        && let Ok(location) = HeaderValue::try_from(location)
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_says_what_to_do_and_no_success_does() {
        for kind in OutcomeKind::ALL {
            let (status, advice) = status_of("challenge.issue", *kind);
            assert_eq!(status.is_success(), advice.is_empty(), "{kind:?}");
            let answer = replied("challenge.issue", Outcome::new(*kind).body().as_bytes());
            let found = answer.map_or_else(|problem| problem.status(), |_| StatusCode::OK);
            assert_eq!(found, status, "{kind:?}");
        }
    }

    #[test]
    fn the_document_has_every_outcome_with_its_status() {
        let document = include_str!("../../docs/http.md");
        for kind in OutcomeKind::ALL {
            let row = format!("| `{}` | {}", kind.label(), kind.answer().0);
            assert!(document.lines().any(|line| line.starts_with(&row)), "{row}");
        }
    }

    #[test]
    fn r103_once_sms_was_tried_in_vain_the_answer_points_to_support() {
        for kind in [OutcomeKind::Undeliverable, OutcomeKind::SendsUsedUp, OutcomeKind::Suspended] {
            assert!(kind.answer().1.contains("support"), "{kind:?}");
        }
    }

    #[test]
    fn cancelled_is_a_success_for_who_cancelled() {
        let body = Outcome::new(OutcomeKind::Cancelled).body();
        assert!(replied("challenge.cancel", body.as_bytes()).is_ok());
        let problem = replied("challenge.verify", body.as_bytes()).unwrap_err();
        assert_eq!(problem.status(), StatusCode::CONFLICT);
    }

    #[test]
    fn who_cancels_what_is_verified_is_told_that_nothing_was_cancelled() {
        let body = Outcome::new(OutcomeKind::AlreadyUsed).body();
        let told = |key| {
            let problem = replied(key, body.as_bytes()).unwrap_err();
            assert_eq!(problem.status(), StatusCode::CONFLICT);
            assert_eq!(problem.member("outcome"), Some(&json!("already_used")));
            problem.member("detail").unwrap().to_string()
        };
        let detail = told("challenge.cancel");
        assert!(detail.contains("verified already: nothing was cancelled"), "{detail}");
        assert!(told("challenge.verify").contains("begin again"));
    }

    #[test]
    fn who_may_not_approve_a_reset_is_told_why() {
        let body = Outcome::new(OutcomeKind::Forbidden).body();
        let told = |key| {
            let problem = replied(key, body.as_bytes()).unwrap_err();
            assert_eq!(problem.status(), StatusCode::FORBIDDEN);
            problem.member("detail").unwrap().to_string()
        };
        assert!(told("support.reset.approve").contains("another person"));
        assert!(told("support.reset.cancel").contains("role"));
    }

    #[test]
    fn who_used_a_key_for_another_request_is_told_of_the_key() {
        let detail = Some(Outcome::ID_REUSED.to_owned());
        let body = Outcome { detail, ..Outcome::new(OutcomeKind::Refused) }.body();
        let problem = replied("challenge.issue", body.as_bytes()).unwrap_err();
        let detail = problem.member("detail").unwrap().to_string();
        assert!(detail.contains("Idempotency-Key") && !detail.contains("message_id"), "{detail}");
    }

    #[test]
    fn a_problem_keeps_the_members_of_the_outcome() {
        let outcome = Outcome {
            retry_after: Some(17),
            attempts_left: Some(2),
            ..Outcome::new(OutcomeKind::Wait)
        };
        let problem = replied("challenge.verify", outcome.body().as_bytes()).unwrap_err();
        assert_eq!(problem.member("type"), Some(&json!("urn:stepup:wait")));
        assert_eq!(problem.member("outcome"), Some(&json!("wait")));
        assert_eq!(problem.member("attempts_left"), Some(&json!(2)));
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "17");
        let outcome = Outcome {
            field: Some("name"),
            detail: Some("name is empty".into()),
            ..Outcome::new(OutcomeKind::Invalid)
        };
        let problem = replied("directory.account", outcome.body().as_bytes()).unwrap_err();
        assert_eq!(problem.member("detail"), Some(&json!("name is empty")));
    }

    #[test]
    fn what_is_no_outcome_is_no_success() {
        for outcome in ["", "{}", r#"{"outcome":"splendid"}"#, r#"["open"]"#] {
            let problem = replied("challenge.issue", outcome.as_bytes()).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_GATEWAY, "{outcome}");
        }
    }
}
