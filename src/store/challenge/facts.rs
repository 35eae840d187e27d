//! What decisions about challenges need.

use std::collections::{HashMap, HashSet};

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::challenge::{AttemptState, Challenge, Channel, Purpose, State};
use crate::domain::id::ChallengeId;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::challenge::decide::Facts;
use crate::rules::challenge::facts::{ChallengeFacts, IssueFacts, VerificationFacts};
use crate::store::challenge::rows::{lock_challenges, replaced};
use crate::store::challenge::wrong_guesses::{self, wrong_window};
use crate::store::delivery::attempts;
use crate::store::delivery::numbers::{Numbers, lock_numbers, sends_window};
use crate::store::directory::members::{self, Key};
use crate::store::directory::{accounts, owned_numbers};
use crate::store::row;
use crate::store::tx::{Param, Tx};

/// What a login is looked up by.
pub struct IssueKey<'a> {
    /// The app that asks.
    pub app: &'a str,
    /// The account.
    pub account: &'a str,
    /// The member.
    pub member: &'a str,
    /// The pending login.
    pub login: &'a str,
    /// The id that a new challenge would have.
    pub id: ChallengeId,
}

/// What a challenge is looked up by. Without an app the one who asks is ourselves.
pub struct ChallengeKey<'a> {
    /// The challenge.
    pub challenge: ChallengeId,
    /// The app and the account it names.
    pub asker: Option<(&'a str, &'a str)>,
}

/// The facts for logins, in order.
///
/// # Errors
/// As every statement.
pub async fn issue_facts(
    tx: &Tx<'_>,
    keys: &[IssueKey<'_>],
    policy: &Policy,
) -> Result<Vec<Facts>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let accounts: Vec<&str> = keys.iter().map(|key| key.account).collect();
    let names: Vec<&str> = keys.iter().map(|key| key.member).collect();
    let logins: Vec<&str> = keys.iter().map(|key| key.login).collect();
    let current_sql = format!(
        "SELECT {} FROM login l JOIN challenge c ON c.id = l.challenge \
         WHERE l.purpose = 'login' AND (l.account, l.member, l.login) IN \
         (SELECT * FROM unnest($1::text[], $2::text[], $3::text[])) ORDER BY c.id FOR UPDATE OF c",
        row::CHALLENGE
    );
    let params: [Param<'_>; 3] = [&accounts, &names, &logins];
    let (members, numbers, current, known, wrong) = try_join!(
        members::lock(tx, &accounts, &names),
        lock_numbers(tx, Numbers::Members(&accounts, &names), sends_window(policy)),
        tx.rows(&current_sql, &params),
        accounts::load(tx, &accounts),
        wrong_guesses::wrong(tx, &accounts, &names, wrong_window(policy))
    )?;
    let mut open: HashMap<(String, String, String), Challenge> = HashMap::new();
    for found in &current {
        let c = row::challenge(found)?;
        let key = (c.account.to_string(), c.member.to_string(), c.login.to_string());
        open.insert(key, c);
    }
    let facts = keys.iter().map(|key| {
        let account = known.get(key.account).map(|(account, _)| account);
        let Some(account) = account.filter(|account| account.app.as_str() == key.app) else {
            return Facts::Unknown { own_account: false };
        };
        let member_key = (key.account.to_owned(), key.member.to_owned());
        let Some(member) = members.get(&member_key) else {
            return Facts::Unknown { own_account: true };
        };
        let index = member.phone.as_ref().map(|phone| phone.index.as_slice());
        let number = index.and_then(|index| numbers.get(index)).cloned().unwrap_or_default();
        let (account_id, member_id) = member_key.clone();
        Facts::Issue(Box::new(IssueFacts {
            id: key.id,
            account: account.clone(),
            member: member.clone(),
            current: open.get(&(account_id, member_id, key.login.to_owned())).cloned(),
            wrong: wrong.get(&member_key).cloned().unwrap_or_default(),
            number,
            owned: member.phone_owned_at.is_some(),
        }))
    });
    Ok(facts.collect())
}

/// The facts for whatever concerns challenges, in order.
///
/// # Errors
/// As every statement.
pub async fn challenge_facts(
    tx: &Tx<'_>,
    keys: &[ChallengeKey<'_>],
    policy: &Policy,
) -> Result<Vec<Facts>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = keys.iter().map(|key| key.challenge.0).collect();
    let (members, numbers, challenges, replaced, sent, known) = try_join!(
        members::lock_of(tx, &ids),
        lock_numbers(tx, Numbers::Challenges(&ids), sends_window(policy)),
        lock_challenges(tx, &ids),
        replaced(tx, &ids),
        attempts::of(tx, &ids),
        accounts::of(tx, &ids)
    )?;
    let facts = keys.iter().map(|key| {
        let found = challenges.get(&key.challenge.0).and_then(|challenge| {
            let (account, _) = known.get(challenge.account.as_str())?;
            let member =
                members.get(&(challenge.account.to_string(), challenge.member.to_string()))?;
            Some((challenge, account, member))
        });
        let Some((challenge, account, member)) = found else {
            return Facts::Unknown { own_account: false };
        };
        // Another app's challenge is as unknown as one that never was.
        let asked = (account.app.as_str(), account.id.as_str());
        if key.asker.is_some_and(|asker| asker != asked) {
            return Facts::Unknown { own_account: false };
        }
        let deliveries = sent.get(&challenge.id.0).into_iter().flatten();
        Facts::Challenge(Box::new(ChallengeFacts {
            challenge: challenge.clone(),
            account: account.clone(),
            member: member.clone(),
            replaced: replaced.contains(&challenge.id.0),
            attempts: deliveries.map(|attempt| (attempt.channel, attempt.state)).collect(),
            number: numbers.get(&challenge.phone_index).cloned().unwrap_or_default(),
        }))
    });
    Ok(facts.collect())
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
        wrong_guesses::wrong_of(tx, &ids, wrong_window(policy))
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
    try_join!(members::open(tx, &of, &names), owned_numbers::still(tx, &to_bind))
}
