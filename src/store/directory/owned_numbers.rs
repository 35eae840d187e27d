//! Numbers that belong to companies, by their blind indexes.

use std::collections::HashSet;

use crate::domain::id::AccountId;
use crate::fault::Fault;
use crate::rules::factor::change::Change;
use crate::store::directory::members;
use crate::store::row;
use crate::store::tx::Tx;

/// Those of these numbers that belong to a company, whosesoever.
///
/// # Errors
/// As every statement.
pub async fn among(tx: &Tx<'_>, numbers: &[&[u8]]) -> Result<HashSet<Vec<u8>>, Fault> {
    const SQL: &str =
        "SELECT DISTINCT number_index FROM owned_number WHERE number_index = ANY($1::bytea[])";
    tx.rows(SQL, &[&numbers]).await?.iter().map(|found| row::get(found, 0)).collect()
}

/// The same for numbers that are about to be bound: the answer holds until the commit, since no
/// list of numbers changes before.
pub(in crate::store) async fn still(
    tx: &Tx<'_>,
    numbers: &[&[u8]],
) -> Result<HashSet<Vec<u8>>, Fault> {
    const SQL: &str = "SELECT pg_try_advisory_xact_lock_shared(hashtext('stepup owned numbers'))";
    if numbers.is_empty() {
        return Ok(HashSet::new());
    }
    let locked = tx.rows(SQL, &[]).await?;
    // Waiting for it, with members locked, could end in a deadlock.
    if !locked.first().map_or(Ok(false), |locked| row::get(locked, 0))? {
        return Err(Fault::Transient("a list of companies' numbers is being changed".into()));
    }
    among(tx, numbers).await
}

/// Waits until no list of numbers is being changed, and keeps them all as they are until the commit.
/// Taken before any other lock.
pub(in crate::store) async fn keep_still(tx: &Tx<'_>) -> Result<(), Fault> {
    tx.rows("SELECT pg_advisory_xact_lock_shared(hashtext('stepup owned numbers'))", &[]).await?;
    Ok(())
}

/// Writes the list of an account's own numbers, over an older one, and what follows for members.
///
/// # Errors
/// As every statement; `Transient` when a newer version came meanwhile.
pub async fn put(
    tx: &Tx<'_>,
    account: &AccountId,
    version: i64,
    numbers: &[Vec<u8>],
    changes: &[&Change],
    now: crate::domain::Timestamp,
) -> Result<(), Fault> {
    const VERSION: &str = "UPDATE account SET owned_numbers_version = $2 \
        WHERE account = $1 AND owned_numbers_version < $2";
    const CLEAR: &str = "DELETE FROM owned_number WHERE account = $1";
    const INSERT: &str =
        "INSERT INTO owned_number (account, number_index) SELECT $1, unnest($2::bytea[])";
    let account = account.as_str();
    tx.guarded(VERSION, &[&account, &version], 1).await?;
    tx.execute(CLEAR, &[&account]).await?;
    tx.execute(INSERT, &[&account, &numbers]).await?;
    members::write_changes(tx, changes, now).await
}
