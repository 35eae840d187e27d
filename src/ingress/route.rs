//! Which paths there are.

use axum::routing::MethodFilter;

use super::endpoint::{self, Endpoint};

pub(super) const REVIEW: &str = "/v1/accounts/{account}/reviews/{review}";
pub(super) const CHALLENGE: &str = "/v1/challenges/{challenge}";
pub(super) const ACTIVITY: &str = "/v1/accounts/{account}/activity";
pub(super) const OPENAPI: &str = "/openapi.json";

/// What can be asked, and where. The names in a path are the names of the message's fields.
pub(super) const ENDPOINTS: &[(&str, MethodFilter, &Endpoint)] = &[
    ("/v1/logins", MethodFilter::POST, &endpoint::ISSUE),
    ("/v1/challenges/{challenge}/verify", MethodFilter::POST, &endpoint::VERIFY),
    ("/v1/challenges/{challenge}/resend", MethodFilter::POST, &endpoint::RESEND),
    ("/v1/challenges/{challenge}/cancel", MethodFilter::POST, &endpoint::CANCEL),
    ("/v1/challenges/{challenge}/redeem", MethodFilter::POST, &endpoint::REDEEM),
    ("/v1/accounts/{account}", MethodFilter::PUT, &endpoint::PUT_ACCOUNT),
    ("/v1/accounts/{account}/owned-numbers", MethodFilter::PUT, &endpoint::PUT_OWNED_NUMBERS),
    ("/v1/accounts/{account}/members/{member}", MethodFilter::PUT, &endpoint::PUT_MEMBER),
    (
        "/v1/accounts/{account}/members/{member}/enrolment",
        MethodFilter::POST,
        &endpoint::START_ENROLMENT,
    ),
    (
        "/v1/accounts/{account}/members/{member}/enrolment/send",
        MethodFilter::POST,
        &endpoint::SEND_ENROLMENT,
    ),
    (
        "/v1/accounts/{account}/members/{member}/number",
        MethodFilter::POST,
        &endpoint::CHANGE_NUMBER,
    ),
    ("/v1/accounts/{account}/members/{member}/disable", MethodFilter::POST, &endpoint::DISABLE),
    (
        "/v1/accounts/{account}/members/{member}/email-backup",
        MethodFilter::PUT,
        &endpoint::SET_EMAIL_BACKUP,
    ),
    ("/v1/accounts/{account}/members/{member}/email", MethodFilter::POST, &endpoint::PROVE_EMAIL),
    (
        "/v1/accounts/{account}/members/{member}/email/confirm",
        MethodFilter::POST,
        &endpoint::CONFIRM_EMAIL,
    ),
    (
        "/v1/accounts/{account}/members/{member}/settings",
        MethodFilter::POST,
        &endpoint::REQUEST_CHANGE,
    ),
    ("/v1/accounts/{account}/reviews", MethodFilter::POST, &endpoint::REVIEW_CONTACTS),
    ("/v1/accounts/{account}/mandate", MethodFilter::POST, &endpoint::ENABLE_MANDATE),
    ("/v1/accounts/{account}/mandate/disable", MethodFilter::POST, &endpoint::DISABLE_MANDATE),
    (
        "/v1/accounts/{account}/members/{member}/admin/enable",
        MethodFilter::POST,
        &endpoint::ENABLE_MEMBER,
    ),
    (
        "/v1/accounts/{account}/members/{member}/admin/disable",
        MethodFilter::POST,
        &endpoint::DISABLE_MEMBER,
    ),
    (
        "/v1/accounts/{account}/members/{member}/resets",
        MethodFilter::POST,
        &endpoint::REQUEST_RESET,
    ),
    ("/v1/accounts/{account}/resets/{reset}/approve", MethodFilter::POST, &endpoint::APPROVE_RESET),
    ("/v1/accounts/{account}/resets/{reset}/cancel", MethodFilter::POST, &endpoint::CANCEL_RESET),
];

/// What can be read.
pub(super) const VIEWS: &[&str] = &[CHALLENGE, REVIEW, ACTIVITY, OPENAPI];

/// The path as it is declared, without the ids in it.
pub(super) fn route(path: &str) -> &'static str {
    let same = |declared: &str| {
        declared.split('/').count() == path.split('/').count()
            && declared.split('/').zip(path.split('/')).all(|(d, p)| d.starts_with('{') || d == p)
    };
    // A label on metrics must come from a closed set.
    routes().find(|declared| same(declared)).unwrap_or("other")
}

/// Every path as it is declared.
pub(super) fn routes() -> impl Iterator<Item = &'static str> {
    ENDPOINTS.iter().map(|(path, ..)| *path).chain(VIEWS.iter().copied())
}

/// The name of a method of [`ENDPOINTS`] as OpenAPI has it.
pub(super) fn lower_case(method: MethodFilter) -> &'static str {
    if method == MethodFilter::PUT { "put" } else { "post" }
}
