//! Email is a backup, and never first.

use serde_json::json;

use super::{EMAIL, MAIL_PLACE, PHONE, PHONE_PLACE, challenge, events, seconds, world};
use crate::support::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn d1_r28_an_automatic_email_follows_a_lost_sms_after_sixty_seconds_once() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    world.fault(PHONE, json!({ "fault": "lose" })).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    world.drain().await;
    // Fallback minus what a busy machine may take until the next line.
    world.advance(seconds(40)).await;
    assert_eq!(world.arrived(MAIL_PLACE).await, 0);
    world.advance(seconds(20)).await;
    let code = world.code(MAIL_PLACE, 0).await;
    world.advance(seconds(120)).await;
    assert_eq!(world.arrived(MAIL_PLACE).await, 1);
    // The mail was no earlier than the policy says, by the database's own clock.
    let early = "SELECT count(*) FROM delivery_attempt e JOIN delivery_attempt s USING (challenge) \
        WHERE e.channel = 'email' AND s.channel = 'sms' \
        AND e.granted_at < s.granted_at + interval '60 seconds'";
    assert_eq!(world.count(early).await, 0);
    let (status, answer) = world.verify("acme", &id, &code).await;
    assert_eq!((status, &answer["amr"][1]), (200, &json!("stepup:email")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_r18_on_request_the_email_is_only_offered_and_goes_when_chosen() {
    let world = world().await;
    let account = json!({ "version": 7, "name": "Acme", "country": "US",
        "email_fallback": "on_request" });
    world.call(reqwest::Method::PUT, "/v1/accounts/acme", account).await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(PHONE_PLACE, 0).await;
    world.drain().await;
    let early = world.resend("acme", &id, "email").await;
    assert!(matches!(early.1["outcome"].as_str(), Some("cooldown" | "email_not_eligible")));
    world.advance(seconds(61)).await;
    assert_eq!(world.arrived(MAIL_PLACE).await, 0);
    assert_eq!(world.count(&events("challenge.email_eligible")).await, 1);
    assert_eq!(world.resend("acme", &id, "email").await.1["outcome"], "resent");
    assert_eq!(world.code(MAIL_PLACE, 0).await, code);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_r32_a_challenge_that_ended_within_sixty_seconds_sends_no_email() {
    let world = world().await;
    let people = [("ada", "0123"), ("bob", "0124"), ("cyd", "0125")];
    let mut open = Vec::new();
    for (member, line) in people {
        let (phone, email) = (format!("+1202555{line}"), format!("{member}@acme.example"));
        world.register("acme", member, &phone, Some(&email)).await;
        let id = challenge(&world.login("acme", member, "l1").await);
        open.push((id, world.code(&format!("/phones/{phone}"), 0).await));
    }
    assert_eq!(world.verify("acme", &open[0].0, &open[0].1).await.0, 200);
    let cancel = format!("/v1/challenges/{}/cancel", open[1].0);
    world.call(reqwest::Method::POST, &cancel, json!({ "account": "acme" })).await;
    for _ in 0..5 {
        world.verify("acme", &open[2].0, super::wrong(&open[2].1)).await;
    }
    assert_eq!(world.view(&open[2].0).await["state"], "locked");
    world.advance(seconds(120)).await;
    let boxes = world.sim_get("/mailboxes").await;
    assert_eq!(boxes["mailboxes"], json!([]), "{boxes}");
    let mails = "SELECT count(*) FROM delivery_attempt WHERE channel = 'email'";
    assert_eq!(world.count(mails).await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_workers_that_were_down_across_the_mark_send_the_email_once_when_they_are_back() {
    let inward = ["work", "code-generation", "directory", "verification", "audit"];
    let roles = [
        vec!["ingress"],
        [&inward[..], &["sms-delivery", "notification", "notice-delivery"]].concat(),
        vec!["work", "email-fallback", "timers"],
    ];
    let mut world = World::start(&roles, &[]).await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    world.register("acme", "bob", "+12025550177", Some("bob@acme.example")).await;
    challenge(&world.login("acme", "ada", "l1").await);
    let bob = challenge(&world.login("acme", "bob", "l1").await);
    let code = world.code("/phones/+12025550177", 0).await;
    world.drain().await;
    world.stop(3);
    world.jump(seconds(300)).await;
    // Bob's challenge ends while they are away: it gets none.
    assert_eq!(world.verify("acme", &bob, &code).await.0, 200);
    world.begin(vec!["work", "email-fallback", "timers"]);
    world.code(MAIL_PLACE, 0).await;
    world.advance(seconds(60)).await;
    let boxes = world.sim_get("/mailboxes").await;
    assert_eq!(boxes["mailboxes"].as_array().map(Vec::len), Some(1), "{boxes}");
    assert_eq!(world.arrived(MAIL_PLACE).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_r35_a_backup_that_was_switched_off_on_or_elsewhere_meanwhile_sends_no_email() {
    let world = world().await;
    let member = |version: u64, line: &str, email: &str, backup: bool| {
        json!({ "version": version, "phone": format!("+1202555{line}"), "two_factor": true,
            "email": email, "email_verified": true, "email_backup": backup })
    };
    world.register("acme", "ada", PHONE, None).await;
    let before = [("off", "0131", true), ("on", "0132", false), ("moved", "0133", true)];
    for (name, line, backup) in before {
        let email = format!("{name}@acme.example");
        world.put_member("acme", name, member(1, line, &email, backup)).await;
        world.login("acme", name, "l1").await;
    }
    world.drain().await;
    world.put_member("acme", "off", member(2, "0131", "off@acme.example", false)).await;
    world.put_member("acme", "on", member(2, "0132", "on@acme.example", true)).await;
    world.put_member("acme", "moved", member(2, "0133", "new@acme.example", true)).await;
    world.advance(seconds(120)).await;
    let boxes = world.sim_get("/mailboxes").await;
    assert_eq!(boxes["mailboxes"], json!([]), "{boxes}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_refused_sms_is_followed_by_the_email_at_once() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    world.fault(PHONE, json!({ "fault": "refuse" })).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(MAIL_PLACE, 0).await;
    assert_eq!(world.verify("acme", &id, &code).await.0, 200);
    world.until(&events("challenge.verified"), 1, PATIENCE).await;
    world.advance(seconds(120)).await;
    assert_eq!(world.arrived(MAIL_PLACE).await, 1);
    world.end().await;
}
