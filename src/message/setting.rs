//! What is asked about a change of a sensitive setting.

use schemars::JsonSchema;
use serde::Deserialize;

use super::declaration::{RequestBody, RequestDecl};
use super::kind::Subject;
use super::queue_name::Queue;
use super::sealed::Sealed;
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId, SettingName};

/// A member changes a sensitive setting; a code is to approve it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RequestSettingChange {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The app's name for this change. The same name again returns its open challenge.
    pub change: LoginId,
    /// Which setting.
    pub setting: SettingName,
    /// The value before, or a digest of it; sealed on its way, and kept as a digest only.
    pub before: Sealed,
    /// The value after, or a digest of it; sealed on its way, and kept as a digest only.
    pub after: Sealed,
    /// What is approved, in words the person understands; sealed on its way. It is in the message.
    pub summary: Sealed,
}

impl RequestBody for RequestSettingChange {
    const KEY: &'static str = "settings.change.request";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// The app is about to carry an approved change out. Granted once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RedeemApproval {
    /// The account.
    pub account: AccountId,
    /// The challenge that approved it.
    pub challenge: ChallengeId,
    /// The value as it is now, in the form it was requested with; sealed on its way.
    pub before: Sealed,
}

impl RequestBody for RedeemApproval {
    const KEY: &'static str = "settings.change.redeem";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of(self.challenge.0)
    }
}

/// The requests of this area.
pub(super) const REQUESTS: &[RequestDecl] =
    &[RequestDecl::of::<RequestSettingChange>(), RequestDecl::of::<RedeemApproval>()];
