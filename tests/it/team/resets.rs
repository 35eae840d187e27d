//! Resets of a lost number by support.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r102_r103_r104_r105_support_resets_a_lost_number_by_two_people_after_a_hold() {
    let world = world().await;
    let (phone, address) = ("+12025550141", "ada@acme.example");
    put(
        &world,
        "ada",
        json!({ "phone": phone, "two_factor": true, "email": "old@acme.example",
        "email_verified": true }),
    )
    .await;
    let moved = json!({ "version": 2, "email": address, "email_verified": true });
    world.put_member("acme", "ada", moved).await;
    let boss = json!({ "version": 2, "role": "primary_admin", "notify_number_changes": true });
    world.put_member("acme", "boss", boss).await;
    world.execute("UPDATE member SET suspended_at = stepup_now() WHERE member = 'ada'").await;
    world
        .execute(
            "INSERT INTO wrong_guess SELECT 'acme', 'ada', stepup_now(), gen_random_uuid() \
            FROM generate_series(1, 100)",
        )
        .await;
    assert_eq!(outcome(&world.login("acme", "ada", "l1").await), "suspended");
    let by = |reason: &str| json!({ "requested_by": "sue", "reason": reason });
    let unsaid = post(&world, "acme/members/ada/resets", by(" ")).await;
    assert_eq!((outcome(&unsaid), &unsaid["field"]), ("invalid", &json!("reason")), "R-104");
    put(&world, "off", json!({ "phone": "+12025550143" })).await;
    for (member, refusal) in [("off", "not_enabled"), ("nobody", "not_found")] {
        let refused = post(&world, &format!("acme/members/{member}/resets"), by("lost")).await;
        assert_eq!(outcome(&refused), refusal);
    }
    let asked = post(&world, "acme/members/ada/resets", by("phone stolen")).await;
    assert_eq!(outcome(&asked), "recorded", "{asked}");
    let again = post(&world, "acme/members/ada/resets", by("once more")).await;
    assert_eq!(again["reset"], asked["reset"], "one at a time");
    let id = asked["reset"].as_str().unwrap();
    let approve = |by: &str| json!({ "approved_by": by });
    let path = format!("acme/resets/{id}/approve");
    assert_eq!(outcome(&post(&world, &path, approve("sue")).await), "forbidden", "R-104");
    let foreign = post(&world, &format!("globex/resets/{id}/approve"), approve("tom")).await;
    assert_eq!(outcome(&foreign), "not_found");
    let stranger =
        post(&world, &format!("acme/resets/{id}/cancel"), json!({ "actor": "off" })).await;
    assert_eq!(outcome(&stranger), "forbidden", "R-105");
    let approved = post(&world, &path, approve("tom")).await;
    assert!(approved["due_at"].is_string(), "{approved}");
    // The member, at both addresses, and the subscribed admin hear of it in time.
    world.drain().await;
    for mailbox in [address, "old@acme.example", "boss@acme.example"] {
        assert_eq!(world.arrived(&format!("/mailboxes/{mailbox}")).await, 1, "R-105: {mailbox}");
    }
    // Stopped by the member; then it takes two people again.
    let stop = json!({ "actor": "ada" });
    let cancelled = post(&world, &format!("acme/resets/{id}/cancel"), stop).await;
    assert_eq!(outcome(&cancelled), "recorded");
    world.advance(DAY).await;
    assert_eq!(rows(&world, "member WHERE member = 'ada' AND phone IS NOT NULL").await, 1);
    let asked = post(&world, "acme/members/ada/resets", by("really stolen")).await;
    let id = asked["reset"].as_str().unwrap();
    post(&world, &format!("acme/resets/{id}/approve"), approve("tom")).await;
    world.advance(DAY).await;
    assert_eq!(rows(&world, "reset WHERE state = 'done'").await, 1);
    assert_eq!(
        rows(&world, "member WHERE member = 'ada' AND phone IS NULL AND two_factor").await,
        1
    );
    let row = "activity WHERE action = 'factor_reset' AND origin = 'support' AND actor = 'tom'";
    assert_eq!(rows(&world, row).await, 1);
    world.until("SELECT count(*) FROM trail WHERE kind = 'factor.reset'", 1, PATIENCE).await;

    assert_eq!(outcome(&world.login("acme", "ada", "l2").await), "enrolment_required");
    prove_email(&world, "ada", address).await;
    let send = json!({ "phone": "+12025550142" });
    let open = post(&world, "acme/members/ada/enrolment/send", send).await;
    let code = world.code("/phones/+12025550142", 0).await;
    let challenge = open["challenge"].as_str().unwrap_or_else(|| panic!("{open}"));
    assert_eq!(world.verify("acme", challenge, &code).await.0, 200);
    world.advance(A_MINUTE).await;
    assert_eq!(outcome(&world.login("acme", "ada", "l3").await), "open", "suspended no longer");
    let change = json!({ "change": "c1", "setting": "bank_account", "before": "DE-1",
        "after": "DE-2", "summary": "payouts to DE-2" });
    let held = post(&world, "acme/members/ada/settings", change.clone()).await;
    assert_eq!(outcome(&held), "cooling_off", "R-105: {held}");
    assert!(held["retry_after"].as_u64().is_some_and(|left| left > 2 * 86400), "{held}");
    world.advance(DAY * 3).await;
    assert_eq!(outcome(&post(&world, "acme/members/ada/settings", change).await), "open");
    world.end().await;
}
