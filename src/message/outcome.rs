//! The answer to a request: what goes to `reply_to`, and over HTTP into the body.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::{Channel, Purpose, State};
use crate::domain::id::ChallengeId;
use crate::domain::schema::Moment;
use crate::domain::string_enum::string_enum;

string_enum! {
    /// What became of a request. Refusals say no more than they must.
    OutcomeKind {
        /// The challenge is open; a code is on its way or was sent.
        Open = "open",
        /// A code was sent once more.
        Resent = "resent",
        /// No code is needed: 2FA is off, or a mandate is not enforced for the member yet.
        NotRequired = "not_required",
        /// An enrolment can begin: this is where the code would go. Nothing was sent.
        Ready = "ready",
        /// 2FA is on already: nothing to do.
        AlreadyEnabled = "already_enabled",
        /// 2FA is off: turn it on first, or there is nothing to turn off.
        NotEnabled = "not_enabled",
        /// The account has made 2FA mandatory: it cannot be turned off.
        MandatoryByAccount = "mandatory_by_account",
        /// The member must bind a number before logging in: begin the enrolment, by the address.
        EnrolmentRequired = "enrolment_required",
        /// The member must bind a number, and has no address to begin with: an admin must help.
        ContactAdmin = "contact_admin",
        /// The actor may not do this in this account.
        Forbidden = "forbidden",
        /// The review of contacts has begun.
        Reviewing = "reviewing",
        /// Members without a usable number are not acknowledged by name.
        NotAcknowledged = "not_acknowledged",
        /// No primary admin of the account has a usable number.
        NoAdminPhone = "no_admin_phone",
        /// Sensitive settings are held after a change of number or a reset; see `retry_after`.
        CoolingOff = "cooling_off",
        /// The reset was asked for, or approved, or cancelled.
        Recorded = "recorded",
        /// The account lets only members with 2FA on change this setting.
        FactorRequired = "factor_required",
        /// The change may be carried out, now and once.
        Redeemed = "redeemed",
        /// The setting has changed meanwhile: nothing may be carried out.
        Stale = "stale",
        /// The right code, for what the challenge is for: for a login, it may be completed.
        Verified = "verified",
        /// Not the right code.
        WrongCode = "wrong_code",
        /// What was typed cannot be the code: nothing was compared, and it does not count.
        InvalidGuess = "invalid_guess",
        /// Too many wrong codes: the challenge has ended.
        Locked = "locked",
        /// The challenge's life is over.
        Expired = "expired",
        /// The code was used before.
        AlreadyUsed = "already_used",
        /// The challenge was cancelled.
        Cancelled = "cancelled",
        /// The number or address the code went to is no longer the member's.
        TargetChanged = "target_changed",
        /// A newer challenge for the same has taken its place.
        Superseded = "superseded",
        /// No message with the code could be sent.
        Undeliverable = "undeliverable",
        /// Too early for a resend; see `retry_after`.
        Cooldown = "cooldown",
        /// Nothing can be sent any more: it would come too late for the challenge's life.
        DeliveryTooLate = "delivery_too_late",
        /// Every send of this challenge is used up.
        SendsUsedUp = "sends_used_up",
        /// Email cannot be chosen for this challenge, or not yet.
        EmailNotEligible = "email_not_eligible",
        /// Too many messages to this number; see `retry_after`.
        TooManySends = "too_many_sends",
        /// Too many wrong codes in a row; nothing was compared; see `retry_after`.
        Wait = "wait",
        /// Too many wrong codes in a day: no new challenge until `retry_after` is over.
        TooManyWrongCodes = "too_many_wrong_codes",
        /// The factor is suspended: support must reset it.
        Suspended = "suspended",
        /// The member has no number that codes can go to.
        NoPhone = "no_phone",
        /// The number takes no SMS.
        PhoneUnsupported = "phone_unsupported",
        /// Codes may not be sent to the number's country.
        CountryNotAllowed = "country_not_allowed",
        /// The number belongs to a company: a person's own is needed.
        CompanyOwnedNumber = "company_owned_number",
        /// A code was mailed to the member's address, to confirm it.
        CodeMailed = "code_mailed",
        /// The member has no email address.
        NoEmail = "no_email",
        /// The member has no confirmed email address.
        EmailUnverified = "email_unverified",
        /// The account, member or challenge is not known to this app, or the member is not active.
        NotFound = "not_found",
        /// The directory took the change.
        Stored = "stored",
        /// The directory holds this or a newer version: nothing was changed.
        Outdated = "outdated",
        /// A field of the request cannot be used.
        Invalid = "invalid",
        /// The request could not be understood, or its id was used for another one.
        Refused = "refused",
    }
}

/// An outcome. Fields that do not apply are left out.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Outcome {
    /// What became of the request.
    pub outcome: OutcomeKind,
    /// The challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ChallengeId>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// What the challenge proves, if not a login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// By which way the code goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Where to, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// When the challenge's life ends.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub expires_at: Option<Timestamp>,
    /// From when on a resend is granted.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub resend_available_at: Option<Timestamp>,
    /// Seconds until it is worth trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<i64>,
    /// Wrong codes left before the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_left: Option<i16>,
    /// How it was proved (RFC 8176).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<&'static str>>,
    /// The digest of the change of a setting, as the approval will carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What the app carries an approved change out by: a JWT signed with our Ed25519 key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The review of contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<Uuid>,
    /// The reset of a factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Uuid>,
    /// When the reset will be carried out.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub due_at: Option<Timestamp>,
    /// Until when the account's mandate is not enforced for this member.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub enrol_by: Option<Timestamp>,
    /// The field that cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    /// A sentence for the developer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Outcome {
    /// The sentence of a `refused` whose id was used before.
    pub const ID_REUSED: &'static str =
        "the message_id was used for another request: take a new one";

    /// The bare outcome.
    pub const fn new(outcome: OutcomeKind) -> Self {
        Self {
            outcome,
            challenge: None,
            state: None,
            purpose: None,
            channel: None,
            destination: None,
            expires_at: None,
            resend_available_at: None,
            retry_after: None,
            attempts_left: None,
            amr: None,
            operation: None,
            approval: None,
            review: None,
            reset: None,
            due_at: None,
            enrol_by: None,
            field: None,
            detail: None,
        }
    }

    /// The answer to a request of which a field of ours has a wrong value.
    pub fn invalid(field: &'static str, why: &str) -> Self {
        let detail = Some(why.to_owned());
        Self { field: Some(field), detail, ..Self::new(OutcomeKind::Invalid) }
    }

    /// The JSON body of the answer to a request of which a field cannot be understood. Its name need
    /// not be one of ours.
    pub fn body_of_invalid(field: Option<&str>, detail: &str) -> String {
        let kind = OutcomeKind::Invalid;
        match field {
            Some(field) => json!({ "outcome": kind, "field": field, "detail": detail }),
            None => json!({ "outcome": kind, "detail": detail }),
        }
        .to_string()
    }

    /// The JSON body.
    pub fn body(&self) -> String {
        // A struct of texts and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}
