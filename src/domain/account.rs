//! The account: a company, and what it has decided about codes.

use super::Timestamp;
use super::id::{AccountId, AppName, SettingName};
use super::phone::Country;
use super::string_enum::string_enum;

string_enum! {
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
    /// Settings whose change takes a code. Data, so that a new one needs no release.
    pub sensitive_settings: Vec<SettingName>,
    /// Whether a member with 2FA off is refused such a change, rather than let through without a
    /// code (D-8).
    pub require_for_sensitive_settings: bool,
    /// Whether 2FA is mandatory for all members: then none can turn it off.
    pub mandatory: bool,
    /// Until when a mandate is not enforced yet.
    pub grace_until: Option<Timestamp>,
    /// The version of the list of its own numbers; 0 before the first.
    pub owned_numbers_version: i64,
}

/// The longest origin, in characters: it must leave room in the one segment of an SMS.
pub const ORIGIN_MAX: usize = 63;

/// The sensitive settings of an account that has said nothing of its own.
pub const SENSITIVE_SETTINGS: [&str; 3] =
    ["bank_account", "instant_payouts", "statement_descriptor"];
