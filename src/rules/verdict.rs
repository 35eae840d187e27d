//! What a rule decides, and what it may know of the outside.

use crate::domain::{Chance, Timestamp};
use crate::message::{Effect, Outcome};

/// What a rule may know of the outside: the time, and chance.
pub struct DecisionContext<'a> {
    /// The database's clock, read after the facts were locked.
    pub now: Timestamp,
    /// In production the operating system's generator.
    pub rng: &'a mut dyn Chance,
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

    /// A verdict that changes nothing and has no effects.
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
