//! The invariants of teams and support: what was promised is carried out, once.

use super::super::evidence::Evidence;
use super::super::history::What;
use super::Findings;

pub(super) fn team(evidence: &Evidence, findings: &mut Findings) {
    for call in &evidence.calls {
        let Some(outcome) = call.outcomes.first() else { continue };
        // What names the work, and the events that there must be one of.
        let (name, id, events): (_, _, &[&str]) = match (call.what, call.outcome()) {
            (What::Review, Some("reviewing")) => {
                ("review", outcome["review"].as_str(), &["review.finished"])
            }
            (What::Mandate, Some("stored")) => {
                ("account", Some(call.member.as_str()), &["mandate.enabled", "mandate.applied"])
            }
            (What::Approval, Some("recorded")) => (
                "reset",
                outcome["reset"].as_str(),
                &["reset.requested", "reset.approved", "factor.reset"],
            ),
            _ => continue,
        };
        let id = id.unwrap_or_default();
        match evidence.works.get(id) {
            Some(true) => {}
            found => findings.lost(format!("lost: {:?} {id} is not done: {found:?}", call.what)),
        }
        for kind in events {
            let told = evidence.trail.values().filter(|row| row.kind == *kind);
            match told.filter(|row| row.body[name] == id).count() {
                0 => findings.lost(format!("lost: {:?} {id} has no {kind}", call.what)),
                1 => {}
                times => findings.doubled(format!("{:?} {id} has {times} {kind}", call.what)),
            }
        }
    }
}
