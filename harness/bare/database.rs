//! What the load generator reads of the database, and the one row of its bare path.

use std::collections::HashMap;

use uuid::Uuid;

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::store::{FromSql, Row, Store};

/// The worker's name on the bare path's inbox rows.
const BARE: &str = "load";

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(|error| Fault::Permanent(error.to_string()))
}

/// Transactions committed in this database since its statistics began. A connection adds to it up to
/// a second late.
///
/// # Errors
/// As every statement.
pub async fn commits(store: &Store) -> Result<i64, Fault> {
    const SQL: &str = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let rows = tx.rows(SQL, &[]).await?;
    rows.first().map_or(Ok(0), |found| get(found, 0))
}

/// Commits one row: what the bare path does between request and reply.
///
/// # Errors
/// As every statement.
pub async fn commit_row(store: &Store, id: Uuid) -> Result<(), Fault> {
    const SQL: &str =
        "INSERT INTO inbox (worker, message, label, at) VALUES ($1, $2, $1, clock_timestamp())";
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    tx.execute(SQL, &[&BARE, &id]).await?;
    tx.commit().await
}

/// Deletes what [`commit_row`] has written.
///
/// # Errors
/// As every statement.
pub async fn forget_rows(store: &Store) -> Result<(), Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    tx.execute("DELETE FROM inbox WHERE worker = $1", &[&BARE]).await?;
    tx.commit().await
}

/// How many accounts have a name that begins with `prefix`.
///
/// # Errors
/// As every statement.
pub async fn accounts(store: &Store, prefix: &str) -> Result<i64, Fault> {
    const SQL: &str = "SELECT count(*) FROM account WHERE starts_with(account, $1)";
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let rows = tx.rows(SQL, &[&prefix]).await?;
    rows.first().map_or(Ok(0), |found| get(found, 0))
}

/// The one clock.
///
/// # Errors
/// As every statement.
pub async fn now(store: &Store) -> Result<Timestamp, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    tx.now().await
}

/// Rows of the trail that say a challenge of these accounts was verified `since` then, and how many
/// challenges they are about.
///
/// # Errors
/// As every statement.
pub async fn verified(
    store: &Store,
    accounts: &[String],
    since: Timestamp,
) -> Result<(i64, i64), Fault> {
    const SQL: &str = "SELECT count(*), count(DISTINCT challenge) FROM trail \
        WHERE account = ANY($1) AND at >= $2 AND kind = 'challenge.verified'";
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let rows = tx.rows(SQL, &[&accounts, &since]).await?;
    rows.first().map_or(Ok((0, 0)), |found| Ok((get(found, 0)?, get(found, 1)?)))
}

/// When the email of each of these challenges was due.
///
/// # Errors
/// As every statement.
pub async fn fallbacks_due(
    store: &Store,
    challenges: &[Uuid],
) -> Result<HashMap<Uuid, Timestamp>, Fault> {
    const SQL: &str =
        "SELECT id, fallback_at FROM challenge WHERE id = ANY($1) AND fallback_at IS NOT NULL";
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let rows = tx.rows(SQL, &[&challenges]).await?;
    rows.iter().map(|found| Ok((get(found, 0)?, get(found, 1)?))).collect()
}
