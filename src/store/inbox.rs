//! What was handled already, and what it caused.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::row;
use super::tx::Tx;
use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::message::Outgoing;

/// What became of a message before.
pub struct Known {
    /// The digest of the request that had this id.
    pub digest: Option<Vec<u8>>,
    /// The messages it caused, with their ids.
    pub caused: Vec<Outgoing>,
    /// The answer to it.
    pub reply: Option<String>,
}

/// What becomes of a message now.
pub struct Entry<'a> {
    /// The message.
    pub message: Uuid,
    /// The app, if it is a request.
    pub app: Option<&'a str>,
    /// The digest of a request.
    pub digest: Option<[u8; 32]>,
    /// The verdict's label.
    pub label: &'static str,
    /// The messages it causes.
    pub caused: Vec<Outgoing>,
    /// The answer.
    pub reply: Option<String>,
}

/// Those of `messages` that `worker` has handled. Of requests also those of other workers, since an id
/// is one request's: its digest then tells that it asked something else.
///
/// # Errors
/// As every statement.
pub async fn known(
    tx: &Tx<'_>,
    worker: &str,
    messages: &[Uuid],
) -> Result<HashMap<Uuid, Known>, Fault> {
    // Our own come last, and so are the ones that count.
    const SQL: &str = "SELECT message, digest, caused, reply FROM inbox \
        WHERE message = ANY($2) AND (worker = $1 OR digest IS NOT NULL) ORDER BY worker = $1";
    let mut known = HashMap::new();
    for found in tx.rows(SQL, &[&worker, &messages]).await? {
        let caused = read(row::get(&found, 2)?)?;
        let (digest, reply) = (row::get(&found, 1)?, row::get(&found, 3)?);
        known.insert(row::get(&found, 0)?, Known { digest, caused, reply });
    }
    Ok(known)
}

/// Some of what was caused, oldest first.
pub struct Caused {
    /// The messages.
    pub messages: Vec<Outgoing>,
    /// Up to when they reach; `None` when there are no more.
    pub reached: Option<Timestamp>,
}

/// Inbox rows read at once. All that share the last one's time come along.
const CAUSED_ROWS: i64 = 1000;

/// The messages caused by what was handled after `since`.
///
/// # Errors
/// As every statement.
pub async fn caused(tx: &Tx<'_>, since: Timestamp) -> Result<Caused, Fault> {
    const SQL: &str = "SELECT at, caused FROM inbox WHERE at > $1 AND caused IS NOT NULL \
                       ORDER BY at FETCH FIRST $2 ROWS WITH TIES";
    let (mut messages, mut reached) = (Vec::new(), None);
    for found in tx.rows(SQL, &[&since, &CAUSED_ROWS]).await? {
        messages.extend(read(row::get(&found, 1)?)?);
        reached = Some(row::get(&found, 0)?);
    }
    Ok(Caused { messages, reached })
}

fn read(caused: Option<&str>) -> Result<Vec<Outgoing>, Fault> {
    caused.map_or(Ok(Vec::new()), serde_json::from_str).map_err(|_| {
        Fault::Permanent("an inbox row holds messages that this version cannot read".into())
    })
}

/// Writes what becomes of the messages. Returns those that nobody had written before.
///
/// # Errors
/// As every statement.
pub async fn keep(
    tx: &Tx<'_>,
    worker: &str,
    entries: &[Entry<'_>],
    now: Timestamp,
) -> Result<HashSet<Uuid>, Fault> {
    const SQL: &str = "INSERT INTO inbox (worker, message, app, digest, label, caused, reply, at) \
        SELECT $1, u.*, $2 \
        FROM unnest($3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[]) \
             AS u(message, app, digest, label, caused, reply) \
        ON CONFLICT (worker, message) DO NOTHING RETURNING message";
    let messages: Vec<Uuid> = entries.iter().map(|entry| entry.message).collect();
    let apps: Vec<Option<&str>> = entries.iter().map(|entry| entry.app).collect();
    let digests: Vec<Option<&[u8]>> =
        entries.iter().map(|entry| entry.digest.as_ref().map(|d| d.as_slice())).collect();
    let labels: Vec<&str> = entries.iter().map(|entry| entry.label).collect();
    let caused: Vec<Option<String>> = entries
        .iter()
        .map(|entry| (!entry.caused.is_empty()).then(|| serde_json::to_string(&entry.caused).ok()))
        .map(Option::flatten)
        .collect();
    let replies: Vec<Option<&str>> = entries.iter().map(|entry| entry.reply.as_deref()).collect();
    let rows = tx
        .rows(SQL, &[&worker, &now, &messages, &apps, &digests, &labels, &caused, &replies])
        .await?;
    rows.iter().map(|found| row::get(found, 0)).collect()
}
