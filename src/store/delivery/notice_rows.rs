//! Rows of notices.

use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::rules::delivery::recipients::Notice;
use crate::store::tx::{Param, Tx};

/// Writes new notices; one that is there already stays as it is.
///
/// # Errors
/// As every statement.
pub async fn insert(tx: &Tx<'_>, notices: &[&Notice], now: Timestamp) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO notice (id, account, admin, member, actor, happened_at, \
        old_number, new_number, state, created_at, kind, to_before) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
        'queued', $9, $10, $11) ON CONFLICT (id) DO NOTHING";
    for notice in notices {
        let event = &notice.event;
        let params: [Param<'_>; 11] = [
            &notice.id,
            &event.account.as_str(),
            &notice.recipient.as_str(),
            &event.member.as_str(),
            &event.actor.as_str(),
            &event.at,
            &event.old_number,
            &event.new_number,
            &now,
            &notice.kind.label(),
            &notice.to_before,
        ];
        tx.execute(SQL, &params).await?;
    }
    Ok(())
}
