//! Every message that docs/messages.md shows, at the whole product: each request gets an outcome
//! and events as documented, each command is taken by its worker, and each outcome and event of the
//! document is seen.

use std::collections::BTreeSet;
use stepup::message::Queue;

use serde_json::{Value, json};
use stepup::broker::dead;
use stepup::message::Exchange;
use uuid::Uuid;

use super::stage::{Stage, WRONG};
use super::{answers, factor, team};
use crate::app::App;
use crate::support::PATIENCE;

/// Each documented request, the outcome and the events that it must bring, in an order that makes
/// sense.
const CONVERSATION: &[(&str, &str, &[&str])] = &[
    ("directory.account", "stored", &["account.changed"]),
    ("directory.member", "stored", &["member.changed"]),
    ("challenge.issue", "open", &["challenge.issued", "delivery.accepted"]),
    ("challenge.resend", "resent", &["challenge.resent"]),
    ("challenge.verify", "verified", &["challenge.verified"]),
    ("challenge.issue", "open", &["challenge.issued"]),
    ("challenge.cancel", "cancelled", &["challenge.cancelled"]),
];

/// Every documented request as the document shows it.
async fn the_documented_conversation(stage: &Stage) {
    let asked = CONVERSATION.iter().map(|(key, _, _)| *key);
    let asked: BTreeSet<&str> = asked
        .chain(factor::REQUESTS.iter().copied())
        .chain(team::REQUESTS.iter().copied())
        .collect();
    assert_eq!(asked, stage.documented("request"), "the scenes and docs/messages.md differ");
    let member = stage.example("request", "directory.member");
    let phone = member["phone"].as_str().unwrap().trim_start_matches("SEALED:");
    let (mut challenge, mut code, mut before) = (String::new(), String::new(), String::new());
    for (key, outcome, events) in CONVERSATION {
        let body = stage.live(stage.example("request", key), &challenge, &code, "");
        let answer = stage.gets(outcome, key, body).await;
        if *key == "challenge.issue" {
            before =
                std::mem::replace(&mut challenge, answer["challenge"].as_str().unwrap().into());
            if before.is_empty() {
                code = stage.world.code(&format!("/phones/{phone}"), 0).await;
                // The resend that follows is granted once its time has come.
                stage.pass(&answer["retry_after"]).await;
            }
        }
        if *key == "challenge.resend" {
            stage.resend("sends_used_up", &challenge, "sms").await;
        }
        for kind in *events {
            match *kind {
                "account.changed" | "member.changed" => {
                    stage.app.hears(kind, |event| event["account"] == "acme").await;
                }
                kind => stage.hears_of(kind, &challenge).await,
            }
        }
    }
    stage.guess("already_used", &before, &code).await;
    stage.guess("cancelled", &challenge, &code).await;
    let again = stage.live(stage.example("request", "challenge.issue"), "", "", "");
    stage.gets("open", "challenge.issue", again).await;
    stage.guess("superseded", &challenge, &code).await;
    for (key, outcome) in [("directory.account", "outdated"), ("directory.member", "outdated")] {
        let body = stage.live(stage.example("request", key), "", "", "");
        stage.gets(outcome, key, body).await;
    }
}

/// What the directory and a login refuse.
async fn refusals(stage: &Stage) {
    let bad = json!({ "account": "acme", "member": "bad", "version": 1,
        "phone": stage.app.seal("none") });
    stage.gets("invalid", "directory.member", bad).await;
    stage.app.hears("directory.refused", |event| event["reason"] == "invalid").await;
    stage.member("off", json!({ "two_factor": false })).await;
    stage.login("not_required", "off", "l1").await;
    stage.login("not_found", "nobody", "l1").await;
    stage.app.hears("challenge.refused", |event| event["reason"] == "not_found").await;
    stage.member("bare", json!({})).await;
    stage.login("no_phone", "bare", "l1").await;
    stage.member("toll", json!({ "phone": stage.app.seal("+18005550199") })).await;
    stage.login("phone_unsupported", "toll", "l1").await;
    stage.member("far", json!({ "phone": stage.app.seal("+4915123456789") })).await;
    stage.login("country_not_allowed", "far", "l1").await;
    stage.member("busy", json!({ "phone": stage.app.seal("+12025550110") })).await;
    for login in ["l1", "l2", "l3", "l4"] {
        stage.login("open", "busy", login).await;
    }
    stage.login("too_many_sends", "busy", "l5").await;
    stage.member("rex", json!({ "phone": stage.app.seal("+12025550111") })).await;
    let challenge = stage.login("open", "rex", "l1").await;
    stage.resend("cooldown", &challenge, "sms").await;
    stage.resend("email_not_eligible", &challenge, "email").await;
}

