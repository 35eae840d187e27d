//! Logins against the whole product, over HTTP.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{PATIENCE, World};

const PHONE: &str = "+12025550123";

async fn world() -> World {
    // Two hundred guesses for one challenge are judged one after the other.
    let extra = [
        ("STEPUP_FALLBACK_SECONDS", "3"),
        ("STEPUP_RESEND_SECONDS", "3,3,3,3"),
        ("STEPUP_REPLY_WAIT_SECONDS", "20"),
        ("STEPUP_DRAIN_SECONDS", "30"),
    ];
    World::start(&[vec!["all"]], &extra).await
}

fn challenge(answer: &serde_json::Value) -> String {
    answer["challenge"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_fifty_parallel_right_codes_give_one_success() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    let answers = join_all((0..50).map(|_| world.verify("acme", &id, &code))).await;
    let count = |outcome| answers.iter().filter(|(_, body)| body["outcome"] == outcome).count();
    assert_eq!((count("verified"), count("already_used")), (1, 49), "{answers:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_two_hundred_parallel_wrong_codes_compare_exactly_the_limit() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let answers = join_all((0..200).map(|_| world.verify("acme", &id, wrong))).await;
    let count = |outcome| answers.iter().filter(|(_, body)| body["outcome"] == outcome).count();
    assert_eq!((count("wrong_code"), count("locked")), (4, 196));
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 5);
    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "locked");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_lost_sms_is_followed_by_one_email_and_r31_a_verified_one_by_none() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some("ada@acme.example")).await;
    world.register("acme", "bob", "+12025550177", Some("bob@acme.example")).await;
    let lose = json!({ "fault": "lose" });
    let faults = format!("{}/faults/{PHONE}", world.sim);
    world.http.put(faults).json(&lose).send().await.unwrap();
    let bob = challenge(&world.login("acme", "bob", "l2").await);
    let code = world.code("/phones/+12025550177", 0).await;
    assert_eq!(world.verify("acme", &bob, &code).await.0, 200);
    let ada = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code("/mailboxes/ada@acme.example", 0).await;
    let (status, answer) = world.verify("acme", &ada, &code).await;
    assert_eq!((status, &answer["amr"][1]), (200, &json!("stepup:email")));
    let boxes = world.sim_get("/mailboxes").await;
    assert_eq!(boxes["mailboxes"].as_array().unwrap().len(), 1, "{boxes}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r46_unknown_and_foreign_things_look_the_same_and_bad_bodies_name_the_field() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let unknown = world.login("nobody", "ada", "l1").await;
    let stranger = world.login("acme", "stranger", "l1").await;
    assert_eq!(unknown, stranger);
    assert_eq!(unknown["outcome"], "not_found");
    let nobody = "/v1/challenges/6b7c521f-3337-5e00-8288-d824407cfd2c/verify";
    let body = json!({ "account": "acme", "guess": "123456" });
    assert_eq!(world.call(Method::POST, nobody, body).await.0, 404);
    let (status, problem) =
        world.call(Method::POST, "/v1/logins", json!({ "account": "acme", "member": 5 })).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["field"].is_string(), "{problem}");
    let open = world.http.post(format!("{}/v1/logins", world.url)).json(&json!({})).send().await;
    assert_eq!(open.unwrap().status().as_u16(), 401);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_r43_r45_a_login_is_returned_not_doubled_and_ends_with_the_factor() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let first = world.login("acme", "ada", "l1").await;
    let again = world.login("acme", "ada", "l1").await;
    assert_eq!(first["challenge"], again["challenge"]);
    let id = challenge(&first);
    let path = format!("/v1/challenges/{id}/resend");
    let (status, early) = world.call(Method::POST, &path, json!({ "account": "acme" })).await;
    assert_eq!((status, &early["outcome"]), (429, &json!("cooldown")));
    world.code(&format!("/phones/{PHONE}"), 0).await;
    let off = json!({ "version": 2, "phone": PHONE, "two_factor": false });
    world.call(Method::PUT, "/v1/accounts/acme/members/ada", off).await;
    let cancelled = "SELECT count(*) FROM challenge WHERE reason = 'factor_disabled'";
    assert_eq!(world.count(cancelled).await, 1);
    assert_eq!(world.login("acme", "ada", "l2").await["outcome"], "not_required");
    let messages = world.sim_get(&format!("/phones/{PHONE}")).await;
    assert_eq!(messages["messages"].as_array().unwrap().len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r84_r87_a_subscribed_primary_admin_gets_one_mail_about_a_changed_number() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let boss = json!({ "version": 1, "role": "primary_admin", "email": "boss@acme.example",
        "email_verified": true, "notify_number_changes": true });
    world.call(Method::PUT, "/v1/accounts/acme/members/boss", boss).await;
    let changed =
        json!({ "version": 2, "phone": "+12025550188", "two_factor": true, "actor": "boss" });
    world.call(Method::PUT, "/v1/accounts/acme/members/ada", changed).await;
    world.until("SELECT count(*) FROM notice WHERE state = 'accepted'", 1, PATIENCE).await;
    let mail = world.sim_get("/mailboxes/boss@acme.example").await;
    let text = mail["messages"][0]["text"].as_str().unwrap();
    assert!(text.contains("•••23") && text.contains("•••88"), "{text}");
    let rows = "SELECT count(*) FROM activity WHERE action = 'number_changed'";
    assert_eq!(world.count(rows).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_refused_sms_without_an_email_backup_ends_the_challenge_as_undeliverable() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let refuse = json!({ "fault": "refuse" });
    let faults = format!("{}/faults/{PHONE}", world.sim);
    world.http.put(faults).json(&refuse).send().await.unwrap();
    world.login("acme", "ada", "l1").await;
    let ended = "SELECT count(*) FROM trail WHERE kind = 'challenge.undeliverable'";
    world.until(ended, 1, PATIENCE).await;
    world.end().await;
}
