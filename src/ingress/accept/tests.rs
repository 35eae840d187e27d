use axum::http::{HeaderName, HeaderValue};
use serde_json::json;

use super::super::endpoint::*;
use super::*;
use crate::domain::challenge::Channel;
use crate::domain::keys::Keyring;
use crate::message::{
    ApproveReset, CancelChallenge, ChangeNumber, DisableMember, EnableMandate, Incoming,
    IssueChallenge, Message, PutAccount, PutMember, PutOwnedNumbers, RedeemApproval, Request,
    RequestSettingChange, ResendChallenge, SendEnrolment, Senders, VerifyChallenge, decode,
};

const SOME: &str = "6f0b1c2e-0000-4000-8000-000000000001";

fn app() -> AppName {
    AppName::parse("crm").unwrap()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

fn take(endpoint: &'static Endpoint, path: &[&str], body: &Value) -> Result<Accepted, Problem> {
    let names = endpoint.path.iter().map(|field| field.name.to_owned());
    let path = names.zip(path.iter().map(|text| (*text).to_owned())).collect();
    let seal = Keyring::for_tests().public();
    let id = Uuid::from_u128(7);
    accept(endpoint, path, &headers(&[]), body.to_string().as_bytes(), &app(), id, &seal)
}

/// What the worker reads; it refuses a secret in clear.
fn read<T>(accepted: &Accepted) -> T
where
    Request<T>: Message,
{
    let incoming = Incoming {
        key: accepted.outgoing.key.clone(),
        message_id: Some(accepted.outgoing.id.to_string()),
        user: Some("stepup".into()),
        app: Some("crm".into()),
        body: accepted.outgoing.body.clone().into_bytes(),
        ..Incoming::default()
    };
    let senders = Senders { own_user: "stepup".into(), apps: Default::default() };
    let decoded = decode::<Request<T>>(&incoming, &senders, &Keyring::for_tests()).unwrap();
    assert_eq!(accepted.request, decoded.id, "where Location points");
    decoded.message.body
}

/// The largest body of each endpoint.
fn full(endpoint: &Endpoint) -> Value {
    let mut body = match endpoint.key {
        "challenge.issue" => {
            json!({ "account": "acme", "member": "ada", "login": "l1", "purpose": "login" })
        }
        "challenge.verify" => json!({ "account": "acme", "guess": "123456" }),
        "challenge.resend" => json!({ "account": "acme", "channel": "email" }),
        "challenge.cancel" => json!({ "account": "acme" }),
        "directory.account" => json!({
            "version": 3, "name": "Acme", "origin": "app.example.com", "country": "US",
            "countries": ["US", "CA"], "email_fallback": "on_request",
            "sensitive_settings": ["bank_account"], "require_for_sensitive_settings": true,
        }),
        "directory.owned_numbers" => json!({ "version": 3, "numbers": ["+12025550123"] }),
        "enrolment.start" | "enrolment.send" => json!({ "phone": "+12025550123" }),
        "number.change" => json!({ "phone": "+12025550123", "proof": SOME }),
        "factor.disable" | "email.prove" => json!({}),
        "email.confirm" => json!({ "guess": "123456" }),
        "email_backup.set" => json!({ "on": true }),
        "settings.change.request" => json!({
            "change": "c1", "setting": "bank_account", "before": "DE-1", "after": "DE-2",
            "summary": "payouts to DE2",
        }),
        "settings.change.redeem" => json!({ "account": "acme", "before": "DE-1" }),
        "team.review" | "support.reset.cancel" => json!({ "actor": "boss" }),
        "team.mandate.enable" => json!({
            "actor": "boss", "review": SOME, "confirmed": true, "acknowledged": ["ada"],
            "grace_until": "2026-02-01T00:00:00Z", "proof": SOME,
        }),
        "team.mandate.disable" | "team.member.disable" => {
            json!({ "actor": "boss", "proof": SOME })
        }
        "team.member.enable" => {
            json!({ "actor": "boss", "grace_until": "2026-02-01T00:00:00Z" })
        }
        "support.reset.request" => json!({ "requested_by": "sue", "reason": "phone stolen" }),
        "support.reset.approve" => json!({ "approved_by": "tom" }),
        _ => json!({
            "version": 3, "active": true, "role": "admin", "locale": "de",
            "phone": "+12025550123", "email": "ada@example.com", "email_verified": true,
            "two_factor": true, "email_backup": true, "notify_number_changes": true,
            "actor": "bob",
        }),
    };
    if endpoint.body.iter().any(|field| field.name == "ip") {
        body["ip"] = json!("2001:db8::1");
        body["user_agent"] = json!("Mozilla/5.0");
    }
    body
}

const ALL: [(&Endpoint, &[&str]); 24] = [
    (&ISSUE, &[]),
    (&VERIFY, &[SOME]),
    (&RESEND, &[SOME]),
    (&CANCEL, &[SOME]),
    (&PUT_ACCOUNT, &["acme"]),
    (&PUT_MEMBER, &["acme", "ada"]),
    (&START_ENROLMENT, &["acme", "ada"]),
    (&SEND_ENROLMENT, &["acme", "ada"]),
    (&CHANGE_NUMBER, &["acme", "ada"]),
    (&DISABLE, &["acme", "ada"]),
    (&SET_EMAIL_BACKUP, &["acme", "ada"]),
    (&REQUEST_CHANGE, &["acme", "ada"]),
    (&REDEEM, &[SOME]),
    (&REVIEW_CONTACTS, &["acme"]),
    (&ENABLE_MANDATE, &["acme"]),
    (&DISABLE_MANDATE, &["acme"]),
    (&ENABLE_MEMBER, &["acme", "ada"]),
    (&DISABLE_MEMBER, &["acme", "ada"]),
    (&REQUEST_RESET, &["acme", "ada"]),
    (&APPROVE_RESET, &["acme", SOME]),
    (&CANCEL_RESET, &["acme", SOME]),
    (&PUT_OWNED_NUMBERS, &["acme"]),
    (&PROVE_EMAIL, &["acme", "ada"]),
    (&CONFIRM_EMAIL, &["acme", "ada"]),
];

#[test]
fn what_is_published_is_what_the_workers_read() {
    let take = |at: usize| take(ALL[at].0, ALL[at].1, &full(ALL[at].0)).unwrap();
    assert_eq!(read::<IssueChallenge>(&take(0)).login.as_str(), "l1");
    assert_eq!(read::<VerifyChallenge>(&take(1)).guess.expose(), "123456");
    assert_eq!(read::<ResendChallenge>(&take(2)).channel, Channel::Email);
    assert_eq!(read::<CancelChallenge>(&take(3)).challenge.0.to_string(), SOME);
    assert_eq!(read::<PutAccount>(&take(4)).account.as_str(), "acme");
    let member: PutMember = read(&take(5));
    assert_eq!(member.phone.unwrap().unwrap().expose(), "+12025550123");
    assert_eq!(member.email.unwrap().unwrap().expose(), "ada@example.com");
    // From where the person acts, in every request that can write a row of the report.
    assert!(read::<VerifyChallenge>(&take(1)).client.ip.is_some_and(|ip| ip.is_ipv6()));
    assert_eq!(member.client.user_agent.as_deref(), Some("Mozilla/5.0"));
    let opened = |at: usize| format!("/v1/challenges/{}", take(at).request);
    assert_eq!(take(1).location, Some(format!("/v1/challenges/{SOME}")));
    assert_eq!(read::<SendEnrolment>(&take(7)).phone.unwrap().expose(), "+12025550123");
    assert_eq!(read::<ChangeNumber>(&take(8)).proof.unwrap().0.to_string(), SOME);
    assert_eq!(read::<RequestSettingChange>(&take(11)).after.expose(), "DE-2");
    assert_eq!(read::<RedeemApproval>(&take(12)).before.expose(), "DE-1");
    let mandate: EnableMandate = read(&take(14));
    assert_eq!((mandate.actor.as_str(), mandate.acknowledged.len()), ("boss", 1));
    assert!(mandate.grace_until.is_some() && mandate.confirmed);
    assert_eq!(read::<DisableMember>(&take(17)).member.as_str(), "ada");
    assert_eq!(read::<ApproveReset>(&take(19)).reset.to_string(), SOME);
    assert_eq!(read::<PutOwnedNumbers>(&take(21)).numbers[0].expose(), "+12025550123");
    let review = ALL.iter().position(|(one, _)| one.key == REVIEW_CONTACTS.key).unwrap();
    let place = format!("/v1/accounts/acme/reviews/{}", take(review).request);
    assert_eq!(take(review).location, Some(place));
    assert_eq!(take(4).location, None);
    for at in [0, 7, 8, 9, 11, 14, 15, 17] {
        assert_eq!(take(at).location, Some(opened(at)));
    }
}

#[test]
fn nothing_secret_is_published_in_clear() {
    for (endpoint, secrets) in [
        (&VERIFY, &["123456"][..]),
        (&PUT_MEMBER, &["2025550123", "example.com"]),
        (&CHANGE_NUMBER, &["2025550123"]),
        (&SEND_ENROLMENT, &["2025550123"]),
        (&REQUEST_CHANGE, &["DE-1", "DE-2"]),
        (&PUT_OWNED_NUMBERS, &["2025550123"]),
        (&CONFIRM_EMAIL, &["123456"]),
    ] {
        let path = ALL.iter().find(|(one, _)| one.key == endpoint.key).unwrap().1;
        let body = take(endpoint, path, &full(endpoint)).unwrap().outgoing.body;
        assert!(!secrets.iter().any(|secret| body.contains(secret)), "{body}");
    }
}

#[test]
fn no_phone_stays_no_phone() {
    let body = json!({ "version": 1, "phone": null });
    let member: PutMember = read(&take(&PUT_MEMBER, &["acme", "ada"], &body).unwrap());
    assert_eq!((member.phone, member.email), (Some(None), None));
}

#[test]
fn a_missing_a_strange_and_a_wrong_field_are_named_and_no_value_is_repeated() {
    for (endpoint, path) in ALL {
        let full = full(endpoint);
        for field in endpoint.body {
            let mut less = full.clone();
            less.as_object_mut().unwrap().remove(field.name);
            let outcome = take(endpoint, path, &less);
            assert_eq!(outcome.is_err(), field.required, "{}", field.name);
            for wrong in [json!([["s3cret"]]), json!({ "a": 4711 }), json!(4711.5)] {
                let mut body = full.clone();
                body[field.name] = wrong;
                let problem = take(endpoint, path, &body).unwrap_err();
                assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
                assert_eq!(problem.member("field"), Some(&json!(field.name)));
                let text = format!("{problem:?}");
                assert!(!text.contains("s3cret") && !text.contains("4711"), "{text}");
            }
        }
        let mut more = full.clone();
        more["locate"] = json!("s3cret");
        let problem = take(endpoint, path, &more).unwrap_err();
        assert_eq!(problem.member("field"), Some(&json!("locate")));
        assert!(!format!("{problem:?}").contains("s3cret"));
    }
}

#[test]
fn a_field_that_is_there_twice_is_named() {
    let problem = |body: &[u8]| {
        let (seal, id) = (Keyring::for_tests().public(), Uuid::from_u128(7));
        accept(&ISSUE, vec![], &headers(&[]), body, &app(), id, &seal).unwrap_err()
    };
    let twice = br#"{"account":"acme","member":"ada","login":"l1","member":"eve"}"#;
    let problem = problem(twice);
    assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem.member("field"), Some(&json!("member")));
}

