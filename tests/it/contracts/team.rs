//! Teams and support, for the scenes of `live.rs`.

use serde_json::{Value, json};

use super::stage::Stage;
use crate::support::PATIENCE;

/// The documented requests that this scene makes.
pub const REQUESTS: &[&str] = &[
    "team.review",
    "team.mandate.enable",
    "team.mandate.disable",
    "team.member.enable",
    "team.member.disable",
    "support.reset.request",
    "support.reset.approve",
    "support.reset.cancel",
];

const CHIEF: &str = "+12025550141";
const VICE: &str = "+12025550142";
const SAM: &str = "+12025550143";

/// A request about the account `crew`; the outcome must be this one.
async fn gets(stage: &Stage, wanted: &str, key: &str, more: Value) -> Value {
    let mut body = json!({ "account": "crew" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.gets(wanted, key, body).await
}

async fn member(stage: &Stage, name: &str, more: Value) {
    let mut body = json!({ "account": "crew", "two_factor": false });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.member(name, body).await;
}

/// The same with the chief's code, which comes as message `n`.
async fn with_code(stage: &Stage, key: &str, body: Value, n: usize) {
    let opened = gets(stage, "open", key, body.clone()).await;
    let code = stage.world.code(&format!("/phones/{CHIEF}"), n).await;
    let challenge = opened["challenge"].as_str().unwrap();
    let guess = json!({ "challenge": challenge, "guess": stage.app.seal(&code) });
    gets(stage, "verified", "challenge.verify", guess).await;
    let mut body = body;
    body["proof"] = json!(challenge);
    gets(stage, "stored", key, body).await;
}

async fn reviewed(stage: &Stage) -> Value {
    let begun = gets(stage, "reviewing", "team.review", json!({ "actor": "vice" })).await;
    stage.app.hears("review.finished", |event| event["review"] == begun["review"]).await;
    begun["review"].clone()
}

async fn is_told(stage: &Stage, kind: &str) {
    stage.app.hears(kind, |event| event["account"] == "crew").await;
}

async fn mandates(stage: &Stage) {
    gets(stage, "forbidden", "team.review", json!({ "actor": "sam" })).await;
    let ask = |actor: &str, review: &Value| json!({ "actor": actor, "review": review, "confirmed": true });
    let first = reviewed(stage).await;
    gets(stage, "no_admin_phone", "team.mandate.enable", ask("vice", &first)).await;
    let chief = json!({ "version": 2, "role": "primary_admin", "two_factor": true,
        "phone": stage.app.seal(CHIEF) });
    member(stage, "chief", chief).await;
    gets(stage, "stale", "team.mandate.enable", ask("chief", &first)).await;
    let review = reviewed(stage).await;
    gets(stage, "not_acknowledged", "team.mandate.enable", ask("chief", &review)).await;
    let mut named = ask("chief", &review);
    named["acknowledged"] = json!(["bare", "nobody"]);
    with_code(stage, "team.mandate.enable", named.clone(), 0).await;
    is_told(stage, "mandate.enabled").await;
    is_told(stage, "mandate.applied").await;
    gets(stage, "already_enabled", "team.mandate.enable", named).await;
    let login = |member: &str| json!({ "member": member, "login": "l1" });
    gets(stage, "enrolment_required", "challenge.issue", login("bare")).await;
    gets(stage, "contact_admin", "challenge.issue", login("nobody")).await;
    with_code(stage, "team.mandate.disable", json!({ "actor": "chief" }), 1).await;
    is_told(stage, "mandate.disabled").await;
    let done = "SELECT count(*) FROM mandate WHERE NOT mandatory AND done_at IS NOT NULL";
    stage.world.until(done, 1, PATIENCE).await;
}

async fn one_member(stage: &Stage) {
    let of_sam = json!({ "member": "sam", "actor": "chief" });
    gets(stage, "already_enabled", "team.member.enable", of_sam.clone()).await;
    with_code(stage, "team.member.disable", of_sam.clone(), 2).await;
    gets(stage, "stored", "team.member.enable", of_sam).await;
}

async fn resets(stage: &Stage) {
    let ask = json!({ "member": "sam", "requested_by": "sue", "reason": "phone stolen" });
    let request = || gets(stage, "recorded", "support.reset.request", ask.clone());
    let approve = |reset: &Value| json!({ "reset": reset, "approved_by": "tom" });
    let cancel = |reset: &Value| json!({ "reset": reset, "actor": "sam" });
    let first = request().await["reset"].clone();
    is_told(stage, "reset.requested").await;
    gets(stage, "recorded", "support.reset.approve", approve(&first)).await;
    is_told(stage, "reset.approved").await;
    gets(stage, "recorded", "support.reset.cancel", cancel(&first)).await;
    is_told(stage, "reset.cancelled").await;
    gets(stage, "cancelled", "support.reset.approve", approve(&first)).await;
    let second = request().await["reset"].clone();
    gets(stage, "recorded", "support.reset.approve", approve(&second)).await;
    stage.pass(&json!(super::stage::RESET_HOLD_SECONDS)).await;
    is_told(stage, "factor.reset").await;
    gets(stage, "already_used", "support.reset.cancel", cancel(&second)).await;
    let sealed = |text: &str| stage.app.seal(text);
    let change = json!({ "member": "sam", "change": "c1", "setting": "bank_account",
        "before": sealed("DE1"), "after": sealed("DE2"), "summary": sealed("payouts to DE2") });
    gets(stage, "cooling_off", "settings.change.request", change).await;
}

pub async fn scene(stage: &Stage) {
    let account = json!({ "version": 1, "name": "Crew", "country": "US" });
    gets(stage, "stored", "directory.account", account).await;
    member(stage, "chief", json!({ "role": "primary_admin" })).await;
    let on = |phone: &str| json!({ "two_factor": true, "phone": stage.app.seal(phone) });
    let mut vice = on(VICE);
    vice["role"] = json!("admin");
    member(stage, "vice", vice).await;
    member(stage, "sam", on(SAM)).await;
    member(stage, "bare", json!({ "email": stage.app.seal("bare@example.com") })).await;
    member(stage, "nobody", json!({})).await;
    mandates(stage).await;
    one_member(stage).await;
    resets(stage).await;
}
