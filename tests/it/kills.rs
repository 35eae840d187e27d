//! `kill -9` of random workers while logins run: nothing lost, nothing doubled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::RngExt;

use crate::support::World;

const LOGINS: usize = 200;
const KILLS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn r109_killed_workers_lose_no_login_and_send_no_second_sms() {
    let roles = [
        vec!["ingress"],
        vec!["work", "code-generation", "directory"],
        vec!["work", "verification"],
        vec!["work", "sms-delivery"],
        vec!["work", "email-fallback", "audit", "notification", "notice-delivery"],
        vec!["work", "timers", "janitor"],
    ];
    let extra = [
        ("STEPUP_CHALLENGE_SECONDS", "25"),
        ("STEPUP_LIFE_LEFT_SECONDS", "2"),
        ("STEPUP_PROVIDER_TIMEOUT_SECONDS", "2"),
        ("STEPUP_LEASE_MARGIN_SECONDS", "1"),
    ];
    let mut world = World::start(&roles, &extra).await;
    let member = |n: usize| (format!("m{n}"), format!("+1202555{:04}", 1000 + n));
    for n in 0..LOGINS {
        let (name, phone) = member(n);
        world.register("acme", &name, &phone, None).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let (url, http) = (world.url.clone(), world.http.clone());
    let publishing = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let asks = (0..LOGINS).map(|n| {
                let body = serde_json::json!({
                    "account": "acme", "member": member(n).0, "login": format!("l{n}"),
                });
                let request = http.post(format!("{url}/v1/logins"));
                let key = format!("login-{n}");
                let request = request.bearer_auth("test-api-key").header("idempotency-key", key);
                async move {
                    tokio::time::sleep(Duration::from_millis(25 * n as u64)).await;
                    loop {
                        let request = request.try_clone().unwrap().json(&body);
                        match request.send().await {
                            Ok(answer) if answer.status().is_success() => return,
                            _ => tokio::time::sleep(Duration::from_millis(100)).await,
                        }
                    }
                }
            });
            join_all(asks).await;
            done.store(true, Ordering::Relaxed);
        }
    });
    let mut kills = 0;
    while kills < KILLS || !done.load(Ordering::Relaxed) {
        // 0 is the sim and 1 the ingress; killed ones move to the end, so all workers get their turn.
        let (at, pause) = {
            let mut rng = rand::rng();
            (rng.random_range(2..7), rng.random_range(100..400))
        };
        if kills < KILLS {
            world.kill(at);
            kills += 1;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    publishing.await.unwrap();
    let patience = Duration::from_secs(90);
    let count = |what: &str| format!("SELECT count(*) FROM {what}");
    world.until(&count("challenge"), LOGINS as i64, patience).await;
    world.until(&count("challenge WHERE state = 'open'"), 0, patience).await;
    let terminal = "trail WHERE kind IN ('challenge.expired', 'challenge.undeliverable')";
    world.until(&count(terminal), LOGINS as i64, patience).await;
    world.until(&count("trail WHERE kind = 'challenge.issued'"), LOGINS as i64, patience).await;

    let ledger = world.sim_get("/ledger?limit=10000").await;
    let mut sent: HashMap<String, usize> = HashMap::new();
    for entry in ledger["entries"].as_array().unwrap() {
        assert_eq!(entry["repeat"], false, "a second call for one send: {entry}");
        *sent.entry(entry["to"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let doubled: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    world.end().await;
}
