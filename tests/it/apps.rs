//! Two apps at one product: what is the one's does not exist for the other, by whichever way it asks.

use serde_json::{Value, json};

use crate::app::App;
use crate::support::World;

const PHONE: &str = "+12025550123";
/// Nobody's.
const NOBODY: &str = "11111111-1111-4111-8111-111111111111";

/// The answer without what each answer has of its own.
async fn answer(app: &App, key: &str, body: &Value) -> Value {
    let mut answer = app.ask(key, body).await;
    for own in ["challenge", "request"] {
        answer.as_object_mut().unwrap().remove(own);
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_what_is_one_apps_is_to_another_as_if_it_were_nobodys() {
    let apps = json!([
        { "app": "demo", "broker_user": "demo", "api_key_sha256": "1".repeat(64) },
        { "app": "other", "broker_user": "other", "api_key_sha256": "2".repeat(64) },
    ]);
    let world = World::start(&[vec!["all"]], &[("STEPUP_APPS", &apps.to_string())]).await;
    let (demo, other) = (App::connect(&world, "demo").await, App::connect(&world, "other").await);
    let account = |version: u64| json!({ "account": "acme", "version": version, "name": "Acme", "country": "US" });
    assert_eq!(demo.ask("directory.account", &account(1)).await["outcome"], "stored");
    let ada = |version: u64| {
        json!({ "account": "acme", "member": "ada", "version": version, "role": "primary_admin",
            "phone": demo.seal(PHONE), "two_factor": true })
    };
    assert_eq!(demo.ask("directory.member", &ada(1)).await["outcome"], "stored");
    let login = |account: &str| json!({ "account": account, "member": "ada", "login": "l1" });
    let open = demo.ask("challenge.issue", &login("acme")).await;
    let challenge = open["challenge"].as_str().unwrap();
    let code = world.code(&format!("/phones/{PHONE}"), 0).await;

    // Of the account that is there, and of one that is not.
    let of_account: [(&str, Value); 8] = [
        ("challenge.issue", json!({ "member": "ada", "login": "l1" })),
        ("factor.disable", json!({ "member": "ada" })),
        ("enrolment.send", json!({ "member": "ada" })),
        ("number.change", json!({ "member": "ada", "phone": other.seal("+12025550177") })),
        ("team.review", json!({ "actor": "ada" })),
        ("team.member.enable", json!({ "member": "ada", "actor": "ada" })),
        ("team.member.disable", json!({ "member": "ada", "actor": "ada" })),
        (
            "support.reset.request",
            json!({ "member": "ada", "requested_by": "sue", "reason": "lost" }),
        ),
    ];
    for (key, body) in of_account {
        let of = |account: &str| {
            let mut body = body.clone();
            body["account"] = account.into();
            body
        };
        let foreign = answer(&other, key, &of("acme")).await;
        assert_eq!(foreign["outcome"], "not_found", "{key}: {foreign}");
        assert_eq!(foreign, answer(&other, key, &of("nobody")).await, "{key}");
    }
    // Of the challenge that is there, with the right code, and of one that is not.
    let of_challenge: [(&str, Value); 3] = [
        ("challenge.verify", json!({ "guess": other.seal(&code) })),
        ("challenge.resend", json!({})),
        ("challenge.cancel", json!({})),
    ];
    for (key, body) in of_challenge {
        let of = |challenge: &str| {
            let mut body = body.clone();
            (body["account"], body["challenge"]) = ("acme".into(), challenge.into());
            body
        };
        let foreign = answer(&other, key, &of(challenge)).await;
        assert_eq!(foreign["outcome"], "not_found", "{key}: {foreign}");
        assert_eq!(foreign, answer(&other, key, &of(NOBODY)).await, "{key}");
    }
    // Nor can it be taken over.
    assert_eq!(other.ask("directory.account", &account(9)).await["outcome"], "not_found");
    let taken = json!({ "account": "acme", "member": "ada", "version": 9, "two_factor": false });
    assert_eq!(other.ask("directory.member", &taken).await["outcome"], "not_found");

    let guess = json!({ "account": "acme", "challenge": challenge, "guess": demo.seal(&code) });
    assert_eq!(demo.ask("challenge.verify", &guess).await["outcome"], "verified");
    assert_eq!(world.count("SELECT count(*) FROM challenge").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 0);
    world.end().await;
}
