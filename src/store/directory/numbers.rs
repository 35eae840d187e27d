//! What is kept by number, for the operator who checks it.

use crate::domain::id::{AccountId, MemberId};
use crate::domain::member::Member;
use crate::fault::Fault;
use crate::store::row;
use crate::store::tx::Tx;

/// Members in one page.
const PAGE: i64 = 500;

/// The members with a number that follow this one in the order of their keys.
///
/// # Errors
/// As every statement.
pub async fn members_with_number(
    tx: &Tx<'_>,
    after: Option<(&AccountId, &MemberId)>,
) -> Result<Vec<Member>, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE (m.account, m.member) > ($1, $2) AND m.phone IS NOT NULL \
         ORDER BY m.account, m.member LIMIT $3",
        row::MEMBER
    );
    let (account, member) =
        after.map_or(("", ""), |(account, member)| (account.as_str(), member.as_str()));
    tx.rows(&sql, &[&account, &member, &PAGE]).await?.iter().map(row::member).collect()
}

/// The accounts that have a list of owned numbers, and how many each has.
///
/// # Errors
/// As every statement.
pub async fn owned_number_counts(tx: &Tx<'_>) -> Result<Vec<(String, i64)>, Fault> {
    const SQL: &str =
        "SELECT account, count(*) FROM owned_number GROUP BY account ORDER BY account";
    let count = |found| Ok((row::get(found, 0)?, row::get(found, 1)?));
    tx.rows(SQL, &[]).await?.iter().map(count).collect()
}
