//! Guesses: what they are judged by, and what a wrong one costs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::try_join;
use uuid::Uuid;

use super::challenges::{ChallengeKey, lock_challenges, replaced, wrong_window};
use super::members::Key;
use super::{Tx, accounts, approvals, attempts, challenges, members, owned, row};
use crate::domain::Timestamp;
use crate::domain::approval::Approval;
use crate::domain::challenge::{AttemptState, Challenge, Channel, Purpose, State};
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::challenge::facts::VerificationFacts;
use crate::rules::challenge::verify::Write;
use crate::rules::factor::change::Change;

/// When these members entered wrong codes, over the last `window`.
pub(super) async fn wrong(
    tx: &Tx<'_>,
    accounts: &[&str],
    members: &[&str],
    window: Duration,
) -> Result<HashMap<Key, Vec<Timestamp>>, Fault> {
    let sql = wrong_sql("SELECT * FROM unnest($1::text[], $2::text[])", 3);
    by_member(&tx.rows(&sql, &[&accounts, &members, &window.as_secs_f64()]).await?)
}

/// When the members of these challenges entered wrong codes, over the last `window`.
async fn wrong_of(
    tx: &Tx<'_>,
    challenges: &[Uuid],
    window: Duration,
) -> Result<HashMap<Key, Vec<Timestamp>>, Fault> {
    let sql = wrong_sql("SELECT account, member FROM challenge WHERE id = ANY($1)", 2);
    by_member(&tx.rows(&sql, &[&challenges, &window.as_secs_f64()]).await?)
}

fn wrong_sql(members: &str, window: usize) -> String {
    format!(
        "SELECT account, member, array_agg(at) FROM wrong_guess \
         WHERE (account, member) IN ({members}) AND at > {} GROUP BY account, member",
        super::ago(window)
    )
}

fn by_member(rows: &[tokio_postgres::Row]) -> Result<HashMap<Key, Vec<Timestamp>>, Fault> {
    rows.iter().map(|r| Ok(((row::get(r, 0)?, row::get(r, 1)?), row::get(r, 2)?))).collect()
}

