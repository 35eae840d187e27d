//! The invariants of a challenge's life, by what the rows, the trail and the clients say of it.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::evidence::{Challenge, Evidence, Row};
use super::super::history::{Call, What};
use super::{ByChallenge, Findings, TERMINAL};

/// Guesses that may be compared for one challenge.
const GUESSES_MAX: usize = 5;

fn count(rows: &[&Row], kind: &str) -> usize {
    rows.iter().filter(|row| row.kind == kind).count()
}

pub(super) fn logins(evidence: &Evidence, rows: &ByChallenge<'_>, findings: &mut Findings) {
    for call in evidence
        .calls
        .iter()
        .filter(|call| matches!(call.what, What::Login | What::Change) && call.accepted)
    {
        findings.accepted += 1;
        match call.outcome() {
            Some("open") => {
                let id = call.challenge.unwrap_or_default();
                let ended = rows.get(&id).is_some_and(|rows| {
                    rows.iter().any(|row| TERMINAL.contains(&row.kind.as_str()))
                });
                if !ended || !evidence.challenges.contains_key(&id) {
                    findings.lost(format!("lost: the login of {} has no end", call.member));
                }
            }
            Some(other) => {
                let member = Some(call.member.as_str());
                let refused = evidence.trail.values().filter(|row| {
                    row.kind == "challenge.refused" && row.member.as_deref() == member
                });
                if other != "not_required" && refused.count() != 1 {
                    findings.lost(format!("{} was told `{other}`, without an event", call.member));
                }
            }
            None => findings.lost(format!("lost: {} never got an outcome", call.member)),
        }
    }
}

pub(super) fn members(evidence: &Evidence, findings: &mut Findings) {
    let mut issued: HashMap<&str, usize> = HashMap::new();
    for row in evidence.trail.values().filter(|row| row.kind == "challenge.issued") {
        *issued.entry(row.member.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (member, times) in issued.into_iter().filter(|(_, times)| *times > 1) {
        findings.doubled(format!("{member} has {times} challenges for one login"));
    }
}

pub(super) fn life(id: Uuid, challenge: &Challenge, rows: &[&Row], findings: &mut Findings) {
    let issued = count(rows, "challenge.issued");
    findings.require(issued == 1, || format!("{id}: issued {issued} times"));
    let ends: Vec<&&Row> =
        rows.iter().filter(|row| TERMINAL.contains(&row.kind.as_str())).collect();
    match ends[..] {
        [] => findings.lost(format!("{id} ({}): no terminal event", challenge.state)),
        [end] => {
            let same = end.kind == format!("challenge.{}", challenge.state);
            findings.require(same, || format!("{id}: {} but {}", challenge.state, end.kind));
            let timely = end.kind != "challenge.verified" || end.at < challenge.expires_at;
            findings.require(timely, || format!("{id}: verified after its end"));
        }
        _ => findings.doubled(format!("{id}: {} terminal events", ends.len())),
    }
    let sends = 1 + count(rows, "challenge.resent");
    let fallbacks = usize::try_from(challenge.sends).unwrap_or(0).saturating_sub(sends);
    findings.require(fallbacks <= 1, || format!("{id}: {} sends", challenge.sends));
}

pub(super) fn deliveries(
    id: Uuid,
    challenge: &Challenge,
    rows: &[&Row],
    evidence: &Evidence,
    findings: &mut Findings,
) {
    let attempts = evidence.attempts.get(&id).map_or(&[][..], Vec::as_slice);
    let sms = attempts.iter().any(|attempt| attempt.channel == "sms");
    findings.require(sms, || format!("{id}: no send by SMS"));
    for attempt in attempts {
        let (channel, send) = (attempt.channel.as_str(), attempt.send);
        let told = rows.iter().filter(|row| {
            row.kind.starts_with("delivery.")
                && row.body["channel"] == channel
                && row.body["send"] == send
        });
        let told: Vec<&str> = told.map(|row| row.kind.as_str()).collect();
        let wanted = match attempt.state.as_str() {
            "accepted" => "delivery.accepted",
            "failed" => "delivery.failed",
            "unknown" => "delivery.unknown",
            "skipped" => "delivery.skipped",
            // Of a challenge that ended before its turn came.
            "queued" => continue,
            other => {
                findings.violations.push(format!("{id}: {channel}/{send} is left {other}"));
                continue;
            }
        };
        let times = told.iter().filter(|kind| **kind == wanted).count();
        findings.require(times == 1, || {
            format!(
                "{id} ({}): {channel}/{send} is {}, told {told:?}",
                challenge.state, attempt.state
            )
        });
    }
}

pub(super) fn guesses(
    id: Uuid,
    challenge: &Challenge,
    rows: &[&Row],
    evidence: &Evidence,
    findings: &mut Findings,
) {
    let wrong = usize::try_from(challenge.wrong).unwrap_or(usize::MAX);
    let told = count(rows, "guess.failed") + count(rows, "challenge.locked");
    let kept = usize::try_from(challenge.wrong_guesses).unwrap_or(0);
    findings.require(wrong <= GUESSES_MAX, || format!("{id}: {wrong} wrong guesses"));
    findings.require(wrong == told && wrong == kept, || {
        format!("{id}: {wrong} wrong guesses counted, {told} told, {kept} kept")
    });
    let about =
        |call: &&Call| call.challenge == Some(id) && matches!(call.what, What::Guess { .. });
    let calls: Vec<&Call> = evidence.calls.iter().filter(about).collect();
    let of = |kinds: &[&str]| {
        let answered = |call: &&&Call| call.outcome().is_some_and(|kind| kinds.contains(&kind));
        calls.iter().filter(answered).count()
    };
    // `locked` is also what a guess after the lock is told, so one of them at most was compared.
    let compared = of(&["wrong_code", "verified"]) + of(&["locked"]).min(1);
    findings.require(compared <= GUESSES_MAX, || format!("{id}: {compared} guesses compared"));
    let verified = of(&["verified"]);
    if verified > 1 {
        findings.doubled(format!("{id}: accepted {verified} times"));
    }
    let redeemed = evidence
        .calls
        .iter()
        .filter(|call| call.challenge == Some(id) && call.outcome() == Some("redeemed"));
    let redeemed = redeemed.count();
    if redeemed > 1 {
        findings.doubled(format!("{id}: redeemed {redeemed} times"));
    }
    for call in calls.iter().filter(|call| call.outcome() == Some("verified")) {
        let right = call.what == What::Guess { right: true };
        findings.require(right, || format!("{id}: a wrong code was accepted"));
        let timely = call.sent_at < challenge.expires_at;
        findings.require(timely, || format!("{id}: a code was accepted after its time"));
    }
}
