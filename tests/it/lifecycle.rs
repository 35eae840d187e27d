//! The life of a process: it waits for what it needs, and ends when it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{PATIENCE, World};

const PHONE: &str = "+12025550123";

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_process_that_finds_no_database_waits_says_for_what_and_goes_on_by_itself() {
    let mut world = World::start(&[vec!["ingress"]], &[]).await;
    world.database().shut().await;
    world.begin(vec!["work", "janitor"]);
    let started = Instant::now();
    let answer = loop {
        match world.readyz(2).await {
            Some(answer) => break answer,
            None => assert!(started.elapsed() < PATIENCE, "no health"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.0, 503);
    assert!(answer.1.contains("starting") && answer.1.contains("database is down"), "{answer:?}");
    world.says(2, "waiting_for").await;
    let told = world.healthcheck(2);
    let why = String::from_utf8(told.stderr).unwrap();
    assert_eq!((told.status.code(), why.lines().count()), (Some(1), 1), "{why}");
    assert!(why.contains("is not ready: starting") && why.contains("database is down"), "{why}");
    world.database().reopen().await;
    while world.readyz(2).await != Some((200, "ready\n".into())) {
        assert!(started.elapsed() < PATIENCE, "{:?}", world.readyz(2).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = world.healthcheck(2);
    assert_eq!((told.status.code(), told.stdout.as_slice()), (Some(0), &b"ready\n"[..]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_first_signal_lets_a_call_end_and_a_second_one_cuts_it() {
    let roles = [
        vec!["ingress"],
        vec!["work", "code-generation", "directory"],
        vec!["work", "sms-delivery"],
    ];
    // Longer than the test.
    let slow = [("STEPUP_PROVIDER_TIMEOUT_SECONDS", "30")];
    let mut world = World::start(&roles, &slow).await;
    world.register("acme", "ada", PHONE, None).await;
    world.fault(PHONE, json!({ "fault": "hang" })).await;
    world.login("acme", "ada", "l1").await;
    let calling = "SELECT count(*) FROM delivery_attempt WHERE state = 'calling'";
    world.until(calling, 1, PATIENCE).await;
    world.signal(3, Signal::TERM);
    world.says(3, "stopping: draining").await;
    // It waits for the call.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.ended(3), None);
    world.signal(3, Signal::TERM);
    let told = Instant::now();
    let status = loop {
        if let Some(status) = world.ended(3) {
            break status;
        }
        assert!(told.elapsed() < Duration::from_secs(10), "it was not cut");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(1));
    world.says(3, "second signal").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_clients_that_read_what_is_locked_take_no_connection_that_a_login_needs() {
    /// More than a process has connections.
    const READERS: usize = 40;
    let world = World::start(&[vec!["all"]], &[]).await;
    world.register("acme", "ada", PHONE, None).await;
    let mut console = world.database().client().await;
    let hold = console.transaction().await.unwrap();
    hold.batch_execute("LOCK TABLE review").await.unwrap();
    let answered = AtomicUsize::new(0);
    let reads = (0..READERS).map(async |_| {
        let path = format!("/v1/accounts/acme/reviews/{}", Uuid::nil());
        let (status, answer) = world.call(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 503, "{answer}");
        answered.fetch_add(1, Ordering::Relaxed);
    });
    let login = async {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'review'::regclass";
        world.until(waiting, 4, PATIENCE).await;
        let opened = world.login("acme", "ada", "l1").await;
        assert_eq!(opened["outcome"], "open", "{opened}");
        answered.load(Ordering::Relaxed)
    };
    let (_, answered_before) = join(join_all(reads), login).await;
    assert!(answered_before < READERS / 2, "{answered_before} of {READERS} reads came first");
    world.end().await;
}
