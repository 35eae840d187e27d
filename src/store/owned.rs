//! Numbers that belong to companies, by their blind indexes.

use std::collections::HashSet;

use super::{Tx, row};
use crate::fault::Fault;

/// Those of these numbers that belong to a company, whosesoever.
pub(super) async fn among(tx: &Tx<'_>, numbers: &[&[u8]]) -> Result<HashSet<Vec<u8>>, Fault> {
    const SQL: &str =
        "SELECT DISTINCT number_index FROM owned_number WHERE number_index = ANY($1::bytea[])";
    tx.rows(SQL, &[&numbers]).await?.iter().map(|found| row::get(found, 0)).collect()
}

/// The same for numbers that are about to be bound: the answer holds until the commit, since no
/// list of numbers changes before.
pub(super) async fn still(tx: &Tx<'_>, numbers: &[&[u8]]) -> Result<HashSet<Vec<u8>>, Fault> {
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
