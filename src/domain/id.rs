//! Identifiers. Texts are the upstream app's own ids; UUIDs are ours.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest text id, in characters. Long enough for a session id, short enough for an index.
pub const TEXT_ID_MAX: usize = 128;

/// A text that is not a valid id, and what a valid one looks like.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an id is 1 to {TEXT_ID_MAX} of A-Z a-z 0-9 _ - and begins with a letter or digit"
        )
    }
}

/// Neither dot (it separates the words of a routing key) nor `@` nor `+` nor space: what looks like
/// an address or a number is refused before it can end up in a log.
fn valid(text: &str) -> bool {
    text.len() <= TEXT_ID_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the alphabet and the length.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                valid(text).then(|| Self(text.to_owned())).ok_or(InvalidId)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        super::schema::schema!($name, "Id", {
            "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"
        });
    };
}

text_id! {
    /// An upstream app: the owner of accounts, known by its API key and its broker user.
    AppName
}
text_id! {
    /// A company that uses an upstream app.
    AccountId
}
text_id! {
    /// A person within an account.
    MemberId
}
text_id! {
    /// The app's name for one pending login: what the code will complete.
    LoginId
}
text_id! {
    /// A sensitive setting of an account: `bank_account`.
    SettingName
}

/// One open demand for proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChallengeId(pub Uuid);

super::schema::schema!(ChallengeId, "ChallengeId", { "type": "string", "format": "uuid" });

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The namespace of all derived ids of this product.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d1b_41f0_5a0e_4c5d_9c1e_3a52_6c0f_21aa);

/// The id of a request: a function of who asks and how they call it, so that the same request sent
/// twice is one, and no app can collide with another.
pub fn request_id(app: &AppName, message_id: &str) -> Uuid {
    derived(derived(NAMESPACE, app.as_str()), message_id)
}

/// The id of what `cause` brings about. Derived, not drawn: the same cause handled twice names the
/// same effect, and the copy dies in the next inbox.
pub fn derived(cause: Uuid, what: &str) -> Uuid {
    Uuid::new_v5(&cause, what.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_no_dot_no_at_sign_and_no_plus() {
        for good in ["a", "A-1_b", "0", &"x".repeat(TEXT_ID_MAX)] {
            assert!(MemberId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_", "a.b", "a@b", "+1202", "a b", "ä", &"x".repeat(TEXT_ID_MAX + 1)]
        {
            assert!(MemberId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_apps_never_share_a_request_id() {
        let app = |name| AppName::parse(name).unwrap();
        assert_ne!(request_id(&app("a"), "bc"), request_id(&app("ab"), "c"));
        assert_eq!(request_id(&app("a"), "b"), request_id(&app("a"), "b"));
    }
}
