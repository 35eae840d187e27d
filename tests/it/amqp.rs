//! Guesses straight to the broker, all at once, with two processes that judge them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepup::broker::topology;
use stepup::domain::id::{AppName, request_id};
use stepup::store;

use crate::app::App;
use crate::support::{PATIENCE, World};

const PHONE: &str = "+12025550123";

/// Everything once, and verification in a second process; both take guesses.
async fn world() -> World {
    let world = World::start(&[vec!["all"], vec!["work", "verification"]], &[]).await;
    let broker = world.broker();
    let started = Instant::now();
    while topology::depth(&broker, "verification.login").await.unwrap().consumers < 2 {
        assert!(started.elapsed() < PATIENCE, "the second process takes no guesses");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.close().await;
    world
}

/// An open challenge and its code.
async fn open(world: &World, app: &App) -> (String, String) {
    let account = json!({ "account": "acme", "version": 1, "name": "Acme", "country": "US" });
    assert_eq!(app.ask("directory.account", &account).await["outcome"], "stored");
    let member = json!({ "account": "acme", "member": "ada", "version": 1,
        "phone": app.seal(PHONE), "two_factor": true });
    assert_eq!(app.ask("directory.member", &member).await["outcome"], "stored");
    let login = json!({ "account": "acme", "member": "ada", "login": "session-41" });
    let opened = app.ask("challenge.issue", &login).await;
    let id = opened["challenge"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned();
    (id, world.code(&format!("/phones/{PHONE}"), 0).await)
}

fn guesses(app: &App, challenge: &str, guess: &str, count: usize) -> Vec<Value> {
    let one = || json!({ "account": "acme", "challenge": challenge, "guess": app.seal(guess) });
    (0..count).map(|_| one()).collect()
}

fn count(outcomes: &[Value], outcome: &str) -> usize {
    outcomes.iter().filter(|body| body["outcome"] == outcome).count()
}

/// Neither process was idle.
async fn assert_both_judged(world: &World) {
    for (name, page) in world.metrics().await {
        let judged = page.lines().find(|line| {
            let of_verification = line.contains(r#"worker="verification""#);
            line.starts_with("stepup_batch_messages_total")
                && of_verification
                && !line.ends_with(" 0")
        });
        assert!(judged.is_some(), "{name} judged nothing:\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_r24_fifty_right_guesses_at_two_processes_give_one_success() {
    let world = world().await;
    let app = App::connect(&world, "demo").await;
    let (challenge, code) = open(&world, &app).await;
    app.listen().await;
    let asked = guesses(&app, &challenge, &code, 50);
    let outcomes = app.ask_all("challenge.verify", &asked).await;
    let counted = (count(&outcomes, "verified"), count(&outcomes, "already_used"));
    assert_eq!(counted, (1, 49), "{outcomes:?}");
    app.hears("challenge.verified", |event| event["challenge"] == *challenge).await;
    let verified = app.heard().iter().filter(|(_, e)| e["type"] == "challenge.verified").count();
    assert_eq!(verified, 1);
    assert_both_judged(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_r24_two_hundred_wrong_guesses_at_two_processes_compare_the_limit() {
    let world = world().await;
    let app = App::connect(&world, "demo").await;
    let (challenge, code) = open(&world, &app).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let asked = guesses(&app, &challenge, wrong, 200);
    let outcomes = app.ask_all("challenge.verify", &asked).await;
    let counted = (count(&outcomes, "wrong_code"), count(&outcomes, "locked"));
    assert_eq!(counted, (4, 196), "{outcomes:?}");
    // `locked` is the answer to the fifth, which was compared, and to the rest, which were not.
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 5);
    let right = guesses(&app, &challenge, &code, 1);
    assert_eq!(app.ask("challenge.verify", &right[0]).await["outcome"], "locked");
    assert_both_judged(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_an_id_is_one_request_whichever_worker_takes_it_and_its_outcome_is_its_apps_alone() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let app = App::connect(&world, "demo").await;
    let (challenge, code) = open(&world, &app).await;
    let login = json!({ "account": "acme", "member": "nobody", "login": "session-42" });
    assert_eq!(app.ask_as("one id", "challenge.issue", &login).await["outcome"], "not_found");
    let guess = json!({ "account": "acme", "challenge": challenge, "guess": app.seal(&code) });
    let refused = app.ask_as("one id", "challenge.verify", &guess).await;
    assert_eq!(refused["outcome"], "refused", "{refused}");
    let number = json!({ "account": "acme", "member": "ada" });
    let refused = app.ask_as("one id", "enrolment.send", &number).await;
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert_eq!(app.ask("challenge.verify", &guess).await["outcome"], "verified");

    let [demo, other] = ["demo", "other"].map(|name| AppName::parse(name).unwrap());
    let (store, id) = (world.store(), request_id(&demo, "one id"));
    let seen = store::challenge_view(&store, &demo, id).await.unwrap().unwrap();
    assert_eq!(seen["outcome"], "not_found");
    assert_eq!(store::challenge_view(&store, &other, id).await.unwrap(), None);
    world.end().await;
}
