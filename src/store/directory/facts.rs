//! What decisions about accounts and members need.

use std::collections::HashSet;

use futures_util::try_join;

use crate::domain::member::Member;
use crate::fault::Fault;
use crate::rules::directory::facts::{Facts, Holder};
use crate::store::directory::{accounts, members, owned_numbers};
use crate::store::row;
use crate::store::tx::{Param, Tx};

/// The facts for upserts of accounts (`None`) and members, in order.
///
/// # Errors
/// As every statement.
pub async fn directory_facts(
    tx: &Tx<'_>,
    keys: &[(&str, Option<&str>)],
) -> Result<Vec<Facts>, Fault> {
    let accounts: Vec<&str> = keys.iter().map(|(account, _)| *account).collect();
    let (of, names): (Vec<&str>, Vec<&str>) =
        keys.iter().filter_map(|(account, member)| member.map(|m| (*account, m))).unzip();
    owned_numbers::keep_still(tx).await?;
    // Pipelined: the server takes them in this order, which is that of the locks.
    let (known_accounts, known_members, mut open) = try_join!(
        accounts::lock(tx, &accounts),
        members::lock(tx, &of, &names),
        members::open(tx, &of, &names)
    )?;
    let facts = keys.iter().map(|(account, member)| {
        let key = ((*account).to_owned(), member.unwrap_or_default().to_owned());
        Facts {
            account: known_accounts.get(*account).cloned(),
            member: known_members.get(&key).cloned(),
            open: open.remove(&key).unwrap_or_default(),
            actor: None,
            owned: HashSet::new(),
            holders: Vec::new(),
        }
    });
    Ok(facts.collect())
}

/// These people, as members of the accounts they are said to belong to, in order.
///
/// # Errors
/// As every statement.
pub async fn actors(tx: &Tx<'_>, keys: &[(&str, &str)]) -> Result<Vec<Option<Member>>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (of, names): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    let known = members::load(tx, &of, &names).await?;
    let person = |(account, name): &(&str, &str)| {
        known.get(&((*account).to_owned(), (*name).to_owned())).cloned()
    };
    Ok(keys.iter().map(person).collect())
}

/// The facts for a list of an account's own numbers. No number is bound meanwhile.
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
    let others_params: [Param<'_>; 2] = [&named, &account];
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
