//! Teams and support, against the whole product, over HTTP: who may do what, reviews of contacts,
//! mandates, one member by an admin, resets by support.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

const BOSS: &str = "+12025550100";
const DAY: Duration = Duration::from_secs(24 * 3600);
const A_MINUTE: Duration = Duration::from_secs(61);
const ROLES: [&str; 3] = ["primary_admin", "admin", "member"];

async fn account(world: &World, name: &str) {
    let body =
        json!({ "version": 1, "name": "Acme", "country": "US", "origin": "app.acme.example" });
    let (status, answer) = world.call(Method::PUT, &format!("/v1/accounts/{name}"), body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Everything in one process, and an account `acme` with a primary admin `boss` who has 2FA on.
async fn world() -> World {
    world_of(&[vec!["all"]]).await
}

async fn world_of(roles: &[Vec<&'static str>]) -> World {
    let world = World::start(roles, &[]).await;
    account(&world, "acme").await;
    put(
        &world,
        "boss",
        json!({ "role": "primary_admin", "phone": BOSS, "two_factor": true,
        "email": "boss@acme.example", "email_verified": true }),
    )
    .await;
    world
}

/// A member of `acme` at version 1, and what else is said.
async fn put(world: &World, member: &str, more: Value) {
    let mut body = json!({ "version": 1 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.put_member("acme", member, body).await;
}

async fn post(world: &World, path: &str, body: Value) -> Value {
    world.call(Method::POST, &format!("/v1/accounts/{path}"), body).await.1
}

fn outcome(answer: &Value) -> &str {
    answer["outcome"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

async fn rows(world: &World, condition: &str) -> i64 {
    world.count(&format!("SELECT count(*) FROM {condition}")).await
}

async fn get_review(world: &World, id: &str, query: &str) -> Value {
    let path = format!("/v1/accounts/acme/reviews/{id}{query}");
    world.call(Method::GET, &path, Value::Null).await.1
}

/// A review of `acme` that is done.
async fn reviewed(world: &World) -> String {
    let begun = post(world, "acme/reviews", json!({ "actor": "boss" })).await;
    assert_eq!(outcome(&begun), "reviewing", "{begun}");
    let id = begun["review"].as_str().unwrap().to_owned();
    let done = format!("SELECT count(*) FROM review WHERE id = '{id}' AND done_at IS NOT NULL");
    world.until(&done, 1, PATIENCE).await;
    id
}

/// Asks for what takes the admin's code, and shows that code.
async fn with_code(world: &World, path: &str, body: Value, phone: &str) -> Value {
    let asked = post(world, path, body.clone()).await;
    assert_eq!((outcome(&asked), &asked["purpose"]), ("open", &json!("team")), "{asked}");
    let challenge = asked["challenge"].as_str().unwrap();
    let place = format!("/phones/{phone}");
    let send = world.count("SELECT count(*) FROM delivery_attempt WHERE channel = 'sms'").await;
    world.advance(A_MINUTE).await;
    let before = world.arrived(&place).await;
    assert!(before > 0, "{send}");
    let code = world.code(&place, before - 1).await;
    let account = path.split('/').next().unwrap();
    assert_eq!(world.verify(account, challenge, &code).await.0, 200);
    let mut body = body;
    body["proof"] = json!(challenge);
    post(world, path, body).await
}

async fn mandate(world: &World, review: &str, more: Value) -> Value {
    let mut body = json!({ "actor": "boss", "review": review, "confirmed": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    with_code(world, "acme/mandate", body, BOSS).await
}

async fn applied(world: &World) {
    world.until("SELECT count(*) FROM mandate WHERE done_at IS NOT NULL", 1, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_r85_every_role_and_every_operation_in_two_accounts_as_the_matrix_says() {
    /// Operation, body besides the actor, and who of [`ROLES`] may do it in their own account.
    const MATRIX: [(&str, [bool; 3]); 7] = [
        ("reviews", [true, true, false]),
        ("mandate", [true, true, false]),
        ("mandate/disable", [true, false, false]),
        ("members/sam/admin/enable", [true, true, false]),
        ("members/sam/admin/disable", [true, true, false]),
        ("resets/RESET/cancel", [true, true, false]),
        ("members/sam", [true, true, false]),
    ];
    let world = world().await;
    account(&world, "globex").await;
    for (n, role) in ROLES.iter().enumerate() {
        for (at, account) in ["acme", "globex"].iter().enumerate() {
            let body = json!({ "version": 1, "role": role, "two_factor": true,
                "phone": format!("+120255501{at}{n}") });
            // The same name in both accounts would say nothing about tenants.
            world.put_member(account, &format!("{account}-{role}"), body).await;
        }
    }
    let phone = json!({ "phone": "+12025550199", "two_factor": true });
    put(&world, "sam", phone).await;
    let reset =
        post(&world, "acme/members/sam/resets", json!({ "requested_by": "sue", "reason": "lost" }))
            .await;
    let reset = reset["reset"].as_str().unwrap().to_owned();
    let review = reviewed(&world).await;
    let mut version = 1;
    for (operation, expected) in MATRIX {
        for account in ["acme", "globex"] {
            for (role, expected) in ROLES.iter().zip(expected) {
                let actor = format!("{account}-{role}");
                let path = operation.replace("RESET", &reset);
                let (method, body) = match operation {
                    "mandate" => (
                        Method::POST,
                        json!({ "actor": actor, "review": review, "confirmed": true }),
                    ),
                    "members/sam" => {
                        version += 1;
                        (Method::PUT, json!({ "actor": actor, "version": version, "locale": "de" }))
                    }
                    _ => (Method::POST, json!({ "actor": actor })),
                };
                let (_, answer) =
                    world.call(method, &format!("/v1/accounts/acme/{path}"), body).await;
                let may = expected && account == "acme";
                let refused = outcome(&answer) == "forbidden";
                assert_eq!(refused, !may, "{operation} by {actor}: {answer}");
            }
        }
    }
    // Whether an admin hears of changed numbers is for primary admins alone.
    let of = |actor: &str, version: u64| {
        json!({ "actor": actor, "version": version, "role": "primary_admin",
            "email": "boss@acme.example", "notify_number_changes": true })
    };
    let path = "/v1/accounts/acme/members/boss";
    let (status, _) = world.call(Method::PUT, path, of("acme-admin", 2)).await;
    assert_eq!(status, 403, "R-85");
    let (status, _) = world.call(Method::PUT, path, of("acme-primary_admin", 2)).await;
    assert_eq!(status, 200, "R-85");
    world.end().await;
}

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

    let off = with_code(&world, "acme/members/ada/admin/disable", by.clone(), BOSS).await;
    assert_eq!(outcome(&off), "stored", "R-83: {off}");
    assert_eq!(rows(&world, "member WHERE member = 'ada' AND two_factor").await, 0);
    let ended = world.view(waiting["challenge"].as_str().unwrap()).await;
    assert_ne!(ended["state"], "open", "R-43");
    assert_eq!(
        outcome(&post(&world, "acme/members/ada/admin/disable", by.clone()).await),
        "not_enabled"
    );
    // A member who has left meanwhile is nobody's to change.
    world.put_member("acme", "ada", json!({ "version": 2, "active": false })).await;
    assert_eq!(outcome(&post(&world, "acme/members/ada/admin/enable", by).await), "not_found");
    world.end().await;
}

/// Proves the address with the code of the newest mail.
async fn prove_email(world: &World, member: &str, address: &str) {
    let path = format!("acme/members/{member}/email");
    let mailed = post(world, &path, json!({})).await;
    assert_eq!(outcome(&mailed), "code_mailed", "{mailed}");
    world.drain().await;
    let place = format!("/mailboxes/{address}");
    let code = world.code(&place, world.arrived(&place).await - 1).await;
    let confirmed = post(world, &format!("{path}/confirm"), json!({ "guess": code })).await;
    assert_eq!(outcome(&confirmed), "stored", "{confirmed}");
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
