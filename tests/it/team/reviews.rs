//! Reviews of contacts.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r65_r66_a_review_tells_each_trouble_and_goes_stale_with_contacts_and_time() {
    let world = world().await;
    let good =
        json!({ "phone": "+12025550141", "email": "a@acme.example", "email_verified": true });
    put(&world, "ada", good).await;
    put(&world, "bare", json!({})).await;
    put(&world, "toll", json!({ "phone": "+18005550199", "email": "t@acme.example" })).await;
    put(&world, "twin", json!({ "phone": "+12025550141" })).await;
    put(&world, "gone", json!({ "active": false })).await;
    let review = reviewed(&world).await;
    let view = get_review(&world, &review, "").await;
    assert_eq!((&view["state"], &view["checked"]), (&json!("done"), &json!(5)), "{view}");
    let found: Vec<(&str, Vec<&str>)> = view["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| {
            let verdicts = member["verdicts"].as_array().unwrap();
            (
                member["member"].as_str().unwrap(),
                verdicts.iter().map(|v| v.as_str().unwrap()).collect(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("ada", vec!["unverified_phone", "duplicate"]),
            ("bare", vec!["no_phone", "no_email"]),
            ("boss", vec!["unverified_phone"]),
            ("toll", vec!["unsupported_type", "unverified_phone", "unverified_email"]),
            ("twin", vec!["unverified_phone", "duplicate", "no_email"]),
        ]
    );
    assert_eq!(view["counts"]["duplicate"], 2);
    let page = get_review(&world, &review, "?after=boss").await;
    assert_eq!(page["members"].as_array().map(Vec::len), Some(2));
    world.until("SELECT count(*) FROM trail WHERE kind = 'review.finished'", 1, PATIENCE).await;

    // A member who is changed makes it stale, and so does one who comes.
    world.put_member("acme", "twin", json!({ "version": 2, "phone": "+12025550142" })).await;
    assert_eq!(get_review(&world, &review, "").await["state"], "stale");
    let ask = json!({ "actor": "boss", "review": review, "confirmed": true });
    assert_eq!(outcome(&post(&world, "acme/mandate", ask.clone()).await), "stale");
    let fresh = reviewed(&world).await;
    assert_eq!(get_review(&world, &fresh, "").await["state"], "done");
    put(&world, "newcomer", json!({})).await;
    assert_eq!(get_review(&world, &fresh, "").await["state"], "stale");
    // A new locale is no contact.
    let third = reviewed(&world).await;
    world.put_member("acme", "newcomer", json!({ "version": 2, "locale": "de" })).await;
    assert_eq!(get_review(&world, &third, "").await["state"], "done");
    world.advance(Duration::from_secs(3600)).await;
    let ask = json!({ "actor": "boss", "review": third, "confirmed": true });
    assert_eq!(outcome(&post(&world, "acme/mandate", ask).await), "stale");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_ten_thousand_members_are_looked_at_in_batches_and_read_in_pages() {
    let world = world().await;
    world
        .execute(
            "INSERT INTO member (account, member, version, active, role, locale, phone, phone_index,
                phone_country, phone_textable, email_verified, two_factor, email_backup,
                notify_number_changes, changed_at)
             SELECT 'acme', 'm' || lpad(g::text, 5, '0'), 1, true, 'member', 'en',
                CASE WHEN g % 4 > 0 THEN '\\x00'::bytea END,
                CASE WHEN g % 4 > 0 THEN sha256((g / 8)::text::bytea) END, 'US', true, false, false,
                false, false, stepup_now()
             FROM generate_series(1, 10000) g",
        )
        .await;
    let review = reviewed(&world).await;
    let batches = "review WHERE batch = 21 AND checked = 10001";
    assert_eq!(rows(&world, batches).await, 1, "twenty full batches and the rest");
    let (mut after, mut seen) = (String::new(), 0);
    loop {
        let page = get_review(&world, &review, &after).await;
        assert_eq!(page["state"], "done", "{}", page["state"]);
        assert_eq!(page["counts"]["no_phone"], 2500);
        assert_eq!(page["counts"]["duplicate"], 7500, "six of eight share each number");
        seen += page["members"].as_array().unwrap().len();
        let Some(next) = page["next_after"].as_str() else { break };
        after = format!("?after={next}");
    }
    assert_eq!(seen, 10_001);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_r69_a_member_who_leaves_between_review_and_mandate_makes_it_stale_and_one_who_leaves_later_is_still_bound()
 {
    let world = world().await;
    put(&world, "ada", json!({ "phone": "+12025550141" })).await;
    put(&world, "bob", json!({ "phone": "+12025550142" })).await;
    let review = reviewed(&world).await;
    world.put_member("acme", "ada", json!({ "version": 2, "active": false })).await;
    let ask = json!({ "actor": "boss", "review": review, "confirmed": true });
    assert_eq!(outcome(&post(&world, "acme/mandate", ask).await), "stale");
    let review = reviewed(&world).await;
    assert_eq!(outcome(&mandate(&world, &review, json!({})).await), "stored");
    world.put_member("acme", "bob", json!({ "version": 2, "active": false })).await;
    applied(&world).await;
    assert_eq!(outcome(&world.login("acme", "bob", "l1").await), "not_found", "R-44");
    // Whoever comes back comes back bound.
    world.put_member("acme", "ada", json!({ "version": 3 })).await;
    world.put_member("acme", "bob", json!({ "version": 3 })).await;
    for name in ["ada", "bob"] {
        assert_eq!(outcome(&world.login("acme", name, "l2").await), "open");
    }
    world.end().await;
}
