//! The Activity report. Rows are written in the transaction that changes the setting.

use std::net::IpAddr;

use tokio_postgres::Row as Found;

use super::pool::Store;
use super::row;
use super::tx::Tx;
use crate::domain::activity::{Filter, Page, Row};
use crate::domain::id::{AccountId, AppName};
use crate::fault::Fault;
use crate::rules::activity::Activity;
use crate::store::tx::{Param, column};

/// The columns of a [`Row`], in the order in which [`read`] takes them.
pub(super) const ROW: &str = "a.seq, a.at, a.account, a.member, a.actor, a.action, a.origin, \
    a.old_number, a.new_number, a.challenge, a.ip, a.user_agent";

/// Appends rows, in order. The chain takes them up later.
///
/// # Errors
/// As every statement.
pub async fn append(tx: &Tx<'_>, rows: &[&Activity]) -> Result<(), Fault> {
    const SQL: &str = "WITH written AS (INSERT INTO activity (account, member, actor, action, \
        origin, old_number, new_number, challenge, ip, user_agent, at) \
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], \
        $6::text[], $7::text[], $8::uuid[], $9::text[], $10::text[], $11::timestamptz[]) \
        RETURNING seq) INSERT INTO activity_unchained SELECT seq FROM written";
    if rows.is_empty() {
        return Ok(());
    }
    let params: [Param<'_>; 11] = [
        &column(rows, |row| row.account.as_str()),
        &column(rows, |row| row.member.as_ref().map(|id| id.as_str())),
        &column(rows, |row| row.actor.as_str()),
        &column(rows, |row| row.action.label()),
        &column(rows, |row| row.origin.label()),
        &column(rows, |row| row.old_number.as_deref()),
        &column(rows, |row| row.new_number.as_deref()),
        &column(rows, |row| row.challenge.map(|id| id.0)),
        &column(rows, |row| row.client.ip.as_ref().map(IpAddr::to_string)),
        &column(rows, |row| row.client.user_agent.as_deref()),
        &column(rows, |row| row.at),
    ];
    tx.execute(SQL, &params).await?;
    Ok(())
}

/// A page of the account's report; `None` where the account is not the app's, or does not exist.
///
/// # Errors
/// As every statement.
pub async fn page(
    store: &Store,
    app: &AppName,
    account: &AccountId,
    filter: &Filter,
) -> Result<Option<Page>, Fault> {
    const OWN: &str = "SELECT FROM account WHERE account = $1 AND app = $2";
    let sql = format!(
        "SELECT {ROW} FROM activity a WHERE a.account = $1 AND a.seq < $2 \
         AND ($3::text IS NULL OR a.member = $3) AND ($4::text IS NULL OR a.action = $4) \
         AND ($5::timestamptz IS NULL OR a.at >= $5) AND ($6::timestamptz IS NULL OR a.at < $6) \
         ORDER BY a.seq DESC LIMIT $7"
    );
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    if tx.rows(OWN, &[&account.as_str(), &app.as_str()]).await?.is_empty() {
        return Ok(None);
    }
    let before = filter.before.unwrap_or(i64::MAX);
    let member = filter.member.as_ref().map(|member| member.as_str());
    // One more than is shown says whether there is more.
    let limit = filter.limit + 1;
    let params: [Param<'_>; 7] =
        [&account.as_str(), &before, &member, &filter.action, &filter.from, &filter.to, &limit];
    let found = tx.rows(&sql, &params).await?;
    let mut rows = found.iter().map(|found| read(found, 0)).collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() as i64 > filter.limit;
    rows.truncate(usize::try_from(filter.limit).unwrap_or_default());
    let next = rows.last().filter(|_| more).map(|row| row.seq);
    Ok(Some(Page { rows, next }))
}

/// A row of the report, from the column `first` on.
pub(super) fn read(found: &Found, first: usize) -> Result<Row, Fault> {
    Ok(Row {
        seq: row::get(found, first)?,
        at: row::get(found, first + 1)?,
        account: row::get(found, first + 2)?,
        member: row::get(found, first + 3)?,
        actor: row::get(found, first + 4)?,
        action: row::get(found, first + 5)?,
        origin: row::get(found, first + 6)?,
        old_number: row::get(found, first + 7)?,
        new_number: row::get(found, first + 8)?,
        challenge: row::get(found, first + 9)?,
        ip: row::get(found, first + 10)?,
        user_agent: row::get(found, first + 11)?,
    })
}
