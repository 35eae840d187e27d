//! The member: a person within an account.

use super::email::EmailAddress;
use super::id::{AccountId, MemberId};
use super::keys::{Keyring, Place};
use super::phone::{Country, PhoneNumber};
use super::string_enum::string_enum;
use super::{Chance, Timestamp};
use std::time::Duration;
use zeroize::Zeroizing;

string_enum! {
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

string_enum! {
    /// What is found of a member's contacts.
    Contacts {
        /// Nothing stands in the way.
        Ok = "ok",
        /// No number.
        NoPhone = "no_phone",
        /// A number that no code has proved: the next login does.
        UnverifiedPhone = "unverified_phone",
        /// A number that takes no SMS, reads otherwise today, or is in a country that codes may not go to.
        UnsupportedType = "unsupported_type",
        /// A number that belongs to a company.
        CompanyOwned = "company_owned",
        /// No address.
        NoEmail = "no_email",
        /// An address that is not confirmed.
        UnverifiedEmail = "unverified_email",
        /// A number that another member of the account has, too.
        Duplicate = "duplicate",
    }
}

impl Contacts {
    /// Whether a member of whom this is found cannot get a code at all.
    pub const fn blocks(self) -> bool {
        matches!(self, Self::NoPhone | Self::UnsupportedType | Self::CompanyOwned)
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
    /// Since when the number is known to belong to a company: no code goes there.
    pub phone_owned_at: Option<Timestamp>,
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
    /// Whether 2FA was turned on by the account's mandate, and so goes with it.
    pub factor_by_mandate: bool,
    /// Until when the mandate is not enforced for this member.
    pub grace_until: Option<Timestamp>,
    /// When the number last changed, or support reset the factor.
    pub factor_changed_at: Option<Timestamp>,
    /// When support reset the factor, until the member has enrolled again.
    pub reset_at: Option<Timestamp>,
    /// When the address was last proved in order to bind a number.
    pub email_proved_at: Option<Timestamp>,
    /// The address before the present one, sealed: it hears of changes for a while.
    pub email_before: Option<Vec<u8>>,
    /// Since when the address is another.
    pub email_changed_at: Option<Timestamp>,
    /// Wrong codes in a row.
    pub wrong_in_a_row: i32,
    /// No guess is compared before this moment.
    pub guess_after: Option<Timestamp>,
    /// The factor is suspended since then: no login, until support resets it.
    pub suspended_at: Option<Timestamp>,
}

impl Member {
    /// A member of whom nothing is known yet: no contacts, 2FA off.
    pub fn new(account: &AccountId, id: &MemberId) -> Self {
        Self {
            account: account.clone(),
            id: id.clone(),
            version: 0,
            active: true,
            role: Role::Member,
            locale: "en".to_owned(),
            phone: None,
            phone_prefix_index: None,
            phone_country: None,
            phone_textable: false,
            phone_verified_at: None,
            phone_owned_at: None,
            email: None,
            email_verified: false,
            two_factor: false,
            email_backup: false,
            notify_number_changes: false,
            factor_by_mandate: false,
            grace_until: None,
            factor_changed_at: None,
            reset_at: None,
            email_proved_at: None,
            email_before: None,
            email_changed_at: None,
            wrong_in_a_row: 0,
            guess_after: None,
            suspended_at: None,
        }
    }

    /// Sets or removes the number. One that differs from the number before is unverified.
    pub fn set_phone(
        &mut self,
        number: Option<&PhoneNumber>,
        keys: &Keyring,
        rng: &mut dyn Chance,
    ) {
        let new = number.map(|n| keys.blind("phone", n.e164()).to_vec());
        if new.is_some() && new == self.phone.as_ref().map(|phone| phone.index.clone()) {
            // Sealing it anew would look like a change.
            return;
        }
        self.phone = number.zip(new).map(|(number, index)| Contact {
            sealed: keys.seal(&self.place("phone"), number.e164().as_bytes(), rng),
            index,
        });
        self.phone_prefix_index = number.map(|n| keys.blind("phone_prefix", n.prefix()).to_vec());
        self.phone_country = number.map(PhoneNumber::country);
        self.phone_textable = number.is_some_and(PhoneNumber::textable);
        (self.phone_verified_at, self.phone_owned_at) = (None, None);
        if self.phone.is_some() {
            self.reset_at = None;
        }
    }

    /// Sets or removes the address. One that differs from the address before is unconfirmed.
    pub fn set_email(
        &mut self,
        email: Option<&EmailAddress>,
        keys: &Keyring,
        rng: &mut dyn Chance,
    ) {
        let new = email.map(|e| keys.blind("email", &e.folded()).to_vec());
        if new.is_some() && new == self.email.as_ref().map(|email| email.index.clone()) {
            return;
        }
        self.email = email.zip(new).map(|(email, index)| Contact {
            sealed: keys.seal(&self.place("email"), email.as_str().as_bytes(), rng),
            index,
        });
        self.email_verified = false;
    }

    fn place<'a>(&'a self, kind: &'a str) -> Place<'a> {
        Place::Contact(self.account.as_str(), self.id.as_str(), kind)
    }

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
        let bytes = keys.open(&self.place(kind), &contact.sealed).ok()?;
        std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    /// Whether an SMS with a code can reach the member, as far as is known.
    pub fn has_usable_phone(&self) -> bool {
        self.phone.is_some() && self.phone_textable && self.phone_owned_at.is_none()
    }

    /// Whether the member has to bind a number before logging in: 2FA is on by a mandate, or
    /// support has reset it, and there is no usable number.
    pub fn must_enrol(&self, mandatory: bool) -> bool {
        let by_mandate = self.factor_by_mandate || (mandatory && !self.two_factor);
        (by_mandate || self.reset_at.is_some()) && !self.has_usable_phone()
    }

    /// The address before the present one, if it has changed within `window`. It hears of what
    /// happens to the factor, too, so that who has taken over an account cannot hide it.
    pub fn email_before_in_clear(
        &self,
        window: Duration,
        keys: &Keyring,
        now: Timestamp,
    ) -> Option<Zeroizing<String>> {
        self.email_changed_at.filter(|at| now < *at + window)?;
        let bytes = keys.open(&self.place("email"), self.email_before.as_deref()?).ok()?;
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
