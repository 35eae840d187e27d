//! What a member asks of their own factor and its contacts.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
use crate::domain::activity::Client;
use crate::domain::id::{AccountId, ChallengeId, MemberId};

/// `enrolment.start`: a member wants to turn 2FA on. Answers where the code would go; sends
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct StartEnrolment {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Another number than the one on the profile; sealed on its way.
    #[serde(default)]
    pub phone: Option<Secret>,
}

/// `enrolment.send`: now send the code. Once it verifies, 2FA is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SendEnrolment {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Another number than the one on the profile; sealed on its way.
    #[serde(default)]
    pub phone: Option<Secret>,
}

/// `number.change`: a member has another number. With 2FA on the code goes to the current number
/// first; the verified challenge is then the proof with which the code goes to the new one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ChangeNumber {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The new number; sealed on its way.
    pub phone: Secret,
    /// The verified challenge to the current number.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
}

/// `factor.disable`: a member wants to turn 2FA off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableFactor {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
}

/// `email_backup.set`: whether email may back up the SMS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SetEmailBackup {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// On or off.
    pub on: bool,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `email.prove`: mail a code to the member's address, to confirm it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ProveEmail {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
}

/// `email.confirm`: the code from that mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ConfirmEmail {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The guess; sealed on its way.
    pub guess: Secret,
}

request!(StartEnrolment, ask => (&ask.account, &ask.member));
request!(SendEnrolment, ask => (&ask.account, &ask.member));
request!(ChangeNumber, ask => (&ask.account, &ask.member));
request!(DisableFactor, ask => (&ask.account, &ask.member));
request!(SetEmailBackup, ask => (&ask.account, &ask.member));
request!(ProveEmail, ask => (&ask.account, &ask.member));
request!(ConfirmEmail, ask => (&ask.account, &ask.member));
