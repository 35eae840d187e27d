//! Mandates, from their review to their end.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r63_r64_r67_r68_r69_r71_r72_r73_a_mandate_from_its_review_to_its_end() {
    let world = world().await;
    let phone = |line: u32| format!("+1202555{line:04}");
    put(&world, "own", json!({ "phone": phone(201), "two_factor": true })).await;
    put(&world, "off", json!({ "phone": phone(202) })).await;
    put(&world, "bare", json!({ "email": "bare@acme.example" })).await;
    let review = reviewed(&world).await;
    let ask = |more: Value| {
        let mut body = json!({ "actor": "boss", "review": review, "confirmed": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let unsure = post(&world, "acme/mandate", ask(json!({ "confirmed": false }))).await;
    assert_eq!(unsure["field"], "confirmed", "R-63: {unsure}");
    let unnamed = post(&world, "acme/mandate", ask(json!({}))).await;
    assert_eq!(outcome(&unnamed), "not_acknowledged", "D-5: {unnamed}");
    let names = json!({ "acknowledged": ["bare"] });
    let enabled = mandate(&world, &review, names).await;
    assert_eq!(outcome(&enabled), "stored", "R-73: {enabled}");
    applied(&world).await;

    assert_eq!(rows(&world, "member WHERE two_factor AND account = 'acme'").await, 4, "R-64");
    let mandated = "activity WHERE action = 'two_factor_enabled' AND origin = 'mandate'";
    let of_account = "activity WHERE action = 'mandate_enabled' AND actor = 'boss' \
        AND member IS NULL AND challenge IS NOT NULL";
    assert_eq!(rows(&world, mandated).await, 2, "R-69: one for each who had it off");
    assert_eq!(rows(&world, of_account).await, 1, "R-69, R-92");
    let told =
        "SELECT count(*) FROM trail WHERE kind = 'factor.enabled' AND body->>'reason' = 'mandate'";
    world.until(told, 2, PATIENCE).await;
    assert_eq!(world.arrived(&format!("/phones/{}", phone(202))).await, 0, "R-70");
    let again = post(&world, "acme/mandate", ask(json!({ "acknowledged": ["bare"] }))).await;
    assert_eq!(outcome(&again), "already_enabled", "R-69");

    assert_eq!(outcome(&world.login("acme", "off", "l1").await), "open", "R-64");
    assert_eq!(outcome(&world.login("acme", "bare", "l1").await), "enrolment_required", "R-75");
    // Switches have no effect, and who comes later inherits it.
    let off = json!({ "version": 2, "phone": phone(202), "two_factor": false });
    world.put_member("acme", "off", off).await;
    put(&world, "late", json!({ "phone": phone(203) })).await;
    assert_eq!(
        rows(&world, "member WHERE two_factor AND factor_by_mandate").await,
        3,
        "R-67, R-68"
    );
    put(&world, "nobody", json!({})).await;
    assert_eq!(outcome(&world.login("acme", "nobody", "l1").await), "contact_admin", "R-77");
    let own = post(&world, "acme/members/own/disable", json!({})).await;
    assert_eq!(outcome(&own), "mandatory_by_account", "R-100");
    let by_admin = post(&world, "acme/members/own/admin/disable", json!({ "actor": "boss" })).await;
    assert_eq!(outcome(&by_admin), "mandatory_by_account");

    let ended = with_code(&world, "acme/mandate/disable", json!({ "actor": "boss" }), BOSS).await;
    assert_eq!(outcome(&ended), "stored", "R-72: {ended}");
    applied(&world).await;
    assert_eq!(
        rows(&world, "member WHERE two_factor AND member IN ('own', 'boss')").await,
        2,
        "R-71"
    );
    assert_eq!(rows(&world, "member WHERE two_factor").await, 2, "R-71");
    assert_eq!(outcome(&world.login("acme", "late", "l1").await), "not_required");
    assert_eq!(rows(&world, "activity WHERE action = 'mandate_disabled'").await, 1);
    let nothing = post(&world, "acme/mandate/disable", json!({ "actor": "boss" })).await;
    assert_eq!(outcome(&nothing), "not_enabled");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r74_of_two_admins_at_once_one_turns_it_on_and_a_request_sent_twice_is_one() {
    let world = world().await;
    let other = "+12025550101";
    put(&world, "vice", json!({ "role": "admin", "phone": other, "two_factor": true })).await;
    put(&world, "ada", json!({ "phone": "+12025550141" })).await;
    let review = reviewed(&world).await;
    let mut proved = Vec::new();
    for (actor, phone) in [("boss", BOSS), ("vice", other)] {
        let mut body = json!({ "actor": actor, "review": review, "confirmed": true });
        let asked = post(&world, "acme/mandate", body.clone()).await;
        let challenge = asked["challenge"].as_str().unwrap_or_else(|| panic!("{asked}"));
        let code = world.code(&format!("/phones/{phone}"), 0).await;
        assert_eq!(world.verify("acme", challenge, &code).await.0, 200);
        body["proof"] = json!(challenge);
        proved.push(body);
    }
    // The proof of one is not good for the other.
    let mut stolen = proved[0].clone();
    stolen["actor"] = json!("vice");
    assert_eq!(post(&world, "acme/mandate", stolen).await["field"], "proof");
    let twice: Vec<Value> = proved.iter().chain(&proved).chain(&proved).cloned().collect();
    let answers = join_all(twice.into_iter().map(|body| post(&world, "acme/mandate", body))).await;
    let stored = answers.iter().filter(|answer| outcome(answer) == "stored").count();
    let already = answers.iter().filter(|answer| outcome(answer) == "already_enabled").count();
    assert_eq!((stored, already), (1, 5), "{answers:?}");
    applied(&world).await;
    assert_eq!(rows(&world, "activity WHERE action = 'mandate_enabled'").await, 1);
    let row = "activity WHERE action = 'two_factor_enabled' AND origin = 'mandate'";
    assert_eq!(rows(&world, row).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r78_until_the_grace_date_who_had_it_off_logs_in_without_a_code() {
    let world = world().await;
    put(&world, "ada", json!({ "phone": "+12025550141" })).await;
    put(&world, "own", json!({ "phone": "+12025550142", "two_factor": true })).await;
    put(&world, "slow", json!({ "phone": "+12025550143" })).await;
    let review = reviewed(&world).await;
    let now: i64 = world.count("SELECT extract(epoch FROM stepup_now())::bigint").await;
    let until = |days: i64| {
        let at = time::OffsetDateTime::from_unix_timestamp(now + days * 86400).unwrap();
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    assert_eq!(
        outcome(&mandate(&world, &review, json!({ "grace_until": until(2) })).await),
        "stored"
    );
    applied(&world).await;
    let waits = json!({ "actor": "boss", "grace_until": until(4) });
    assert_eq!(outcome(&post(&world, "acme/members/slow/admin/enable", waits).await), "stored");
    let login = world.login("acme", "ada", "l1").await;
    assert_eq!(outcome(&login), "not_required");
    assert!(login["enrol_by"].is_string(), "{login}");
    assert_eq!(outcome(&world.login("acme", "own", "l1").await), "open");
    world.advance(DAY * 3).await;
    assert_eq!(outcome(&world.login("acme", "ada", "l2").await), "open");
    assert_eq!(outcome(&world.login("acme", "slow", "l2").await), "not_required");
    world.advance(DAY * 2).await;
    assert_eq!(outcome(&world.login("acme", "slow", "l3").await), "open");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r79_an_account_whose_primary_admins_have_no_number_is_not_locked_out() {
    let world = World::start(&[vec!["all"]], &[]).await;
    account(&world, "acme").await;
    put(&world, "boss", json!({ "role": "primary_admin", "email": "boss@acme.example" })).await;
    let phone = "+12025550101";
    put(&world, "vice", json!({ "role": "admin", "phone": phone, "two_factor": true })).await;
    let review = reviewed(&world).await;
    let ask =
        json!({ "actor": "vice", "review": review, "confirmed": true, "acknowledged": ["boss"] });
    assert_eq!(outcome(&post(&world, "acme/mandate", ask).await), "no_admin_phone");
    // And an admin with 2FA off turns nothing on for others.
    let plain = json!({ "role": "primary_admin", "phone": "+12025550102" });
    put(&world, "chief", plain).await;
    let review = reviewed(&world).await;
    let ask =
        json!({ "actor": "chief", "review": review, "confirmed": true, "acknowledged": ["boss"] });
    assert_eq!(outcome(&post(&world, "acme/mandate", ask).await), "factor_required", "R-73");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r75_r76_under_a_mandate_a_number_is_bound_by_the_address_and_only_then_a_login() {
    let world = world().await;
    let address = "bare@acme.example";
    put(&world, "bare", json!({ "email": address, "email_verified": true })).await;
    let review = reviewed(&world).await;
    mandate(&world, &review, json!({ "acknowledged": ["bare"] })).await;
    applied(&world).await;
    assert_eq!(outcome(&world.login("acme", "bare", "l1").await), "enrolment_required");
    let send = json!({ "phone": "+12025550177" });
    let unproved = post(&world, "acme/members/bare/enrolment/send", send.clone()).await;
    assert_eq!(outcome(&unproved), "enrolment_required", "R-76: also a confirmed address");
    prove_email(&world, "bare", address).await;
    assert_eq!(outcome(&world.login("acme", "bare", "l2").await), "enrolment_required", "R-36");
    let open = post(&world, "acme/members/bare/enrolment/send", send.clone()).await;
    assert_eq!((outcome(&open), &open["purpose"]), ("open", &json!("enrolment")), "{open}");
    let code = world.code("/phones/+12025550177", 0).await;
    let (status, _) = world.verify("acme", open["challenge"].as_str().unwrap(), &code).await;
    assert_eq!(status, 200);
    world.advance(A_MINUTE).await;
    assert_eq!(world.login("acme", "bare", "l3").await["destination"], "•••77");
    let again = post(&world, "acme/members/bare/enrolment/send", send).await;
    assert_eq!(outcome(&again), "already_enabled", "it binds a first number and no other");
    world.end().await;
}

/// Members of the enable-for-all that is killed over and over.
const MANY: i64 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn r69_r109_twenty_kills_during_an_enable_for_all_leave_no_half_state() {
    let rest = [
        "work",
        "code-generation",
        "verification",
        "team",
        "sms-delivery",
        "email-fallback",
        "audit",
        "notification",
        "notice-delivery",
        "timers",
    ];
    let mut world =
        world_of(&[vec!["ingress"], vec!["work", "team-batch", "directory"], rest.to_vec()]).await;
    world
        .execute(&format!(
            "INSERT INTO member (account, member, version, active, role, locale, phone, phone_index,
                phone_country, phone_textable, email_verified, two_factor, email_backup,
                notify_number_changes, changed_at)
             SELECT 'acme', 'm' || lpad(g::text, 5, '0'), 1, true, 'member', 'en', '\\x00',
                sha256(g::text::bytea), 'US', true, false, g % 10 = 0, false, false, stepup_now()
             FROM generate_series(1, {MANY}) g"
        ))
        .await;
    let review = reviewed(&world).await;
    let enabled = mandate(&world, &review, json!({})).await;
    assert_eq!(outcome(&enabled), "stored", "{enabled}");
    for kill in 0..20 {
        // 0 is the sim, 1 the ingress; the killed one moves to the end, the other takes its place.
        let at = if kill == 0 { 2 } else { 3 };
        world.kill(at);
        if kill == 0 {
            assert_eq!(rows(&world, "mandate WHERE done_at IS NULL").await, 1, "too late to kill");
        }
        let pause = 30 + 40 * (kill % 5);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    applied(&world).await;
    let own = MANY / 10;
    let bound = MANY - own;
    assert_eq!(rows(&world, "member WHERE two_factor").await, MANY + 1);
    assert_eq!(rows(&world, "member WHERE factor_by_mandate").await, bound, "R-71");
    let row = "activity WHERE action = 'two_factor_enabled' AND origin = 'mandate'";
    assert_eq!(rows(&world, row).await, bound, "R-69: a row each");
    let distinct = format!("SELECT count(DISTINCT member) FROM {row}");
    assert_eq!(world.count(&distinct).await, bound, "and no second one");
    let told =
        "SELECT count(*) FROM trail WHERE kind = 'factor.enabled' AND body->>'reason' = 'mandate'";
    world.until(told, bound, PATIENCE).await;
    world.until("SELECT count(*) FROM trail WHERE kind = 'mandate.applied'", 1, PATIENCE).await;
    assert_eq!(rows(&world, &format!("mandate WHERE changed = {bound}")).await, 1);
    assert_eq!(rows(&world, "delivery_attempt").await, 1, "R-70: the admin's own code alone");
    world.end().await;
}
