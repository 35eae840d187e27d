//! A member's own factor and sensitive settings, for the scenes of `live.rs`.

use serde_json::{Value, json};

use super::stage::{Stage, WRONG};

/// The documented requests that this scene makes.
pub const REQUESTS: &[&str] = &[
    "enrolment.start",
    "enrolment.send",
    "number.change",
    "factor.disable",
    "email_backup.set",
    "email.prove",
    "email.confirm",
    "settings.change.request",
    "settings.change.redeem",
    "directory.owned_numbers",
];

const FIRST: &str = "+12025550131";
const SECOND: &str = "+12025550132";
const THIRD: &str = "+12025550133";

/// A request of the member `own` of `acme`; the outcome must be this one.
async fn gets(stage: &Stage, wanted: &str, key: &str, more: Value) -> Value {
    let mut body = json!({ "account": "acme", "member": "own" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.gets(wanted, key, body).await
}

fn challenge(outcome: &Value) -> &str {
    outcome["challenge"].as_str().unwrap()
}

/// Verifies with message `n` of `phone`.
async fn proves(stage: &Stage, opened: &Value, phone: &str, n: usize) {
    let code = stage.world.code(&format!("/phones/{phone}"), n).await;
    stage.guess("verified", challenge(opened), &code).await;
}

fn change(stage: &Stage, name: &str) -> Value {
    let sealed = |text| stage.app.seal(text);
    json!({ "change": name, "setting": "bank_account", "before": sealed("DE1"),
        "after": sealed("DE2"), "summary": sealed("payouts to DE2") })
}

async fn enrols(stage: &Stage) {
    let off = json!({ "two_factor": false, "phone": stage.app.seal(FIRST) });
    stage.member("own", off).await;
    gets(stage, "ready", "enrolment.start", json!({})).await;
    gets(stage, "not_enabled", "factor.disable", json!({})).await;
    gets(stage, "not_required", "settings.change.request", change(stage, "c0")).await;
    let first = gets(stage, "open", "enrolment.send", json!({})).await;
    let other = json!({ "phone": stage.app.seal(SECOND) });
    let second = gets(stage, "open", "enrolment.send", other).await;
    stage.hears_of("challenge.superseded", challenge(&first)).await;
    stage.guess("superseded", challenge(&first), WRONG).await;
    proves(stage, &second, SECOND, 0).await;
    stage.hears_of("factor.enabled", challenge(&second)).await;
    gets(stage, "already_enabled", "enrolment.send", json!({})).await;
}

async fn confirms_the_address(stage: &Stage) {
    let on = json!({ "on": true });
    gets(stage, "no_email", "email.prove", json!({})).await;
    let address = stage.app.seal("own@example.com");
    stage.member("own", json!({ "version": 2, "email": address })).await;
    gets(stage, "email_unverified", "email_backup.set", on.clone()).await;
    gets(stage, "code_mailed", "email.prove", json!({})).await;
    let code = stage.world.code("/mailboxes/own@example.com", 0).await;
    let guess = |text: &str| json!({ "guess": stage.app.seal(text) });
    gets(stage, "invalid_guess", "email.confirm", guess("12345")).await;
    gets(stage, "wrong_code", "email.confirm", guess(WRONG)).await;
    gets(stage, "stored", "email.confirm", guess(&code)).await;
    stage.app.hears("member.email_verified", |event| event["member"] == "own").await;
    gets(stage, "stored", "email_backup.set", on).await;
}

async fn changes_a_setting(stage: &Stage) {
    for (n, name, now, outcome, event) in [
        (1, "c1", "DE1", "redeemed", "setting.redeemed"),
        (2, "c2", "DE9", "stale", "setting.stale"),
    ] {
        let opened = gets(stage, "open", "settings.change.request", change(stage, name)).await;
        for kind in ["challenge.issued", "delivery.accepted"] {
            let of_this = |told: &Value| told["challenge"] == opened["challenge"];
            let told = stage.app.hears(kind, of_this).await;
            assert_eq!(told["operation"], opened["operation"], "{kind}");
        }
        proves(stage, &opened, SECOND, n).await;
        let redeem = || {
            json!({ "account": "acme", "challenge": challenge(&opened),
                "before": stage.app.seal(now) })
        };
        stage.gets(outcome, "settings.change.redeem", redeem()).await;
        stage.hears_of(event, challenge(&opened)).await;
        let again = if outcome == "stale" { "stale" } else { "already_used" };
        stage.gets(again, "settings.change.redeem", redeem()).await;
    }
}

async fn moves_and_turns_off(stage: &Stage) {
    let phone = stage.app.seal(THIRD);
    let current = gets(stage, "open", "number.change", json!({ "phone": phone })).await;
    proves(stage, &current, SECOND, 3).await;
    let proved = json!({ "phone": phone, "proof": challenge(&current) });
    let new = gets(stage, "open", "number.change", proved).await;
    proves(stage, &new, THIRD, 0).await;
    stage.hears_of("member.phone_changed", challenge(&new)).await;
    stage.world.execute("UPDATE account SET mandatory = true WHERE account = 'acme'").await;
    gets(stage, "mandatory_by_account", "factor.disable", json!({})).await;
    stage.world.execute("UPDATE account SET mandatory = false WHERE account = 'acme'").await;
    let off = gets(stage, "open", "factor.disable", json!({})).await;
    proves(stage, &off, THIRD, 1).await;
    stage.hears_of("factor.disabled", challenge(&off)).await;
    let strict = json!({ "account": "strict", "version": 1, "name": "Strict", "country": "US",
        "require_for_sensitive_settings": true });
    stage.gets("stored", "directory.account", strict).await;
    stage.member("sue", json!({ "account": "strict", "two_factor": false })).await;
    let mut body = change(stage, "c1");
    let of = json!({ "account": "strict", "member": "sue" });
    body.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
    stage.gets("factor_required", "settings.change.request", body).await;
}

async fn has_a_company_s_number(stage: &Stage) {
    stage.member("tch", json!({ "phone": stage.app.seal("+12025550134") })).await;
    let opened = stage.login("open", "tch", "l1").await;
    let moved = json!({ "version": 2, "phone": stage.app.seal("+12025550135") });
    stage.member("tch", moved).await;
    stage.guess("target_changed", &opened, WRONG).await;
    let list = |version: i64, numbers: &[&str]| {
        let sealed: Vec<Value> = numbers.iter().map(|number| stage.app.seal(number)).collect();
        json!({ "account": "acme", "version": version, "numbers": sealed })
    };
    let key = "directory.owned_numbers";
    stage.gets("stored", key, list(1, &["(202) 555-0135"])).await;
    for kind in ["account.owned_numbers_changed", "member.number_owned"] {
        stage.app.hears(kind, |event| event["account"] == "acme").await;
    }
    stage.login("company_owned_number", "tch", "l2").await;
    stage.gets("outdated", key, list(1, &[])).await;
    stage.gets("invalid", key, list(2, &["nonsense"])).await;
    stage.gets("stored", key, list(2, &[])).await;
    stage.app.hears("member.number_released", |event| event["member"] == "tch").await;
}

/// Everything of it, in an order that makes sense.
pub async fn scene(stage: &Stage) {
    enrols(stage).await;
    confirms_the_address(stage).await;
    changes_a_setting(stage).await;
    moves_and_turns_off(stage).await;
    has_a_company_s_number(stage).await;
}
