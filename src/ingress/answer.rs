//! From an outcome to an HTTP response: the one table of statuses.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::accept::Accepted;
use super::problem::Problem;
use crate::message::{Outcome, OutcomeKind};

/// The status of an outcome, and what the caller can do about it. Empty where nothing is to do.
pub const STATUSES: &[(OutcomeKind, StatusCode, &str)] = {
    use OutcomeKind as Kind;
    const OK: StatusCode = StatusCode::OK;
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;
    const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    &[
        (Kind::Open, OK, ""),
        (Kind::Resent, OK, ""),
        (Kind::NotRequired, OK, ""),
        (Kind::Ready, OK, ""),
        (Kind::AlreadyEnabled, OK, ""),
        (Kind::Redeemed, OK, ""),
        (Kind::CodeMailed, OK, ""),
        (Kind::Verified, OK, ""),
        (Kind::Reviewing, OK, ""),
        (Kind::Recorded, OK, ""),
        (Kind::Stored, OK, ""),
        (Kind::Outdated, OK, ""),
        (
            Kind::WrongCode,
            StatusCode::FORBIDDEN,
            "not the right code: let the person type it again",
        ),
        (
            Kind::Forbidden,
            StatusCode::FORBIDDEN,
            "the actor may not do this in this account: ask as one whose role allows it",
        ),
        (
            Kind::EnrolmentRequired,
            CONFLICT,
            "the member must bind a number first: prove the email address, then begin the enrolment",
        ),
        (
            Kind::ContactAdmin,
            CONFLICT,
            "the member has neither a number nor an address: an admin must put one",
        ),
        (
            Kind::NotAcknowledged,
            CONFLICT,
            "members without a usable number are not acknowledged: read the review, and name them",
        ),
        (
            Kind::NoAdminPhone,
            CONFLICT,
            "no primary admin has a usable number: let one bind a number first",
        ),
        (
            Kind::CoolingOff,
            TOO_MANY,
            "held after a change of number or a reset: repeat after retry_after seconds",
        ),
        (Kind::NotFound, StatusCode::NOT_FOUND, "not known to this app: check the ids"),
        (Kind::Cooldown, TOO_MANY, "too early to send again: repeat after retry_after seconds"),
        (Kind::TooManySends, TOO_MANY, "too many messages: repeat after retry_after seconds"),
        (Kind::Wait, TOO_MANY, "too many wrong codes in a row: repeat after retry_after seconds"),
        (
            Kind::TooManyWrongCodes,
            TOO_MANY,
            "too many wrong codes in a day: begin again after retry_after seconds",
        ),
        (Kind::Locked, CONFLICT, "too many wrong codes ended the challenge: begin again"),
        (Kind::Expired, CONFLICT, "its time is over: begin again"),
        (
            Kind::AlreadyUsed,
            CONFLICT,
            "it was used before: begin again; an approved change is not carried out twice",
        ),
        (Kind::Cancelled, CONFLICT, "the challenge was cancelled: begin again"),
        (Kind::Superseded, CONFLICT, "a newer challenge has taken its place: use that one"),
        (
            Kind::Undeliverable,
            CONFLICT,
            "no code could be sent: check the number, begin again; a lost number takes support",
        ),
        (
            Kind::SendsUsedUp,
            CONFLICT,
            "no send is left: use the code, or begin again; a lost number takes support",
        ),
        (
            Kind::DeliveryTooLate,
            CONFLICT,
            "too little of the challenge's life is left: use the code, or begin again",
        ),
        (Kind::EmailNotEligible, CONFLICT, "email cannot be chosen, or not yet: stay with sms"),
        (Kind::Suspended, CONFLICT, "the factor is suspended: support must reset it"),
        (Kind::NoPhone, CONFLICT, "the member has no number: put one into the directory"),
        (Kind::PhoneUnsupported, CONFLICT, "the number takes no SMS: put another one"),
        (Kind::CountryNotAllowed, CONFLICT, "codes may not go to the number's country"),
        (Kind::TargetChanged, CONFLICT, "the number or address has changed meanwhile: begin again"),
        (
            Kind::CompanyOwnedNumber,
            CONFLICT,
            "the number belongs to a company: put a person's own mobile number; if it is the \
             member's present one, an admin must",
        ),
        (Kind::NoEmail, CONFLICT, "the member has no email address: put one into the directory"),
        (
            Kind::EmailUnverified,
            CONFLICT,
            "the member has no confirmed email address: confirm one first",
        ),
        (Kind::NotEnabled, CONFLICT, "2FA is off, or not mandatory: turn it on first"),
        (
            Kind::MandatoryByAccount,
            CONFLICT,
            "the account has made 2FA mandatory: a primary admin must lift that first",
        ),
        (
            Kind::FactorRequired,
            CONFLICT,
            "this takes a member, for a team an admin, with 2FA on: turn it on first",
        ),
        (
            Kind::Stale,
            CONFLICT,
            "the setting, or what was reviewed, has changed since: look at it, and ask anew",
        ),
        (
            Kind::InvalidGuess,
            UNPROCESSABLE,
            "the guess has not exactly the digits of the code: let the person type it again; this one \
             was not counted",
        ),
        (Kind::Invalid, UNPROCESSABLE, "a field cannot be used: correct it"),
        (
            Kind::Refused,
            UNPROCESSABLE,
            "not understood, or its Idempotency-Key was used for another request: use a new one",
        ),
    ]
};

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
    let (status, detail) = match (kind, key) {
        (OutcomeKind::Cancelled, "challenge.cancel") => (StatusCode::OK, ""),
        (OutcomeKind::AlreadyUsed, "challenge.cancel") => (
            StatusCode::CONFLICT,
            "the login or the change is verified already: nothing was cancelled",
        ),
        (OutcomeKind::Forbidden, "support.reset.approve") => (
            StatusCode::FORBIDDEN,
            "whoever asked for a reset cannot approve it: another person must",
        ),
        (kind, _) => row(kind),
    };
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

fn row(kind: OutcomeKind) -> (StatusCode, &'static str) {
    let found = STATUSES.iter().find(|(row, _, _)| *row == kind);
    // A test holds the table complete.
    found.map_or((StatusCode::INTERNAL_SERVER_ERROR, ""), |(_, status, detail)| (*status, detail))
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
    fn every_outcome_has_exactly_one_status_and_every_problem_says_what_to_do() {
        for kind in OutcomeKind::ALL {
            let rows: Vec<_> = STATUSES.iter().filter(|(row, _, _)| row == kind).collect();
            assert_eq!(rows.len(), 1, "{kind:?}");
            let (_, status, detail) = rows[0];
            assert_eq!(status.is_success(), detail.is_empty(), "{kind:?}");
            let answer = replied("challenge.issue", Outcome::new(*kind).body().as_bytes());
            let found = answer.map_or_else(|problem| problem.status(), |_| StatusCode::OK);
            assert_eq!(found, *status, "{kind:?}");
        }
    }

    #[test]
    fn the_document_has_every_outcome_with_its_status() {
        let document = include_str!("../../docs/http.md");
        for (kind, status, _) in STATUSES {
            let row = format!("| `{}` | {}", kind.label(), status.as_u16());
            assert!(document.lines().any(|line| line.starts_with(&row)), "{row}");
        }
    }

    #[test]
    fn r103_once_sms_was_tried_in_vain_the_answer_points_to_support() {
        for kind in [OutcomeKind::Undeliverable, OutcomeKind::SendsUsedUp, OutcomeKind::Suspended] {
            assert!(row(kind).1.contains("support"), "{kind:?}");
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
