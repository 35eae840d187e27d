//! Mandates.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::id::MemberId;
use crate::fault::Fault;
use crate::rules::factor::change::Change;
use crate::rules::team::decide::Mandated;
use crate::rules::team::mandate::{self, Applied};
use crate::store::directory::{accounts, members};
use crate::store::tx::{Param, Tx};
use crate::store::{activity, row};

/// Writes decisions about whole accounts.
///
/// # Errors
/// As every statement; `Transient` when another admin was faster.
pub async fn write_mandates(
    tx: &Tx<'_>,
    decisions: &[&Mandated],
    now: Timestamp,
) -> Result<(), Fault> {
    const ACCOUNT: &str = "UPDATE account SET mandatory = $2, grace_until = $3 \
        WHERE account = $1 AND mandatory <> $2";
    const MANDATE: &str = "INSERT INTO mandate (account, id, mandatory, actor, decided_at) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET id = $2, mandatory = $3, \
        actor = $4, decided_at = $5, batch = 0, reached = '', changed = 0, done_at = NULL";
    for decision in decisions {
        let (account, actor) = (decision.account.as_str(), decision.activity.actor.as_str());
        let params: [Param<'_>; 3] = [&account, &decision.mandatory, &decision.grace_until];
        tx.guarded(ACCOUNT, &params, 1).await?;
        let params: [Param<'_>; 5] =
            [&account, &decision.mandate, &decision.mandatory, &actor, &now];
        tx.execute(MANDATE, &params).await?;
    }
    let rows: Vec<_> = decisions.iter().map(|decision| &decision.activity).collect();
    activity::append(tx, &rows).await
}

/// The facts for the next batch of a mandate; `None` where a later decision has taken its place.
///
/// # Errors
/// As every statement.
pub async fn mandate_facts(tx: &Tx<'_>, id: Uuid) -> Result<Option<mandate::Facts>, Fault> {
    const OF: &str = "SELECT account FROM mandate WHERE id = $1";
    const MANDATE: &str = "SELECT mandatory, actor, batch, changed, done_at IS NOT NULL, reached \
        FROM mandate WHERE id = $1 FOR UPDATE";
    let rows = tx.rows(OF, &[&id]).await?;
    let Some(of) = rows.first() else { return Ok(None) };
    let of: &str = row::get(of, 0)?;
    let Some((account, _)) = accounts::lock(tx, &[of]).await?.remove(of) else { return Ok(None) };
    let rows = tx.rows(MANDATE, &[&id]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let reached: &str = row::get(found, 5)?;
    let sql = format!(
        "SELECT {} FROM member m WHERE m.account = $1 AND m.member > $2 \
         ORDER BY m.member LIMIT $3 FOR UPDATE",
        row::MEMBER
    );
    let next = tx.rows(&sql, &[&of, &reached, &(mandate::BATCH as i64)]).await?;
    let next: Vec<_> = next.iter().map(row::member).collect::<Result<_, _>>()?;
    let accounts_of = vec![of; next.len()];
    let names: Vec<&str> = next.iter().map(|member| member.id.as_str()).collect();
    let mut open = members::open(tx, &accounts_of, &names).await?;
    let with_open = |member: crate::domain::member::Member| {
        let open = open.remove(&members::key(&member)).unwrap_or_default();
        (member, open)
    };
    Ok(Some(mandate::Facts {
        account,
        mandatory: row::get(found, 0)?,
        actor: row::id(found, 1, MemberId::parse)?,
        batch: row::get(found, 2)?,
        changed: row::get(found, 3)?,
        done: row::get(found, 4)?,
        next: next.into_iter().map(with_open).collect(),
    }))
}

/// Writes batches of mandates.
///
/// # Errors
/// As every statement; `Transient` when another was faster.
pub async fn write_applied(tx: &Tx<'_>, batches: &[&Applied]) -> Result<(), Fault> {
    const SQL: &str = "UPDATE mandate SET batch = batch + 1, changed = changed + $3, \
        reached = coalesce($4, reached), done_at = $5 WHERE id = $1 AND batch = $2 \
        AND done_at IS NULL";
    for batch in batches {
        let changes: Vec<&Change> = batch.changes.iter().collect();
        let (many, done_at) = (changes.len() as i64, batch.last.then_some(batch.at));
        let reached = batch.reached.as_ref().map(|member| member.as_str());
        let params: [Param<'_>; 5] = [&batch.mandate, &batch.batch, &many, &reached, &done_at];
        tx.guarded(SQL, &params, 1).await?;
        members::write_changes(tx, &changes, batch.at).await?;
    }
    Ok(())
}
