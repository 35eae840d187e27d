//! The facts for what a signed-in member asks for.

use std::collections::HashMap;

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::challenge::Challenge;
use crate::domain::member::Member;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::factor::facts::{Found, Wanted};
use crate::store::challenge::rows::lock_challenges;
use crate::store::challenge::wrong_guesses::{self, wrong_window};
use crate::store::delivery::numbers::{Numbers, lock_numbers, sends_window};
use crate::store::directory::{accounts, members, owned_numbers};
use crate::store::factor::email_proofs;
use crate::store::row;
use crate::store::tx::Tx;

/// Accounts and members by their ids, the members locked. In order; an account or a member that is
/// not there is `None`.
///
/// # Errors
/// As every statement.
pub async fn parties(
    tx: &Tx<'_>,
    keys: &[(&str, &str)],
) -> Result<Vec<Option<(Account, Option<Member>)>>, Fault> {
    let (of, names): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    let (members, known) = try_join!(members::lock(tx, &of, &names), accounts::load(tx, &of))?;
    let party = |(account, member): &(&str, &str)| {
        let (known, _) = known.get(*account)?;
        let key = ((*account).to_owned(), (*member).to_owned());
        Some((known.clone(), members.get(&key).cloned()))
    };
    Ok(keys.iter().map(party).collect())
}

/// What is to be looked up, and for whom.
pub struct Pending<'a> {
    /// The member, locked before.
    pub member: &'a Member,
    /// What.
    pub wanted: &'a Wanted,
}

/// Looks up what decisions rest on, in order.
///
/// # Errors
/// As every statement.
pub async fn found(
    tx: &Tx<'_>,
    pending: &[Pending<'_>],
    policy: &Policy,
) -> Result<Vec<Found>, Fault> {
    let of: Vec<&str> = pending.iter().map(|p| p.member.account.as_str()).collect();
    let names: Vec<&str> = pending.iter().map(|p| p.member.id.as_str()).collect();
    let to: Vec<&[u8]> = pending.iter().filter_map(|p| p.wanted.to.as_deref()).collect();
    let bind: Vec<&[u8]> = pending.iter().filter_map(|p| p.wanted.bind.as_deref()).collect();
    let proofs: Vec<Uuid> = pending.iter().filter_map(|p| p.wanted.proof.map(|id| id.0)).collect();
    // Destinations before challenges, as everywhere.
    let numbers = lock_numbers(tx, Numbers::Given(&to), sends_window(policy)).await?;
    let last = last_ids(tx, pending).await?;
    let ids: Vec<Uuid> = last.iter().flatten().copied().chain(proofs).collect();
    let with_proof = |p: &&Pending<'_>| p.wanted.email_proof;
    let (proof_of, proof_names): (Vec<&str>, Vec<&str>) = pending
        .iter()
        .filter(with_proof)
        .map(|p| (p.member.account.as_str(), p.member.id.as_str()))
        .unzip();
    let (challenges, owned, wrong, email_proofs) = try_join!(
        lock_challenges(tx, &ids),
        owned_numbers::among(tx, &bind),
        wrong_guesses::wrong(tx, &of, &names, wrong_window(policy)),
        email_proofs::load(tx, &proof_of, &proof_names)
    )?;
    let found = pending.iter().zip(last).map(|(Pending { member, wanted }, last)| {
        let own = |challenge: &&Challenge| {
            challenge.account == member.account && challenge.member == member.id
        };
        let number = |index: &Vec<u8>| numbers.get(index).cloned();
        let proof = wanted.proof.and_then(|id| challenges.get(&id.0)).filter(own);
        Found {
            current: last.and_then(|id| challenges.get(&id)).cloned(),
            wrong: wrong.get(&members::key(member)).cloned().unwrap_or_default(),
            number: wanted.to.as_ref().and_then(number).unwrap_or_default(),
            owned: wanted.bind.as_ref().is_some_and(|index| owned.contains(index)),
            proof: proof.cloned(),
            email_proof: email_proofs.get(&members::key(member)).cloned(),
        }
    });
    Ok(found.collect())
}

/// The last challenge of each pending thing, in order. The members are locked, so none comes in
/// between.
async fn last_ids(tx: &Tx<'_>, pending: &[Pending<'_>]) -> Result<Vec<Option<Uuid>>, Fault> {
    const SQL: &str = "SELECT account, member, purpose, login, challenge FROM login \
        WHERE (account, member, purpose, login) IN \
        (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]))";
    let key = |p: &Pending<'_>| {
        p.wanted.pending.as_ref().map(|(purpose, login)| {
            let ids = (p.member.account.to_string(), p.member.id.to_string());
            (ids.0, ids.1, purpose.label().to_owned(), login.to_string())
        })
    };
    let keys: Vec<_> = pending.iter().map(key).collect();
    let column = |of: fn(&(String, String, String, String)) -> &str| {
        keys.iter().flatten().map(of).collect::<Vec<&str>>()
    };
    let columns: [Vec<&str>; 4] =
        [column(|k| &k.0), column(|k| &k.1), column(|k| &k.2), column(|k| &k.3)];
    let rows = tx.rows(SQL, &[&columns[0], &columns[1], &columns[2], &columns[3]]).await?;
    let mut last = HashMap::new();
    for found in &rows {
        let text = |column| row::get::<String>(found, column);
        last.insert((text(0)?, text(1)?, text(2)?, text(3)?), row::get::<Uuid>(found, 4)?);
    }
    Ok(keys.into_iter().map(|key| key.and_then(|key| last.get(&key).copied())).collect())
}
