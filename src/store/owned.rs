//! Numbers that belong to companies, by their blind indexes.

use std::collections::HashSet;

use futures_util::try_join;

use super::{Tx, accounts, members, row};
use crate::domain::id::AccountId;
use crate::domain::member::Member;
use crate::fault::Fault;
use crate::rules::directory::facts::{Facts, Holder};
use crate::rules::factor::change::Change;

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

/// Waits until no list of numbers is being changed, and keeps them all as they are until the commit.
/// Taken before any other lock.
pub(super) async fn keep_still(tx: &Tx<'_>) -> Result<(), Fault> {
    tx.rows("SELECT pg_advisory_xact_lock_shared(hashtext('stepup owned numbers'))", &[]).await?;
    Ok(())
}

/// The facts for a list of an account's own numbers. Nobody binds a number meanwhile.
///
/// # Errors
/// As every statement.
pub async fn owned_numbers_facts(
    tx: &Tx<'_>,
    account: &str,
    numbers: impl FnOnce(&crate::domain::account::Account) -> Vec<Vec<u8>>,
) -> Result<Facts, Fault> {
    const ALONE: &str = "SELECT pg_advisory_xact_lock(hashtext('stepup owned numbers'))";
    const OTHERS: &str = "SELECT DISTINCT number_index FROM owned_number \
        WHERE number_index = ANY($1::bytea[]) AND account <> $2";
    const BEFORE: &str = "SELECT number_index FROM owned_number WHERE account = $1";
    tx.rows(ALONE, &[]).await?;
    let known = accounts::lock(tx, &[account]).await?.remove(account);
    let mut named = known.as_ref().map(|(account, _)| numbers(account)).unwrap_or_default();
    for before in tx.rows(BEFORE, &[&account]).await? {
        named.push(row::get(&before, 0)?);
    }
    let sql = format!(
        "SELECT {} FROM member m WHERE (m.account, m.member) IN \
         (SELECT account, member FROM member WHERE phone_index = ANY($1::bytea[]) \
         UNION SELECT account, member FROM challenge WHERE phone_index = ANY($1::bytea[]) \
         AND state = 'open' AND purpose IN ('enrolment', 'number_change_new')) \
         ORDER BY m.account, m.member FOR UPDATE",
        row::MEMBER
    );
    let found: Vec<Member> =
        tx.rows(&sql, &[&named]).await?.iter().map(row::member).collect::<Result<_, _>>()?;
    let of: Vec<&str> = found.iter().map(|member| member.account.as_str()).collect();
    let names: Vec<&str> = found.iter().map(|member| member.id.as_str()).collect();
    let others_params: [super::Param<'_>; 2] = [&named, &account];
    let (mut open, accounts, others) = try_join!(
        members::open(tx, &of, &names),
        accounts::load(tx, &of),
        tx.rows(OTHERS, &others_params)
    )?;
    let mut holders = Vec::with_capacity(found.len());
    for member in found {
        let Some((account, _)) = accounts.get(member.account.as_str()) else { continue };
        let open = open.remove(&members::key(&member)).unwrap_or_default();
        holders.push(Holder { app: account.app.clone(), member, open });
    }
    let owned = others.iter().map(|other| row::get(other, 0)).collect::<Result<_, _>>()?;
    Ok(Facts { account: known, member: None, open: Vec::new(), actor: None, owned, holders })
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
