//! What support asks for a member who has lost the number.

use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::declaration::{Exception, RequestBody, RequestDecl};
use super::kind::Subject;
use super::outcome::OutcomeKind;
use super::queue_name::Queue;
use crate::domain::id::{AccountId, MemberId};

/// A member has lost the number; support asks for a new enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RequestReset {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Who asks: the app's name of a person at support.
    pub requested_by: MemberId,
    /// Why, in words for the record.
    pub reason: String,
}

impl RequestBody for RequestReset {
    const KEY: &'static str = "support.reset.request";
    const QUEUE: Queue = Queue::SupportSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// A second person agrees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ApproveReset {
    /// The account.
    pub account: AccountId,
    /// The reset.
    pub reset: Uuid,
    /// Who approves: another than the one who asked.
    pub approved_by: MemberId,
}

impl RequestBody for ApproveReset {
    const KEY: &'static str = "support.reset.approve";
    const QUEUE: Queue = Queue::SupportSettings;
    const EXCEPTIONS: &'static [Exception] = &[Exception {
        outcome: OutcomeKind::Forbidden,
        status: 403,
        advice: "whoever asked for a reset cannot approve it: another person must",
    }];

    fn subject(&self) -> Subject {
        Subject::of(self.reset)
    }
}

/// The member or an admin stops it in time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CancelReset {
    /// The account.
    pub account: AccountId,
    /// The reset.
    pub reset: Uuid,
    /// Who cancels: the member, or an admin.
    pub actor: MemberId,
}

impl RequestBody for CancelReset {
    const KEY: &'static str = "support.reset.cancel";
    const QUEUE: Queue = Queue::SupportSettings;

    fn subject(&self) -> Subject {
        Subject::of(self.reset)
    }
}

/// The requests of this area.
pub(super) const REQUESTS: &[RequestDecl] = &[
    RequestDecl::of::<RequestReset>(),
    RequestDecl::of::<ApproveReset>(),
    RequestDecl::of::<CancelReset>(),
];
