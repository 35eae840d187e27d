//! The chain of the Activity report: extended behind the rows, attested by checkpoints, read back to
//! be verified.

use std::collections::{BTreeMap, BTreeSet};

use super::tx::Tx;
use super::{activity, row};
use crate::domain::activity::{CHAIN_START, Head, Link, Row, chained};
use crate::fault::Fault;

/// Rows that one turn takes up at most.
pub const CHAIN_ROWS: i64 = 1000;

/// Takes up rows that are not in the chain yet, in the order of their numbers; returns how many, or
/// `None` while another process does it. A row that becomes visible late comes after those that
/// were there: the chain gives places, not the number.
///
/// # Errors
/// As every statement.
pub async fn extend(tx: &Tx<'_>) -> Result<Option<usize>, Fault> {
    const WRITE: &str = "INSERT INTO activity_chain SELECT * FROM unnest($1::text[], $2::bigint[], \
        $3::bigint[], $4::bytea[])";
    const TAKEN: &str = "DELETE FROM activity_unchained WHERE seq = ANY($1)";
    const UNATTESTED: &str = "INSERT INTO activity_unattested SELECT unnest($1::text[]) \
        ON CONFLICT (account) DO NOTHING";
    let new = format!(
        "SELECT {} FROM activity_unchained u JOIN activity a ON a.seq = u.seq \
         ORDER BY u.seq LIMIT $1",
        activity::ROW
    );
    if !alone(tx).await? {
        return Ok(None);
    }
    let found = tx.rows(&new, &[&CHAIN_ROWS]).await?;
    let rows = found.iter().map(|found| activity::read(found, 0)).collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        return Ok(Some(0));
    }
    let accounts: BTreeSet<&str> = rows.iter().map(|row| row.account.as_str()).collect();
    let accounts: Vec<&str> = accounts.into_iter().collect();
    let heads = heads_of(tx, &accounts).await?;
    let written = linked(&rows, heads);
    let accounts_of: Vec<&str> = rows.iter().map(|row| row.account.as_str()).collect();
    let positions: Vec<i64> = written.iter().map(|head| head.position).collect();
    let hashes: Vec<&[u8]> = written.iter().map(|head| head.hash.as_slice()).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    tx.execute(WRITE, &[&accounts_of, &positions, &seqs, &hashes]).await?;
    tx.execute(TAKEN, &[&seqs]).await?;
    tx.execute(UNATTESTED, &[&accounts]).await?;
    Ok(Some(rows.len()))
}

/// What the chain is after each row.
fn linked(rows: &[Row], heads: Vec<Head>) -> Vec<Head> {
    let mut heads: BTreeMap<String, Head> =
        heads.into_iter().map(|head| (head.account.clone(), head)).collect();
    let link = |row: &Row| {
        let account = row.account.clone();
        let start = || Head { account: account.clone(), position: 0, hash: CHAIN_START };
        let head = heads.entry(account.clone()).or_insert_with(start);
        head.position += 1;
        head.hash = chained(&head.hash, head.position, row);
        head.clone()
    };
    rows.iter().map(link).collect()
}

/// One process at a time extends and attests; the lock is the transaction's.
async fn alone(tx: &Tx<'_>) -> Result<bool, Fault> {
    const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtext('stepup activity chain'))";
    let locked = tx.rows(LOCK, &[]).await?;
    locked.first().map_or(Ok(false), |locked| row::get(locked, 0))
}

async fn heads_of(tx: &Tx<'_>, accounts: &[&str]) -> Result<Vec<Head>, Fault> {
    const HEADS: &str = "SELECT u.account, c.position, c.hash FROM unnest($1::text[]) u(account) \
        CROSS JOIN LATERAL (SELECT position, hash FROM activity_chain c \
        WHERE c.account = u.account ORDER BY position DESC LIMIT 1) c";
    tx.rows(HEADS, &[&accounts]).await?.iter().map(head).collect()
}

fn head(found: &tokio_postgres::Row) -> Result<Head, Fault> {
    let hash: &[u8] = row::get(found, 2)?;
    let hash = hash.try_into().map_err(|_| row::foreign("hash"))?;
    Ok(Head { account: row::get(found, 0)?, position: row::get(found, 1)?, hash })
}

