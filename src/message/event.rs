//! What happened. Past tense, one flat body: a subscriber reads the fields it knows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::envelope::{Exchange, Outgoing};
use super::kind::{Message, Rejected, Subject};
use crate::domain::Timestamp;
use crate::domain::challenge::{Channel, Purpose};
use crate::domain::id::{AccountId, AppName, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::schema::Moment;
use crate::domain::string_enum::string_enum;

string_enum! {
    /// The kinds of events: the routing key without the account.
    EventKind {
        /// A challenge was opened and its first SMS granted.
        ChallengeIssued = "challenge.issued",
        /// A further send was granted.
        ChallengeResent = "challenge.resent",
        /// Email may now be chosen for a resend.
        EmailEligible = "challenge.email_eligible",
        /// The right code came in time. Terminal.
        ChallengeVerified = "challenge.verified",
        /// Its life ran out. Terminal.
        ChallengeExpired = "challenge.expired",
        /// Too many wrong codes. Terminal.
        ChallengeLocked = "challenge.locked",
        /// Ended by the app or by a change to the member. Terminal.
        ChallengeCancelled = "challenge.cancelled",
        /// A newer one took its place. Terminal.
        ChallengeSuperseded = "challenge.superseded",
        /// No message with the code could be sent. Terminal.
        ChallengeUndeliverable = "challenge.undeliverable",
        /// No challenge was issued. Terminal for the request.
        ChallengeRefused = "challenge.refused",
        /// A wrong code.
        GuessFailed = "guess.failed",
        /// Too many wrong codes in 24 hours: no new challenge until the window moves.
        GuessLimitReached = "guess.limit_reached",
        /// Too many wrong codes in 30 days: the factor is suspended until support resets it.
        FactorSuspended = "factor.suspended",
        /// 2FA was turned on.
        FactorEnabled = "factor.enabled",
        /// 2FA was turned off.
        FactorDisabled = "factor.disabled",
        /// Support has reset a member's factor: the member enrols again.
        FactorReset = "factor.reset",
        /// A review of contacts is done.
        ReviewFinished = "review.finished",
        /// An account has made 2FA mandatory.
        MandateEnabled = "mandate.enabled",
        /// An account has ended its mandate.
        MandateDisabled = "mandate.disabled",
        /// A mandate, or its end, has come to every member.
        MandateApplied = "mandate.applied",
        /// Support has asked for the reset of a member's factor.
        ResetRequested = "reset.requested",
        /// A second person has approved it: it is carried out when its hold is over.
        ResetApproved = "reset.approved",
        /// It was cancelled in time.
        ResetCancelled = "reset.cancelled",
        /// An approved change of a setting is carried out: the app has asked for the go-ahead.
        SettingRedeemed = "setting.redeemed",
        /// An approved change of a setting is not carried out: the setting had changed meanwhile.
        SettingStale = "setting.stale",
        /// A provider took a message.
        DeliveryAccepted = "delivery.accepted",
        /// A provider refused a message, or never took it.
        DeliveryFailed = "delivery.failed",
        /// A provider may or may not have taken a message.
        DeliveryUnknown = "delivery.unknown",
        /// A message was not sent, since the facts no longer allowed it.
        DeliverySkipped = "delivery.skipped",
        /// An account was registered or changed.
        AccountChanged = "account.changed",
        /// A member was registered or changed.
        MemberChanged = "member.changed",
        /// A member's number was changed or removed.
        PhoneChanged = "member.phone_changed",
        /// A member's number turns out to belong to a company: no code goes there any more.
        NumberOwned = "member.number_owned",
        /// A member's number belongs to no company any more.
        NumberReleased = "member.number_released",
        /// A member has confirmed their address.
        EmailVerified = "member.email_verified",
        /// An account's list of its own numbers was changed.
        OwnedNumbersChanged = "account.owned_numbers_changed",
        /// A directory request was refused.
        DirectoryRefused = "directory.refused",
        /// A notice was handed to the mail server.
        NoticeSent = "notice.sent",
        /// A notice was not sent, and will not be.
        NoticeDropped = "notice.dropped",
    }
}

impl EventKind {
    /// Whether a challenge ends with it.
    pub const fn terminal(self) -> bool {
        matches!(
            self,
            Self::ChallengeVerified
                | Self::ChallengeExpired
                | Self::ChallengeLocked
                | Self::ChallengeCancelled
                | Self::ChallengeSuperseded
                | Self::ChallengeUndeliverable
                | Self::ChallengeRefused
        )
    }
}

/// An event before it has an id and a time. Fields that do not apply are left out.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The account; absent where the one asked for is not the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// The challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ChallengeId>,
    /// The pending login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginId>,
    /// What the challenge proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Which setting is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<SettingName>,
    /// The digest of the change of a setting, as the outcome `open` and the approval carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// By which way a message went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Which send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<i16>,
    /// How it was proved (RFC 8176): the weakest channel claimed before the verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<&'static str>>,
    /// A word of a closed set that says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Wrong codes left before the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_left: Option<i16>,
    /// When the challenge's life ends.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub expires_at: Option<Timestamp>,
    /// From when on a resend is granted.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub resend_available_at: Option<Timestamp>,
    /// Who made a change, if not the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<MemberId>,
    /// The number before a change, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_number: Option<String>,
    /// The number after a change, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_number: Option<String>,
    /// The directory's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Uuid>,
    /// The review of contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<Uuid>,
    /// The reset of a factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Uuid>,
    /// How many members it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<i64>,
    /// When it will be carried out.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub due_at: Option<Timestamp>,
}