#[test]
fn a_body_that_cannot_be_read_is_told_what_it_has() {
    let problem = |body: &[u8]| {
        let (seal, id) = (Keyring::for_tests().public(), Uuid::from_u128(7));
        accept(&ISSUE, vec![], &headers(&[]), body, &app(), id, &seal).unwrap_err()
    };
    let long = format!(r#"{{"version":{}}}"#, "9".repeat(400));
    for (body, status, kind, why) in [
        (&b"{"[..], 400, "malformed", "the body is not JSON (line 1"),
        (b"{\"account\":\"\xFF\"}", 400, "malformed", "the body is not UTF-8 (byte 13)"),
        (b"[]", 422, "invalid", "the body is not a JSON object"),
        (long.as_bytes(), 422, "invalid", "the body has a number that is out of range"),
    ] {
        let problem = problem(body);
        assert_eq!(problem.status().as_u16(), status, "{why}");
        assert_eq!(problem.member("outcome"), Some(&json!(kind)));
        let detail = problem.member("detail").and_then(Value::as_str).unwrap_or_default();
        assert!(detail.starts_with(why), "{detail}");
    }
}

#[test]
fn a_guess_has_1_to_32_characters() {
    let guess = |text: &str| take(&VERIFY, &[SOME], &json!({ "account": "a", "guess": text }));
    assert!(guess("1").is_ok() && guess(&"ä".repeat(32)).is_ok());
    assert!(guess("").is_err() && guess(&"1".repeat(33)).is_err());
}

#[test]
fn a_challenge_that_is_no_uuid_is_not_found_and_an_account_that_is_no_id_is_named() {
    let problem = take(&CANCEL, &["nope"], &full(&CANCEL)).unwrap_err();
    assert_eq!(problem.status(), StatusCode::NOT_FOUND);
    let problem = take(&PUT_ACCOUNT, &["a.b"], &full(&PUT_ACCOUNT)).unwrap_err();
    assert_eq!(problem.member("field"), Some(&json!("account")));
}

#[test]
fn the_same_idempotency_key_is_the_same_message_for_one_app_only() {
    let fresh = Uuid::from_u128(9);
    let id = |key, app: &str| {
        message_id(&headers(&[("idempotency-key", key)]), &AppName::parse(app).unwrap(), fresh)
    };
    assert_eq!(id("k1", "crm").unwrap(), request_id(&app(), "k1"));
    assert_ne!(id("k1", "crm").unwrap(), id("k1", "shop").unwrap());
    assert_eq!(message_id(&headers(&[]), &app(), fresh).unwrap(), fresh);
    let long: &'static str = "x".repeat(IDEMPOTENCY_KEY_MAX + 1).leak();
    for wrong in ["", "a b", long] {
        assert_eq!(id(wrong, "crm").unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn only_json_is_taken() {
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        assert!(require_json(&headers(&[("content-type", good)])).is_ok(), "{good}");
    }
    for wrong in ["text/plain", "application/jsonp", ""] {
        assert!(require_json(&headers(&[("content-type", wrong)])).is_err(), "{wrong}");
    }
    assert!(require_json(&headers(&[])).is_err());
}

#[test]
fn a_trace_is_passed_on_if_it_is_one() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(traceparent(&headers(&[("traceparent", good)])).as_deref(), Some(good));
    for wrong in ["", "00-1-2-01", "00-+12025550123-b7ad6b7169203331-01"] {
        assert_eq!(traceparent(&headers(&[("traceparent", wrong)])), None);
    }
}
