//! The bugs that the fault tests seed into a pass, each as an identity unless it was ordered.

use time::Duration;

use crate::domain::Timestamp;
use crate::domain::id::derived;
use crate::failpoint::{Bug, seeded};
use crate::message::Outgoing;

/// How late the clock of [`Bug::LateClock`] is.
const LATE: Duration = Duration::MINUTE;

/// The time by which `worker` decides.
pub(super) fn clock(worker: &str, now: Timestamp) -> Timestamp {
    if seeded(Bug::LateClock) && worker == "verification" { now - LATE } else { now }
}

/// Whether a verdict with this label is stored.
pub(super) fn kept(label: &str) -> bool {
    !(seeded(Bug::GuessNotCounted) && label == "wrong_code")
}

/// What a repeat hands out.
pub(super) fn repeated(caused: Vec<Outgoing>) -> Vec<Outgoing> {
    if seeded(Bug::CausedForgotten) {
        return Vec::new();
    }
    if !seeded(Bug::FreshIds) {
        return caused;
    }
    let fresh = |message: Outgoing| {
        let id = derived(message.id, "fresh");
        let body = message.body.replace(&message.id.to_string(), &id.to_string());
        Outgoing { id, body, ..message }
    };
    caused.into_iter().map(fresh).collect()
}
