//! The bugs that the fault tests plant into a pass, each as an identity unless it was ordered.

use time::Duration;

use crate::domain::Timestamp;
use crate::domain::id::derived;
use crate::message::Outgoing;
use crate::sabotage::{Bug, planted};

/// How late the clock of [`Bug::LateClock`] is.
const LATE: Duration = Duration::MINUTE;

/// The time by which `worker` decides.
pub(super) fn clock(worker: &str, now: Timestamp) -> Timestamp {
    if planted(Bug::LateClock) && worker == "verification" { now - LATE } else { now }
}

/// Whether a verdict with this label is stored.
pub(super) fn kept(label: &str) -> bool {
    !(planted(Bug::GuessNotCounted) && label == "wrong_code")
}

/// What a repeat hands out.
pub(super) fn repeated(caused: Vec<Outgoing>) -> Vec<Outgoing> {
    if planted(Bug::CausedForgotten) {
        return Vec::new();
    }
    if !planted(Bug::FreshIds) {
        return caused;
    }
    let fresh = |message: Outgoing| {
        let id = derived(message.id, "fresh");
        let body = message.body.replace(&message.id.to_string(), &id.to_string());
        Outgoing { id, body, ..message }
    };
    caused.into_iter().map(fresh).collect()
}
