//! What is asked of a challenge: a login's, and any other once it is open.

use schemars::JsonSchema;
use serde::Deserialize;

use super::declaration::{Exception, RequestBody, RequestDecl};
use super::kind::Subject;
use super::outcome::OutcomeKind;
use super::queue_name::Queue;
use super::sealed::Sealed;
use crate::domain::activity::Client;
use crate::domain::challenge::Channel;
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId};

/// A member has given the right password; a code is to prove the rest.
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

impl RequestBody for IssueChallenge {
    const KEY: &'static str = "challenge.issue";
    const QUEUE: Queue = Queue::CodeGenerationLogin;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// The one purpose of [`IssueChallenge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LoginPurpose {
    /// `login`.
    #[default]
    #[serde(rename = "login")]
    Login,
}

/// The same code once more.
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

impl RequestBody for ResendChallenge {
    const KEY: &'static str = "challenge.resend";
    const QUEUE: Queue = Queue::CodeGenerationLogin;

    fn subject(&self) -> Subject {
        Subject::of(self.challenge.0)
    }
}

fn by_sms() -> Channel {
    Channel::Sms
}

/// What the person typed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct VerifyChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// The guess; sealed on its way.
    pub guess: Sealed,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

impl RequestBody for VerifyChallenge {
    const KEY: &'static str = "challenge.verify";
    const QUEUE: Queue = Queue::VerificationLogin;

    fn subject(&self) -> Subject {
        Subject::of(self.challenge.0)
    }
}

/// The login was given up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CancelChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
}

impl RequestBody for CancelChallenge {
    const KEY: &'static str = "challenge.cancel";
    const QUEUE: Queue = Queue::CodeGenerationLogin;
    const EXCEPTIONS: &'static [Exception] = &[
        Exception { outcome: OutcomeKind::Cancelled, status: 200, advice: "" },
        Exception {
            outcome: OutcomeKind::AlreadyUsed,
            status: 409,
            advice: "the login or the change is verified already: nothing was cancelled",
        },
    ];

    fn subject(&self) -> Subject {
        Subject::of(self.challenge.0)
    }
}

/// The requests of this area.
pub(super) const REQUESTS: &[RequestDecl] = &[
    RequestDecl::of::<IssueChallenge>(),
    RequestDecl::of::<ResendChallenge>(),
    RequestDecl::of::<VerifyChallenge>(),
    RequestDecl::of::<CancelChallenge>(),
];
