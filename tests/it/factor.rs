//! A member's own factor and sensitive settings, against the whole product, over HTTP.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

const PHONE: &str = "+12025550123";
const OTHER: &str = "+12025550177";
/// Longer than the timers of a number and of the fallback.
const A_MINUTE: Duration = Duration::from_secs(61);
const ACTIVITY: &str = "SELECT count(*) FROM activity WHERE action = ";

async fn world() -> World {
    let world = World::start(&[vec!["all"]], &[]).await;
    put_account(&world, 1, json!({})).await;
    world
}

async fn put_account(world: &World, version: i64, more: Value) {
    let mut body = json!({ "version": version, "name": "Acme", "country": "US",
        "countries": ["US", "DE"], "origin": "app.acme.example" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = world.call(Method::PUT, "/v1/accounts/acme", body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn put(world: &World, member: &str, body: Value) {
    world.put_member("acme", member, body).await;
}

/// One request of ada's; its outcome.
async fn ask(world: &World, what: &str, body: Value) -> Value {
    let path = format!("/v1/accounts/acme/members/ada/{what}");
    world.call(Method::POST, &path, body).await.1
}

async fn set_backup(world: &World, on: bool) -> Value {
    let path = "/v1/accounts/acme/members/ada/email-backup";
    world.call(Method::PUT, path, json!({ "on": on })).await.1
}

fn challenge(answer: &Value) -> String {
    answer["challenge"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn outcome(answer: &Value) -> &str {
    answer["outcome"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

async fn texts(world: &World, phone: &str) -> usize {
    world.arrived(&format!("/phones/{phone}")).await
}

/// Verifies with the code that arrives as message `n` of `phone`.
async fn prove(world: &World, answer: &Value, phone: &str, n: usize) -> Value {
    let code = world.code(&format!("/phones/{phone}"), n).await;
    let (status, verified) = world.verify("acme", &challenge(answer), &code).await;
    assert_eq!(status, 200, "{verified}");
    verified
}

async fn rows(world: &World, action: &str) -> i64 {
    world.count(&format!("{ACTIVITY}'{action}'")).await
}

async fn has(world: &World, condition: &str) -> bool {
    let query = format!("SELECT count(*) FROM member WHERE member = 'ada' AND {condition}");
    world.count(&query).await == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_r2_r3_r9_r14_enrolment_sends_when_asked_and_the_code_turns_it_on() {
    let world = world().await;
    put(&world, "ada", json!({ "version": 1, "phone": "(202) 555-0123" })).await;
    let ready = ask(&world, "enrolment", json!({})).await;
    assert_eq!((outcome(&ready), &ready["destination"]), ("ready", &json!("•••23")));
    assert_eq!(world.count("SELECT count(*) FROM challenge").await, 0, "R-3: nothing is sent");

    let open = ask(&world, "enrolment/send", json!({})).await;
    assert_eq!((outcome(&open), &open["purpose"]), ("open", &json!("enrolment")));
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let id = challenge(&open);
    assert_eq!(world.verify("acme", &id, wrong).await.1["outcome"], "wrong_code");
    assert!(has(&world, "NOT two_factor AND phone_verified_at IS NULL").await, "R-1");

    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "verified");
    assert!(has(&world, "two_factor AND phone_verified_at IS NOT NULL").await, "R-9");
    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "already_used", "R-10");
    for what in ["enrolment", "enrolment/send"] {
        assert_eq!(outcome(&ask(&world, what, json!({})).await), "already_enabled");
    }
    assert_eq!(texts(&world, PHONE).await, 1, "R-14: no second SMS");
    assert_eq!(rows(&world, "two_factor_enabled").await, 1, "R-14: no second row");
    let proved = "SELECT count(*) FROM activity WHERE challenge IS NOT NULL AND origin = 'self'";
    assert_eq!(world.count(proved).await, 1);
    let told = "SELECT count(*) FROM trail WHERE kind = 'factor.enabled'";
    world.until(told, 1, PATIENCE).await;
    // A profile that is put anew without saying so turns nothing off.
    put(&world, "ada", json!({ "version": 2, "locale": "de" })).await;
    assert!(has(&world, "two_factor AND phone_verified_at IS NOT NULL").await);
    assert_eq!(outcome(&world.login("acme", "ada", "l1").await), "open");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_r5_the_number_may_be_changed_on_the_way_and_must_take_sms() {
    let world = world().await;
    put(&world, "ada", json!({ "version": 1, "phone": PHONE })).await;
    for (phone, refusal) in [
        ("+1 800 555 0123", "phone_unsupported"),
        ("+49 30 123456", "phone_unsupported"),
        ("+43 664 1234567", "country_not_allowed"),
        ("12", "invalid"),
    ] {
        for what in ["enrolment", "enrolment/send", "number"] {
            let answer = ask(&world, what, json!({ "phone": phone })).await;
            assert_eq!(outcome(&answer), refusal, "{phone} {what}");
        }
    }
    let first = ask(&world, "enrolment/send", json!({})).await;
    let again = ask(&world, "enrolment/send", json!({})).await;
    assert_eq!(first["challenge"], again["challenge"], "the same number: the same challenge");
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    let second = ask(&world, "enrolment/send", json!({ "phone": "202-555-0177" })).await;
    assert_eq!(second["destination"], "•••77");
    let (_, old) = world.verify("acme", &challenge(&first), &code).await;
    assert_eq!(outcome(&old), "superseded");
    prove(&world, &second, OTHER, 0).await;
    assert!(has(&world, "two_factor AND phone_verified_at IS NOT NULL").await);
    assert_eq!(rows(&world, "number_changed").await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_of_two_enrolments_in_parallel_one_wins() {
    let world = world().await;
    put(&world, "ada", json!({ "version": 1, "phone": PHONE })).await;
    let number = |n: usize| if n.is_multiple_of(2) { PHONE } else { OTHER };
    let sends = (0..8).map(|n| ask(&world, "enrolment/send", json!({ "phone": number(n) })));
    let opened = join_all(sends).await;
    let numbers: std::collections::BTreeMap<String, &str> = opened
        .iter()
        .enumerate()
        .filter(|(_, answer)| outcome(answer) == "open")
        .map(|(n, answer)| (challenge(answer), number(n)))
        .collect();
    // What had to wait for the timer of its number, behind up to three others, goes now.
    world.advance(A_MINUTE * 4).await;
    let mut verified = Vec::new();
    for (id, phone) in &numbers {
        let last = texts(&world, phone).await.checked_sub(1);
        let code = match last {
            Some(last) => world.code(&format!("/phones/{phone}"), last).await,
            None => "000000".to_owned(),
        };
        let (_, answer) = world.verify("acme", id, &code).await;
        verified.push(outcome(&answer).to_owned());
    }
    let count = |wanted| verified.iter().filter(|outcome| *outcome == wanted).count();
    assert_eq!(count("verified"), 1, "{verified:?}");
    assert_eq!(count("superseded"), numbers.len() - 1, "{verified:?}");
    assert_eq!(rows(&world, "two_factor_enabled").await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_r48_r49_r50_r51_r53_a_new_number_takes_both_codes_and_voids_what_went_to_the_old_one()
{
    let world = world().await;
    world.register("acme", "ada", PHONE, Some("ada@acme.example")).await;
    let boss = json!({ "version": 1, "role": "primary_admin", "email": "boss@acme.example",
        "email_verified": true, "notify_number_changes": true });
    put(&world, "boss", boss).await;
    let new = json!({ "phone": OTHER });
    let current = ask(&world, "number", new.clone()).await;
    assert_eq!(current["purpose"], "number_change_current");
    assert_eq!(current["destination"], "•••23");
    let unproved = ask(&world, "number", json!({ "phone": OTHER, "proof": current["challenge"] }));
    assert_eq!(unproved.await["field"], "proof");
    prove(&world, &current, PHONE, 0).await;

    let elsewhere = json!({ "phone": "+12025550188", "proof": current["challenge"] });
    assert_eq!(ask(&world, "number", elsewhere).await["field"], "proof", "for this number only");
    let proved = json!({ "phone": OTHER, "proof": current["challenge"] });
    let to_new = ask(&world, "number", proved.clone()).await;
    assert_eq!(to_new["purpose"], "number_change_new");
    assert_eq!(to_new["destination"], "•••77");
    let login = world.login("acme", "ada", "l1").await;
    let old_code = world.code(&format!("/phones/{PHONE}"), 1).await;
    assert_eq!(rows(&world, "number_changed").await, 0, "R-48: not before the code");
    prove(&world, &to_new, OTHER, 0).await;

    assert_eq!(rows(&world, "number_changed").await, 1);
    let (_, voided) = world.verify("acme", &challenge(&login), &old_code).await;
    assert_eq!(outcome(&voided), "target_changed", "R-51");
    let next = world.login("acme", "ada", "l2").await;
    assert_eq!(next["destination"], "•••77");
    let mails = "SELECT count(*) FROM notice WHERE state = 'accepted' AND admin = 'boss'";
    world.until(mails, 1, PATIENCE).await;

    // Changed back: what was sent before stays invalid.
    put(&world, "ada", json!({ "version": 2, "phone": PHONE })).await;
    let (_, back) = world.verify("acme", &challenge(&login), &old_code).await;
    assert_eq!(outcome(&back), "target_changed", "R-53");
    let reused = ask(&world, "number", proved).await;
    assert_ne!(outcome(&reused), "verified");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_a_queued_message_to_the_old_number_is_dropped() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    // The carrier is busy: the SMS waits for its next try while the number changes.
    let busy = json!({ "fault": "throttle", "retry_after": 5, "times": 1 });
    world.fault(PHONE, busy).await;
    world.login("acme", "ada", "l1").await;
    let tried = "SELECT count(*) FROM delivery_attempt WHERE tries = 1 AND state = 'queued'";
    world.until(tried, 1, PATIENCE).await;
    put(&world, "ada", json!({ "version": 2, "phone": OTHER })).await;
    let dropped = "SELECT count(*) FROM delivery_attempt WHERE state = 'skipped'";
    world.until(dropped, 1, PATIENCE).await;
    assert_eq!(texts(&world, PHONE).await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_r96_r97_r98_r99_r100_r101_the_code_turns_it_off_unless_it_is_mandatory() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let open = ask(&world, "disable", json!({})).await;
    assert_eq!(open["purpose"], "disable");
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    assert!(has(&world, "two_factor").await, "R-97: on until it is proved");
    let login = world.login("acme", "ada", "l1").await;
    let (_, other) = world.verify("acme", &challenge(&login), &code).await;
    assert_eq!(outcome(&other), "wrong_code", "R-10: a code of another purpose");
    assert_eq!(world.verify("acme", &challenge(&open), &code).await.0, 200);
    assert!(has(&world, "NOT two_factor").await);
    let closed = "SELECT count(*) FROM challenge WHERE reason = 'factor_disabled'";
    assert_eq!(world.count(closed).await, 1, "R-99");
    assert_eq!(rows(&world, "two_factor_disabled").await, 1, "R-98");
    assert_eq!(outcome(&world.login("acme", "ada", "l2").await), "not_required");
    assert_eq!(outcome(&ask(&world, "disable", json!({})).await), "not_enabled");

    let n = texts(&world, PHONE).await;
    let afresh = ask(&world, "enrolment/send", json!({})).await;
    assert_eq!(outcome(&afresh), "open", "R-101: a number proved before is proved again");
    let code = world.code(&format!("/phones/{PHONE}"), n).await;
    assert_eq!(world.verify("acme", &challenge(&afresh), &code).await.0, 200);
    let waiting = ask(&world, "disable", json!({})).await;
    let code = world.code(&format!("/phones/{PHONE}"), n + 1).await;
    world.execute("UPDATE account SET mandatory = true").await;
    let (_, refused) = world.verify("acme", &challenge(&waiting), &code).await;
    assert_eq!(outcome(&refused), "mandatory_by_account", "R-100: also when asked for before");
    assert_eq!(outcome(&ask(&world, "disable", json!({})).await), "mandatory_by_account");
    assert!(has(&world, "two_factor").await);
    world.end().await;
}

fn change(name: &str, after: &str) -> Value {
    json!({ "change": name, "setting": "bank_account", "before": "DE1", "after": after,
        "summary": format!("payouts to {after}") })
}

async fn redeem(world: &World, challenge: &str, before: &str) -> Value {
    let body = json!({ "account": "acme", "before": before });
    world.call(Method::POST, &format!("/v1/challenges/{challenge}/redeem"), body).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn r56_r58_r59_r61_a_code_approves_one_exact_change_which_is_carried_out_once() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some("ada@acme.example")).await;
    let open = ask(&world, "settings", change("c1", "DE2")).await;
    assert_eq!((outcome(&open), &open["purpose"]), ("open", &json!("setting")));
    let again = ask(&world, "settings", change("c1", "DE2")).await;
    assert_eq!(open["challenge"], again["challenge"]);
    let phone = world.sim_get(&format!("/phones/{PHONE}/next?after=0&wait=25")).await;
    assert!(phone["text"].as_str().unwrap().contains("approve: payouts to DE2"), "{phone}");
    let life = "SELECT count(*) FROM challenge WHERE expires_at = created_at + interval '300 s'";
    assert_eq!(world.count(life).await, 1);

    let early = redeem(&world, &challenge(&open), "DE1").await;
    assert_eq!(outcome(&early), "not_found", "R-58: not before the code");
    let first_code = world.code(&format!("/phones/{PHONE}"), 0).await;
    // Another value under the same name is another change: its own code.
    let other = ask(&world, "settings", change("c1", "DE3")).await;
    assert_ne!(open["operation"], other["operation"]);
    let (_, old) = world.verify("acme", &challenge(&open), &first_code).await;
    assert_eq!(outcome(&old), "superseded", "R-59");
    world.advance(A_MINUTE).await;
    let verified = prove(&world, &other, PHONE, 1).await;

    let claims = verified["approval"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims = stepup::domain::keys::base64::decode_url(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["operation"], other["operation"]);
    assert_eq!((&claims["setting"], &claims["aud"]), (&json!("bank_account"), &json!("demo")));
    let id = challenge(&other);
    let answers = join_all((0..10).map(|_| redeem(&world, &id, "DE1"))).await;
    let count = |wanted| answers.iter().filter(|answer| outcome(answer) == wanted).count();
    assert_eq!((count("redeemed"), count("already_used")), (1, 9), "{answers:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r57_r60_r62_d8_settings_are_data_a_change_meanwhile_is_stale_and_2fa_off_takes_no_code() {
    let world = world().await;
    put(&world, "ada", json!({ "version": 1, "phone": PHONE, "two_factor": false })).await;
    assert_eq!(outcome(&ask(&world, "settings", change("c1", "DE2")).await), "not_required");
    let required = json!({ "require_for_sensitive_settings": true });
    put_account(&world, 2, required).await;
    assert_eq!(outcome(&ask(&world, "settings", change("c1", "DE2")).await), "factor_required");

    put(&world, "ada", json!({ "version": 2, "two_factor": true })).await;
    let mut schedule = change("c2", "DE2");
    schedule["setting"] = json!("payout_schedule");
    assert_eq!(ask(&world, "settings", schedule.clone()).await["field"], "setting");
    put_account(&world, 3, json!({ "sensitive_settings": ["payout_schedule"] })).await;
    let open = ask(&world, "settings", schedule).await;
    prove(&world, &open, PHONE, 0).await;
    for _ in 0..2 {
        assert_eq!(outcome(&redeem(&world, &challenge(&open), "DE9").await), "stale");
    }
    assert_eq!(outcome(&redeem(&world, &challenge(&open), "DE1").await), "stale", "and stays so");
    // turning 2FA off first leaves a row, and where the account says so it does not help.
    put_account(&world, 4, json!({ "require_for_sensitive_settings": true })).await;
    put(&world, "ada", json!({ "version": 3, "two_factor": false })).await;
    assert_eq!(rows(&world, "two_factor_disabled").await, 1);
    assert_eq!(outcome(&ask(&world, "settings", change("c9", "DE2")).await), "factor_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_email_backs_up_a_setting_and_no_proof_of_a_phone() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some("ada@acme.example")).await;
    let lose = json!({ "fault": "lose" });
    world.fault(PHONE, lose).await;
    let disable = ask(&world, "disable", json!({})).await;
    let setting = ask(&world, "settings", change("c1", "DE2")).await;
    world.advance(A_MINUTE).await;
    world.advance(A_MINUTE).await;
    let code = world.code("/mailboxes/ada@acme.example", 0).await;
    let (status, verified) = world.verify("acme", &challenge(&setting), &code).await;
    assert_eq!((status, &verified["amr"][1]), (200, &json!("stepup:email")));
    let path = format!("/v1/challenges/{}/resend", challenge(&disable));
    let by_email = json!({ "account": "acme", "channel": "email" });
    let (_, refused) = world.call(Method::POST, &path, by_email).await;
    assert_eq!(outcome(&refused), "email_not_eligible");
    let mails = "SELECT count(*) FROM delivery_attempt WHERE channel = 'email'";
    assert_eq!(world.count(mails).await, 1, "for the setting, and none to turn 2FA off");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_r13_email_backup_is_off_by_default_and_needs_2fa_and_a_confirmed_address() {
    let world = world().await;
    let email = json!({ "version": 1, "phone": PHONE, "email": "ada@acme.example" });
    put(&world, "ada", email).await;
    assert_eq!(outcome(&set_backup(&world, true).await), "not_enabled");
    let open = ask(&world, "enrolment/send", json!({})).await;
    prove(&world, &open, PHONE, 0).await;
    assert!(has(&world, "NOT email_backup").await, "R-12");
    assert_eq!(outcome(&set_backup(&world, true).await), "email_unverified");
    put(&world, "ada", json!({ "version": 2, "email_verified": true })).await;
    for _ in 0..2 {
        assert_eq!(outcome(&set_backup(&world, true).await), "stored");
    }
    assert_eq!(rows(&world, "email_backup_enabled").await, 1);
    assert_eq!(outcome(&set_backup(&world, false).await), "stored");
    assert_eq!(rows(&world, "email_backup_disabled").await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_enabling_and_its_row_are_both_or_neither() {
    let world = world().await;
    put(&world, "ada", json!({ "version": 1, "phone": PHONE })).await;
    let open = ask(&world, "enrolment/send", json!({})).await;
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    let no_rows = "ALTER TABLE activity ADD CONSTRAINT none CHECK (action = 'none') NOT VALID";
    world.execute(no_rows).await;
    let (_, refused) = world.verify("acme", &challenge(&open), &code).await;
    assert_eq!(outcome(&refused), "refused", "set aside, with a reason");
    assert!(has(&world, "NOT two_factor AND phone_verified_at IS NULL").await);
    assert_eq!(world.count("SELECT count(*) FROM challenge WHERE state = 'open'").await, 1);
    world.execute("ALTER TABLE activity DROP CONSTRAINT none").await;
    assert_eq!(world.verify("acme", &challenge(&open), &code).await.0, 200);
    assert!(has(&world, "two_factor").await);
    assert_eq!(rows(&world, "two_factor_enabled").await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r54_two_members_may_share_a_number_and_its_limits() {
    let world = world().await;
    for member in ["ada", "bob"] {
        put(&world, member, json!({ "version": 1, "phone": PHONE })).await;
    }
    let ada = ask(&world, "enrolment/send", json!({})).await;
    world.code(&format!("/phones/{PHONE}"), 0).await;
    let path = "/v1/accounts/acme/members/bob/enrolment/send";
    let (_, bob) = world.call(Method::POST, path, json!({})).await;
    assert!(bob["retry_after"].as_i64().unwrap() > 60, "the number's timer holds for both: {bob}");
    prove(&world, &ada, PHONE, 0).await;
    world.advance(A_MINUTE).await;
    prove(&world, &bob, PHONE, 1).await;
    assert_eq!(world.count("SELECT count(*) FROM member WHERE two_factor").await, 2);
    world.end().await;
}

async fn put_owned(world: &World, account: &str, version: i64, numbers: Value) -> Value {
    let path = format!("/v1/accounts/{account}/owned-numbers");
    world.call(Method::PUT, &path, json!({ "version": version, "numbers": numbers })).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_r7_no_company_s_own_number_is_taken_however_it_is_written() {
    let world = world().await;
    put(&world, "ada", json!({ "version": 1, "phone": PHONE })).await;
    let other = json!({ "version": 1, "name": "Other", "country": "DE" });
    world.call(Method::PUT, "/v1/accounts/other", other).await;
    // Another tenant's, written as at home there: the ban is for everybody.
    let list = put_owned(&world, "other", 1, json!(["0151 23456789", "+12025550100"])).await;
    assert_eq!(outcome(&list), "stored");
    assert_eq!(outcome(&put_owned(&world, "other", 1, json!([])).await), "outdated");
    for written in ["+12025550100", "+1 (202) 555-0100", "0012025550100", "202-555-0100"] {
        for what in ["enrolment", "enrolment/send", "number"] {
            let answer = ask(&world, what, json!({ "phone": written })).await;
            assert_eq!(outcome(&answer), "company_owned_number", "{written} {what}");
            assert!(!answer.to_string().contains("other"), "R-7: {answer}");
        }
    }
    let german = ask(&world, "enrolment", json!({ "phone": "+49 151 23456789" })).await;
    assert_eq!(outcome(&german), "company_owned_number");
    let path = "/v1/accounts/acme/members/ada";
    let body = json!({ "version": 2, "phone": "202 555 0100" });
    let (status, refused) = world.call(Method::PUT, path, body).await;
    assert_eq!((status, outcome(&refused)), (409, "company_owned_number"));
    let bad = put_owned(&world, "acme", 1, json!(["12"])).await;
    assert_eq!((outcome(&bad), &bad["field"]), ("invalid", &json!("numbers")));
    // What is in the table says nothing without the key.
    let clear = "SELECT count(*) FROM owned_number WHERE length(number_index) <> 32";
    assert_eq!(world.count(clear).await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_number_that_becomes_a_company_s_is_flagged_told_and_voids_what_is_open() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some("ada@acme.example")).await;
    put(&world, "bob", json!({ "version": 1, "phone": OTHER })).await;
    let login = world.login("acme", "ada", "l1").await;
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    let path = "/v1/accounts/acme/members/bob/enrolment/send";
    let (_, enrolment) = world.call(Method::POST, path, json!({})).await;
    let new_code = world.code(&format!("/phones/{OTHER}"), 0).await;
    assert_eq!(outcome(&put_owned(&world, "acme", 1, json!([PHONE, OTHER])).await), "stored");

    for (open, code) in [(&login, &code), (&enrolment, &new_code)] {
        let (_, voided) = world.verify("acme", &challenge(open), code).await;
        assert_eq!(outcome(&voided), "company_owned_number");
    }
    assert!(has(&world, "phone_owned_at IS NOT NULL AND two_factor").await, "flagged, not off");
    let refused = world.login("acme", "ada", "l2").await;
    assert_eq!(outcome(&refused), "company_owned_number", "no silent lock-out");
    let told = "SELECT count(*) FROM notice WHERE kind = 'own_number_owned' AND admin = 'ada' \
        AND state = 'accepted'";
    world.until(told, 1, PATIENCE).await;
    let mail = world.sim_get("/mailboxes/ada@acme.example").await;
    assert!(mail["messages"][0]["text"].as_str().unwrap().contains("belongs to a company"));

    // The rest of the profile can still be put; another number, or another list, ends it.
    put(&world, "ada", json!({ "version": 2, "locale": "de", "phone": PHONE })).await;
    assert!(has(&world, "phone_owned_at IS NOT NULL").await);
    assert_eq!(outcome(&put_owned(&world, "acme", 2, json!([OTHER])).await), "stored");
    assert!(has(&world, "phone_owned_at IS NULL").await);
    assert_eq!(outcome(&world.login("acme", "ada", "l3").await), "open");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_code_to_the_address_confirms_it_and_never_a_login() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    assert_eq!(outcome(&ask(&world, "email", json!({})).await), "no_email");
    put(&world, "ada", json!({ "version": 2, "email": "ada@acme.example" })).await;
    assert_eq!(outcome(&set_backup(&world, true).await), "email_unverified");
    let mailed = ask(&world, "email", json!({})).await;
    assert_eq!((outcome(&mailed), &mailed["challenge"]), ("code_mailed", &Value::Null));
    assert_eq!(outcome(&ask(&world, "email", json!({})).await), "cooldown");
    let code = world.code("/mailboxes/ada@acme.example", 0).await;
    let login = world.login("acme", "ada", "l1").await;
    let (_, refused) = world.verify("acme", &challenge(&login), &code).await;
    assert_eq!(outcome(&refused), "wrong_code");
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let guess = |text: &str| json!({ "guess": text });
    assert_eq!(outcome(&ask(&world, "email/confirm", guess(wrong)).await), "wrong_code");
    assert_eq!(outcome(&ask(&world, "email/confirm", guess(&code)).await), "stored");
    assert!(has(&world, "email_verified").await);
    assert_eq!(world.count("SELECT count(*) FROM email_proof").await, 0);
    assert_eq!(outcome(&set_backup(&world, true).await), "stored");
    world.end().await;
}
