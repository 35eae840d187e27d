//! What support asks for a member who has lost the number.

use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::id::{AccountId, MemberId};

/// `support.reset.request`: a member has lost the number; support asks for a new enrolment.
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

/// `support.reset.approve`: a second person agrees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ApproveReset {
    /// The account.
    pub account: AccountId,
    /// The reset.
    pub reset: Uuid,
    /// Who approves: another than the one who asked.
    pub approved_by: MemberId,
}

/// `support.reset.cancel`: the member or an admin stops it in time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CancelReset {
    /// The account.
    pub account: AccountId,
    /// The reset.
    pub reset: Uuid,
    /// Who cancels: the member, or an admin.
    pub actor: MemberId,
}

request!(RequestReset, ask => &ask.account);
request!(ApproveReset, ask => &ask.account);
request!(CancelReset, ask => &ask.account);
