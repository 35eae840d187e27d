//! What was done to the system, and how soon it was well again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// Whom a fault hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Worker,
    Broker,
    Database,
    Message,
}

#[derive(Default)]
pub struct Tally {
    faults: Mutex<BTreeMap<(Victim, String), u64>>,
    skipped: Mutex<Vec<String>>,
    recovery_max: Mutex<Duration>,
}

impl Tally {
    pub fn count(&self, victim: Victim, fault: &str) {
        *self.faults.lock().unwrap().entry((victim, fault.to_owned())).or_default() += 1;
    }

    pub fn skip(&self, what: &str, why: &str) {
        self.skipped.lock().unwrap().push(format!("{what}: {why}"));
    }

    pub fn recovered(&self, after: Duration) {
        let mut longest = self.recovery_max.lock().unwrap();
        *longest = after.max(*longest);
    }

    pub fn of(&self, victim: Victim) -> u64 {
        let faults = self.faults.lock().unwrap();
        faults.iter().filter(|((hit, _), _)| *hit == victim).map(|(_, times)| times).sum()
    }

    pub fn recovery_max(&self) -> Duration {
        *self.recovery_max.lock().unwrap()
    }

    /// Each fault and how often.
    pub fn faults(&self) -> BTreeMap<String, u64> {
        let faults = self.faults.lock().unwrap();
        let named = |((victim, fault), times): (&(Victim, String), &u64)| {
            (format!("{victim:?} {fault}").to_lowercase(), *times)
        };
        faults.iter().map(named).collect()
    }

    pub fn skipped(&self) -> Vec<String> {
        self.skipped.lock().unwrap().clone()
    }
}
