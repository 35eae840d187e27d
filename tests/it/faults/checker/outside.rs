//! The invariants of what left the house: events, calls of providers, replies.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use stepup::domain::id::derived;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::super::evidence::Evidence;
use super::super::history::What;
use super::Findings;

/// From a claim to its call: a claim that is older is not carried out; and the clocks of two
/// processes on one machine.
const CLAIM_TO_CALL: time::Duration = time::Duration::milliseconds(1500);

pub(super) fn trail(evidence: &Evidence, findings: &mut Findings) {
    let rows: HashSet<&Uuid> = evidence.trail.keys().collect();
    let events: HashSet<&Uuid> = evidence.events.keys().collect();
    for id in events.difference(&rows) {
        findings
            .violations
            .push(format!("{} is not in the trail", evidence.events[*id].body["type"]));
    }
    for id in rows.difference(&events) {
        let kind = &evidence.trail[*id].kind;
        findings.violations.push(format!("{kind} in the trail was never published"));
    }
}

pub(super) fn ledger(evidence: &Evidence, findings: &mut Findings) {
    let mut sends: HashMap<Uuid, (Uuid, &str)> = HashMap::new();
    for (challenge, attempts) in &evidence.attempts {
        for attempt in attempts {
            let name = format!("{}/{}", attempt.channel, attempt.send);
            let id = derived(*challenge, &name);
            sends.insert(id, (*challenge, attempt.channel.as_str()));
        }
    }
    // An answer of "no" may be followed by another call; anything else ends the send.
    let mut over: HashSet<Uuid> = HashSet::new();
    let mut texted: HashSet<Uuid> = HashSet::new();
    for entry in &evidence.ledger {
        let reference = entry["reference"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        let reference = reference.unwrap_or_default();
        if over.contains(&reference) {
            findings.doubled(format!("a second call for one send: {entry}"));
        }
        let no = entry["accepted"] == false && entry["answer"].as_u64().is_some();
        if !no {
            over.insert(reference);
        }
        let Some((challenge, channel)) = sends.get(&reference) else {
            let notice = evidence.notices.contains_key(&reference);
            findings.require(notice, || format!("a call for no send: {entry}"));
            continue;
        };
        if *channel == "sms" {
            texted.insert(*challenge);
        } else {
            let first = texted.contains(challenge);
            // A claimed SMS whose process died before its call is a tried one.
            let tried = evidence.attempts[challenge]
                .iter()
                .any(|attempt| attempt.channel == "sms" && attempt.tries > 0);
            findings.require(first || tried, || format!("{challenge}: email before SMS"));
        }
        let at = entry["at"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        let ended = evidence.challenges.get(challenge).and_then(|challenge| challenge.ended_at);
        if let (Some(at), Some(ended)) = (at, ended) {
            let late = at > ended + CLAIM_TO_CALL;
            findings.require(!late, || format!("{challenge}: sent {} after its end", at - ended));
        }
    }
}

pub(super) fn replies(evidence: &Evidence, findings: &mut Findings) {
    for call in &evidence.calls {
        let (what, member) = (call.what, &call.member);
        let same = call.outcomes.windows(2).all(|pair| pair[0] == pair[1]);
        findings
            .require(same, || format!("{what:?} {} of {member} got {:?}", call.id, call.outcomes));
        findings.require(!call.outcomes.is_empty(), || format!("{what:?} of {member}: no outcome"));
        let Some(outcome) = call.outcome() else { continue };
        let state = call.challenge.and_then(|id| evidence.challenges.get(&id));
        let state = state.map(|challenge| challenge.state.as_str());
        let fits = match (what, outcome) {
            (What::Register, outcome) => outcome == "stored",
            (What::Review, outcome) => outcome == "reviewing",
            (What::Reset | What::Approval, outcome) => outcome == "recorded",
            (What::Mandate, "stored") => state == Some("verified"),
            (_, "verified" | "already_used") => state == Some("verified"),
            (_, "locked") => state == Some("locked"),
            (_, "cancelled" | "target_changed") => state == Some("cancelled"),
            (_, "expired") => state == Some("expired"),
            (_, "undeliverable") => state == Some("undeliverable"),
            (What::Login | What::Change | What::Mandate, "open") => state.is_some(),
            (What::Redeem, "redeemed") => state == Some("verified"),
            (What::Guess { right }, "wrong_code") => !right && state.is_some(),
            (What::Resend, "resent" | "cooldown" | "delivery_too_late") => state.is_some(),
            (_, "wait") => state.is_some(),
            _ => false,
        };
        let told: &Value = &call.outcomes[0];
        findings.require(fits, || format!("{what:?} of {member}: {told}, but it is {state:?}"));
    }
}
