//! Resets of a lost factor.

use uuid::Uuid;

use super::Timestamp;
use super::id::{AccountId, MemberId};
use super::string_enum::string_enum;

string_enum! {
    /// Where a reset stands.
    ResetState {
        /// One person has asked.
        Requested = "requested",
        /// Another has approved; it waits.
        Approved = "approved",
        /// The factor was reset.
        Done = "done",
        /// It was stopped.
        Cancelled = "cancelled",
    }
}

/// A reset as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Its id: that of the request.
    pub id: Uuid,
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Why.
    pub reason: String,
    /// Who asked, at support.
    pub requested_by: MemberId,
    /// Who approved.
    pub approved_by: Option<MemberId>,
    /// When it is carried out.
    pub due_at: Option<Timestamp>,
    /// Where it stands.
    pub state: ResetState,
}