/// What wrong codes cost.
async fn wrong_codes(stage: &Stage) {
    stage.member("wim", json!({ "phone": stage.app.seal("+12025550112") })).await;
    let first = stage.login("open", "wim", "l1").await;
    let second = stage.login("open", "wim", "l2").await;
    stage.guess("invalid_guess", &first, "12345").await;
    for _ in 0..4 {
        stage.guess("wrong_code", &first, WRONG).await;
    }
    stage.guess("locked", &first, WRONG).await;
    let wait = stage.guess("wait", &second, WRONG).await;
    stage.login("too_many_wrong_codes", "wim", "l3").await;
    for kind in ["guess.failed", "challenge.locked", "guess.limit_reached"] {
        stage.hears_of(kind, &first).await;
    }
    stage.pass(&wait["retry_after"]).await;
    stage.guess("wrong_code", &second, WRONG).await;
    stage.hears_of("factor.suspended", &second).await;
    stage.login("suspended", "wim", "l3").await;
}

/// What becomes of messages that are not delivered.
async fn failures(stage: &Stage) {
    let spoilt = [
        ("ref", "+12025550113", json!({ "fault": "refuse" })),
        ("hun", "+12025550114", json!({ "fault": "hang_up" })),
        ("thr", "+12025550115", json!({ "fault": "throttle", "retry_after": 5, "times": 1 })),
    ];
    let mut challenges = Vec::new();
    for (name, phone, fault) in spoilt {
        stage.world.fault(phone, fault).await;
        stage.member(name, json!({ "phone": stage.app.seal(phone) })).await;
        challenges.push(stage.login("open", name, "l1").await);
    }
    let [refused, hung_up, throttled] = &challenges[..] else { panic!() };
    let cancel = json!({ "account": "acme", "challenge": throttled });
    stage.gets("cancelled", "challenge.cancel", cancel).await;
    stage.hears_of("delivery.failed", refused).await;
    stage.hears_of("challenge.undeliverable", refused).await;
    stage.guess("undeliverable", refused, WRONG).await;
    stage.hears_of("delivery.unknown", hung_up).await;
    stage.hears_of("delivery.skipped", throttled).await;
}

/// An account whose email is only offered.
async fn offers(stage: &Stage) {
    let account = json!({ "account": "later", "version": 1, "name": "Later", "country": "US",
        "email_fallback": "on_request" });
    stage.gets("stored", "directory.account", account).await;
    let email = stage.app.seal("eve@example.com");
    stage
        .member(
            "eve",
            json!({ "account": "later", "phone": stage.app.seal("+12025550116"), "email": email,
                "email_verified": true, "email_backup": true }),
        )
        .await;
    let login = json!({ "account": "later", "member": "eve", "login": "l1" });
    let opened = stage.gets("open", "challenge.issue", login).await;
    stage.pass(&opened["retry_after"]).await;
    stage.hears_of("challenge.email_eligible", opened["challenge"].as_str().unwrap()).await;
}

/// A changed number is told to two admins; one of the mailboxes refuses. The id of a notice.
async fn notices(stage: &Stage) -> String {
    stage.world.fault("gone@example.com", json!({ "fault": "refuse" })).await;
    for (name, address) in [("boss", "boss@example.com"), ("gone", "gone@example.com")] {
        let admin = json!({ "role": "primary_admin", "email": stage.app.seal(address),
            "email_verified": true, "notify_number_changes": true });
        stage.member(name, admin).await;
    }
    stage.member("max", json!({ "phone": stage.app.seal("+12025550117") })).await;
    let changed = json!({ "version": 2, "phone": stage.app.seal("+12025550118") });
    stage.member("max", changed).await;
    stage.app.hears("member.phone_changed", |event| event["member"] == "max").await;
    stage.app.hears("notice.dropped", |event| event["member"] == "gone").await;
    let sent = stage.app.hears("notice.sent", |event| event["member"] == "boss").await;
    sent["notice"].as_str().unwrap().to_owned()
}

/// Every documented command, published as stepup itself does: its worker takes it.
async fn commands(stage: &Stage, notice: &str) {
    let own = App::connect(&stage.world, "stepup").await;
    stage.member("com", json!({ "phone": stage.app.seal("+12025550119") })).await;
    let challenge = stage.login("open", "com", "l1").await;
    stage.hears_of("delivery.accepted", &challenge).await;
    for key in stage.documented("command") {
        let body = stage.live(stage.example("command", key), &challenge, "", notice);
        let id = Uuid::from_u128(rand::random()).to_string();
        assert!(own.publish("commands", key, &id, &body).await, "{key} was not confirmed");
        let queue = Queue::of(Exchange::Commands, key).map(Queue::label);
        let queue = queue.unwrap_or_else(|| panic!("no worker takes {key}"));
        let (worker, _) = queue.split_once('.').unwrap();
        let taken =
            format!("SELECT count(*) FROM inbox WHERE worker = '{worker}' AND message = '{id}'");
        stage.world.until(&taken, 1, PATIENCE).await;
    }
}

