//! Queues and bindings that somebody removes while logins are under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use stepup::message::Queue;

use futures_util::future::join_all;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use reqwest::Method;
use serde_json::{Value, json};
use stepup::broker::{dead, topology};
use stepup::message::{Exchange, RetryDelay};

use crate::support::{API_KEY, PATIENCE, World, setting};

/// How much longer than before a login may take to its outcome when a way has just been removed.
const REPAIR_MAX: Duration = Duration::from_secs(1);
/// And how many times as long, on a busy machine.
const TIMES_MAX: u32 = 4;

/// A reply that is lost with a queue is waited for no longer than this.
const EXTRA: &[(&str, &str)] = &[("STEPUP_REPLY_WAIT_SECONDS", "2")];

async fn operator() -> (Connection, Channel) {
    let url = setting("STEPUP_AMQP_URL");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Asks as an app does: under the same key again, until there is an outcome. A request is never refused
/// because of what was removed.
async fn asked(world: &World, path: &str, key: &str, body: &Value) -> Value {
    let started = Instant::now();
    loop {
        let request = world.http.request(Method::POST, format!("{}{path}", world.url)).json(body);
        let request = request.bearer_auth(API_KEY).header("Idempotency-Key", key);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        match status {
            200 => return body,
            202 | 503 => assert!(started.elapsed() < PATIENCE, "{path}: no outcome, {body}"),
            _ => panic!("{path}: {status} {body}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A login of a member of its own, to its end.
async fn login(world: &World, number: usize) {
    let (member, phone) = (format!("m{number}"), format!("+1202555{:04}", 100 + number % 100));
    let body = json!({ "account": "acme", "member": member, "login": "l1" });
    let opened = asked(world, "/v1/logins", &format!("open-{number}"), &body).await;
    let challenge = opened["challenge"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned();
    let code = world.code(&format!("/phones/{phone}"), 0).await;
    let path = format!("/v1/challenges/{challenge}/verify");
    let body = json!({ "account": "acme", "guess": code });
    let verified = asked(world, &path, &format!("verify-{number}"), &body).await;
    assert_eq!(verified["outcome"], "verified", "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_a_queue_or_a_binding_that_is_removed_under_load_costs_no_request_its_outcome() {
    const FLOWS: usize = 2;
    let world = Arc::new(World::start(&[vec!["all"]], EXTRA).await);
    world.register("acme", "m0", "+12025550100", None).await;
    for number in 1..100 {
        let phone = format!("+1202555{:04}", 100 + number);
        let body = json!({ "version": 1, "phone": phone, "two_factor": true });
        world.put_member("acme", &format!("m{number}"), body).await;
    }
    let (_connection, channel) = operator().await;
    let broker = world.broker();
    let (names, over, next) =
        (broker.names(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flows: Vec<_> = (0..FLOWS)
        .map(|_| {
            let (world, over, next) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&next));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 100 {
                        return;
                    }
                    login(&world, number).await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            })
        })
        .collect();
    let before = join_all((0..3).map(|_| probe(&world))).await.into_iter().max().unwrap();
    let mut took = BTreeMap::new();
    for queue in Queue::ALL {
        let (name, options) = (names.queue(queue.label()), QueueDeleteOptions::default());
        channel.queue_delete(name.as_str().into(), options).await.unwrap();
        took.insert(format!("{} deleted", queue.label()), probe(&world).await);
        until_there(&broker, queue.label()).await;
        for (exchange, key) in queue.bindings() {
            let (exchange, none) = (names.exchange(exchange), FieldTable::default());
            let (name, exchange) = (name.as_str().into(), exchange.as_str().into());
            channel.queue_unbind(name, exchange, key.into(), none).await.unwrap();
        }
        took.insert(format!("{} unbound", queue.label()), probe(&world).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for queue in
        RetryDelay::ALL.map(|delay| names.retry_queue(delay)).into_iter().chain([names.dead()])
    {
        let none = QueueDeleteOptions::default();
        channel.queue_delete(queue.as_str().into(), none).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let kinds = [Exchange::Requests, Exchange::Commands, Exchange::Events];
    let exchanges = kinds.map(|kind| names.exchange(kind)).into_iter();
    let exchanges = exchanges.chain([names.return_exchange(), names.unroutable(), names.dead()]);
    for exchange in exchanges.chain(RetryDelay::ALL.map(|delay| names.retry_exchange(delay))) {
        let options = ExchangeDeleteOptions::default();
        channel.exchange_delete(exchange.as_str().into(), options).await.unwrap();
        took.insert(format!("{} deleted", names.short(&exchange)), probe(&world).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    over.store(true, Ordering::Relaxed);
    for flow in flows {
        flow.await.unwrap();
    }
    println!("from the removal to the outcome of a login: {took:#?}");
    let longest = REPAIR_MAX + TIMES_MAX * before;
    let late: Vec<_> = took.iter().filter(|(_, took)| **took > longest).collect();
    assert!(late.is_empty(), "{late:?} of {longest:?}");
    let logins = next.load(Ordering::Relaxed).min(100);
    println!("{logins} logins meanwhile");
    assert!(logins > 0);
    // Each of their events is in the trail, those that lay in a deleted queue as well.
    for kind in ["challenge.issued", "delivery.accepted", "challenge.verified"] {
        let rows = format!("SELECT count(*) FROM trail WHERE kind = '{kind}'");
        world.until(&rows, logins as i64, PATIENCE).await;
    }
    // What was removed is declared by whoever uses it, or looks for it.
    topology::repair(&broker).await.unwrap();
    assert_eq!(topology::check(&broker).await.unwrap(), Vec::<String>::new());
    let letters = dead::list(&broker, 100).await.unwrap();
    assert!(letters.is_empty(), "{letters:?}");
    broker.close().await;
}

/// How long a login that is asked for now takes to its outcome, which is that there is no such member. It
/// goes the way of every login.
async fn probe(world: &World) -> Duration {
    let (started, key) = (Instant::now(), format!("probe-{}", rand::random::<u64>()));
    loop {
        let body = json!({ "account": "acme", "member": "nobody", "login": "l1" });
        let request = world.http.post(format!("{}/v1/logins", world.url)).json(&body);
        let request = request.bearer_auth(API_KEY).header("Idempotency-Key", &key);
        match request.send().await.unwrap().status().as_u16() {
            404 => return started.elapsed(),
            status => assert!([202, 503].contains(&status), "{status}"),
        }
        assert!(started.elapsed() < PATIENCE, "no outcome");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_there(broker: &stepup::broker::Broker, queue: &'static str) {
    let started = Instant::now();
    while !topology::missing(broker, &[queue]).await.unwrap().is_empty() {
        assert!(started.elapsed() < PATIENCE, "{queue} is not declared again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_not_ready_while_a_queue_that_it_needs_is_missing_and_declares_it() {
    let world = World::start(&[vec!["ingress"]], &[]).await;
    let started = Instant::now();
    while world.readyz(1).await.is_none_or(|(status, _)| status != 200) {
        assert!(started.elapsed() < PATIENCE, "not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_connection, channel) = operator().await;
    // No worker runs that would declare it. What no request goes to is not needed by the ingress.
    for (queue, needed) in [("verification.login", true), ("audit.bulk", false)] {
        let name = format!("{}.{queue}", world.topology.prefix);
        let options = QueueDeleteOptions::default();
        channel.queue_delete(name.as_str().into(), options).await.unwrap();
        let (status, said) = world.readyz(1).await.unwrap();
        assert_eq!((status, said.contains(queue)), if needed { (503, true) } else { (200, false) });
        assert_eq!(world.readyz(1).await.unwrap().0, 200);
    }
    let broker = world.broker();
    let left = topology::missing(&broker, &["verification.login", "audit.bulk"]).await.unwrap();
    assert_eq!(left, ["audit.bulk"]);
    broker.close().await;
    let (_, page) = world.metrics().await.remove(0);
    assert!(page.contains("\nstepup_declared_again_total 1\n"), "{page}");
    world.end().await;
}
