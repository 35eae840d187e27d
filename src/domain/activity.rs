//! The Activity report as it is read, and the chain that shows whether it is still as it was
//! written.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Timestamp;
use super::id::MemberId;
use super::schema::Moment;

/// The longest user agent that is kept, in characters. What is longer is cut: it is no reason to
/// refuse a change.
pub const USER_AGENT_MAX: usize = 512;

/// From where the person acted, as far as the app has told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The person's address.
    pub ip: Option<IpAddr>,
    /// The person's browser, up to [`USER_AGENT_MAX`] characters.
    pub user_agent: Option<String>,
}

impl Client {
    /// What the app has told, as it is kept.
    pub fn told(ip: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        // PostgreSQL's texts hold no NUL.
        let kept = |text: &str| text.chars().filter(|c| *c != '\0').take(USER_AGENT_MAX).collect();
        Self { ip, user_agent: user_agent.map(kept).filter(|text: &String| !text.is_empty()) }
    }
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
    /// Whom it concerns.
    pub member: String,
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
    for text in [&row.account, &row.member, &row.actor, &row.action, &row.origin] {
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