/// The facts for guesses, in order; `None` where the challenge is not the asker's.
///
/// # Errors
/// As every statement.
pub async fn verification_facts(
    tx: &Tx<'_>,
    keys: &[ChallengeKey<'_>],
    policy: &Policy,
) -> Result<Vec<Option<VerificationFacts>>, Fault> {
    let ids: Vec<Uuid> = keys.iter().map(|key| key.challenge.0).collect();
    let (members, challenges, replaced, sent, known, wrong) = try_join!(
        members::lock_of(tx, &ids),
        lock_challenges(tx, &ids),
        replaced(tx, &ids),
        attempts::of(tx, &ids),
        accounts::of(tx, &ids),
        wrong_of(tx, &ids, wrong_window(policy))
    )?;
    let (open, owned) = what_else(tx, challenges.values()).await?;
    let facts = keys.iter().map(|key| {
        let challenge = challenges.get(&key.challenge.0)?;
        let (account, _) = known.get(challenge.account.as_str())?;
        let asked = (account.app.as_str(), account.id.as_str());
        if key.asker.is_some_and(|asker| asker != asked) {
            return None;
        }
        let member_key = (challenge.account.to_string(), challenge.member.to_string());
        let deliveries = sent.get(&challenge.id.0).into_iter().flatten();
        let mut claimed: Vec<Channel> = deliveries
            .filter(|a| {
                !matches!(a.state, AttemptState::Queued | AttemptState::Skipped) || a.tries > 0
            })
            .map(|attempt| attempt.channel)
            .collect();
        claimed.dedup();
        Some(VerificationFacts {
            challenge: challenge.clone(),
            account: account.clone(),
            open: open
                .get(&member_key)
                .into_iter()
                .flatten()
                .filter(|other| other.id != challenge.id)
                .cloned()
                .collect(),
            owned: owned.contains(&challenge.phone_index),
            member: members.get(&member_key)?.clone(),
            replaced: replaced.contains(&challenge.id.0),
            claimed,
            wrong: wrong.get(&member_key).cloned().unwrap_or_default(),
        })
    });
    Ok(facts.collect())
}

/// What the verification of anything but a login must know besides: the members' open challenges,
/// and which of the numbers to bind belong to companies. A login asks for nothing.
async fn what_else(
    tx: &Tx<'_>,
    challenges: impl Iterator<Item = &Challenge>,
) -> Result<(HashMap<Key, Vec<Challenge>>, HashSet<Vec<u8>>), Fault> {
    let changing: Vec<&Challenge> =
        challenges.filter(|c| c.purpose != Purpose::Login && c.state == State::Open).collect();
    if changing.is_empty() {
        return Ok((HashMap::new(), HashSet::new()));
    }
    let of: Vec<&str> = changing.iter().map(|c| c.account.as_str()).collect();
    let names: Vec<&str> = changing.iter().map(|c| c.member.as_str()).collect();
    let to_bind: Vec<&[u8]> = changing
        .iter()
        .filter(|c| c.purpose.binds_number())
        .map(|c| c.phone_index.as_slice())
        .collect();
    try_join!(members::open(tx, &of, &names), owned::still(tx, &to_bind))
}

/// Writes what guesses cost or bring, each only where challenge and member are still as judged.
///
/// # Errors
/// As every statement; `Transient` when one is not.
pub async fn write(tx: &Tx<'_>, writes: &[&Write], now: Timestamp) -> Result<(), Fault> {
    const COUNT: &str = "UPDATE challenge c SET wrong = c.wrong + 1 \
        FROM unnest($1::uuid[], $2::smallint[]) AS u(id, judged) \
        WHERE c.id = u.id AND c.state = 'open' AND c.wrong = u.judged";
    const MEMBERS: &str = "UPDATE member m SET wrong_in_a_row = u.after, guess_after = u.guess_after, \
        suspended_at = CASE WHEN u.suspend THEN u.now ELSE m.suspended_at END, \
        phone_verified_at = CASE WHEN u.verified THEN u.now ELSE m.phone_verified_at END \
        FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::timestamptz[], \
        $6::boolean[], $7::boolean[], $8::timestamptz[]) \
        AS u(account, member, before, after, guess_after, suspend, verified, now) \
        WHERE m.account = u.account AND m.member = u.member AND m.wrong_in_a_row = u.before";
    const WRONG: &str = "INSERT INTO wrong_guess (account, member, challenge, at) \
        SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[])";
    if writes.is_empty() {
        return Ok(());
    }
    // Two guesses of one member on the same facts would each see room for one more.
    let mut once = std::collections::HashSet::new();
    if !writes.iter().all(|w| once.insert((&w.challenge.account, &w.challenge.member))) {
        return Err(Fault::Transient("two guesses of one member in a batch".into()));
    }
    // What stays as it is needs no write: challenge and member are locked.
    let wrong: Vec<&Write> = writes.iter().copied().filter(|w| w.wrong).collect();
    let ids: Vec<Uuid> = wrong.iter().map(|w| w.challenge.id.0).collect();
    let judged: Vec<i16> = wrong.iter().map(|w| w.challenge.wrong).collect();
    let (of, names): (Vec<&str>, Vec<&str>) =
        wrong.iter().map(|w| (w.challenge.account.as_str(), w.challenge.member.as_str())).unzip();
    let at: Vec<Timestamp> = wrong.iter().map(|w| w.now).collect();
    let count_params: [super::Param<'_>; 2] = [&ids, &judged];
    let wrong_params: [super::Param<'_>; 4] = [&of, &names, &ids, &at];

    let changed: Vec<&Write> = writes.iter().copied().filter(|w| w.changes_member()).collect();
    let accounts: Vec<&str> = changed.iter().map(|w| w.challenge.account.as_str()).collect();
    let members: Vec<&str> = changed.iter().map(|w| w.challenge.member.as_str()).collect();
    let before: Vec<i32> = changed.iter().map(|w| w.in_a_row.0).collect();
    let after: Vec<i32> = changed.iter().map(|w| w.in_a_row.1).collect();
    let guess_after: Vec<Option<Timestamp>> = changed.iter().map(|w| w.guess_after).collect();
    let suspend: Vec<bool> = changed.iter().map(|w| w.suspend).collect();
    let verified: Vec<bool> = changed.iter().map(|w| w.phone_verified).collect();
    let judged_at: Vec<Timestamp> = changed.iter().map(|w| w.now).collect();
    let member_params: [super::Param<'_>; 8] =
        [&accounts, &members, &before, &after, &guess_after, &suspend, &verified, &judged_at];
    let endings: Vec<_> = writes.iter().filter_map(|w| w.ending.as_ref()).collect();
    let count = async {
        if wrong.is_empty() {
            return Ok(());
        }
        try_join!(tx.guarded(COUNT, &count_params, wrong.len()), tx.execute(WRONG, &wrong_params))
            .map(drop)
    };
    let change = async {
        if changed.is_empty() {
            return Ok(());
        }
        tx.guarded(MEMBERS, &member_params, changed.len()).await
    };
    try_join!(count, change, challenges::end(tx, &endings))?;
    let changes: Vec<&Change> = writes.iter().filter_map(|w| w.change.as_ref()).collect();
    members::write_changes(tx, &changes, now).await?;
    let approvals: Vec<&Approval> = writes.iter().filter_map(|w| w.approval.as_ref()).collect();
    approvals::insert(tx, &approvals).await
}
