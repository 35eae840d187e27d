//! What a change in the directory does to open challenges, and who is told.

use serde_json::{Value, json};

use super::{EMAIL, MAIL_PLACE, PHONE, PHONE_PLACE, challenge, events, seconds, world};
use crate::support::{PATIENCE, World};

async fn boss(world: &World, version: u64, changes: Value) {
    let mut body = json!({ "version": version, "role": "primary_admin",
        "email": "boss@acme.example", "email_verified": true, "notify_number_changes": true });
    let fields = body.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    world.put_member("acme", "boss", body).await;
}

async fn moves(world: &World, version: u64, phone: &str) {
    let changed =
        json!({ "version": version, "phone": phone, "two_factor": true, "actor": "boss" });
    world.put_member("acme", "ada", changed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_r44_r51_an_open_challenge_ends_with_its_factor_its_member_or_its_number() {
    let world = world().await;
    for (name, line, change, reason) in [
        ("ada", "0141", json!({ "two_factor": false }), "factor_disabled"),
        ("bob", "0142", json!({ "active": false }), "member_deactivated"),
        ("cyd", "0143", json!({ "phone": "+12025550149" }), "target_changed"),
    ] {
        let phone = format!("+1202555{line}");
        world.register("acme", name, &phone, Some(&format!("{name}@acme.example"))).await;
        let id = challenge(&world.login("acme", name, "l1").await);
        let code = world.code(&format!("/phones/{phone}"), 0).await;
        let mut body = json!({ "version": 2, "phone": phone, "two_factor": true });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        world.put_member("acme", name, body).await;
        let view = world.view(&id).await;
        assert_eq!((&view["state"], &view["reason"]), (&json!("cancelled"), &json!(reason)));
        let outcome = if reason == "target_changed" { reason } else { "cancelled" };
        assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], outcome);
    }
    // Nothing goes out after the end, neither by SMS nor by email.
    let sent = world.count("SELECT count(*) FROM delivery_attempt").await;
    world.advance(seconds(120)).await;
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempt").await, sent);
    // The mails are notices: to who has 2FA off now, and to who has another number.
    let told = json!([{ "address": "ada@acme.example", "count": 1 },
        { "address": "cyd@acme.example", "count": 1 }]);
    assert_eq!(world.sim_get("/mailboxes").await["mailboxes"], told);
    assert_eq!(world.count(&events("challenge.cancelled")).await, 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r84_r87_a_subscribed_primary_admin_gets_one_mail_about_a_changed_number() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    boss(&world, 1, json!({})).await;
    // Off by default, and only for primary admins.
    let silent = json!({ "version": 1, "role": "primary_admin", "email": "silent@acme.example",
        "email_verified": true });
    world.put_member("acme", "silent", silent).await;
    let plain = json!({ "version": 1, "role": "member", "email": "plain@acme.example",
        "email_verified": true, "notify_number_changes": true });
    world.put_member("acme", "plain", plain).await;
    moves(&world, 2, "+12025550188").await;
    world.until("SELECT count(*) FROM notice WHERE state = 'accepted'", 1, PATIENCE).await;
    world.drain().await;
    let mail = world.sim_get("/mailboxes/boss@acme.example").await;
    assert_eq!(mail["messages"].as_array().map(Vec::len), Some(1), "{mail}");
    let text = mail["messages"][0]["text"].as_str().unwrap();
    assert!(text.contains("•••23") && text.contains("•••88") && text.contains("boss"), "{text}");
    assert!(!text.contains("2025550"), "{text}");
    assert_eq!(world.sim_get("/mailboxes").await["mailboxes"].as_array().map(Vec::len), Some(1));
    let rows = "SELECT count(*) FROM activity WHERE action = 'number_changed'";
    assert_eq!(world.count(rows).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r86_who_ceases_to_be_primary_gets_no_mail_that_was_queued() {
    let others = ["work", "code-generation", "directory", "audit", "notification"];
    let roles = [vec!["ingress"], others.to_vec()];
    let mut world = World::start(&roles, &[]).await;
    world.register("acme", "ada", PHONE, None).await;
    boss(&world, 1, json!({})).await;
    moves(&world, 2, "+12025550188").await;
    world.until("SELECT count(*) FROM notice WHERE state = 'queued'", 1, PATIENCE).await;
    boss(&world, 2, json!({ "role": "admin" })).await;
    world.begin(vec!["work", "notice-delivery"]);
    world.drain().await;
    assert_eq!(world.count("SELECT count(*) FROM notice WHERE state = 'skipped'").await, 1);
    assert_eq!(world.sim_get("/mailboxes").await["mailboxes"], json!([]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r88_r94_a_mail_that_fails_does_not_hold_the_change_or_its_row() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    boss(&world, 1, json!({})).await;
    world.fault("boss@acme.example", json!({ "fault": "refuse" })).await;
    moves(&world, 2, "+12025550188").await;
    world.drain().await;
    assert_eq!(world.count("SELECT count(*) FROM notice WHERE state = 'failed'").await, 1);
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code("/phones/+12025550188", 0).await;
    assert_eq!(world.verify("acme", &id, &code).await.0, 200);
    assert_eq!(world.arrived(PHONE_PLACE).await, 0);
    let rows = "SELECT count(*) FROM activity WHERE action = 'number_changed'";
    assert_eq!(world.count(rows).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r61_r84_each_gets_the_texts_in_the_language_of_their_own() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    let german = json!({ "version": 2, "locale": "de-AT", "phone": PHONE, "two_factor": true,
        "email": EMAIL, "email_verified": true, "email_backup": true });
    world.put_member("acme", "ada", german).await;
    boss(&world, 1, json!({ "locale": "pt-BR" })).await;
    let last = async |place: &str, n: usize| {
        world.code(place, n).await;
        world.sim_get(place).await["messages"][n].clone()
    };
    world.login("acme", "ada", "l1").await;
    let sms = last(PHONE_PLACE, 0).await;
    let sms = sms["text"].as_str().unwrap();
    assert!(sms.contains("ist Ihr Anmeldecode für Acme."), "{sms}");
    assert!(sms.lines().last().unwrap().starts_with("@app.acme.example #"), "{sms}");
    world.drain().await;
    world.advance(seconds(61)).await;
    let mail = last(MAIL_PLACE, 0).await;
    assert_eq!(mail["subject"], "Ihr Anmeldecode für Acme", "{mail}");
    moves(&world, 3, "+12025550188").await;
    let notice = last("/mailboxes/boss@acme.example", 0).await;
    let subject = "Acme: um telefone do segundo fator foi alterado";
    assert_eq!(notice["subject"], subject, "{notice}");
    assert!(notice["text"].as_str().unwrap().contains("Número anterior:  •••23"), "{notice}");
    world.end().await;
}