impl Event {
    /// An event of this kind with nothing but the account.
    pub const fn new(kind: EventKind, account: Option<AccountId>) -> Self {
        Self {
            kind,
            account,
            app: None,
            member: None,
            challenge: None,
            login: None,
            purpose: None,
            setting: None,
            operation: None,
            channel: None,
            send: None,
            amr: None,
            reason: None,
            attempts_left: None,
            expires_at: None,
            resend_available_at: None,
            actor: None,
            old_number: None,
            new_number: None,
            version: None,
            notice: None,
            review: None,
            reset: None,
            members: None,
            due_at: None,
        }
    }

    /// The message that carries it, to `<account>.<noun>.<verb>`; to `_.<noun>.<verb>` where no
    /// account of the app is concerned, since `_` is no account id.
    pub fn outgoing(&self, id: Uuid, now: Timestamp) -> Outgoing {
        // A struct of texts and numbers always serialises.
        let body = serde_json::to_string(&Stamped { id, at: now, event: self }).unwrap_or_default();
        let account = self.account.as_ref().map_or("_", AccountId::as_str);
        Outgoing {
            exchange: Exchange::Events,
            key: format!("{account}.{}", self.kind.label()),
            id,
            body,
            delay: None,
            traceparent: None,
        }
    }
}

/// An event as it travels.
#[derive(Serialize, JsonSchema)]
pub struct Stamped<'a> {
    /// Its id; a second one with the same id is a repeat.
    id: Uuid,
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    event: &'a Event,
}

/// An event as its readers see it: the fields the trail and the notices go by, and the whole body.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EventRecord {
    /// Its id, the key of its row in the trail.
    pub id: Uuid,
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub at: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The account.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// The member.
    #[serde(default)]
    pub member: Option<MemberId>,
    /// The challenge.
    #[serde(default)]
    pub challenge: Option<ChallengeId>,
    /// Who made a change.
    #[serde(default)]
    pub actor: Option<MemberId>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The number before a change, masked.
    #[serde(default)]
    pub old_number: Option<String>,
    /// The number after a change, masked.
    #[serde(default)]
    pub new_number: Option<String>,
    /// The body as it was published.
    #[serde(skip)]
    pub body: Value,
}

impl Message for EventRecord {
    fn read(_: &str, _: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        let record: Self = super::body::parse(body.clone())?;
        Ok(Self { body, ..record })
    }

    fn subject(&self) -> Subject {
        Subject::of(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_event_reads_back_and_is_routed_by_its_account() {
        let account = AccountId::parse("acme").unwrap();
        let event = Event {
            channel: Some(Channel::Sms),
            ..Event::new(EventKind::DeliveryAccepted, Some(account))
        };
        let sent = event.outgoing(Uuid::from_u128(1), datetime!(2026-01-02 03:04:05 UTC));
        assert_eq!(sent.key, "acme.delivery.accepted");
        let body: Value = serde_json::from_str(&sent.body).unwrap();
        let expected = serde_json::json!({
            "id": Uuid::from_u128(1), "at": "2026-01-02T03:04:05Z", "type": "delivery.accepted",
            "account": "acme", "channel": "sms",
        });
        assert_eq!(body, expected);
        assert_eq!(EventRecord::read("", None, body).unwrap().kind, EventKind::DeliveryAccepted);
        assert_eq!(
            Event::new(EventKind::ChallengeRefused, None)
                .outgoing(Uuid::nil(), datetime!(2026-01-02 03:04:05 UTC))
                .key,
            "_.challenge.refused"
        );
    }
}
