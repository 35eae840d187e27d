//! The challenge: one open demand for proof, and how it ends.

use super::Timestamp;
use super::account::EmailFallback;
use super::code::CodeDigest;
use super::id::{AccountId, ChallengeId, LoginId, MemberId};

/// Declares an enum with one fixed word per variant: the word in the database, in messages and on
/// metrics.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The variant of a word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.label())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                Self::parse(&word).ok_or_else(|| {
                    serde::de::Error::custom(concat!("is not one of", $(" `", $word, "`",)+))
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word,)+] })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a challenge proves.
    Purpose {
        /// A login: the second step after the password.
        Login = "login",
    }
}

words! {
    /// By which way a code travels. SMS is always first; email is a fallback, never a factor.
    Channel {
        /// A text message.
        Sms = "sms",
        /// A mail.
        Email = "email",
    }
}

words! {
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

words! {
    /// Why a challenge was cancelled.
    CancelReason {
        /// The app asked for it.
        Requested = "requested",
        /// 2FA was switched off meanwhile.
        FactorDisabled = "factor_disabled",
        /// The member was deactivated meanwhile.
        MemberDeactivated = "member_deactivated",
        /// The number the code went to is no longer the member's.
        TargetChanged = "target_changed",
    }
}

words! {
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
    /// The pending login it completes.
    pub login: LoginId,
    /// What it proves.
    pub purpose: Purpose,
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
    /// Blind index of the number on the day of issue.
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
    /// Whether the code may still be entered at `now`.
    pub fn live(&self, now: Timestamp) -> bool {
        self.state == State::Open && now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
