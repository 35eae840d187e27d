//! What a verdict brings about outside the database.

use super::command::Command;
use super::envelope::{Outgoing, RetryDelay};
use super::event::Event;
use crate::domain::Timestamp;
use crate::domain::id::{ChallengeId, derived};

/// An effect of a verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// It happened.
    Event(Box<Event>),
    /// Ask another worker, perhaps after a delay.
    Command(Command, Option<RetryDelay>),
    /// Ask for the next try of an SMS, not before so many seconds are over.
    RetrySms {
        /// Whose code.
        challenge: ChallengeId,
        /// Which send of it.
        send: i16,
        /// How many calls to the provider went before.
        tries: i16,
        /// How long to wait.
        seconds: u32,
    },
}

impl From<Event> for Effect {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

impl From<Command> for Effect {
    fn from(command: Command) -> Self {
        Self::Command(command, None)
    }
}

impl Effect {
    /// The message for it. The id is derived from the cause and the place among its effects.
    pub fn render(self, cause: uuid::Uuid, place: usize, now: Timestamp) -> Outgoing {
        match self {
            Self::Event(event) => {
                let id = derived(cause, &format!("{}#{place}", event.kind.label()));
                event.outgoing(id, now)
            }
            Self::Command(command, delay) => {
                let id = derived(cause, &format!("{}#{place}", command.key()));
                Outgoing { delay, ..command.outgoing(id) }
            }
            Self::RetrySms { challenge, send, tries, seconds } => {
                let wait = time::Duration::seconds(i64::from(seconds));
                let not_before = Some(now + wait);
                let command = Command::SendSms { challenge, send, tries, not_before };
                Self::Command(command, Some(RetryDelay::within(wait))).render(cause, place, now)
            }
        }
    }
}
