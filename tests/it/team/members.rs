//! One member's 2FA by an admin, and an admin who ceases to be one.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r80_r82_r83_an_admin_turns_2fa_on_and_with_a_code_off_for_one_member() {
    let world = world().await;
    let phone = "+12025550141";
    put(&world, "ada", json!({ "phone": phone })).await;
    put(&world, "bare", json!({})).await;
    let by = json!({ "actor": "boss", "ip": "192.0.2.7", "user_agent": "Mozilla/5.0" });
    let none = post(&world, "acme/members/bare/admin/enable", by.clone()).await;
    assert_eq!(outcome(&none), "no_phone");
    let on = post(&world, "acme/members/ada/admin/enable", by.clone()).await;
    assert_eq!(outcome(&on), "stored", "R-80: {on}");
    let row = "activity WHERE action = 'two_factor_enabled' AND member = 'ada' AND actor = 'boss' \
        AND origin = 'admin' AND ip = '192.0.2.7' AND user_agent = 'Mozilla/5.0'";
    assert_eq!(rows(&world, row).await, 1);
    assert_eq!(rows(&world, "member WHERE member = 'ada' AND phone_verified_at IS NULL").await, 1);
    let login = world.login("acme", "ada", "l1").await;
    let code = world.code(&format!("/phones/{phone}"), 0).await;
    assert_eq!(world.verify("acme", login["challenge"].as_str().unwrap(), &code).await.0, 200);
    let proved = "member WHERE member = 'ada' AND phone_verified_at IS NOT NULL";
    assert_eq!(rows(&world, proved).await, 1, "R-82");
    let waiting = world.login("acme", "ada", "l2").await;

    let disable = with_proof(&world, "acme/members/ada/admin/disable", by.clone(), BOSS).await;
    let off = post(&world, "acme/members/ada/admin/disable", disable.clone()).await;
    assert_eq!(outcome(&off), "stored", "R-83: {off}");
    assert_eq!(rows(&world, "member WHERE member = 'ada' AND two_factor").await, 0);
    let ended = world.view(waiting["challenge"].as_str().unwrap()).await;
    assert_ne!(ended["state"], "open", "R-43");
    assert_eq!(
        outcome(&post(&world, "acme/members/ada/admin/disable", by.clone()).await),
        "not_enabled"
    );
    let on = post(&world, "acme/members/ada/admin/enable", by.clone()).await;
    assert_eq!(outcome(&on), "stored");
    let again = post(&world, "acme/members/ada/admin/disable", disable).await;
    assert_eq!((outcome(&again), &again["field"]), ("invalid", &json!("proof")), "R-83: once");
    // A member who has left meanwhile is nobody's to change.
    world.put_member("acme", "ada", json!({ "version": 2, "active": false })).await;
    assert_eq!(outcome(&post(&world, "acme/members/ada/admin/enable", by).await), "not_found");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r86_a_role_that_is_taken_away_while_mails_are_queued_gets_none() {
    let mut world =
        world_of(&[vec!["ingress"], vec!["work", "support", "directory", "audit", "notification"]])
            .await;
    put(&world, "ada", json!({ "phone": "+12025550141", "two_factor": true })).await;
    let boss = json!({ "version": 2, "role": "primary_admin", "notify_number_changes": true });
    world.put_member("acme", "boss", boss).await;
    let asked =
        post(&world, "acme/members/ada/resets", json!({ "requested_by": "sue", "reason": "lost" }))
            .await;
    let path = format!("acme/resets/{}/approve", asked["reset"].as_str().unwrap());
    post(&world, &path, json!({ "approved_by": "tom" })).await;
    world.until("SELECT count(*) FROM notice WHERE admin = 'boss'", 1, PATIENCE).await;
    world.put_member("acme", "boss", json!({ "version": 3, "role": "admin" })).await;
    world.begin(vec!["work", "notice-delivery"]);
    let skipped =
        "SELECT count(*) FROM notice WHERE state = 'skipped' AND answer = 'not_subscribed'";
    world.until(skipped, 1, PATIENCE).await;
    assert_eq!(world.arrived("/mailboxes/boss@acme.example").await, 0);
    world.end().await;
}
