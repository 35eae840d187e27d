//! What a member asks of their own factor and its contacts.

use schemars::JsonSchema;
use serde::Deserialize;

use super::declaration::{RequestBody, RequestDecl};
use super::kind::Subject;
use super::queue_name::Queue;
use super::sealed::Sealed;
use crate::domain::activity::Client;
use crate::domain::id::{AccountId, ChallengeId, MemberId};

/// A member wants to turn 2FA on. Answers where the code would go; sends
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct StartEnrolment {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Another number than the one on the profile; sealed on its way.
    #[serde(default)]
    pub phone: Option<Sealed>,
}

impl RequestBody for StartEnrolment {
    const KEY: &'static str = "enrolment.start";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// Now send the code. Once it verifies, 2FA is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SendEnrolment {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Another number than the one on the profile; sealed on its way.
    #[serde(default)]
    pub phone: Option<Sealed>,
}

impl RequestBody for SendEnrolment {
    const KEY: &'static str = "enrolment.send";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// A member has another number. With 2FA on the code goes to the current number
/// first; the verified challenge is then the proof with which the code goes to the new one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ChangeNumber {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The new number; sealed on its way.
    pub phone: Sealed,
    /// The verified challenge to the current number.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
}

impl RequestBody for ChangeNumber {
    const KEY: &'static str = "number.change";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// A member wants to turn 2FA off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableFactor {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
}

impl RequestBody for DisableFactor {
    const KEY: &'static str = "factor.disable";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// Whether email may back up the SMS.
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

impl RequestBody for SetEmailBackup {
    const KEY: &'static str = "email_backup.set";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// Mail a code to the member's address, to confirm it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ProveEmail {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
}

impl RequestBody for ProveEmail {
    const KEY: &'static str = "email.prove";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// The code from that mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ConfirmEmail {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The guess; sealed on its way.
    pub guess: Sealed,
}

impl RequestBody for ConfirmEmail {
    const KEY: &'static str = "email.confirm";
    const QUEUE: Queue = Queue::SettingsSettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
}

/// The requests of this area.
pub(super) const REQUESTS: &[RequestDecl] = &[
    RequestDecl::of::<StartEnrolment>(),
    RequestDecl::of::<SendEnrolment>(),
    RequestDecl::of::<ChangeNumber>(),
    RequestDecl::of::<DisableFactor>(),
    RequestDecl::of::<SetEmailBackup>(),
    RequestDecl::of::<ProveEmail>(),
    RequestDecl::of::<ConfirmEmail>(),
];
