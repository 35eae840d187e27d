//! FLOOR 2. The functional core: facts in, verdict out. Nothing here awaits, reads a clock, draws
//! chance or knows a database. One file per worker.

pub mod apply;
pub mod approval;
pub mod audit;
pub mod change;
pub mod claimed;
pub mod code_generation;
pub mod delivery;
pub mod directory;
pub mod email_proof;
pub mod factor;
pub mod issue;
pub mod limits;
pub mod mandate;
pub mod notice;
pub mod resend;
pub mod review;
pub mod role;
pub mod settings;
pub mod support;
pub mod team;
pub mod text;
mod told;
pub mod verification;

pub use told::Ending;

use std::sync::Arc;

use text::Texts;

use crate::domain::keys::Keyring;
use crate::domain::policy::Policy;
use crate::domain::{Chance, Timestamp};
use crate::message::{Effect, Outcome};

/// What a rule may know of the outside: the time, and chance.
pub struct DecisionContext<'a> {
    /// The database's clock, read after the facts were locked.
    pub now: Timestamp,
    /// In production the operating system's generator.
    pub rng: &'a mut dyn Chance,
}

/// The inputs of a rule besides its facts.
#[derive(Clone)]
pub struct RuleInputs {
    /// The keys.
    pub keys: Arc<Keyring>,
    /// The limits.
    pub policy: Arc<Policy>,
    /// The texts.
    pub texts: Arc<Texts>,
}

/// What was decided, as plain data.
pub trait Verdict: Send + Sync + 'static {
    /// One word: the label on the metric, the span and the inbox row.
    fn label(&self) -> &'static str;
    /// The messages this verdict causes.
    fn effects(&self) -> Vec<Effect>;
    /// The answer to the one who asked.
    fn reply(&self) -> Option<Outcome> {
        None
    }
}

/// The verdict of a worker that only writes: what to write, and what follows.
#[derive(Debug)]
pub struct Decided<W> {
    /// The label.
    pub label: &'static str,
    /// What to write; each worker has its own.
    pub write: Option<W>,
    /// The messages it causes.
    pub effects: Vec<Effect>,
    /// The answer.
    pub reply: Option<Outcome>,
}

impl<W: Send + Sync + 'static> Verdict for Decided<W> {
    fn label(&self) -> &'static str {
        self.label
    }

    fn effects(&self) -> Vec<Effect> {
        self.effects.clone()
    }

    fn reply(&self) -> Option<Outcome> {
        self.reply.clone()
    }
}

impl<W> Decided<W> {
    /// A verdict that changes nothing and only answers.
    pub fn answer(outcome: Outcome) -> Self {
        Self {
            label: outcome.outcome.label(),
            write: None,
            effects: Vec::new(),
            reply: Some(outcome),
        }
    }

    /// The same verdict with its write in another form.
    pub fn map<V>(self, form: impl FnOnce(W) -> V) -> Decided<V> {
        let Self { label, write, effects, reply } = self;
        Decided { label, write: write.map(form), effects, reply }
    }

    /// A verdict that changes nothing and tells nobody.
    pub const fn nothing(label: &'static str) -> Self {
        Self { label, write: None, effects: Vec::new(), reply: None }
    }
}

/// Whole seconds from `now` to `then`, rounded up: waiting that long is enough.
pub fn seconds_until(then: Timestamp, now: Timestamp) -> i64 {
    let left = then - now;
    let whole = left.whole_seconds();
    (if left > time::Duration::seconds(whole) { whole + 1 } else { whole }).max(0)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;
