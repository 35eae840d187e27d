//! Writes the frozen files: lets this version work until there is something of everything, ends it, and
//! takes what stands in its queues.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::Channel;
use reqwest::Method;
use serde_json::{Value, json};
use stepup::broker::{Publication, Publisher, topology};
use stepup::domain::id::ChallengeId;
use stepup::message::{Command, Incoming, RetryDelay};
use uuid::Uuid;

use super::messages::{prepared, upgrade};
use super::taken::{get, rows, take};
use super::wire::wire;
use super::write;
use crate::app::{App, connect};
use crate::contracts::answers;
use crate::support::{API_KEY, PATIENCE, World};

const DECIDING: &[&str] =
    &["work", "code-generation", "verification", "settings", "team", "support", "directory"];
const SENDING: &[&str] = &[
    "work",
    "sms-delivery",
    "email-fallback",
    "notice-delivery",
    "team-batch",
    "audit",
    "notification",
    "timers",
];

#[tokio::test(flavor = "multi_thread")]
async fn freezes_this_version_when_it_is_asked_to() {
    if std::env::var("FREEZE").as_deref() != Ok("write") {
        return;
    }
    let mut wire = wire().await;
    let documented = answers();
    for (key, request) in wire["requests"].as_object_mut().unwrap() {
        keep_documented(&mut request["outcomes"], &documented[key]);
    }
    let mut frozen = record().await;
    let upgraded = upgrade(&wire, &frozen).await;
    let messages = frozen["messages"].as_array_mut().unwrap();
    for (message, end) in messages.iter_mut().zip(upgraded.ends) {
        message["ends"] = end;
    }
    wire["metrics"] = upgraded.metrics;
    write("wire.json", &wire);
    write("messages.json", &frozen);
}

/// OpenAPI says of each request whatever any request may answer.
fn keep_documented(outcomes: &mut Value, documented: &BTreeSet<String>) {
    let mut seen = Vec::new();
    let outcomes = outcomes.as_object_mut().unwrap();
    for words in outcomes.values_mut() {
        let is_said = |word: &Value| {
            let text = word.as_str().unwrap();
            (documented.contains(text) || ["invalid", "refused"].contains(&text))
                && !seen.contains(word)
        };
        let kept: Vec<Value> =
            words.as_array().unwrap().iter().filter(|word| is_said(word)).cloned().collect();
        seen.extend(kept.clone());
        *words = kept.into();
    }
    outcomes.retain(|_, words| !words.as_array().unwrap().is_empty());
}

/// A running system, in the middle of its work.
struct Stage {
    world: World,
    app: App,
    phones: u32,
}

impl Stage {
    async fn asks(&self, key: &str, body: Value, wanted: &str) -> Value {
        let outcome = self.app.ask(key, &body).await;
        assert_eq!(outcome["outcome"], wanted, "{key} {body}: {outcome}");
        outcome
    }

    async fn account(&self, account: &str) {
        let body = json!({ "account": account, "version": 1, "name": "Acme", "country": "US" });
        self.asks("directory.account", body, "stored").await;
    }

    /// A member with 2FA on and a number of his own, which is the answer, and what else is said.
    async fn member(&mut self, account: &str, member: &str, more: Value) -> String {
        self.phones += 1;
        let phone = format!("+12025550{:03}", 100 + self.phones);
        let mut body = json!({ "account": account, "member": member, "version": 1,
            "two_factor": true, "phone": self.app.seal(&phone) });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.asks("directory.member", body, "stored").await;
        phone
    }

    async fn login(&self, member: &str) -> Value {
        let body = json!({ "account": "acme", "member": member, "login": member });
        self.asks("challenge.issue", body, "open").await["challenge"].clone()
    }

    async fn code(&self, phone: &str) -> Value {
        self.app.seal(&self.world.code(&format!("/phones/{phone}"), 0).await)
    }

    /// Asks, and proves by the code that is sent; the challenge.
    async fn proves(&self, key: &str, body: Value, phone: &str) -> Value {
        let challenge = self.asks(key, body.clone(), "open").await["challenge"].clone();
        let guess = json!({ "account": body["account"], "challenge": challenge,
            "guess": self.code(phone).await });
        self.asks("challenge.verify", guess, "verified").await;
        challenge
    }

