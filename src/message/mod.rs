//! FLOOR 1. What travels: one struct per routing key, the envelope around it, and how a body is
//! read. `docs/messages.md` shows every one of them with an example, and a test publishes each.
//!
//! Readers of commands and events ignore unknown fields, so that old and new processes can run side by
//! side. A request with an unknown field is refused: a misspelt one would be ignored otherwise.

mod body;
mod catalogue;
mod challenge;
mod command;
mod declaration;
mod decode;
mod directory;
mod effect;
mod envelope;
mod event;
mod factor;
mod json_schema;
mod kind;
mod outcome;
mod outcome_status;
mod queue;
mod queue_name;
mod request;
mod schema;
mod sealed;
mod setting;
mod showable;
mod support;
mod team;
mod view;

pub use body::{Fields, NoObject};
pub use catalogue::{requests, travelling};
pub use challenge::{
    CancelChallenge, IssueChallenge, LoginPurpose, ResendChallenge, VerifyChallenge,
};
pub use command::{Command, EmailCause};
pub use declaration::{Exception, RequestBody, RequestDecl};
pub use decode::{Decoded, Senders, decode};
pub use directory::{PutAccount, PutMember, PutOwnedNumbers};
pub use effect::Effect;
pub use envelope::{DeadLetter, DeadReason, Exchange, Incoming, Outgoing, RetryDelay};
pub use event::{Event, EventKind, EventRecord, Stamped};
pub use factor::{
    ChangeNumber, ConfirmEmail, DisableFactor, ProveEmail, SendEnrolment, SetEmailBackup,
    StartEnrolment,
};
pub use json_schema::{described, reader, writer};
pub use kind::{Flaw, Message, Rejected, Subject};
pub use outcome::{Outcome, OutcomeKind};
pub use queue_name::Queue;
pub use request::Request;
pub(crate) use request::requests_of_a_worker;
pub use schema::schemas;
pub use sealed::Sealed;
pub use setting::{RedeemApproval, RequestSettingChange};
pub use showable::showable;
pub use support::{ApproveReset, CancelReset, RequestReset};
pub use team::{DisableMandate, DisableMember, EnableMandate, EnableMember, ReviewContacts};
pub use view::{ChallengeView, DeliveryView, ReviewState, ReviewView, ReviewedMember};
