//! The Activity report. Rows are written in the transaction that changes the setting.

use super::Tx;
use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::rules::change::Activity;

/// Appends rows, in order.
///
/// # Errors
/// As every statement.
pub async fn append(tx: &Tx<'_>, rows: &[&Activity]) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO activity (account, member, actor, action, origin, old_number, \
        new_number, challenge, at) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], \
        $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::timestamptz[])";
    if rows.is_empty() {
        return Ok(());
    }
    let accounts: Vec<&str> = rows.iter().map(|row| row.account.as_str()).collect();
    let members: Vec<&str> = rows.iter().map(|row| row.member.as_str()).collect();
    let actors: Vec<&str> = rows.iter().map(|row| row.actor.as_str()).collect();
    let actions: Vec<&str> = rows.iter().map(|row| row.action).collect();
    let origins: Vec<&str> = rows.iter().map(|row| row.origin).collect();
    let old: Vec<Option<&str>> = rows.iter().map(|row| row.old_number.as_deref()).collect();
    let new: Vec<Option<&str>> = rows.iter().map(|row| row.new_number.as_deref()).collect();
    let proofs: Vec<Option<uuid::Uuid>> =
        rows.iter().map(|row| row.challenge.map(|challenge| challenge.0)).collect();
    let at: Vec<Timestamp> = rows.iter().map(|row| row.at).collect();
    let params: [super::Param<'_>; 9] =
        [&accounts, &members, &actors, &actions, &origins, &old, &new, &proofs, &at];
    tx.execute(SQL, &params).await?;
    Ok(())
}
