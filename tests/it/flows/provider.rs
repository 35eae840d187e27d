//! What becomes of a code when the SMS provider closes connections, asks to wait, or says something
//! that leaves open whether the SMS is out.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{EMAIL, MAIL_PLACE, PHONE, PHONE_PLACE, challenge, events, seconds, world};
use crate::support::{PATIENCE, World};

/// One more member, and the place of their SMS.
async fn registered(world: &World, n: usize) -> (String, String) {
    let (member, phone) = (format!("m{n}"), format!("+120255501{n:02}"));
    world.register("acme", &member, &phone, None).await;
    (member, format!("/phones/{phone}"))
}

/// When the provider was called for SMS, and what it answered.
async fn calls(world: &World) -> Vec<(OffsetDateTime, Option<u64>)> {
    let entries = world.sim_get("/ledger").await["entries"].clone();
    let entries = entries.as_array().unwrap().clone();
    let sms = entries.iter().filter(|entry| entry["channel"] == "sms");
    sms.map(|entry| {
        let at = OffsetDateTime::parse(entry["at"].as_str().unwrap(), &Rfc3339).unwrap();
        (at, entry["answer"].as_u64())
    })
    .collect()
}

/// Logs in one after the other, so far apart, while the provider treats kept connections like this.
async fn each_login_gets_its_code(order: Value, pauses: &[Duration]) {
    let world = world().await;
    world.connections(order).await;
    let mut places = Vec::new();
    for n in 0..pauses.len() {
        places.push(registered(&world, n).await);
    }
    for ((member, place), pause) in places.iter().zip(pauses) {
        world.login("acme", member, "l1").await;
        world.code(place, 0).await;
        tokio::time::sleep(*pause).await;
    }
    world.drain().await;
    assert_eq!(world.count(&events("delivery.accepted")).await, pauses.len() as i64);
    assert_eq!(world.count(&events("delivery.unknown")).await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_drops_kept_connections_unread_gets_every_code() {
    let pauses = [1200, 300, 0, 0, 0, 1200, 0, 500].map(Duration::from_millis);
    each_login_gets_its_code(json!({ "drop_kept": true }), &pauses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_closes_idle_connections_gets_every_code() {
    let around = |milliseconds: u64| Duration::from_millis(900 + milliseconds);
    let pauses: Vec<_> = (0..12).map(|n| around(8 * n)).collect();
    each_login_gets_its_code(json!({ "idle_seconds": 1 }), &pauses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_when_is_called_then_and_not_much_later() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    for (login, fault, wait) in [
        ("l1", json!({ "fault": "throttle", "retry_after": 2, "times": 2 }), 2),
        ("l2", json!({ "fault": "throttle", "retry_after": 3, "date": true, "times": 1 }), 3),
        ("l3", json!({ "fault": "status", "status": 503, "retry_after": "6", "times": 1 }), 6),
    ] {
        let times = usize::try_from(fault["times"].as_u64().unwrap()).unwrap();
        let before = calls(&world).await.len();
        world.fault(PHONE, fault).await;
        let id = challenge(&world.login("acme", "ada", login).await);
        let n = world.arrived(PHONE_PLACE).await;
        let code = world.code(PHONE_PLACE, n).await;
        assert_eq!(world.verify("acme", &id, &code).await.0, 200);
        let calls = calls(&world).await.split_off(before);
        assert_eq!(calls.len(), times + 1, "{login}: {calls:?}");
        for pair in calls.windows(2) {
            let waited = pair[1].0 - pair[0].0;
            // A date is told in whole seconds. A busy machine takes its time.
            let (least, most) = (seconds(wait), seconds(wait + 2));
            assert!(waited >= least && waited <= most, "{login}: {waited}");
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_beyond_the_challenge_s_life_is_given_up_and_the_email_goes_at_once() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    let never = "9".repeat(20);
    let fault = json!({ "fault": "status", "status": 429, "retry_after": never });
    world.fault(PHONE, fault).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(MAIL_PLACE, 0).await;
    assert_eq!(world.verify("acme", &id, &code).await.0, 200);
    world.until(&events("delivery.failed"), 1, PATIENCE).await;
    assert_eq!(calls(&world).await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_the_email_comes_at_its_time_while_a_provider_makes_the_sms_wait() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    let fault = json!({ "fault": "throttle", "retry_after": 300, "times": 1 });
    world.fault(PHONE, fault).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let waits = "SELECT count(*) FROM delivery_attempt WHERE state = 'queued' AND tries = 1";
    world.until(waits, 1, PATIENCE).await;
    world.jump(seconds(61)).await;
    let code = world.code(MAIL_PLACE, 0).await;
    assert_eq!(world.arrived(PHONE_PLACE).await, 0);
    assert_eq!(world.verify("acme", &id, &code).await.0, 200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_answer_that_leaves_it_open_nothing_is_sent_again() {
    let world = world().await;
    let told = [(502, "unknown"), (504, "unknown"), (409, "unknown"), (303, "unknown")];
    let refused = [(302, "failed"), (501, "failed")];
    let statuses: Vec<(u16, &str)> = told.into_iter().chain(refused).collect();
    for (n, (status, _)) in statuses.iter().enumerate() {
        let (member, place) = registered(&world, n).await;
        let phone = place.trim_start_matches("/phones/");
        world.fault(phone, json!({ "fault": "status", "status": status, "times": 1 })).await;
        world.login("acme", &member, "l1").await;
    }
    for kind in ["unknown", "failed"] {
        let expected = statuses.iter().filter(|(_, told)| *told == kind).count();
        world.until(&events(&format!("delivery.{kind}")), expected as i64, PATIENCE).await;
    }
    // Longer than the first retry would wait.
    let began = Instant::now();
    world.drain().await;
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(began.elapsed())).await;
    assert_eq!(calls(&world).await.len(), statuses.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_our_account_is_told_once_and_once_when_it_takes_sms_again() {
    const TOLD: &str =
        "SELECT count(*) FROM trail WHERE kind IN ('delivery.failed', 'delivery.unknown')";
    let world = world().await;
    let lines = |text: &str| {
        let log = std::fs::read_to_string(world.folder.join("all.log")).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    };
    let login = async |n: usize, fault: Option<Value>| {
        let (member, place) = registered(&world, n).await;
        if let Some(fault) = fault {
            world.fault(place.trim_start_matches("/phones/"), fault).await;
        }
        world.login("acme", &member, "l1").await;
    };
    let status = |status: u16| Some(json!({ "fault": "status", "status": status }));
    for (n, answer) in [401, 401, 504, 401].into_iter().enumerate() {
        login(n, status(answer)).await;
        world.until(TOLD, n as i64 + 1, PATIENCE).await;
    }
    assert_eq!(lines("the SMS provider refuses us"), 1);
    assert_eq!(lines("account_http_401"), 1);
    assert_eq!(lines("the SMS provider takes messages again"), 0);
    for n in 4..6 {
        login(n, None).await;
    }
    world.until(&events("delivery.accepted"), 2, PATIENCE).await;
    assert_eq!(lines("the SMS provider refuses us"), 1);
    assert_eq!(lines("the SMS provider takes messages again"), 1);
    world.end().await;
}
