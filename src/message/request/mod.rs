//! What apps may ask.

/// A request whose body is read on its own.
macro_rules! request {
    ($ask:ty, $message:ident => $subject:expr) => {
        impl crate::message::Message for crate::message::Request<$ask> {
            fn read(
                key: &str,
                app: Option<crate::domain::id::AppName>,
                body: serde_json::Value,
            ) -> Result<Self, crate::message::Rejected> {
                let app = app.ok_or_else(|| {
                    crate::message::Rejected::malformed(format!("`{key}` is no request"))
                })?;
                static KNOWN: std::sync::LazyLock<Vec<String>> =
                    std::sync::LazyLock::new(crate::message::body::fields_of::<$ask>);
                Ok(Self { app, ask: crate::message::decode::parse_known(body, &KNOWN)? })
            }

            fn subject(&self) -> crate::message::Subject {
                let $message = &self.ask;
                crate::message::Subject::of($subject)
            }
        }
    };
}

mod challenge;
mod directory;
mod factor;
mod setting;
mod support;
mod team;

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::domain::id::AppName;
use crate::domain::schema::schema;

pub use challenge::{
    CancelChallenge, IssueChallenge, LoginPurpose, ResendChallenge, VerifyChallenge,
};
pub use directory::{PutAccount, PutMember, PutOwnedNumbers};
pub use factor::{
    ChangeNumber, ConfirmEmail, DisableFactor, ProveEmail, SendEnrolment, SetEmailBackup,
    StartEnrolment,
};
pub use setting::{RedeemApproval, RequestSettingChange};
pub use support::{ApproveReset, CancelReset, RequestReset};
pub use team::{DisableMandate, DisableMember, EnableMandate, EnableMember, ReviewContacts};

/// Every request key, and the fields of its body that travel sealed.
const REQUESTS: &[(&str, &[&str])] = &[
    ("challenge.issue", &[]),
    ("challenge.resend", &[]),
    ("challenge.verify", &["guess"]),
    ("challenge.cancel", &[]),
    ("enrolment.start", &["phone"]),
    ("enrolment.send", &["phone"]),
    ("number.change", &["phone"]),
    ("factor.disable", &[]),
    ("email_backup.set", &[]),
    ("email.prove", &[]),
    ("email.confirm", &["guess"]),
    ("settings.change.request", &["before", "after", "summary"]),
    ("settings.change.redeem", &["before"]),
    ("team.review", &[]),
    ("team.mandate.enable", &[]),
    ("team.mandate.disable", &[]),
    ("team.member.enable", &[]),
    ("team.member.disable", &[]),
    ("support.reset.request", &[]),
    ("support.reset.approve", &[]),
    ("support.reset.cancel", &[]),
    ("directory.account", &[]),
    ("directory.owned_numbers", &["numbers"]),
    ("directory.member", &["phone", "email"]),
];

/// Whether messages with this key come from apps.
pub(super) fn is_request(key: &str) -> bool {
    REQUESTS.iter().any(|(request, _)| *request == key)
}

/// The fields that travel sealed under this key; of a list, each of its texts.
pub(super) fn sealed_fields(key: &str) -> &'static [&'static str] {
    REQUESTS.iter().find(|(request, _)| *request == key).map_or(&[], |(_, fields)| fields)
}

/// A text that must not be seen. Its `Debug` shows nothing; it is wiped when dropped.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one who must read it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

schema!(Secret, "Sealed", {
    "type": "string",
    "pattern": "^[a-z0-9-]{1,16}\\.[A-Za-z0-9+/]+={0,2}$",
    "description": "a libsodium sealed box to stepup's public key: `<kid>.<base64>`"
});

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A request and the app that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<T> {
    /// Who asks.
    pub app: AppName,
    /// What.
    pub ask: T,
}
