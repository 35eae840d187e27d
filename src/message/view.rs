//! What an app may read of a challenge.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::{AttemptState, CancelReason, Channel, Purpose, State};
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::member::Contacts;
use crate::domain::schema::Moment;
use crate::domain::string_enum::string_enum;

string_enum! {
    /// Where a review of contacts stands.
    ReviewState {
        /// Members are being looked at.
        Running = "running",
        /// It may be named.
        Done = "done",
        /// It no longer holds: begin another.
        Stale = "stale",
    }
}

/// A review of contacts, and a page of its members.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ReviewView {
    /// The review.
    pub review: Uuid,
    /// The account.
    pub account: AccountId,
    /// Who asked for it.
    pub actor: MemberId,
    /// Where it stands.
    pub state: ReviewState,
    /// Members looked at so far.
    pub checked: i64,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    pub created_at: Timestamp,
    /// Until when it may be named.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    pub expires_at: Timestamp,
    /// When it was done.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub done_at: Option<Timestamp>,
    /// How many members each verdict is about.
    pub counts: BTreeMap<String, i64>,
    /// A page of members, in the order of their ids.
    pub members: Vec<ReviewedMember>,
    /// What to ask for as `after` to go on, if there is more.
    pub next_after: Option<MemberId>,
}

/// What was found of a member's contacts.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ReviewedMember {
    /// The member.
    pub member: MemberId,
    /// What was found; `ok` stands alone.
    pub verdicts: Vec<Contacts>,
}

/// A challenge, its deliveries and its timeline.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChallengeView {
    /// The challenge.
    pub challenge: ChallengeId,
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The pending login.
    pub login: LoginId,
    /// What it proves.
    pub purpose: Purpose,
    /// Which setting is to change, if it proves that.
    pub setting: Option<SettingName>,
    /// The digest of that change, as the outcome `open` and the approval carry it.
    pub operation: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Why it was cancelled.
    pub reason: Option<CancelReason>,
    /// When it was opened.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    pub created_at: Timestamp,
    /// When its life ends.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    pub expires_at: Timestamp,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub ended_at: Option<Timestamp>,
    /// When the first SMS goes, if it had to wait for the number's timer.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub send_at: Option<Timestamp>,
    /// From when on a resend is granted.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    pub resend_available_at: Timestamp,
    /// When the email fallback is due, if the member has one.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub fallback_at: Option<Timestamp>,
    /// Sends granted so far.
    pub sends: i16,
    /// Wrong codes so far.
    pub wrong_codes: i16,
    /// Each send.
    pub deliveries: Vec<DeliveryView>,
    /// Its events, as they were published.
    pub timeline: Vec<Value>,
}

/// A send of the code.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DeliveryView {
    /// By which way.
    pub channel: Channel,
    /// Which send, from 1; 0 is the automatic email.
    pub send: i16,
    /// Where it stands.
    pub state: AttemptState,
    /// The provider's word, or why it was not sent.
    pub reason: Option<String>,
    /// When that was known.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub settled_at: Option<Timestamp>,
}
