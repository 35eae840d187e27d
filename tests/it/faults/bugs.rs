//! Proves the checker: each seeded bug must be found, by what it does.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::checker::check;
use super::client::Client;
use super::evidence::gather;
use super::load::{Load, Way};
use super::servers::Servers;
use super::world::World;

/// A bug, what brings it out, and what the checker must say of it.
pub struct Scenario {
    pub bug: &'static str,
    /// `STEPUP_FAULT` for the next life of whoever has this role, who is killed over and over.
    faults: &'static [(&'static str, &'static str)],
    /// Roles that are away while people log in.
    away: &'static [&'static str],
    way: Way,
    /// A part of the violation that names this bug.
    found: &'static str,
}

const NOBODY: &[&str] = &[];

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        bug: "ack_before_commit",
        faults: &[("audit", "audit.in_transaction=sleep6000:1")],
        away: NOBODY,
        way: Way::Right,
        found: "is not in the trail",
    },
    Scenario { bug: "no_inbox", faults: &[], away: NOBODY, way: Way::Right, found: "got [" },
    Scenario {
        bug: "guess_not_counted",
        faults: &[],
        away: NOBODY,
        way: Way::Locked,
        found: "guesses compared",
    },
    Scenario {
        bug: "fresh_ids",
        faults: &[("verification", "verification.confirmed=kill:1")],
        away: NOBODY,
        way: Way::Right,
        found: "terminal events",
    },
    Scenario {
        bug: "caused_forgotten",
        faults: &[("verification", "verification.committed=kill:1")],
        away: NOBODY,
        way: Way::Right,
        found: "no terminal event",
    },
    Scenario {
        bug: "call_before_claim",
        faults: &[("sms-delivery", "sms_delivery.called=kill:1")],
        away: NOBODY,
        way: Way::Right,
        found: "a second call for one send",
    },
    Scenario {
        bug: "failed_dropped",
        faults: &[("sms-delivery", "sms_delivery.in_transaction=transient:1")],
        away: NOBODY,
        way: Way::Right,
        found: "calls that were not settled",
    },
    Scenario {
        bug: "late_clock",
        faults: &[],
        away: &["timers"],
        way: Way::Late,
        found: "accepted after its time",
    },
    Scenario {
        bug: "timer_ids",
        faults: &[],
        away: NOBODY,
        way: Way::Email,
        found: "was published under",
    },
    Scenario {
        bug: "watermark_first",
        faults: &[("timers", "timers.received=kill:1")],
        away: NOBODY,
        way: Way::Abandoned,
        found: "no terminal event",
    },
    Scenario {
        bug: "lost_reply_refused",
        faults: &[],
        away: &["code-generation"],
        way: Way::Right,
        found: "refused",
    },
];

/// Plants one bug, lets people log in, and looks whether it is found.
pub async fn caught(servers: &Arc<Servers>, scenario: &Scenario, seed: u64) -> bool {
    let world =
        World::start(servers, scenario.bug, Some(scenario.bug), Duration::from_secs(5), "12").await;
    let client = Client::new(&world);
    client.put_account().await;
    let load = Load::new(client.clone(), seed);
    let away: Vec<usize> =
        scenario.away.iter().flat_map(|role| world.fleet.with_role(role)).collect();
    let logins = {
        let (load, way) = (Arc::clone(&load), scenario.way);
        tokio::spawn(async move {
            let all = (0..12).map(|n| {
                let load = Arc::clone(&load);
                async move {
                    sleep(Duration::from_millis(1200 * n)).await;
                    load.login(Some(way)).await
                }
            });
            futures_util::future::join_all(all).await
        })
    };
    sleep(Duration::from_secs(1)).await;
    away.iter().for_each(|at| world.fleet.hold(*at));
    for round in 0..6 {
        for (role, fault) in scenario.faults {
            for at in world.fleet.with_role(role) {
                world.fleet.arm(at, (*fault).to_owned(), Signal::KILL);
            }
        }
        sleep(Duration::from_secs(3)).await;
        // Those who wait for an answer have waited longer than the ingress does.
        if round == 1 && scenario.way != Way::Late {
            away.iter().for_each(|at| world.fleet.release(*at));
        }
    }
    if scenario.way == Way::Late {
        let _ = logins.await;
        away.iter().for_each(|at| world.fleet.release(*at));
    } else {
        // With a bug in it a login may never end.
        let _ = tokio::time::timeout(Duration::from_secs(20), logins).await;
    }
    let evidence = gather(&world, &client.http, Duration::from_secs(20)).await;
    let findings = check(&evidence);
    let found = findings.violations.iter().any(|what| what.contains(scenario.found));
    if !found {
        println!("{}: not found in {:#?}", scenario.bug, findings.violations);
    }
    world.end().await;
    found
}
