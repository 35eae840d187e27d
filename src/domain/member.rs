//! The member: a person within an account.

use super::Timestamp;
use super::challenge::words;
use super::id::{AccountId, MemberId};
use super::keys::{Keyring, Place};
use super::phone::Country;
use zeroize::Zeroizing;

words! {
    /// What a member may do in the account.
    Role {
        /// Owns the account.
        PrimaryAdmin = "primary_admin",
        /// Manages the team.
        Admin = "admin",
        /// Anybody else.
        Member = "member",
    }
}

/// A contact as stored: sealed, with what equality and limits need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The contact, sealed.
    pub sealed: Vec<u8>,
    /// Its blind index.
    pub index: Vec<u8>,
}

/// A member as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// The id within the account.
    pub id: MemberId,
    /// The version of the directory's last upsert.
    pub version: i64,
    /// Whether the member may log in at all.
    pub active: bool,
    /// What the member may do.
    pub role: Role,
    /// Language of texts, as the app gave it (BCP 47).
    pub locale: String,
    /// The number codes go to.
    pub phone: Option<Contact>,
    /// Blind index of the number without its last four digits.
    pub phone_prefix_index: Option<Vec<u8>>,
    /// Where the number is registered.
    pub phone_country: Option<Country>,
    /// Whether numbering metadata allows SMS to it.
    pub phone_textable: bool,
    /// When a code sent to the number was verified.
    pub phone_verified_at: Option<Timestamp>,
    /// The address.
    pub email: Option<Contact>,
    /// Whether the app says the address is confirmed.
    pub email_verified: bool,
    /// 2FA on or off.
    pub two_factor: bool,
    /// Whether email may serve as a backup.
    pub email_backup: bool,
    /// Whether a primary admin wants to hear of changed numbers.
    pub notify_number_changes: bool,
    /// Wrong codes in a row.
    pub wrong_in_a_row: i32,
    /// No guess is compared before this moment.
    pub guess_after: Option<Timestamp>,
    /// The factor is suspended since then: no login, until support resets it.
    pub suspended_at: Option<Timestamp>,
}

impl Member {
    /// The address that may carry a code as a backup, if any.
    pub fn backup_email(&self) -> Option<&Contact> {
        self.email.as_ref().filter(|_| self.email_backup && self.email_verified)
    }

    /// The number as E.164. `None` without one, or if it was sealed with a key that is lost.
    pub fn phone_in_clear(&self, keys: &Keyring) -> Option<Zeroizing<String>> {
        self.clear(self.phone.as_ref()?, "phone", keys)
    }

    /// The address. `None` without one, or if it was sealed with a key that is lost.
    pub fn email_in_clear(&self, keys: &Keyring) -> Option<Zeroizing<String>> {
        self.clear(self.email.as_ref()?, "email", keys)
    }

    fn clear(&self, contact: &Contact, kind: &str, keys: &Keyring) -> Option<Zeroizing<String>> {
        let place = Place::Contact(self.account.as_str(), self.id.as_str(), kind);
        let bytes = keys.open(&place, &contact.sealed).ok()?;
        std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    /// Whether the member hears of changed numbers: only a primary admin with an address does.
    pub fn hears_of_number_changes(&self) -> bool {
        self.active
            && self.role == Role::PrimaryAdmin
            && self.notify_number_changes
            && self.email.is_some()
    }
}
