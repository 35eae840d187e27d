//! The account: a company, and what it has decided about codes.

use super::challenge::words;
use super::id::{AccountId, AppName};
use super::phone::Country;

words! {
    /// What happens when the SMS has not led to a verification in time (D-1).
    EmailFallback {
        /// The email is sent by itself.
        Automatic = "automatic",
        /// The email is only offered: a resend may choose it.
        OnRequest = "on_request",
        /// No code ever travels by email in this account.
        Forbidden = "forbidden",
    }
}

/// An account as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The app that registered it, and the only one that may speak for it.
    pub app: AppName,
    /// The name a person knows it by; appears in texts.
    pub name: String,
    /// The web origin the code is bound to: last line of the SMS.
    pub origin: Option<String>,
    /// How national numbers are read.
    pub country: Country,
    /// Countries codes may be sent to.
    pub countries: Vec<Country>,
    /// Its way with the fallback.
    pub email_fallback: EmailFallback,
}
