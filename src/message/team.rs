//! What an admin asks for a team.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::declaration::{RequestBody, RequestDecl};
use super::kind::Subject;
use super::queue_name::Queue;
use crate::domain::activity::Client;
use crate::domain::id::{AccountId, ChallengeId, MemberId};
use crate::domain::schema::Moment;
use crate::domain::{Timestamp, moment};

/// Look at the contacts of all members, before 2FA becomes mandatory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ReviewContacts {
    /// The account.
    pub account: AccountId,
    /// The admin who asks.
    pub actor: MemberId,
}

impl RequestBody for ReviewContacts {
    const KEY: &'static str = "team.review";
    const QUEUE: Queue = Queue::TeamSettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

/// 2FA becomes mandatory for all members. Without a proof, a
/// code goes to the admin; the verified challenge is then the proof.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct EnableMandate {
    /// The account.
    pub account: AccountId,
    /// The admin who asks.
    pub actor: MemberId,
    /// The review that it rests on.
    pub review: Uuid,
    /// Whether the admin has confirmed it in a step of its own.
    pub confirmed: bool,
    /// Members without a usable number who will have to enrol before they can log in (D-5).
    #[serde(default)]
    pub acknowledged: Vec<MemberId>,
    /// Until when it is not enforced.
    #[serde(default, deserialize_with = "moment_or_none")]
    #[schemars(with = "Option<Moment>")]
    pub grace_until: Option<Timestamp>,
    /// The admin's verified challenge.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

impl RequestBody for EnableMandate {
    const KEY: &'static str = "team.mandate.enable";
    const QUEUE: Queue = Queue::TeamSettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

/// 2FA is each member's own choice again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableMandate {
    /// The account.
    pub account: AccountId,
    /// The primary admin who asks.
    pub actor: MemberId,
    /// The admin's verified challenge.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

impl RequestBody for DisableMandate {
    const KEY: &'static str = "team.mandate.disable";
    const QUEUE: Queue = Queue::TeamSettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

/// An admin turns 2FA on for one member, who verifies at the next login.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct EnableMember {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The admin who asks.
    pub actor: MemberId,
    /// Until when a mandate is not enforced for this member.
    #[serde(default, deserialize_with = "moment_or_none")]
    #[schemars(with = "Option<Moment>")]
    pub grace_until: Option<Timestamp>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

impl RequestBody for EnableMember {
    const KEY: &'static str = "team.member.enable";
    const QUEUE: Queue = Queue::TeamSettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

/// An admin turns 2FA off for one member, with the admin's own code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableMember {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The admin who asks.
    pub actor: MemberId,
    /// The admin's verified challenge.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

impl RequestBody for DisableMember {
    const KEY: &'static str = "team.member.disable";
    const QUEUE: Queue = Queue::TeamSettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

fn moment_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let wrong = "is no time as 2026-01-02T03:04:05Z, in a year from 1970 to 9999";
    moment(&text).map(Some).ok_or_else(|| D::Error::custom(wrong))
}

/// The requests of this area.
pub(super) const REQUESTS: &[RequestDecl] = &[
    RequestDecl::of::<ReviewContacts>(),
    RequestDecl::of::<EnableMandate>(),
    RequestDecl::of::<DisableMandate>(),
    RequestDecl::of::<EnableMember>(),
    RequestDecl::of::<DisableMember>(),
];
