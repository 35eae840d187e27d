//! Logins: who needs a code, how often it is sent, and when a pending login ends.

use reqwest::Method;
use serde_json::json;
use stepup::broker::Publisher;
use stepup::domain::id::ChallengeId;
use stepup::message::Command;
use uuid::Uuid;

use super::{PHONE, PHONE_PLACE, challenge, events, seconds, world};
use crate::support::{PATIENCE, publish};

#[tokio::test(flavor = "multi_thread")]
async fn r16_r19_a_resend_waits_for_the_timer_and_does_not_lengthen_the_life() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let first = world.login("acme", "ada", "l1").await;
    let id = challenge(&first);
    let code = world.code(PHONE_PLACE, 0).await;
    // Granted after 60, 60 and 120 s; refused a little before.
    for (send, wait, next) in [(2, 60, 60), (3, 60, 120), (4, 120, 300)] {
        let early = world.resend("acme", &id, "sms").await;
        assert_eq!((early.0, &early.1["outcome"]), (429, &json!("cooldown")), "{early:?}");
        let retry_after = early.1["retry_after"].as_u64().unwrap();
        assert!(retry_after <= wait && retry_after + 20 > wait, "{early:?}");
        world.advance(seconds(wait)).await;
        let (status, granted) = world.resend("acme", &id, "sms").await;
        assert_eq!(
            (status, &granted["outcome"]),
            (200, &json!("resent")),
            "send {send}: {granted}"
        );
        assert_eq!(granted["retry_after"], next);
        assert_eq!(granted["expires_at"], first["expires_at"]);
        assert_eq!(world.code(PHONE_PLACE, send - 1).await, code);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_the_fifth_send_is_the_last_and_five_in_ten_minutes_are_enough_for_a_number() {
    let extra = [("STEPUP_RESEND_SECONDS", "10")];
    let world = crate::support::World::start(&[vec!["all"]], &extra).await;
    world.register("acme", "ada", PHONE, None).await;
    world.register("acme", "bob", PHONE, None).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    for send in 2..=5 {
        world.advance(seconds(10)).await;
        assert_eq!(world.resend("acme", &id, "sms").await.1["outcome"], "resent", "send {send}");
    }
    world.advance(seconds(10)).await;
    assert_eq!(world.resend("acme", &id, "sms").await.1["outcome"], "sends_used_up");
    // the other member with the same number has none left either.
    let refused = world.login("acme", "bob", "l2").await;
    assert_eq!(refused["outcome"], "too_many_sends", "{refused}");
    world.advance(seconds(refused["retry_after"].as_u64().unwrap())).await;
    assert_eq!(world.login("acme", "bob", "l2").await["outcome"], "open");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_r45_a_second_browser_has_a_challenge_of_its_own_and_waits_for_the_number() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let one = challenge(&world.login("acme", "ada", "l1").await);
    let first = world.code(PHONE_PLACE, 0).await;
    let two = challenge(&world.login("acme", "ada", "l2").await);
    assert_ne!(one, two);
    world.drain().await;
    assert_eq!(world.arrived(PHONE_PLACE).await, 1, "the second SMS waits");
    world.advance(seconds(60)).await;
    let second = world.code(PHONE_PLACE, 1).await;
    // Neither code opens the other; by a chance of one in a million they are the same.
    if first != second {
        assert_eq!(world.verify("acme", &two, &first).await.1["outcome"], "wrong_code");
        assert_eq!(world.verify("acme", &one, &second).await.1["outcome"], "wrong_code");
    }
    assert_eq!(world.verify("acme", &two, &second).await.1["outcome"], "verified");
    assert_eq!(world.verify("acme", &one, &first).await.1["outcome"], "verified");
    // The verified one has cleared the number's timer: the next login is sent at once.
    world.login("acme", "ada", "l3").await;
    world.code(PHONE_PLACE, 2).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_r45_a_login_is_returned_not_doubled_and_a_new_one_starts_after_its_end() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let first = world.login("acme", "ada", "l1").await;
    let again = world.login("acme", "ada", "l1").await;
    assert_eq!(first["challenge"], again["challenge"]);
    let id = challenge(&first);
    world.drain().await;
    assert_eq!(world.arrived(PHONE_PLACE).await, 1);
    let body = json!({ "account": "acme" });
    let path = format!("/v1/challenges/{id}/cancel");
    assert_eq!(world.call(Method::POST, &path, body).await.1["outcome"], "cancelled");
    let code = world.code(PHONE_PLACE, 0).await;
    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "cancelled");
    let next = world.login("acme", "ada", "l1").await;
    assert_eq!(next["outcome"], "open");
    assert_ne!(first["challenge"], next["challenge"]);
    world.drain().await;
    assert_eq!(world.count(&events("challenge.cancelled")).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_r42_2fa_off_needs_no_code_and_once_an_admin_turns_it_on_new_logins_do() {
    let world = world().await;
    world.register("acme", "boss", "+12025550199", None).await;
    let admin = json!({ "version": 2, "role": "admin" });
    world.put_member("acme", "boss", admin).await;
    let off = json!({ "version": 1, "phone": PHONE, "two_factor": false });
    world.put_member("acme", "ada", off).await;
    assert_eq!(world.login("acme", "ada", "l1").await["outcome"], "not_required");
    let on = json!({ "version": 2, "phone": PHONE, "two_factor": true, "actor": "boss" });
    world.put_member("acme", "ada", on).await;
    assert_eq!(world.login("acme", "ada", "l2").await["outcome"], "open");
    let row = "SELECT count(*) FROM activity WHERE action = 'two_factor_enabled' \
        AND member = 'ada' AND actor = 'boss' AND origin = 'admin'";
    assert_eq!(world.count(row).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_member_with_only_an_email_cannot_log_in_by_it() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let only_email = json!({ "version": 1, "email": super::EMAIL, "email_verified": true,
        "email_backup": true, "two_factor": true });
    world.put_member("acme", "eve", only_email).await;
    assert_eq!(world.login("acme", "eve", "l1").await["outcome"], "no_phone");
    world.drain().await;
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempt").await, 0);
    assert_eq!(world.arrived(super::MAIL_PLACE).await, 0);
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
    let nobody = "6b7c521f-3337-5e00-8288-d824407cfd2c";
    assert_eq!(world.verify("acme", nobody, "123456").await.0, 404);
    let (status, problem) =
        world.call(Method::POST, "/v1/logins", json!({ "account": "acme", "member": 5 })).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["field"].is_string(), "{problem}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_only_an_app_with_its_key_asks_for_a_login() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let login = json!({ "account": "acme", "member": "ada", "login": "l1" });
    let request = || world.http.post(format!("{}/v1/logins", world.url)).json(&login);
    for request in [request(), request().bearer_auth("not-the-key")] {
        assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    }
    world.drain().await;
    assert_eq!(world.count("SELECT count(*) FROM challenge").await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_refused_sms_without_an_email_backup_ends_the_challenge_as_undeliverable() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    world.fault(PHONE, json!({ "fault": "refuse" })).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    world.until(&events("challenge.undeliverable"), 1, PATIENCE).await;
    assert_eq!(world.verify("acme", &id, "123456").await.1["outcome"], "undeliverable");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r111_a_login_does_not_wait_behind_bulk_work_that_is_stuck() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    world.register("acme", "bob", "+12025550177", None).await;
    let stuck = challenge(&world.login("acme", "ada", "l1").await);
    world.drain().await;
    // Somebody sits on the row that the bulk work is about.
    let (client, connection) =
        tokio_postgres::connect(&world.database, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT 1 FROM challenge FOR UPDATE").await.unwrap();
    let broker = world.broker();
    let command = Command::Expire { challenge: ChallengeId(stuck.parse().unwrap()) };
    let commands: Vec<_> =
        (0..20).map(|_| command.outgoing(Uuid::from_u128(rand::random()))).collect();
    publish(&mut Publisher::open(&broker).await.unwrap(), &commands, &[]).await.unwrap();
    let id = challenge(&world.login("acme", "bob", "l1").await);
    let code = world.code("/phones/+12025550177", 0).await;
    assert_eq!(world.verify("acme", &id, &code).await.0, 200);
    let handled = "SELECT count(*) FROM inbox WHERE label = 'not_due'";
    assert_eq!(world.count(handled).await, 0, "the bulk work was not stuck");
    client.batch_execute("ROLLBACK").await.unwrap();
    world.until(handled, 20, PATIENCE).await;
    broker.close().await;
    world.end().await;
}
