//! That every challenge comes to its end in time: not when a row says so, but when whoever follows
//! the events learns of it.

use std::time::Duration;

use time::OffsetDateTime;

use super::super::evidence::Evidence;
use super::{Findings, TERMINAL};

/// From the expiry until the end is told, while nothing is away. A tick of the timers and two passes
/// take a second, on a machine with other users a few; the rest is for processes that are killed with
/// the message in their hands, and for one that fails twice and waits for the retry delays of 1 and 5 s.
const LATE_MAX: Duration = Duration::from_secs(30);
/// What an outage leaves behind when it is over: whoever lost a session tries again after up to 5 s
/// and half as much (the longest pause and its jitter), and may sit in a call that is given up after
/// 5 s; then the processes that have died meanwhile start.
const RECOVERY: Duration = Duration::from_secs(15);

/// When a server, or a process on the way to the end of a challenge, was not there.
#[derive(Debug)]
pub struct Outage {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
}

pub(super) fn lateness(evidence: &Evidence, findings: &mut Findings) {
    let outages = merged(&evidence.outages);
    let ends = evidence.trail.iter().filter(|(_, row)| TERMINAL.contains(&row.kind.as_str()));
    for (event, row) in ends {
        let challenge = row.challenge.and_then(|id| evidence.challenges.get(&id));
        let (Some(challenge), Some(seen)) = (challenge, evidence.events.get(event)) else {
            // Said already, by others.
            continue;
        };
        let late = overdue(challenge.expires_at, seen.at, &outages);
        findings.latest_end = findings.latest_end.max(late);
        findings.require(late <= LATE_MAX, || {
            let (kind, id) = (&row.kind, row.challenge.unwrap_or_default());
            format!("{id}: {kind} {late:?} after its expiry, while nothing was away")
        });
    }
}

/// How much of the time between an expiry and the end lies in no outage.
fn overdue(expires_at: OffsetDateTime, ended: OffsetDateTime, outages: &[Outage]) -> Duration {
    let within = |outage: &Outage| (outage.to.min(ended) - outage.from.max(expires_at)).max(NONE);
    let late = ended - expires_at - outages.iter().map(within).sum::<time::Duration>();
    late.try_into().unwrap_or_default()
}

const NONE: time::Duration = time::Duration::ZERO;

/// The outages in order, each with its recovery, and those that overlap as one: no second counts twice.
fn merged(outages: &[Outage]) -> Vec<Outage> {
    let recovered = |outage: &Outage| Outage { from: outage.from, to: outage.to + RECOVERY };
    let mut sorted: Vec<Outage> = outages.iter().map(recovered).collect();
    sorted.sort_by_key(|outage| outage.from);
    let mut merged: Vec<Outage> = Vec::with_capacity(sorted.len());
    for outage in sorted {
        match merged.last_mut().filter(|last| outage.from <= last.to) {
            Some(last) => last.to = last.to.max(outage.to),
            None => merged.push(outage),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;
    use uuid::Uuid;

    use super::super::super::evidence::{Challenge, Row};
    use super::super::super::history::Seen;
    use super::super::check;
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
    }

    /// A challenge that expires at 100, whose end is seen at `seen`; `outages` from and to.
    fn found(seen: i64, outages: &[(i64, i64)]) -> bool {
        let (challenge, event) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let outage = |(from, to): &(i64, i64)| Outage { from: at(*from), to: at(*to) };
        let row = Row {
            kind: "challenge.expired".into(),
            challenge: Some(challenge),
            member: None,
            at: at(100),
            body: Value::Null,
        };
        let kept = Challenge {
            state: "expired".into(),
            expires_at: at(100),
            ended_at: Some(at(100)),
            sends: 1,
            wrong: 0,
            wrong_guesses: 0,
        };
        let evidence = Evidence {
            events: HashMap::from([(event, Seen { body: Value::Null, at: at(seen) })]),
            trail: HashMap::from([(event, row)]),
            challenges: HashMap::from([(challenge, kept)]),
            outages: outages.iter().map(outage).collect(),
            ..Evidence::default()
        };
        check(&evidence).violations.iter().any(|what| what.contains("after its expiry"))
    }

    #[test]
    fn an_end_that_is_told_too_late_is_found() {
        assert!(!found(99, &[]) && !found(130, &[]) && found(131, &[]));
    }

    #[test]
    fn only_the_time_of_an_outage_and_its_recovery_is_allowed_for() {
        // Before the expiry and over: no excuse.
        assert!(found(131, &[(50, 80)]));
        // 20 s and the 15 of its recovery.
        assert!(!found(165, &[(105, 125)]) && found(166, &[(105, 125)]));
        // It had begun before the expiry; of the recovery 10 s are left.
        assert!(!found(140, &[(80, 95)]) && found(141, &[(80, 95)]));
        // Two at a time are one.
        assert!(!found(165, &[(105, 125), (105, 125)]) && found(166, &[(105, 125), (110, 120)]));
        // One that came after the end.
        assert!(found(131, &[(131, 500)]));
    }
}
