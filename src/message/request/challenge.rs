//! What is asked of a challenge: a login's, and any other once it is open.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
use crate::domain::activity::Client;
use crate::domain::challenge::Channel;
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId};

/// `challenge.issue`: a member has given the right password; a code is to prove the rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct IssueChallenge {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The app's name for this pending login. The same name again returns its open challenge.
    pub login: LoginId,
    /// What the challenge proves: a login. Every other purpose has a request of its own.
    #[serde(default)]
    pub purpose: LoginPurpose,
}

/// The one purpose of [`IssueChallenge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LoginPurpose {
    /// `login`.
    #[default]
    #[serde(rename = "login")]
    Login,
}

/// `challenge.resend`: the same code once more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ResendChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// By which way; `email` only once it is eligible.
    #[serde(default = "by_sms")]
    pub channel: Channel,
}

fn by_sms() -> Channel {
    Channel::Sms
}

/// `challenge.verify`: what the person typed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct VerifyChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// The guess; sealed on its way.
    pub guess: Secret,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `challenge.cancel`: the login was given up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CancelChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
}

request!(IssueChallenge, ask => (&ask.account, &ask.member));
request!(ResendChallenge, ask => ask.challenge.0);
request!(VerifyChallenge, ask => ask.challenge.0);
request!(CancelChallenge, ask => ask.challenge.0);
