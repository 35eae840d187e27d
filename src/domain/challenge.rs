//! The challenge: one open demand for proof, and how it ends.

use super::Timestamp;
use super::account::EmailFallback;
use super::code::{Binding, CodeDigest};
use super::id::{AccountId, ChallengeId, LoginId, MemberId, SettingName};
use super::keys::{Keyring, Place};
use super::string_enum::string_enum;
use zeroize::Zeroizing;

string_enum! {
    /// What a challenge proves.
    Purpose {
        /// A login: the second step after the password.
        Login = "login",
        /// Turning 2FA on: that the number is the member's.
        Enrolment = "enrolment",
        /// A change of number, first step with 2FA on: that it is the member who asks.
        NumberChangeCurrent = "number_change_current",
        /// A change of number, last step: that the new number is the member's.
        NumberChangeNew = "number_change_new",
        /// Turning 2FA off.
        Disable = "disable",
        /// One exact change of a sensitive setting.
        Setting = "setting",
        /// A change to the 2FA of others: that the admin who makes it is the one who asks.
        Team = "team",
    }
}

impl Purpose {
    /// Whether email may back up the SMS (D-2). Where the phone itself is proved, it may not.
    pub const fn email_may_back_up(self) -> bool {
        matches!(self, Self::Login | Self::Setting)
    }

    /// Whether the code goes to the number that the verification binds to the member, rather than
    /// to the one that is bound already.
    pub const fn binds_number(self) -> bool {
        matches!(self, Self::Enrolment | Self::NumberChangeNew)
    }

    /// Whether 2FA has to be on while the challenge is open, or off; `None` where either will do.
    pub const fn factor_must_be(self) -> Option<bool> {
        match self {
            Self::Login
            | Self::NumberChangeCurrent
            | Self::Disable
            | Self::Setting
            | Self::Team => Some(true),
            Self::Enrolment => Some(false),
            Self::NumberChangeNew => None,
        }
    }
}

string_enum! {
    /// By which way a code travels. SMS is always first; email is a fallback, never a factor.
    Channel {
        /// A text message.
        Sms = "sms",
        /// A mail.
        Email = "email",
    }
}

string_enum! {
    /// Where a challenge stands. All but `open` are final.
    State {
        /// Waiting for the code.
        Open = "open",
        /// The right code came in time.
        Verified = "verified",
        /// Its life ran out.
        Expired = "expired",
        /// Too many wrong codes.
        Locked = "locked",
        /// Ended by the app, or by a change to the member.
        Cancelled = "cancelled",
        /// A newer challenge took its place.
        Superseded = "superseded",
        /// No message with the code could be sent.
        Undeliverable = "undeliverable",
    }
}

string_enum! {
    /// Why a challenge was cancelled.
    CancelReason {
        /// The app asked for it.
        Requested = "requested",
        /// 2FA was switched off meanwhile.
        FactorDisabled = "factor_disabled",
        /// 2FA was switched on meanwhile.
        FactorEnabled = "factor_enabled",
        /// The member was deactivated meanwhile.
        MemberDeactivated = "member_deactivated",
        /// The number the code went to is no longer the member's.
        TargetChanged = "target_changed",
        /// The number the code went to belongs to a company.
        CompanyOwnedNumber = "company_owned_number",
        /// The account has made 2FA mandatory meanwhile.
        MandatoryByAccount = "mandatory_by_account",
    }
}

string_enum! {
    /// Where one delivery of a code stands.
    AttemptState {
        /// Granted, not yet picked up.
        Queued = "queued",
        /// Claimed: the provider is being called.
        Calling = "calling",
        /// The provider took it. That is not proof of arrival.
        Accepted = "accepted",
        /// The provider refused it, or never took it.
        Failed = "failed",
        /// The provider may or may not have taken it; not sent again by itself.
        Unknown = "unknown",
        /// Not sent, since the facts no longer allowed it.
        Skipped = "skipped",
    }
}

/// A challenge as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The pending login it completes; for a setting, the app's name of the change; for a member's
    /// own factor, the purpose, since there is one of each at a time.
    pub login: LoginId,
    /// What it proves.
    pub purpose: Purpose,
    /// What exactly is approved, as a digest that the code is bound to. Empty where the
    /// purpose says it all.
    pub operation: Vec<u8>,
    /// Which setting is changed, if one is.
    pub setting: Option<SettingName>,
    /// Sealed: the number to bind, as E.164, or the summary of the change of a setting. Gone once
    /// the challenge has ended.
    pub detail_sealed: Option<Vec<u8>>,
    /// Where it stands.
    pub state: State,
    /// Why it was cancelled, if it was.
    pub reason: Option<CancelReason>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From this moment on no code is right.
    pub expires_at: Timestamp,
    /// The digest of the code.
    pub digest: CodeDigest,
    /// The deliverable copy of the code; gone once the challenge has ended.
    pub code_sealed: Option<Vec<u8>>,
    /// Blind index of the number that the code goes to.
    pub phone_index: Vec<u8>,
    /// Blind index of the address on the day of issue, if email was a backup then.
    pub email_index: Option<Vec<u8>>,
    /// The account's way with the fallback on the day of issue.
    pub email_fallback: EmailFallback,
    /// Sends granted so far, on both channels.
    pub sends: i16,
    /// Wrong codes so far.
    pub wrong: i16,
    /// From when on a resend is granted.
    pub resend_at: Timestamp,
    /// When the email fallback is due; set when the first SMS is claimed.
    pub fallback_at: Option<Timestamp>,
}

impl Challenge {
    /// The number to bind or the summary of what is approved. `None` without one, or if it was
    /// sealed with a key that is lost.
    pub fn detail_in_clear(&self, keys: &Keyring) -> Option<Zeroizing<String>> {
        let place = Place::Detail(self.id.0.as_bytes());
        let clear = keys.open(&place, self.detail_sealed.as_deref()?).ok()?;
        std::str::from_utf8(&clear).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    /// What its code is good for.
    pub fn binding(&self) -> Binding<'_> {
        Binding {
            account: &self.account,
            member: &self.member,
            challenge: self.id,
            purpose: self.purpose.label(),
            operation: &self.operation,
        }
    }

    /// How many digits its code has, which is not secret. `None` once the code is gone.
    pub fn code_digits(&self) -> Option<usize> {
        Keyring::clear_length(self.code_sealed.as_deref()?)
    }

    /// Whether the code may still be entered at `now`.
    pub fn live(&self, now: Timestamp) -> bool {
        self.state == State::Open && now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_email_backs_up_logins_and_settings_only() {
        let with: Vec<_> = Purpose::ALL.iter().filter(|p| p.email_may_back_up()).collect();
        assert_eq!(with, [&Purpose::Login, &Purpose::Setting]);
    }

    #[test]
    fn every_word_reads_back_as_itself() {
        for state in State::ALL {
            assert_eq!(State::parse(state.label()), Some(*state));
        }
        assert_eq!(State::parse("Open"), None);
        assert!(
            serde_json::from_str::<Channel>("\"fax\"").unwrap_err().to_string().contains("`email`")
        );
    }
}
