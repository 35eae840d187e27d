//! FLOOR 1. What travels: one struct per routing key, the envelope around it, and how a body is
//! read. `docs/messages.md` shows every one of them with an example, and a test publishes each.
//!
//! Readers of commands and events ignore unknown fields, so that old and new processes can run side by
//! side. A request with an unknown field is refused: a misspelt one would be ignored otherwise.

mod body;
mod command;
mod decode;
mod envelope;
mod event;
mod outcome;
mod request;
mod schema;
mod view;

pub use body::{Fields, NoObject, showable};
pub use command::{Command, EmailCause};
pub use decode::{Decoded, Flaw, Message, Rejected, Senders, Subject, decode};
pub use envelope::{DeadLetter, DeadReason, Exchange, Incoming, Outgoing, RetryDelay};
pub use event::{Event, EventKind, EventRecord, Stamped};
pub use outcome::{Outcome, OutcomeKind};
pub use request::{
    ApproveReset, CancelChallenge, CancelReset, ChangeNumber, ConfirmEmail, DisableFactor,
    DisableMandate, DisableMember, EnableMandate, EnableMember, IssueChallenge, LoginPurpose,
    ProveEmail, PutAccount, PutMember, PutOwnedNumbers, RedeemApproval, Request, RequestReset,
    RequestSettingChange, ResendChallenge, ReviewContacts, Secret, SendEnrolment, SetEmailBackup,
    StartEnrolment, VerifyChallenge,
};
pub use schema::{REQUEST_SCHEMAS, described, reader, schemas, writer};
pub use view::{ChallengeView, DeliveryView, ReviewState, ReviewView, ReviewedMember};

use crate::domain::Timestamp;
use crate::domain::id::{ChallengeId, derived};

/// Something a verdict brings about outside the database.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// It happened: tell everybody.
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
