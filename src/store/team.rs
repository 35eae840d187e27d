//! Teams: the facts for what admins ask, reviews of contacts, and mandates on their way to members.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Pending, Tx, accounts, activity, members, pending, row};
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::id::{AccountId, ChallengeId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::factor::change::Change;
use crate::rules::factor::facts::Found;
use crate::rules::team::decide::{Facts, Mandated, TeamMessage};
use crate::rules::team::mandate;
use crate::rules::team::mandate::Applied;
use crate::rules::team::review;
use crate::rules::team::review::{Checked, Contacts, NewReview, Review};

/// A digest of all that a verdict on a member's contacts rests on, but for what a login proves: else
/// a review would not outlive the next login.
const CONTACTS: &str = "md5(ROW(m.phone_index, m.phone_textable, m.phone_country = ANY(a.countries), \
    m.phone_owned_at IS NULL, m.email_index, m.email_verified)::text)";

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

/// Whether a review no longer says what is so: contacts have changed, or a member has come or gone.
pub(super) async fn outdated(tx: &Tx<'_>, review: Uuid, account: &str) -> Result<bool, Fault> {
    let changed = format!(
        "SELECT EXISTS (SELECT FROM member m JOIN account a ON a.account = m.account \
         LEFT JOIN review_member v ON v.review = $1 AND v.member = m.member \
         WHERE m.account = $2 AND m.active AND v.contacts IS DISTINCT FROM {CONTACTS}) \
         OR EXISTS (SELECT FROM review_member v LEFT JOIN member m ON m.account = $2 \
         AND m.member = v.member WHERE v.review = $1 AND m.active IS NOT TRUE)"
    );
    match tx.rows(&changed, &[&review, &account]).await?.first() {
        Some(found) => row::get(found, 0),
        None => Ok(true),
    }
}

/// Writes reviews that begin.
///
/// # Errors
/// As every statement.
pub async fn begin_reviews(tx: &Tx<'_>, reviews: &[&NewReview]) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO review (id, account, actor, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5)";
    for review in reviews {
        let (account, actor) = (review.account.as_str(), review.actor.as_str());
        let params: [super::Param<'_>; 5] =
            [&review.id, &account, &actor, &review.created_at, &review.expires_at];
        tx.execute(SQL, &params).await?;
    }
    Ok(())
}

/// The facts for the next batch of a review; `None` where it is gone.
///
/// # Errors
/// As every statement.
pub async fn review_facts(tx: &Tx<'_>, id: Uuid) -> Result<Option<review::Facts>, Fault> {
    const REVIEW: &str = "SELECT account, batch, checked, done_at IS NOT NULL, reached FROM review \
        WHERE id = $1 FOR UPDATE";
    let rows = tx.rows(REVIEW, &[&id]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let (account, reached): (&str, &str) = (row::get(found, 0)?, row::get(found, 4)?);
    let Some((known, _)) = accounts::load(tx, &[account]).await?.remove(account) else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT {}, EXISTS (SELECT FROM member o WHERE o.phone_index = m.phone_index \
         AND o.account = m.account AND o.member <> m.member AND o.active), {CONTACTS} \
         FROM member m JOIN account a ON a.account = m.account \
         WHERE m.account = $1 AND m.member > $2 AND m.active ORDER BY m.member LIMIT $3",
        row::MEMBER
    );
    let mut next = Vec::new();
    for member in tx.rows(&sql, &[&account, &reached, &(review::BATCH as i64)]).await? {
        let (shared, contacts) = (row::MEMBER_COLUMNS, row::MEMBER_COLUMNS + 1);
        next.push((
            row::member(&member)?,
            row::get(&member, shared)?,
            row::get(&member, contacts)?,
        ));
    }
    Ok(Some(review::Facts {
        account: known,
        batch: row::get(found, 1)?,
        checked: row::get(found, 2)?,
        done: row::get(found, 3)?,
        next,
    }))
}

/// Writes what was found of a batch.
///
/// # Errors
/// As every statement; `Transient` when another was faster.
pub async fn write_checked(tx: &Tx<'_>, batches: &[&Checked]) -> Result<(), Fault> {
    const REVIEW: &str = "UPDATE review SET batch = batch + 1, checked = checked + $3, \
        reached = coalesce($4, reached), done_at = $5 WHERE id = $1 AND batch = $2 \
        AND done_at IS NULL";
    const FOUND: &str = "INSERT INTO review_member (review, member, verdicts, contacts) \
        SELECT $1, u.member, string_to_array(u.verdicts, ','), u.contacts \
        FROM unnest($2::text[], $3::text[], $4::text[]) AS u(member, verdicts, contacts)";
    for batch in batches {
        let names: Vec<&str> = batch.found.iter().map(|(member, ..)| member.as_str()).collect();
        let verdicts: Vec<String> = batch
            .found
            .iter()
            .map(|(_, v, _)| v.iter().map(|v| v.label()).collect::<Vec<_>>().join(","))
            .collect();
        let contacts: Vec<&str> = batch.found.iter().map(|(.., c)| c.as_str()).collect();
        let done_at = batch.last.then_some(batch.at);
        let (many, last) = (names.len() as i64, names.last());
        let params: [super::Param<'_>; 5] = [&batch.review, &batch.batch, &many, &last, &done_at];
        tx.guarded(REVIEW, &params, 1).await?;
        tx.execute(FOUND, &[&batch.review, &names, &verdicts, &contacts]).await?;
    }
    Ok(())
}

/// Writes decisions about whole accounts.
///
/// # Errors
/// As every statement; `Transient` when another admin was faster.
pub async fn write_mandates(
    tx: &Tx<'_>,
    decisions: &[&Mandated],
    now: Timestamp,
) -> Result<(), Fault> {
    const ACCOUNT: &str = "UPDATE account SET mandatory = $2, grace_until = $3 \
        WHERE account = $1 AND mandatory <> $2";
    const MANDATE: &str = "INSERT INTO mandate (account, id, mandatory, actor, decided_at) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET id = $2, mandatory = $3, \
        actor = $4, decided_at = $5, batch = 0, reached = '', changed = 0, done_at = NULL";
    for decision in decisions {
        let (account, actor) = (decision.account.as_str(), decision.activity.actor.as_str());
        let params: [super::Param<'_>; 3] = [&account, &decision.mandatory, &decision.grace_until];
        tx.guarded(ACCOUNT, &params, 1).await?;
        let params: [super::Param<'_>; 5] =
            [&account, &decision.mandate, &decision.mandatory, &actor, &now];
        tx.execute(MANDATE, &params).await?;
    }
    let rows: Vec<_> = decisions.iter().map(|decision| &decision.activity).collect();
    activity::append(tx, &rows).await
}

/// The facts for the next batch of a mandate; `None` where a later decision has taken its place.
///
/// # Errors
/// As every statement.
pub async fn mandate_facts(tx: &Tx<'_>, id: Uuid) -> Result<Option<mandate::Facts>, Fault> {
    const OF: &str = "SELECT account FROM mandate WHERE id = $1";
    const MANDATE: &str = "SELECT mandatory, actor, batch, changed, done_at IS NOT NULL, reached \
        FROM mandate WHERE id = $1 FOR UPDATE";
    let rows = tx.rows(OF, &[&id]).await?;
    let Some(of) = rows.first() else { return Ok(None) };
    let of: &str = row::get(of, 0)?;
    let Some((account, _)) = accounts::lock(tx, &[of]).await?.remove(of) else { return Ok(None) };
    let rows = tx.rows(MANDATE, &[&id]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let reached: &str = row::get(found, 5)?;
    let sql = format!(
        "SELECT {} FROM member m WHERE m.account = $1 AND m.member > $2 \
         ORDER BY m.member LIMIT $3 FOR UPDATE",
        row::MEMBER
    );
    let next = tx.rows(&sql, &[&of, &reached, &(mandate::BATCH as i64)]).await?;
    let next: Vec<_> = next.iter().map(row::member).collect::<Result<_, _>>()?;
    let accounts_of = vec![of; next.len()];
    let names: Vec<&str> = next.iter().map(|member| member.id.as_str()).collect();
    let mut open = members::open(tx, &accounts_of, &names).await?;
    let with_open = |member: crate::domain::member::Member| {
        let open = open.remove(&members::key(&member)).unwrap_or_default();
        (member, open)
    };
    Ok(Some(mandate::Facts {
        account,
        mandatory: row::get(found, 0)?,
        actor: row::id(found, 1, MemberId::parse)?,
        batch: row::get(found, 2)?,
        changed: row::get(found, 3)?,
        done: row::get(found, 4)?,
        next: next.into_iter().map(with_open).collect(),
    }))
}

/// Writes batches of mandates.
///
/// # Errors
/// As every statement; `Transient` when another was faster.
pub async fn write_applied(tx: &Tx<'_>, batches: &[&Applied]) -> Result<(), Fault> {
    const SQL: &str = "UPDATE mandate SET batch = batch + 1, changed = changed + $3, \
        reached = coalesce($4, reached), done_at = $5 WHERE id = $1 AND batch = $2 \
        AND done_at IS NULL";
    for batch in batches {
        let changes: Vec<&Change> = batch.changes.iter().collect();
        let (many, done_at) = (changes.len() as i64, batch.last.then_some(batch.at));
        let reached = batch.reached.as_ref().map(|member| member.as_str());
        let params: [super::Param<'_>; 5] =
            [&batch.mandate, &batch.batch, &many, &reached, &done_at];
        tx.guarded(SQL, &params, 1).await?;
        members::write_changes(tx, &changes, batch.at).await?;
    }
    Ok(())
}
