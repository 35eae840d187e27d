//! Teams and support, against the whole product, over HTTP: who may do what, reviews of contacts,
//! mandates, one member by an admin, resets by support.

mod mandates;
mod members;
mod resets;
mod reviews;

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
    post(world, path, with_proof(world, path, body, phone).await).await
}

/// What is asked for, with the proof that it takes.
async fn with_proof(world: &World, path: &str, body: Value, phone: &str) -> Value {
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
    body
}

async fn mandate(world: &World, review: &str, more: Value) -> Value {
    let mut body = json!({ "actor": "boss", "review": review, "confirmed": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    with_code(world, "acme/mandate", body, BOSS).await
}

async fn applied(world: &World) {
    world.until("SELECT count(*) FROM mandate WHERE done_at IS NOT NULL", 1, PATIENCE).await;
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
