//! What is past its retention goes, in batches small enough to hold nobody up.

use std::time::Duration;

use super::tx::Tx;
use crate::domain::Timestamp;
use crate::fault::Fault;

/// How long rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Challenges and their deliveries, after their end.
    pub challenge: Duration,
    /// Timers of numbers, after their last use; wrong codes.
    pub recipient: Duration,
    /// Inbox rows: longer than any message can come again, and at least 24 h longer than `challenge`.
    pub inbox: Duration,
}

/// Rows one statement deletes at most.
const BATCH: i64 = 1000;

/// The tables that lose rows, in the order in which they do.
pub const EXPIRING: [&str; 9] = [
    "challenge",
    "approval",
    "review_member",
    "review",
    "email_proof",
    "destination",
    "wrong_guess",
    "inbox",
    "notice",
];

/// Deletes one batch from `table`, one of [`EXPIRING`]; returns how many rows went.
///
/// # Errors
/// As every statement; `Permanent` for a table that loses none.
pub async fn sweep(
    tx: &Tx<'_>,
    table: &str,
    retention: &Retention,
    now: Timestamp,
) -> Result<u64, Fault> {
    // A finished challenge takes its deliveries and its pending login with it. One that is still
    // open past its time is left to the timer.
    const CHALLENGES: &str = "WITH gone AS (DELETE FROM challenge WHERE id IN \
        (SELECT id FROM challenge WHERE expires_at < $1 AND state <> 'open' \
         AND ended_at < $1 ORDER BY expires_at LIMIT $2) RETURNING id), \
        logins AS (DELETE FROM login WHERE challenge IN (SELECT id FROM gone)) \
        DELETE FROM delivery_attempt WHERE channel = 'sms' AND challenge IN (SELECT id FROM gone)";
    const APPROVALS: &str = "DELETE FROM approval WHERE challenge IN \
        (SELECT challenge FROM approval WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
    // A review may be of a million members, and would take them all along.
    const REVIEWED: &str = "DELETE FROM review_member WHERE (review, member) IN \
        (SELECT m.review, m.member FROM review r JOIN review_member m ON m.review = r.id \
        WHERE r.expires_at < $1 LIMIT $2)";
    const REVIEWS: &str = "DELETE FROM review WHERE id IN \
        (SELECT id FROM review r WHERE expires_at < $1 AND NOT EXISTS \
        (SELECT FROM review_member m WHERE m.review = r.id) ORDER BY expires_at LIMIT $2)";
    const PROOFS: &str = "DELETE FROM email_proof WHERE (account, member) IN \
        (SELECT account, member FROM email_proof WHERE expires_at < $1 \
        ORDER BY expires_at LIMIT $2)";
    const DESTINATIONS: &str = "DELETE FROM destination WHERE destination_index IN \
        (SELECT destination_index FROM destination WHERE used_at < $1 LIMIT $2)";
    const WRONG: &str = "DELETE FROM wrong_guess WHERE ctid IN \
        (SELECT ctid FROM wrong_guess WHERE at < $1 ORDER BY at LIMIT $2)";
    const INBOX: &str = "DELETE FROM inbox WHERE (worker, message) IN \
        (SELECT worker, message FROM inbox WHERE at < $1 ORDER BY at LIMIT $2)";
    const NOTICES: &str = "DELETE FROM notice WHERE id IN \
        (SELECT id FROM notice WHERE created_at < $1 ORDER BY created_at LIMIT $2)";
    let (sql, keep) = match table {
        "challenge" => (CHALLENGES, retention.challenge),
        "approval" => (APPROVALS, retention.challenge),
        "review_member" => (REVIEWED, retention.challenge),
        "review" => (REVIEWS, retention.challenge),
        "email_proof" => (PROOFS, retention.challenge),
        "destination" => (DESTINATIONS, retention.recipient),
        "wrong_guess" => (WRONG, retention.recipient),
        "inbox" => (INBOX, retention.inbox),
        "notice" => (NOTICES, retention.recipient),
        _ => return Err(Fault::Permanent(format!("{table} keeps its rows"))),
    };
    tx.execute(sql, &[&(now - keep), &BATCH]).await
}
