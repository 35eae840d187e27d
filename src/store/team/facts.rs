//! What decisions of a team need.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::id::{AccountId, ChallengeId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::factor::facts::Found;
use crate::rules::team::decide::{Facts, TeamMessage};
use crate::rules::team::review::{Contacts, Review};
use crate::store::directory::{accounts, members};
use crate::store::factor::pending::{self, Pending};
use crate::store::row;
use crate::store::team::reviews::outdated;
use crate::store::tx::Tx;

/// The facts for what admins ask, in order; `None` where the account is not the app's. Accounts come
/// first, so that two admins are heard one after the other.
///
/// # Errors
/// As every statement.
pub async fn team_facts(
    tx: &Tx<'_>,
    asks: &[(Uuid, &TeamMessage)],
    keys: &Keyring,
    policy: &Policy,
) -> Result<Vec<Option<Facts>>, Fault> {
    let of: Vec<&str> = asks.iter().map(|(_, ask)| ask.account().as_str()).collect();
    let known = accounts::lock(tx, &of).await?;
    let (mut people_of, mut people) = (of.clone(), Vec::new());
    people.extend(asks.iter().map(|(_, ask)| ask.actor().as_str()));
    let subjects = asks.iter().filter_map(|(_, ask)| Some((ask.account(), ask.member()?)));
    let (subjects_of, subjects): (Vec<&str>, Vec<&str>) =
        subjects.map(|(account, member)| (account.as_str(), member.as_str())).unzip();
    people_of.extend(&subjects_of);
    people.extend(&subjects);
    let people = members::lock(tx, &people_of, &people).await?;
    let mandates = last_mandates(tx, &of).await?;
    let person =
        |account: &AccountId, name: &MemberId| people.get(&(account.to_string(), name.to_string()));
    let mut places = Vec::new();
    let mut wanted = Vec::new();
    for (at, (_, ask)) in asks.iter().enumerate() {
        if let Some(actor) = person(ask.account(), ask.actor()) {
            let mandate = mandates.get(ask.account().as_str()).copied();
            places.push(at);
            wanted.push((actor, ask.wanted(actor, mandate, keys)));
        }
    }
    let looked: Vec<Pending<'_>> =
        wanted.iter().map(|(member, wanted)| Pending { member, wanted }).collect();
    let found = pending::found(tx, &looked, policy).await?;
    let mut found: HashMap<usize, Found> = places.into_iter().zip(found).collect();
    let open = members::open(tx, &subjects_of, &subjects).await?;
    let mut facts = Vec::with_capacity(asks.len());
    for (at, (id, ask)) in asks.iter().enumerate() {
        let account = known.get(ask.account().as_str()).map(|(account, _)| account);
        let Some(account) = account.filter(|account| account.app == *ask.app()) else {
            facts.push(None);
            continue;
        };
        let subject = ask.member().and_then(|member| person(ask.account(), member));
        let (review, admin_has_phone) = match ask.review() {
            Some(review) => {
                (named(tx, review, account).await?, admin_has_phone(tx, account).await?)
            }
            None => (None, false),
        };
        facts.push(Some(Facts {
            id: *id,
            account: account.clone(),
            actor: person(ask.account(), ask.actor()).cloned(),
            subject: subject.cloned(),
            open: subject.and_then(|m| open.get(&members::key(m))).cloned().unwrap_or_default(),
            found: found.remove(&at).unwrap_or_default(),
            review,
            mandate: mandates.get(account.id.as_str()).copied(),
            admin_has_phone,
        }));
    }
    Ok(facts)
}

/// Takes these verified challenges from what they completed, so that they prove nothing again.
///
/// # Errors
/// As every statement; `Transient` when one was spent meanwhile.
pub async fn spend_proofs(tx: &Tx<'_>, challenges: &[ChallengeId]) -> Result<(), Fault> {
    const SQL: &str = "DELETE FROM login WHERE purpose = 'team' AND challenge = ANY($1)";
    if challenges.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = challenges.iter().map(|challenge| challenge.0).collect();
    tx.guarded(SQL, &[&ids], ids.len()).await
}

async fn last_mandates(tx: &Tx<'_>, accounts: &[&str]) -> Result<HashMap<String, Uuid>, Fault> {
    const SQL: &str = "SELECT account, id FROM mandate WHERE account = ANY($1)";
    let rows = tx.rows(SQL, &[&accounts]).await?;
    rows.iter().map(|found| Ok((row::get(found, 0)?, row::get(found, 1)?))).collect()
}

async fn admin_has_phone(tx: &Tx<'_>, account: &Account) -> Result<bool, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE m.account = $1 AND m.role = 'primary_admin' AND m.active",
        row::MEMBER
    );
    for found in tx.rows(&sql, &[&account.id.as_str()]).await? {
        if row::member(&found)?.has_usable_phone() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The review with this id, if it is one of this account.
async fn named(tx: &Tx<'_>, id: Uuid, account: &Account) -> Result<Option<Review>, Fault> {
    const SQL: &str = "SELECT expires_at, done_at IS NOT NULL FROM review \
        WHERE id = $1 AND account = $2";
    const BLOCKED: &str = "SELECT member FROM review_member WHERE review = $1 \
        AND verdicts && $2::text[] ORDER BY member";
    let rows = tx.rows(SQL, &[&id, &account.id.as_str()]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let blocking: Vec<&str> =
        Contacts::ALL.iter().filter(|c| c.blocks()).map(|c| c.label()).collect();
    let blocked = tx.rows(BLOCKED, &[&id, &blocking]).await?;
    Ok(Some(Review {
        id,
        expires_at: row::get(found, 0)?,
        done: row::get(found, 1)?,
        outdated: outdated(tx, id, account.id.as_str()).await?,
        blocked: blocked
            .iter()
            .map(|b| row::id(b, 0, MemberId::parse))
            .collect::<Result<_, _>>()?,
    }))
}
