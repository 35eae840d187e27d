//! What a run found, for people and for programs.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::checker::Findings;
use super::tally::{Tally, Victim};

pub struct Report {
    pub seed: u64,
    pub seconds: u64,
    pub kills: u64,
    pub attempted: usize,
    /// From the end of all faults until as many logins a second are done as before.
    pub full_throughput_after: Option<Duration>,
    pub bugs: Vec<(&'static str, bool)>,
    pub emptied: Option<Value>,
}

impl Report {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            seconds: 0,
            kills: 0,
            attempted: 0,
            full_throughput_after: None,
            bugs: Vec::new(),
            emptied: None,
        }
    }

    fn json(&self, findings: &Findings, tally: &Tally) -> Value {
        let seconds = |after: Duration| (after.as_secs_f64() * 10.0).round() / 10.0;
        let bugs: serde_json::Map<String, Value> =
            self.bugs.iter().map(|(name, caught)| ((*name).to_owned(), (*caught).into())).collect();
        json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "kills": self.kills,
            "worker_faults": tally.of(Victim::Worker),
            "broker_faults": tally.of(Victim::Broker),
            "database_faults": tally.of(Victim::Database),
            "message_faults": tally.of(Victim::Message),
            "faults": tally.faults(),
            "skipped": tally.skipped(),
            "logins_attempted": self.attempted,
            "logins_accepted": findings.accepted,
            "lost": findings.lost,
            "doubled": findings.doubled,
            "violations": findings.violations.len(),
            "violations_found": findings.violations.iter().take(100).collect::<Vec<_>>(),
            "latest_end_seconds": seconds(findings.latest_end),
            "recovery_seconds_max": seconds(tally.recovery_max()),
            "full_throughput_seconds": self.full_throughput_after.map(seconds),
            "bugs_planted": self.bugs.len(),
            "bugs_caught": self.bugs.iter().filter(|(_, caught)| *caught).count(),
            "bugs": bugs,
            "emptied_broker": self.emptied,
        })
    }

    /// Writes `target/faults.json` and prints one screen.
    pub fn publish(&self, findings: &Findings, tally: &Tally) {
        let json = self.json(findings, tally);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let text = serde_json::to_string_pretty(&json).unwrap();
        std::fs::write(target.join("faults.json"), text).unwrap();
        println!("\nfaults, seed {}, {} s of load", self.seed, self.seconds);
        for (name, label) in [
            ("kills", "processes ended"),
            ("broker_faults", "faults of the broker"),
            ("database_faults", "faults of the database"),
            ("message_faults", "unreadable messages"),
            ("logins_attempted", "logins attempted"),
            ("logins_accepted", "logins accepted"),
            ("lost", "lost"),
            ("doubled", "doubled"),
            ("violations", "violations"),
            ("latest_end_seconds", "latest end of a login after its expiry, outages left out, s"),
            ("recovery_seconds_max", "longest wait for a login to work after a fault, s"),
            ("full_throughput_seconds", "full throughput after the last fault, s"),
            ("bugs_seeded", "bugs seeded"),
            ("bugs_caught", "bugs caught"),
        ] {
            println!("  {label:50} {}", json[name]);
        }
        for (fault, times) in tally.faults() {
            println!("    {fault:48} {times}");
        }
        for skipped in tally.skipped() {
            println!("  skipped: {skipped}");
        }
        for (name, _) in self.bugs.iter().filter(|(_, caught)| !caught) {
            println!("  NOT CAUGHT: {name}");
        }
        for violation in findings.violations.iter().take(40) {
            println!("  VIOLATION: {violation}");
        }
    }
}
