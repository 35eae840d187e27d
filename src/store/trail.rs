//! The trail: every event, once. The event's id is the key, so the row is its own inbox.

use serde_json::Value;
use uuid::Uuid;

use super::tx::Tx;
use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::message::EventRecord;

/// Appends events; one that is there already stays as it is.
///
/// # Errors
/// As every statement.
pub async fn append(tx: &Tx<'_>, events: &[&EventRecord]) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO trail (event, kind, account, member, challenge, at, body) \
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], \
        $6::timestamptz[], $7::jsonb[]) ON CONFLICT (event) DO NOTHING";
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.label()).collect();
    let accounts: Vec<Option<&str>> =
        events.iter().map(|event| event.account.as_ref().map(|id| id.as_str())).collect();
    let members: Vec<Option<&str>> =
        events.iter().map(|event| event.member.as_ref().map(|id| id.as_str())).collect();
    let challenges: Vec<Option<Uuid>> =
        events.iter().map(|event| event.challenge.map(|id| id.0)).collect();
    let at: Vec<Timestamp> = events.iter().map(|event| event.at).collect();
    let bodies: Vec<&Value> = events.iter().map(|event| &event.body).collect();
    tx.execute(SQL, &[&ids, &kinds, &accounts, &members, &challenges, &at, &bodies]).await?;
    Ok(())
}
