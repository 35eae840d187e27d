//! What an app may read of a challenge.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::domain::Timestamp;
use crate::domain::challenge::{AttemptState, CancelReason, Channel, Purpose, State};
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::schema::Moment;

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
