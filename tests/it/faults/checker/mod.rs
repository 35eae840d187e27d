//! The invariants, judged on the evidence of a run.

mod lateness;
mod lives;
mod outside;
mod team;

use std::collections::HashMap;
use std::time::Duration;

use stepup::domain::id::derived;
use uuid::Uuid;

use super::evidence::{Evidence, Row};
pub use lateness::Outage;
use lateness::lateness;
use lives::{deliveries, guesses, life, logins, members};
use outside::{ledger, replies, trail};
use team::team;

const TERMINAL: &[&str] = &[
    "challenge.verified",
    "challenge.expired",
    "challenge.locked",
    "challenge.cancelled",
    "challenge.superseded",
    "challenge.undeliverable",
];

/// What was found.
#[derive(Default)]
pub struct Findings {
    /// Accepted logins.
    pub accepted: usize,
    /// Accepted logins that came to no end.
    pub lost: usize,
    /// Ends, acceptances and messages beyond the one there may be.
    pub doubled: usize,
    /// The longest time from a challenge's expiry to its end, outages left out.
    pub latest_end: Duration,
    /// Everything that is wrong, the lost and the doubled included.
    pub violations: Vec<String>,
}

impl Findings {
    fn lost(&mut self, what: String) {
        self.lost += 1;
        self.violations.push(what);
    }

    fn doubled(&mut self, what: String) {
        self.doubled += 1;
        self.violations.push(what);
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }
}

/// Whether a command has the id of the timer's second look at a challenge's end, which is another one.
fn second_look(body: &str, id: Uuid) -> bool {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let challenge = body["challenge"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    challenge.is_some_and(|challenge| id == derived(challenge, "timer/overdue"))
}

/// Judges everything.
pub fn check(evidence: &Evidence) -> Findings {
    let mut findings = Findings::default();
    let by_challenge = by_challenge(evidence);
    logins(evidence, &by_challenge, &mut findings);
    members(evidence, &mut findings);
    for (id, challenge) in &evidence.challenges {
        let rows = by_challenge.get(id).map_or(&[][..], Vec::as_slice);
        life(*id, challenge, rows, &mut findings);
        deliveries(*id, challenge, rows, evidence, &mut findings);
        guesses(*id, challenge, rows, evidence, &mut findings);
    }
    lateness(evidence, &mut findings);
    trail(evidence, &mut findings);
    ledger(evidence, &mut findings);
    replies(evidence, &mut findings);
    team(evidence, &mut findings);
    for ((key, body), ids) in &evidence.commands {
        let one = ids.iter().filter(|id| !second_look(body, **id)).count() <= 1;
        findings.require(one, || format!("{key} {body} was published under {} ids", ids.len()));
    }
    for (id, said) in evidence.dead.iter().filter(|(id, _)| !id.starts_with("provoked-")) {
        findings.violations.push(format!("dead letter {id}: {said}"));
    }
    for id in evidence.provoked.iter().filter(|id| !evidence.dead.contains_key(*id)) {
        findings.lost(format!("lost: {id} should be a dead letter"));
    }
    for (id, state) in &evidence.notices {
        let settled = !matches!(state.as_str(), "queued" | "calling");
        findings.require(settled, || format!("notice {id} is left {state}"));
    }
    findings.violations.extend(evidence.unrest.iter().map(|what| format!("at the end: {what}")));
    findings.violations.extend(evidence.report.clone());
    findings.violations.extend(evidence.surprises.iter().cloned());
    findings
}

type ByChallenge<'a> = HashMap<Uuid, Vec<&'a Row>>;

fn by_challenge(evidence: &Evidence) -> ByChallenge<'_> {
    let mut rows: ByChallenge<'_> = HashMap::new();
    for row in evidence.trail.values() {
        if let Some(challenge) = row.challenge {
            rows.entry(challenge).or_default().push(row);
        }
    }
    rows
}
