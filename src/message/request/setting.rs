//! What is asked about a change of a sensitive setting.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId, SettingName};

/// `settings.change.request`: a member changes a sensitive setting; a code is to approve it.
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
    pub before: Secret,
    /// The value after, or a digest of it; sealed on its way, and kept as a digest only.
    pub after: Secret,
    /// What is approved, in words the person understands; sealed on its way. It is in the message.
    pub summary: Secret,
}

/// `settings.change.redeem`: the app is about to carry an approved change out. Granted once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RedeemApproval {
    /// The account.
    pub account: AccountId,
    /// The challenge that approved it.
    pub challenge: ChallengeId,
    /// The value as it is now, in the form it was requested with; sealed on its way.
    pub before: Secret,
}

request!(RequestSettingChange, ask => (&ask.account, &ask.member));
request!(RedeemApproval, ask => ask.challenge.0);