    /// A mandate that its admin has proved; the request that brings it.
    async fn mandate(&mut self, account: &str) -> Value {
        self.account(account).await;
        let phone = self.member(account, "boss", json!({ "role": "primary_admin" })).await;
        let mut ask = json!({ "account": account, "actor": "boss" });
        let review = self.asks("team.review", ask.clone(), "reviewing").await["review"].clone();
        let done = "SELECT count(*) FROM review WHERE done_at IS NULL";
        self.world.until(done, 0, PATIENCE).await;
        ask["review"] = review;
        ask["confirmed"] = true.into();
        ask["proof"] = self.proves("team.mandate.enable", ask.clone(), &phone).await;
        ask
    }

    async fn reset(&mut self, member: &str) -> Value {
        self.member("acme", member, json!({})).await;
        let ask = json!({ "account": "acme", "member": member, "requested_by": "sue",
            "reason": "phone stolen" });
        self.asks("support.reset.request", ask, "recorded").await["reset"].clone()
    }
}

async fn record() -> Value {
    let mut world = prepared().await;
    let broker = world.broker();
    topology::declare(&broker).await.unwrap();
    // Else the timers would publish all of it once more.
    topology::mark_filled(&broker).await.unwrap();
    broker.close().await;
    for roles in [&["ingress"][..], DECIDING, SENDING] {
        world.begin(roles.to_vec());
    }
    world.await_ready().await;
    let app = App::connect(&world, "demo").await;
    let mut stage = Stage { world, app, phones: 0 };
    stage.account("acme").await;
    let requests = requests(&mut stage).await;
    let apply = stage.mandate("apply").await;
    let broken = due_later(&mut stage).await;
    stage.world.drain().await;
    stage.world.stop(3);
    let [again, lost] = commands(&mut stage, apply).await;
    // The answer comes before the ack.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.world.stop(2);
    become_due(&mut stage.world, &broken).await;

    let (connection, channel) = connect("stepup").await;
    let mut messages = take(&stage.world, &channel).await;
    messages.retain(|message| message["body"]["challenge"] != lost);
    fails_once(&stage.world, &channel, &mut messages, &again).await;
    publish(&stage, &requests, &broken).await;
    messages.extend(take(&stage.world, &channel).await);
    let keys: Vec<&str> = messages.iter().map(|found| found["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), requests.len() + 12, "{keys:?}");
    drop((connection, channel));
    let (now, rows) = rows(&stage.world).await;
    stage.world.end().await;
    json!({ "now": now, "rows": rows, "messages": messages })
}

/// A request of each key that will stand in a queue. What it refers to is done.
async fn requests(stage: &mut Stage) -> Vec<(&'static str, Value)> {
    let off = json!({ "two_factor": false });
    let email = |stage: &Stage, name: &str, verified: bool| json!({ "email": stage.app.seal(&format!("{name}@example.com")), "email_verified": verified });
    for (name, more) in [
        ("dan", json!({})),
        ("abe", json!({})),
        ("eli", off.clone()),
        ("fay", off.clone()),
        ("hal", json!({})),
        ("ivy", json!({})),
        ("jim", email(stage, "jim", true)),
        ("kim", email(stage, "kim", false)),
        ("lea", email(stage, "lea", false)),
        ("max", json!({})),
        ("boss", json!({ "role": "primary_admin" })),
        ("oli", off),
        ("pat", json!({})),
        ("quo", json!({})),
    ] {
        stage.member("acme", name, more).await;
    }
    let phone = stage.member("acme", "ada", json!({})).await;
    let ada = stage.login("ada").await;
    let code = stage.code(&phone).await;
    stage.member("acme", "ben", json!({})).await;
    stage.member("acme", "cyn", json!({})).await;
    let (ben, cyn) = (stage.login("ben").await, stage.login("cyn").await);
    stage.world.drain().await;
    stage.world.execute("UPDATE challenge SET resend_at = stepup_now() WHERE login = 'cyn'").await;
    stage.asks("email.prove", json!({ "account": "acme", "member": "lea" }), "code_mailed").await;
    let mailed = stage.world.code("/mailboxes/lea@example.com", 0).await;
    let sealed = |stage: &Stage, text| stage.app.seal(text);
    let change = |stage: &Stage, name: &str| {
        json!({ "account": "acme", "member": name, "change": "c1", "setting": "bank_account",
            "before": sealed(stage, "DE1"), "after": sealed(stage, "DE2"),
            "summary": sealed(stage, "payouts to DE2") })
    };
    let phone = stage.member("acme", "ned", json!({})).await;
    let ned = stage.proves("settings.change.request", change(stage, "ned"), &phone).await;
    let mandate = stage.mandate("mandate").await;
    let (approved, cancelled) = (stage.reset("rae").await, stage.reset("sam").await);
    let of = |name: &str| json!({ "account": "acme", "member": name });
    let with = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let number = || json!({ "phone": stage.app.seal("+12025550177") });
    let by_boss = |name: &str| with(of(name), json!({ "actor": "boss" }));
    vec![
        ("challenge.issue", with(of("dan"), json!({ "v": 1, "login": "dan" }))),
        ("challenge.resend", json!({ "account": "acme", "challenge": cyn })),
        ("challenge.verify", json!({ "account": "acme", "challenge": ada, "guess": code })),
        ("challenge.cancel", json!({ "account": "acme", "challenge": ben })),
        ("enrolment.start", of("eli")),
        ("enrolment.send", with(of("fay"), number())),
        ("number.change", with(of("hal"), number())),
        ("factor.disable", of("ivy")),
        ("email_backup.set", with(of("jim"), json!({ "on": true, "ip": "192.0.2.7" }))),
        ("email.prove", of("kim")),
        ("email.confirm", with(of("lea"), json!({ "guess": stage.app.seal(&mailed) }))),
        ("settings.change.request", change(stage, "max")),
        (
            "settings.change.redeem",
            json!({ "account": "acme", "challenge": ned, "before": sealed(stage, "DE1") }),
        ),
        ("team.review", json!({ "account": "acme", "actor": "boss" })),
        ("team.mandate.enable", mandate),
        ("team.mandate.disable", json!({ "account": "acme", "actor": "boss" })),
        ("team.member.enable", by_boss("oli")),
        ("team.member.disable", by_boss("pat")),
        (
            "support.reset.request",
            with(of("quo"), json!({ "requested_by": "sue", "reason": "lost" })),
        ),
        (
            "support.reset.approve",
            json!({ "account": "acme", "reset": approved, "approved_by": "tom" }),
        ),
        ("support.reset.cancel", json!({ "account": "acme", "reset": cancelled, "actor": "sam" })),
        (
            "directory.account",
            json!({ "account": "new", "version": 1, "name": "N", "country": "US" }),
        ),
        (
            "directory.owned_numbers",
            json!({ "account": "mandate", "version": 1, "numbers": [stage.app.seal("+12025550188")] }),
        ),
        ("directory.member", with(of("tim"), with(json!({ "version": 1 }), number()))),
    ]
}

/// What [`become_due`] makes due; the challenge whose SMS has failed.
async fn due_later(stage: &mut Stage) -> Value {
    for (name, email) in [("wes", false), ("zoe", false), ("vic", true)] {
        let address = stage.app.seal(&format!("{name}@example.com"));
        let more = json!({ "email": address, "email_verified": true, "email_backup": true });
        stage.member("acme", name, if email { more } else { json!({}) }).await;
    }
    stage.login("wes").await;
    stage.login("vic").await;
    let approve =
        json!({ "account": "acme", "reset": stage.reset("xia").await, "approved_by": "tom" });
    stage.asks("support.reset.approve", approve, "recorded").await;
    stage.login("zoe").await
}

/// What its workers would take, after they have ended. The logins whose SMS fails once, and whose
/// messages are lost.
async fn commands(stage: &mut Stage, apply: Value) -> [Value; 2] {
    stage.asks("team.mandate.enable", apply, "stored").await;
    stage.account("check").await;
    stage.member("check", "boss", json!({ "role": "primary_admin" })).await;
    let review = json!({ "account": "check", "actor": "boss" });
    stage.asks("team.review", review, "reviewing").await;
    let address = stage.app.seal("yan@example.com");
    stage.member("acme", "yan", json!({ "email": address })).await;
    stage.asks("email.prove", json!({ "account": "acme", "member": "yan" }), "code_mailed").await;
    let told = json!({ "role": "primary_admin", "notify_number_changes": true, "email_verified": true,
        "email": stage.app.seal("chief@example.com") });
    stage.member("check", "chief", told).await;
    stage.member("check", "tom", json!({})).await;
    stage.member("check", "tom", json!({ "version": 2 })).await;
    for name in ["uma", "bob", "gil"] {
        stage.member("acme", name, json!({})).await;
    }
    stage.login("uma").await;
    let again = stage.login("bob").await;
    let opened = stage.app.ask_as("gil", "challenge.issue", &gil()).await;
    [again, opened["challenge"].clone()]
}

/// The login that was decided, and whose messages were not published any more.
fn gil() -> Value {
    json!({ "account": "acme", "member": "gil", "login": "gil" })
}

/// Lets the timers do what is due.
async fn become_due(world: &mut World, failed: &Value) {
    let failed = uuid(failed);
    world
        .execute(&format!(
            "UPDATE challenge SET expires_at = stepup_now() WHERE login = 'wes';
             UPDATE challenge SET fallback_at = stepup_now() WHERE login = 'vic';
             UPDATE reset SET due_at = stepup_now() WHERE member = 'xia';
             UPDATE delivery_attempt SET state = 'failed' WHERE challenge = '{failed}'"
        ))
        .await;
    world.begin(vec!["work", "timers"]);
    let broker = world.broker();
    for queue in ["code_generation.bulk", "email_fallback.login", "support.settings"] {
        while topology::depth(&broker, queue).await.unwrap().messages == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    broker.close().await;
    world.stop(2);
}

/// Lets the SMS of this challenge have failed once: it waits to be tried again.
async fn fails_once(
    world: &World,
    channel: &Channel,
    messages: &mut Vec<Value>,
    challenge: &Value,
) {
    let is_it = |message: &Value| {
        message["key"] == "sms.send" && message["body"]["challenge"] == *challenge
    };
    let failed = messages.remove(messages.iter().position(is_it).unwrap());
    let broker = world.broker();
    let mut publisher = Publisher::open(&broker).await.unwrap();
    let message = Incoming {
        key: "sms.send".into(),
        message_id: failed["properties"]["message_id"].as_str().map(str::to_owned),
        user: failed["user"].as_str().map(str::to_owned),
        body: failed["body"].to_string().into_bytes(),
        ..Incoming::default()
    };
    let (queue, delay) = ("sms_delivery.login", RetryDelay::Second5);
    let again = Publication::Again { message: &message, queue, delay, attempt: 1 };
    publisher.publish(&[again]).await.unwrap();
    broker.close().await;
    let waits = format!("{}.retry.5s", world.topology.prefix);
    messages.extend(get(world, channel, &waits).await);
}

/// Every request by an app, one once more, one over HTTP, and a command that no worker has sent yet.
async fn publish(stage: &Stage, requests: &[(&str, Value)], failed: &Value) {
    for (key, body) in requests {
        assert!(stage.app.publish("requests", key, &format!("frozen-{key}"), body).await, "{key}");
    }
    assert!(stage.app.publish("requests", "challenge.issue", "gil", &gil()).await);
    let id = Uuid::from_u128(0x7000_0000_0000_0000_0007);
    let abandon = Command::Abandon { challenge: ChallengeId(uuid(failed)) }.outgoing(id);
    let broker = stage.world.broker();
    let mut publisher = Publisher::open(&broker).await.unwrap();
    publisher.publish(&[Publication::Message(&abandon)]).await.unwrap();
    broker.close().await;
    let body = json!({ "account": "acme", "member": "abe", "login": "abe" });
    let by_http = stage.world.http.request(Method::POST, format!("{}/v1/logins", stage.world.url));
    let by_http = by_http.bearer_auth(API_KEY).header("Idempotency-Key", "abe").json(&body);
    tokio::spawn(by_http.send());
    tokio::time::sleep(Duration::from_secs(3)).await;
}

fn uuid(text: &Value) -> Uuid {
    Uuid::parse_str(text.as_str().unwrap()).unwrap()
}
