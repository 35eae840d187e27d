//! What every kind of message has in common.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::envelope::DeadReason;
use super::showable::showable;
use crate::domain::id::AppName;

/// A message type: the set of bodies one worker reads.
pub trait Message: Sized + Send + Sync + 'static {
    /// Reads the body of a message with this key. `app` is there for requests.
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected>;

    /// What the message is about. Two about the same are never decided on the same facts.
    fn subject(&self) -> Subject;
}

/// A hash of what a message is about. A collision costs a smaller batch and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(u64);

impl Subject {
    /// The subject `what`.
    pub fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Why a message is dead-lettered unread: a reason, and a sentence that says what to do. The sentence
/// never quotes the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The class.
    pub reason: DeadReason,
    /// The sentence.
    pub detail: String,
    /// What of it is wrong.
    pub flaw: Flaw,
}

/// What of a message is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The message as a whole.
    Message,
    /// One field, by its name where that may be repeated.
    Field(Option<String>),
}

impl Rejected {
    /// A message that cannot be understood.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self { reason: DeadReason::Malformed, detail: detail.into(), flaw: Flaw::Message }
    }

    pub(super) fn unidentified(detail: &str) -> Self {
        let (reason, detail) = (DeadReason::Unidentified, detail.to_owned());
        Self { reason, detail, flaw: Flaw::Message }
    }

    /// A field that cannot be used.
    pub(super) fn field(name: &str, detail: impl Into<String>) -> Self {
        Self { flaw: Flaw::Field(Some(name.to_owned())), ..Self::malformed(detail) }
    }

    /// A field whose name is the sender's own text.
    pub(super) fn foreign_field(name: &str, why: &str) -> Self {
        match showable(name) {
            Some(name) => Self::field(name, format!("field `{name}` {why}")),
            None => Self { flaw: Flaw::Field(None), ..Self::malformed(format!("a field {why}")) },
        }
    }
}
