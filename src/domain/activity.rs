//! The Activity report as it is read, and the chain that shows whether it is still as it was
//! written.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Timestamp;
use super::id::MemberId;
use super::schema::{IpText, Moment};
use super::string_enum::string_enum;

string_enum! {
    /// What a row of the report says was done.
    Action {
        /// The number that codes go to is another one, or none.
        NumberChanged = "number_changed",
        /// 2FA is on.
        TwoFactorEnabled = "two_factor_enabled",
        /// 2FA is off.
        TwoFactorDisabled = "two_factor_disabled",
        /// Email backs the SMS up.
        EmailBackupEnabled = "email_backup_enabled",
        /// It no longer does.
        EmailBackupDisabled = "email_backup_disabled",
        /// 2FA is mandatory for the account.
        MandateEnabled = "mandate_enabled",
        /// It no longer is.
        MandateDisabled = "mandate_disabled",
        /// Support was asked to reset a factor.
        ResetRequested = "reset_requested",
        /// A second person at support has agreed.
        ResetApproved = "reset_approved",
        /// The reset was stopped.
        ResetCancelled = "reset_cancelled",
        /// The factor was reset.
        FactorReset = "factor_reset",
    }
}

string_enum! {
    /// On whose behalf it was done.
    Origin {
        /// The member's own.
        Own = "self",
        /// An admin's.
        Admin = "admin",
        /// A mandate of the account.
        Mandate = "mandate",
        /// Support's.
        Support = "support",
    }
}

/// The longest user agent that is kept, in characters. What is longer is cut: it is no reason to
/// refuse a change.
pub const USER_AGENT_MAX: usize = 512;

/// From where the person acts, as far as the app tells: part of each request that can write a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Client {
    /// The address the person acts from, for the Activity report.
    #[serde(default, deserialize_with = "address")]
    #[schemars(with = "Option<IpText>")]
    pub ip: Option<IpAddr>,
    /// The browser the person uses, for the Activity report; kept up to [`USER_AGENT_MAX`]
    /// characters.
    #[serde(default, deserialize_with = "kept")]
    pub user_agent: Option<String>,
}

/// An address. Its error names the field: whoever reads a request cannot tell of which field of a
/// flattened struct an error is.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    Option::deserialize(from)
        .map_err(|_| Error::custom("field `ip`, expected an IPv4 or IPv6 address, or null"))
}

/// A user agent as it is kept. PostgreSQL's texts hold no NUL.
fn kept<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let told: Option<String> = Option::deserialize(from)
        .map_err(|_| Error::custom("field `user_agent`, expected a text or null"))?;
    let kept = told.map(|text| text.chars().filter(|c| *c != '\0').take(USER_AGENT_MAX).collect());
    Ok(kept.filter(|text: &String| !text.is_empty()))
}

/// A row of the report as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Row {
    /// Its number. Later changes have higher ones; a gap means nothing.
    pub seq: i64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Moment")]
    pub at: Timestamp,
    /// The account.
    pub account: String,
    /// The member concerned; `None` for the whole account.
    pub member: Option<String>,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// `self`, `admin`, `mandate` or `support`.
    pub origin: String,
    /// The number before, masked.
    pub old_number: Option<String>,
    /// The number after, masked.
    pub new_number: Option<String>,
    /// The challenge that proved it.
    pub challenge: Option<Uuid>,
    /// From which address.
    pub ip: Option<String>,
    /// With which browser.
    pub user_agent: Option<String>,
}

/// What of a report is asked for. Newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of this member.
    pub member: Option<MemberId>,
    /// Of this action.
    pub action: Option<String>,
    /// Since then, inclusive.
    pub from: Option<Timestamp>,
    /// Until then, exclusive.
    pub to: Option<Timestamp>,
    /// Older than the row with this number. A row that is added later has a higher one, so it never
    /// moves a page.
    pub before: Option<i64>,
    /// Rows at most.
    pub limit: i64,
}

/// A page of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<Row>,
    /// What to ask for as [`Filter::before`] to go on, if there is more.
    pub next: Option<i64>,
}

/// The hash of a row of the chain, and of all before it in its account.
pub type ChainHash = [u8; 32];

/// What the first row of an account is chained to.
pub const CHAIN_START: ChainHash = [0; 32];

/// The end of an account's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The account.
    pub account: String,
    /// How many rows the chain has.
    pub position: i64,
    /// The hash of the last one.
    pub hash: ChainHash,
}

/// A row of the chain as it is stored, and the row of the report that it names, if it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The place in the account's chain, from 1.
    pub position: i64,
    /// Which row of the report.
    pub seq: i64,
    /// The hash as it is stored.
    pub hash: Vec<u8>,
    /// The row of the report.
    pub row: Option<Row>,
}

/// The hash of `row` at `position` of its account, behind `previous`. Every column is in it, with
/// its length in front, and what is absent differs from what is empty.
pub fn chained(previous: &ChainHash, position: i64, row: &Row) -> ChainHash {
    let mut hash = Sha256::new_with_prefix(b"stepup/activity/v1\0");
    hash.update(previous);
    hash.update(position.to_be_bytes());
    hash.update(row.seq.to_be_bytes());
    // The database keeps microseconds.
    hash.update((row.at.unix_timestamp_nanos() / 1000).to_be_bytes());
    // No member's name is empty, so that an empty text here is a row of the whole account.
    let member = row.member.clone().unwrap_or_default();
    for text in [&row.account, &member, &row.actor, &row.action, &row.origin] {
        field(&mut hash, text.as_bytes());
    }
    let challenge = row.challenge.map(|id| id.to_string());
    for text in [&row.old_number, &row.new_number, &challenge, &row.ip, &row.user_agent] {
        hash.update([u8::from(text.is_some())]);
        field(&mut hash, text.as_deref().unwrap_or_default().as_bytes());
    }
    hash.finalize().into()
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn r92_from_where_is_kept_as_far_as_it_is_told() {
        let told = |value| serde_json::from_value::<Client>(value).unwrap();
        assert_eq!(told(json!({})), Client::default());
        assert_eq!(told(json!({ "ip": null, "user_agent": "" })), Client::default());
        let long = "x\0y".repeat(USER_AGENT_MAX);
        let kept = told(json!({ "ip": "2001:DB8::7", "user_agent": long }));
        assert_eq!(kept.ip.unwrap().to_string(), "2001:db8::7");
        let agent = kept.user_agent.unwrap();
        assert_eq!((agent.chars().count(), agent.contains('\0')), (USER_AGENT_MAX, false));
        assert!(serde_json::from_value::<Client>(json!({ "ip": "there" })).is_err());
    }
}
