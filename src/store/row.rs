//! From rows to the types of the domain. A value that our own constraints should have kept out is a
//! permanent fault, never a panic.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::domain::account::{Account, EmailFallback};
use crate::domain::challenge::{AttemptState, CancelReason, Challenge, Channel, Purpose, State};
use crate::domain::code::CodeDigest;
use crate::domain::id::{
    AccountId, AppName, ChallengeId, InvalidId, LoginId, MemberId, SettingName,
};
use crate::domain::keys::KeyId;
use crate::domain::member::{Contact, Member, Role};
use crate::domain::phone::Country;
use crate::fault::Fault;

pub(super) const CHALLENGE: &str = "c.id, c.account, c.member, c.login, c.purpose, c.state, \
    c.reason, c.created_at, c.expires_at, c.code_kid, c.code_mac, c.code_sealed, c.phone_index, \
    c.email_index, c.email_fallback, c.sends, c.wrong, c.resend_at, c.fallback_at, \
    c.operation, c.setting, c.detail_sealed";

pub(super) const MEMBER: &str = "m.account, m.member, m.version, m.active, m.role, m.locale, \
    m.phone, m.phone_index, m.phone_prefix_index, m.phone_country, m.phone_textable, \
    m.phone_verified_at, m.email, m.email_index, m.email_verified, m.two_factor, m.email_backup, \
    m.notify_number_changes, m.wrong_in_a_row, m.guess_after, m.suspended_at, m.phone_owned_at, \
    m.factor_by_mandate, m.grace_until, m.factor_changed_at, m.reset_at, m.email_proved_at, \
    m.email_before, m.email_changed_at";

/// How many columns [`MEMBER`] has: what a statement selects besides comes behind them.
pub(super) const MEMBER_COLUMNS: usize = 29;

pub(super) const ACCOUNT: &str = "a.account, a.app, a.name, a.origin, a.country, a.countries, a.email_fallback, a.version, \
     a.sensitive_settings, a.require_for_sensitive_settings, a.mandatory, a.owned_numbers_version, \
     a.grace_until";

pub(super) fn foreign(what: &str) -> Fault {
    Fault::Permanent(format!("the database holds a {what} that this version does not know"))
}

/// A column by its place.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(|_| foreign("column"))
}

/// A column that holds a word of a closed set.
pub(super) fn word<T>(row: &Row, column: usize, parse: fn(&str) -> Option<T>) -> Result<T, Fault> {
    parse(get(row, column)?).ok_or_else(|| foreign("word"))
}

/// A column that holds an id.
pub(super) fn id<T>(
    row: &Row,
    column: usize,
    parse: fn(&str) -> Result<T, InvalidId>,
) -> Result<T, Fault> {
    parse(get(row, column)?).map_err(|_| foreign("id"))
}

pub(super) fn challenge(row: &Row) -> Result<Challenge, Fault> {
    let kid = KeyId::parse(get(row, 9)?).ok_or_else(|| foreign("key id"))?;
    let mac: &[u8] = get(row, 10)?;
    let mac = mac.try_into().map_err(|_| foreign("digest"))?;
    let reason: Option<&str> = get(row, 6)?;
    let setting: Option<&str> = get(row, 20)?;
    Ok(Challenge {
        id: ChallengeId(get(row, 0)?),
        account: id(row, 1, AccountId::parse)?,
        member: id(row, 2, MemberId::parse)?,
        login: id(row, 3, LoginId::parse)?,
        purpose: word(row, 4, Purpose::parse)?,
        state: word(row, 5, State::parse)?,
        reason: reason.and_then(CancelReason::parse),
        created_at: get(row, 7)?,
        expires_at: get(row, 8)?,
        digest: CodeDigest { kid, mac },
        code_sealed: get(row, 11)?,
        phone_index: get(row, 12)?,
        email_index: get(row, 13)?,
        email_fallback: word(row, 14, EmailFallback::parse)?,
        sends: get(row, 15)?,
        wrong: get(row, 16)?,
        resend_at: get(row, 17)?,
        fallback_at: get(row, 18)?,
        operation: get(row, 19)?,
        setting: setting.map(SettingName::parse).transpose().map_err(|_| foreign("id"))?,
        detail_sealed: get(row, 21)?,
    })
}

pub(super) fn member(row: &Row) -> Result<Member, Fault> {
    let contact = |sealed: usize| -> Result<Option<Contact>, Fault> {
        let both: (Option<Vec<u8>>, Option<Vec<u8>>) = (get(row, sealed)?, get(row, sealed + 1)?);
        Ok(both.0.zip(both.1).map(|(sealed, index)| Contact { sealed, index }))
    };
    let country: Option<&str> = get(row, 9)?;
    Ok(Member {
        account: id(row, 0, AccountId::parse)?,
        id: id(row, 1, MemberId::parse)?,
        version: get(row, 2)?,
        active: get(row, 3)?,
        role: word(row, 4, Role::parse)?,
        locale: get(row, 5)?,
        phone: contact(6)?,
        phone_prefix_index: get(row, 8)?,
        phone_country: country.and_then(Country::parse),
        phone_textable: get(row, 10)?,
        phone_verified_at: get(row, 11)?,
        email: contact(12)?,
        email_verified: get(row, 14)?,
        two_factor: get(row, 15)?,
        email_backup: get(row, 16)?,
        notify_number_changes: get(row, 17)?,
        wrong_in_a_row: get(row, 18)?,
        guess_after: get(row, 19)?,
        suspended_at: get(row, 20)?,
        phone_owned_at: get(row, 21)?,
        factor_by_mandate: get(row, 22)?,
        grace_until: get(row, 23)?,
        factor_changed_at: get(row, 24)?,
        reset_at: get(row, 25)?,
        email_proved_at: get(row, 26)?,
        email_before: get(row, 27)?,
        email_changed_at: get(row, 28)?,
    })
}

/// An account and its version.
pub(super) fn account(row: &Row) -> Result<(Account, i64), Fault> {
    let countries: Vec<&str> = get(row, 5)?;
    let settings: Vec<&str> = get(row, 8)?;
    let account = Account {
        id: id(row, 0, AccountId::parse)?,
        app: id(row, 1, AppName::parse)?,
        name: get(row, 2)?,
        origin: get(row, 3)?,
        country: word(row, 4, Country::parse)?,
        countries: countries.into_iter().filter_map(Country::parse).collect(),
        email_fallback: word(row, 6, EmailFallback::parse)?,
        sensitive_settings: settings
            .into_iter()
            .filter_map(|s| SettingName::parse(s).ok())
            .collect(),
        require_for_sensitive_settings: get(row, 9)?,
        mandatory: get(row, 10)?,
        owned_numbers_version: get(row, 11)?,
        grace_until: get(row, 12)?,
    };
    Ok((account, get(row, 7)?))
}

pub(super) fn attempt(row: &Row, from: usize) -> Result<crate::rules::delivery::Attempt, Fault> {
    Ok(crate::rules::delivery::Attempt {
        channel: word(row, from, Channel::parse)?,
        send: get(row, from + 1)?,
        state: word(row, from + 2, AttemptState::parse)?,
        tries: get(row, from + 3)?,
        lease_until: get(row, from + 4)?,
    })
}