/// The heads that no checkpoint attests yet, of at most [`CHAIN_ROWS`] accounts; none while another
/// process is at it.
///
/// # Errors
/// As every statement.
pub async fn unattested(tx: &Tx<'_>) -> Result<Vec<Head>, Fault> {
    const ACCOUNTS: &str = "SELECT account FROM activity_unattested ORDER BY account LIMIT $1";
    if !alone(tx).await? {
        return Ok(Vec::new());
    }
    let found = tx.rows(ACCOUNTS, &[&CHAIN_ROWS]).await?;
    let accounts =
        found.iter().map(|found| row::get(found, 0)).collect::<Result<Vec<&str>, _>>()?;
    heads_of(tx, &accounts).await
}

/// Keeps checkpoints: the account, the position and the signed line of each.
///
/// # Errors
/// As every statement.
pub async fn attest(tx: &Tx<'_>, checkpoints: &[(&Head, String)]) -> Result<(), Fault> {
    const WRITE: &str = "INSERT INTO activity_checkpoint SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])";
    const DONE: &str = "DELETE FROM activity_unattested WHERE account = ANY($1)";
    let accounts: Vec<&str> = checkpoints.iter().map(|(head, _)| head.account.as_str()).collect();
    let positions: Vec<i64> = checkpoints.iter().map(|(head, _)| head.position).collect();
    let lines: Vec<&str> = checkpoints.iter().map(|(_, line)| line.as_str()).collect();
    tx.execute(WRITE, &[&accounts, &positions, &lines]).await?;
    tx.execute(DONE, &[&accounts]).await?;
    Ok(())
}

/// The account after `account`, in the report, the chain or the checkpoints.
///
/// # Errors
/// As every statement.
pub async fn account_after(tx: &Tx<'_>, account: &str) -> Result<Option<String>, Fault> {
    const SQL: &str = "SELECT min(account) FROM ( \
        (SELECT account FROM activity WHERE account > $1 ORDER BY account LIMIT 1) UNION ALL \
        (SELECT account FROM activity_chain WHERE account > $1 ORDER BY account LIMIT 1) UNION ALL \
        (SELECT account FROM activity_checkpoint WHERE account > $1 ORDER BY account LIMIT 1)) a";
    let found = tx.rows(SQL, &[&account]).await?;
    found.first().map_or(Ok(None), |found| row::get(found, 0))
}

/// The next links of an account's chain, at most [`CHAIN_ROWS`], from behind `reached` on: a position
/// and a number, so that a position that is there twice is seen twice.
///
/// # Errors
/// As every statement.
pub async fn links(
    tx: &Tx<'_>,
    account: &str,
    (position, seq): (i64, i64),
) -> Result<Vec<Link>, Fault> {
    let sql = format!(
        "SELECT c.position, c.seq, c.hash, a.seq IS NOT NULL, {} FROM activity_chain c \
         LEFT JOIN activity a ON a.seq = c.seq WHERE c.account = $1 \
         AND (c.position, c.seq) > ($2, $3) ORDER BY c.position, c.seq LIMIT $4",
        activity::ROW
    );
    let found = tx.rows(&sql, &[&account, &position, &seq, &CHAIN_ROWS]).await?;
    let link = |found: &tokio_postgres::Row| {
        let there: bool = row::get(found, 3)?;
        Ok(Link {
            position: row::get(found, 0)?,
            seq: row::get(found, 1)?,
            hash: row::get(found, 2)?,
            row: if there { Some(activity::read(found, 4)?) } else { None },
        })
    };
    found.iter().map(link).collect()
}

/// Rows of the account's report that its chain does not have: the number, and whether the chain
/// will still take it up, with the seconds it has waited.
///
/// # Errors
/// As every statement.
pub async fn not_chained(tx: &Tx<'_>, account: &str) -> Result<Vec<(i64, Option<f64>)>, Fault> {
    const SQL: &str = "SELECT a.seq, CASE WHEN u.seq IS NOT NULL THEN \
        extract(epoch FROM stepup_now() - a.at)::float8 END FROM activity a \
        LEFT JOIN activity_unchained u ON u.seq = a.seq WHERE a.account = $1 \
        AND NOT EXISTS (SELECT FROM activity_chain c WHERE c.seq = a.seq) ORDER BY a.seq LIMIT $2";
    let found = tx.rows(SQL, &[&account, &CHAIN_ROWS]).await?;
    found.iter().map(|found| Ok((row::get(found, 0)?, row::get(found, 1)?))).collect()
}

/// The checkpoints of an account that the database keeps.
///
/// # Errors
/// As every statement.
pub async fn checkpoints(tx: &Tx<'_>, account: &str) -> Result<Vec<String>, Fault> {
    const SQL: &str = "SELECT line FROM activity_checkpoint WHERE account = $1 ORDER BY position";
    tx.rows(SQL, &[&account]).await?.iter().map(|found| row::get(found, 0)).collect()
}