/// What an app may not do, and what is set aside instead of done. Nothing else is ever set aside.
async fn dead_letters(stage: &Stage) {
    let broker = stage.world.broker();
    let letters = dead::list(&broker, 10).await.unwrap();
    assert!(letters.is_empty(), "a documented message was set aside: {letters:?}");
    let login = |member| json!({ "account": "acme", "member": member, "login": "twice" });
    stage.app.ask_as("one id", "challenge.issue", &login("off")).await;
    let refused = stage.app.ask_as("one id", "challenge.issue", &login("bare")).await;
    assert_eq!(refused["outcome"], "refused");
    stage.outcomes.lock().unwrap().push(("challenge.issue".into(), refused));
    let command = json!({ "type": "challenge.expire", "challenge": Uuid::nil() });
    let refused = stage.app.ask_as("a command", "challenge.expire", &command).await;
    assert_eq!(refused["outcome"], "refused");
    let letters = dead::list(&broker, 10).await.unwrap();
    let reasons: Vec<_> = letters
        .iter()
        .map(|letter| (letter.reason.as_str(), letter.user.as_deref(), letter.sealed))
        .collect();
    assert_eq!(reasons, [("id_reused", Some("demo"), true), ("unidentified", Some("demo"), true)]);
    broker.close().await;
    // The exchange of commands is closed to apps.
    let intruder = App::connect(&stage.world, "demo").await;
    let id = Uuid::from_u128(rand::random()).to_string();
    assert!(!intruder.publish("commands", "challenge.expire", &id, &command).await);
}

/// Each request and each event once more, exactly as the document shows it: a request is answered as
/// it lists, an event comes into the trail, and nothing is set aside.
async fn as_they_are_shown(stage: &Stage) {
    let (broker, answers) = (stage.world.broker(), answers());
    let set_aside = dead::list(&broker, 10).await.unwrap().len();
    let own = App::connect(&stage.world, "stepup").await;
    for (kind, key, example) in &stage.examples {
        match kind.as_str() {
            "request" => {
                let body = stage.live(example, &Uuid::nil().to_string(), WRONG, "");
                let answer = stage.app.ask(key, &body).await;
                let listed = answers[key].contains(answer["outcome"].as_str().unwrap());
                assert!(listed, "docs/messages.md: {key} answers {answer}");
            }
            "event" => {
                let (id, mut body) = (Uuid::from_u128(rand::random()).to_string(), example.clone());
                body["id"] = id.clone().into();
                let account = body["account"].as_str().unwrap_or("_");
                let to = format!("{account}.{key}");
                assert!(own.publish("events", &to, &id, &body).await, "{key} was not confirmed");
                let known = format!("SELECT count(*) FROM trail WHERE event = '{id}'");
                stage.world.until(&known, 1, PATIENCE).await;
            }
            _ => {}
        }
    }
    assert_eq!(dead::list(&broker, 10).await.unwrap().len(), set_aside);
    broker.close().await;
}

/// All fields of `body` are in one of the document's examples.
fn assert_documented(stage: &Stage, kind: &str, key: &str, body: &Value) {
    let fields: BTreeSet<&String> = body.as_object().unwrap().keys().collect();
    let mut shown = stage.examples.iter().filter(|(k, name, _)| k == kind && name == key);
    let documented =
        shown.any(|(.., example)| fields.is_subset(&example.as_object().unwrap().keys().collect()));
    assert!(documented, "docs/messages.md: no example of {kind} {key} has all of {fields:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_message_does_what_the_document_says() {
    let stage = Stage::set().await;
    the_documented_conversation(&stage).await;
    refusals(&stage).await;
    wrong_codes(&stage).await;
    failures(&stage).await;
    offers(&stage).await;
    factor::scene(&stage).await;
    team::scene(&stage).await;
    let notice = notices(&stage).await;
    commands(&stage, &notice).await;
    stage.member("exa", json!({ "phone": stage.app.seal("+12025550109") })).await;
    let left_alone = stage.login("open", "exa", "l1").await;
    stage.pass(&json!(545)).await;
    stage.resend("delivery_too_late", &left_alone, "sms").await;
    stage.pass(&json!(55)).await;
    stage.hears_of("challenge.expired", &left_alone).await;
    stage.guess("expired", &left_alone, WRONG).await;
    dead_letters(&stage).await;

    let outcomes = stage.outcomes.lock().unwrap().clone();
    let mut got = BTreeSet::new();
    let answers = answers();
    for (request, outcome) in &outcomes {
        let kind = outcome["outcome"].as_str().unwrap();
        let listed = matches!(kind, "refused" | "invalid") || answers[request].contains(kind);
        assert!(listed, "docs/messages.md: {request} may answer `{kind}`");
        assert_documented(&stage, "outcome", kind, outcome);
        got.insert(kind);
    }
    assert_eq!(got, stage.documented("outcome"));

    let heard = stage.app.heard();
    let mut got = BTreeSet::new();
    for (key, event) in &heard {
        let kind = event["type"].as_str().unwrap();
        assert_eq!(*key, format!("{}.{kind}", event["account"].as_str().unwrap_or("_")));
        assert_documented(&stage, "event", kind, event);
        got.insert(kind);
    }
    assert_eq!(got, stage.documented("event"));
    as_they_are_shown(&stage).await;
    stage.world.end().await;
}
