//! "Nothing is lost, whatever dies": the real processes, servers of their own, every fault we could
//! think of, and a checker that reads what was seen from outside.
//!
//! `make test` runs the short form, `make faults` the long one, for `FAULTS_SECONDS` and by
//! `FAULTS_SEED`. The seed decides who logs in how and which fault comes when; what the machine
//! makes of it is its own.

mod bugs;
mod checker;
mod client;
mod database_faults;
mod emptied;
mod evidence;
mod fleet;
mod history;
mod injector;
mod load;
mod proxy;
mod reordering;
mod report;
mod requests;
mod server_faults;
mod servers;
mod tally;
mod team;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use checker::{Findings, check};
use client::Client;
use evidence::{REST_MAX, gather};
use injector::{Injector, WORKERS, pairs};
use load::Load;
use report::Report;
use servers::Servers;
use tally::Tally;
use world::{LONG_LIFE, SHORT_LIFE, World};

/// The short form's load, in seconds.
const SHORT_SECONDS: u64 = 15;
/// Full throughput must be back so soon, without a hand.
const FULL_THROUGHPUT_MAX: Duration = Duration::from_secs(30);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_nothing_is_lost_whatever_dies() {
    let long = number("FAULTS_SECONDS");
    let seed = number("FAULTS_SEED").unwrap_or_else(rand::random);
    println!("FAULTS_SEED={seed}");
    let servers = Arc::new(Servers::start().await);
    let (tally, mut report) = (Arc::new(Tally::default()), Report::new(seed));
    let mut findings = everything(&servers, &tally, &mut report, long).await;
    if long.is_some() && number("FAULTS_BUGS") != Some(0) {
        let only = std::env::var("FAULTS_BUG").unwrap_or_default();
        for scenario in bugs::SCENARIOS.iter().filter(|s| only.is_empty() || only.contains(s.bug)) {
            let caught = bugs::caught(&servers, scenario, seed).await;
            report.bugs.push((scenario.bug, caught));
            if !caught {
                findings.violations.push(format!("the bug {} was not found", scenario.bug));
            }
        }
    }
    if long.is_some() {
        report.emptied = Some(emptied::emptied(&servers).await);
    }
    report.publish(&findings, &tally);
    let seed = report.seed;
    assert!(findings.violations.is_empty(), "FAULTS_SEED={seed}: see target/faults.json");
}

/// People log in; everything dies; then it is judged.
async fn everything(
    servers: &Arc<Servers>,
    tally: &Arc<Tally>,
    report: &mut Report,
    long: Option<u64>,
) -> Findings {
    let stop_for = Duration::from_secs(if long.is_some() { 30 } else { 4 });
    let life = if long.is_some() { LONG_LIFE } else { SHORT_LIFE };
    let world = Arc::new(World::start(servers, "everything", None, stop_for, life).await);
    let client = Client::new(&world);
    client.put_account().await;
    let load = Load::new(client.clone(), report.seed);
    let most = usize::try_from(number("FAULTS_LOGINS").unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let at_once = usize::try_from(number("FAULTS_AT_ONCE").unwrap_or(24)).unwrap_or(1);
    let running = tokio::spawn(Arc::clone(&load).run(at_once, most, Duration::from_millis(100)));
    let before = rate(&load, Duration::from_secs(if long.is_some() { 20 } else { 4 })).await;

    let (world_again, stop) = (Arc::clone(&world), CancellationToken::new());
    let injector = Arc::new(Injector {
        world: world_again,
        load: Arc::clone(&load),
        tally: Arc::clone(tally),
        seed: report.seed,
    });
    let teams = tokio::spawn(team::run(client.clone(), stop.clone()));
    let workers_pace = Duration::from_millis(if long.is_some() { 800 } else { 400 });
    let servers_pause = Duration::from_secs(if long.is_some() { 6 } else { 2 });
    let started = Instant::now();
    let seconds = Duration::from_secs(long.unwrap_or(SHORT_SECONDS));
    let ending = stop.clone();
    let timing = tokio::spawn(async move {
        tokio::time::sleep(seconds).await;
        ending.cancel();
    });
    tokio::join!(
        injector.workers(workers_pace, &stop),
        injector.servers(servers_pause, &stop),
        injector.messages(&stop),
    );
    timing.abort();
    report.seconds = started.elapsed().as_secs();
    if long.is_some() && most == usize::MAX {
        report.full_throughput_after = full_throughput(&load, before).await;
    }
    load.stop();
    let _ = tokio::join!(running, teams);
    report.attempted = load.started();
    report.kills = world.fleet.deaths();
    let evidence = gather(&world, &client.http, REST_MAX).await;
    let mut findings = check(&evidence);
    if !findings.violations.is_empty() {
        let kept = format!("{:#?}\n{evidence:#?}\n", findings.violations);
        std::fs::write(world.folder.join("evidence.txt"), kept).unwrap();
    }
    findings.violations.extend(unreached(&world.fleet.logs()));
    if long.is_some() && most == usize::MAX {
        let timely = report.full_throughput_after.is_some_and(|after| after < FULL_THROUGHPUT_MAX);
        if !timely {
            let after = report.full_throughput_after;
            findings.violations.push(format!("full throughput was back after {after:?}"));
        }
    }
    drop(injector);
    if let Ok(world) = Arc::try_unwrap(world) {
        world.end().await;
    }
    findings
}

/// Verified logins a second.
async fn rate(load: &Load, window: Duration) -> f64 {
    use std::sync::atomic::Ordering::Relaxed;
    let before = load.verified.load(Relaxed);
    tokio::time::sleep(window).await;
    (load.verified.load(Relaxed) - before) as f64 / window.as_secs_f64()
}

/// From now until as much is done as before the faults, allowing for a machine with other users.
async fn full_throughput(load: &Load, before: f64) -> Option<Duration> {
    let (started, window) = (Instant::now(), Duration::from_secs(3));
    while started.elapsed() < FULL_THROUGHPUT_MAX * 2 {
        let from = started.elapsed();
        if rate(load, window).await >= before * 0.8 {
            return Some(from);
        }
    }
    None
}

/// Failpoints that exist and were never reached, or that no process announced.
fn unreached(logs: &str) -> Vec<String> {
    let told = |what: &str| -> BTreeSet<(String, String)> {
        let lines = logs.lines().filter(|line| line.contains(what));
        let fields = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let pair = |line: Value| {
            let field = |name: &str| line["fields"][name].as_str().map(str::to_owned);
            Some((field("worker")?, field("point")?))
        };
        fields.filter_map(pair).collect()
    };
    let (exist, reached) = (told("failpoint exists"), told("failpoint reached"));
    let known: BTreeSet<(String, String)> = WORKERS
        .iter()
        .flat_map(|(worker, _, points)| {
            points.iter().map(|point| ((*worker).to_owned(), point.label().to_owned()))
        })
        .collect();
    let mut wrong: Vec<String> = exist
        .symmetric_difference(&known)
        .map(|(worker, point)| {
            format!("the list of failpoints is not up to date: {worker}.{point}")
        })
        .collect();
    for (worker, _, point) in pairs() {
        let pair = (worker.to_owned(), point.label().to_owned());
        if !reached.contains(&pair) {
            wrong.push(format!("the failpoint {worker}.{} was never reached", point.label()));
        }
    }
    wrong
}
