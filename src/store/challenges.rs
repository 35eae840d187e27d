//! Challenges: the facts about them, and their writes.

use crate::rules::challenge::facts::IssueFacts;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::try_join;
use uuid::Uuid;

use super::{Tx, accounts, attempts, members, row};
use crate::domain::Timestamp;
use crate::domain::challenge::{Challenge, Channel, State};
use crate::domain::id::ChallengeId;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::challenge::decide::Facts;
use crate::rules::challenge::events::Ending;
use crate::rules::challenge::facts::ChallengeFacts;
use crate::rules::challenge::resend::Grant;
use crate::rules::challenge::spec::NewChallenge;
use crate::rules::limits::NumberFacts;

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

/// The longest of the windows that a member's wrong codes are counted in.
pub(super) fn wrong_window(policy: &Policy) -> Duration {
    policy.wrong_per_day.within.max(policy.wrong_per_month.within)
}

pub(super) fn sends_window(policy: &Policy) -> Duration {
    policy.sends_per_number.iter().map(|window| window.within).max().unwrap_or_default()
}

/// Where the numbers of a batch are found: by members, by challenges, or given.
pub(super) enum Numbers<'a> {
    Members(&'a [&'a str], &'a [&'a str]),
    Challenges(&'a [Uuid]),
    Given(&'a [&'a [u8]]),
}

const MEMBERS_NUMBERS: &str = "SELECT phone_index FROM member WHERE (account, member) IN \
    (SELECT * FROM unnest($1::text[], $2::text[])) AND phone_index IS NOT NULL";
const CHALLENGES_NUMBERS: &str = "SELECT phone_index FROM challenge WHERE id = ANY($1)";
const GIVEN_NUMBERS: &str = "SELECT phone_index FROM unnest($1::bytea[]) AS g(phone_index)";

/// Locks the rows of the numbers, in their order, and reads what was sent to them over the last
/// `window`.
pub(super) async fn lock_numbers(
    tx: &Tx<'_>,
    numbers: Numbers<'_>,
    window: Duration,
) -> Result<HashMap<Vec<u8>, NumberFacts>, Fault> {
    let (source, params): (&str, Vec<super::Param<'_>>) = match &numbers {
        Numbers::Members(accounts, members) => (MEMBERS_NUMBERS, vec![accounts, members]),
        Numbers::Challenges(ids) => (CHALLENGES_NUMBERS, vec![ids]),
        Numbers::Given(indexes) => (GIVEN_NUMBERS, vec![indexes]),
    };
    let insert = format!(
        "INSERT INTO destination (destination_index, used_at) SELECT DISTINCT n.phone_index, \
         (SELECT stepup_now()) FROM ({source}) n LEFT JOIN destination d \
         ON d.destination_index = n.phone_index WHERE d.destination_index IS NULL \
         ORDER BY 1 ON CONFLICT DO NOTHING"
    );
    let lock = format!(
        "SELECT destination_index, next_send_at FROM destination \
         WHERE destination_index IN ({source}) ORDER BY destination_index FOR UPDATE"
    );
    let sends = format!(
        "SELECT destination_index, array_agg(granted_at) FROM delivery_attempt \
         WHERE destination_index IN ({source}) AND granted_at > {} \
         GROUP BY destination_index",
        super::ago(params.len() + 1)
    );
    let window = window.as_secs_f64();
    let mut with_window = params.clone();
    with_window.push(&window);
    // Pipelined: the server takes them in this order.
    let (_, locked, sent) = try_join!(
        tx.execute(&insert, &params),
        tx.rows(&lock, &params),
        tx.rows(&sends, &with_window)
    )?;
    let mut found: HashMap<Vec<u8>, NumberFacts> = HashMap::new();
    for number in &locked {
        let next_send_at = row::get(number, 1)?;
        found.insert(row::get(number, 0)?, NumberFacts { next_send_at, sends: Vec::new() });
    }
    for number in &sent {
        found.entry(row::get(number, 0)?).or_default().sends = row::get(number, 1)?;
    }
    Ok(found)
}

/// Locks these challenges, in the order of their ids.
///
/// # Errors
/// As every statement.
pub async fn lock_challenges(tx: &Tx<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, Challenge>, Fault> {
    let sql = format!(
        "SELECT {} FROM challenge c WHERE c.id = ANY($1) ORDER BY c.id FOR UPDATE",
        row::CHALLENGE
    );
    let rows = tx.rows(&sql, &[&ids]).await?;
    rows.iter().map(|r| row::challenge(r).map(|c| (c.id.0, c))).collect()
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
    let params: [super::Param<'_>; 3] = [&accounts, &names, &logins];
    let (members, numbers, current, known, wrong) = try_join!(
        members::lock(tx, &accounts, &names),
        lock_numbers(tx, Numbers::Members(&accounts, &names), sends_window(policy)),
        tx.rows(&current_sql, &params),
        accounts::load(tx, &accounts),
        super::guesses::wrong(tx, &accounts, &names, wrong_window(policy))
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

/// Those of these challenges whose pending login has a newer one.
pub(super) async fn replaced(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<Uuid>, Fault> {
    const SQL: &str = "SELECT c.id FROM challenge c JOIN login l ON l.account = c.account \
        AND l.member = c.member AND l.purpose = c.purpose AND l.login = c.login \
        WHERE c.id = ANY($1) AND l.challenge <> c.id";
    tx.rows(SQL, &[&ids]).await?.iter().map(|found| row::get(found, 0)).collect()
}

/// Writes new challenges, each with its first SMS granted and its pending login pointing to it.
///
/// # Errors
/// As every statement; `Transient` when a number's timer is no longer as judged.
pub async fn insert(tx: &Tx<'_>, new: &[&NewChallenge], digits: u8) -> Result<(), Fault> {
    const CHALLENGES: &str = "INSERT INTO challenge (id, account, member, login, purpose, state, \
        created_at, expires_at, code_digits, code_kid, code_mac, code_sealed, phone_index, \
        email_index, email_fallback, sends, resend_at, send_at, operation, setting, \
        detail_sealed) \
        SELECT u.id, u.account, u.member, u.login, u.purpose, 'open', u.created_at, u.expires_at, \
        $1, u.kid, u.mac, u.sealed, u.phone, u.email, u.fallback, 1, u.resend_at, u.send_at, \
        u.operation, u.setting, u.detail \
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], \
        $7::timestamptz[], $8::timestamptz[], $9::text[], $10::bytea[], $11::bytea[], \
        $12::bytea[], $13::bytea[], $14::text[], $15::timestamptz[], $16::timestamptz[], \
        $17::bytea[], $18::text[], $19::bytea[]) \
        AS u(id, account, member, login, purpose, created_at, expires_at, kid, mac, sealed, \
        phone, email, fallback, resend_at, send_at, operation, setting, detail)";
    const LOGINS: &str = "INSERT INTO login (account, member, purpose, login, challenge) \
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[]) \
        ON CONFLICT (account, member, purpose, login) DO UPDATE SET challenge = EXCLUDED.challenge";
    if new.is_empty() {
        return Ok(());
    }
    let rows: Vec<&Challenge> = new.iter().map(|new| &new.challenge).collect();
    let digits = i16::from(digits);
    let ids: Vec<Uuid> = rows.iter().map(|c| c.id.0).collect();
    let accounts: Vec<&str> = rows.iter().map(|c| c.account.as_str()).collect();
    let members: Vec<&str> = rows.iter().map(|c| c.member.as_str()).collect();
    let logins: Vec<&str> = rows.iter().map(|c| c.login.as_str()).collect();
    let purposes: Vec<&str> = rows.iter().map(|c| c.purpose.label()).collect();
    let created: Vec<Timestamp> = rows.iter().map(|c| c.created_at).collect();
    let expires: Vec<Timestamp> = rows.iter().map(|c| c.expires_at).collect();
    let kids: Vec<&str> = rows.iter().map(|c| c.digest.kid.as_str()).collect();
    let macs: Vec<&[u8]> = rows.iter().map(|c| c.digest.mac.as_slice()).collect();
    let sealed: Vec<Option<&[u8]>> = rows.iter().map(|c| c.code_sealed.as_deref()).collect();
    let phones: Vec<&[u8]> = rows.iter().map(|c| c.phone_index.as_slice()).collect();
    let emails: Vec<Option<&[u8]>> = rows.iter().map(|c| c.email_index.as_deref()).collect();
    let fallbacks: Vec<&str> = rows.iter().map(|c| c.email_fallback.label()).collect();
    let resend_at: Vec<Timestamp> = rows.iter().map(|c| c.resend_at).collect();
    // Only a send that has to wait needs a timer.
    let send_at: Vec<Option<Timestamp>> =
        new.iter().map(|n| (n.send_at > n.now).then_some(n.send_at)).collect();
    let operations: Vec<&[u8]> = rows.iter().map(|c| c.operation.as_slice()).collect();
    let settings: Vec<Option<&str>> =
        rows.iter().map(|c| c.setting.as_ref().map(|setting| setting.as_str())).collect();
    let details: Vec<Option<&[u8]>> = rows.iter().map(|c| c.detail_sealed.as_deref()).collect();
    let params: [super::Param<'_>; 19] = [
        &digits,
        &ids,
        &accounts,
        &members,
        &logins,
        &purposes,
        &created,
        &expires,
        &kids,
        &macs,
        &sealed,
        &phones,
        &emails,
        &fallbacks,
        &resend_at,
        &send_at,
        &operations,
        &settings,
        &details,
    ];
    let login_params: [super::Param<'_>; 5] = [&accounts, &members, &purposes, &logins, &ids];
    let sends: Vec<attempts::NewSend<'_>> = new
        .iter()
        .map(|n| attempts::NewSend::sms(n.challenge.id, 1, &n.challenge.phone_index, n.now))
        .collect();
    let timers: Vec<NumberTimer<'_>> = new
        .iter()
        .map(|n| (n.challenge.phone_index.as_slice(), n.challenge.resend_at, n.now))
        .collect();
    try_join!(
        tx.execute(CHALLENGES, &params),
        tx.execute(LOGINS, &login_params),
        attempts::insert(tx, &sends),
        set_number_timers(tx, &timers)
    )?;
    Ok(())
}

/// Writes new challenges and further sends of one batch.
///
/// # Errors
/// As [`insert`] and [`grant`]; `Transient` when both send to one number, which were decided on the same
/// facts.
pub async fn write_sends(
    tx: &Tx<'_>,
    new: &[&NewChallenge],
    grants: &[&Grant],
    digits: u8,
) -> Result<(), Fault> {
    let begun: HashSet<&[u8]> = new.iter().map(|n| n.challenge.phone_index.as_slice()).collect();
    let again = |grant: &&Grant| {
        grant.channel == Channel::Sms && begun.contains(grant.destination_index.as_slice())
    };
    if grants.iter().any(again) {
        return Err(Fault::Transient("two sends to one number in a batch".into()));
    }
    insert(tx, new, digits).await?;
    grant(tx, grants).await
}

/// A number, from when on it may get an SMS again, and when this was decided.
type NumberTimer<'a> = (&'a [u8], Timestamp, Timestamp);

/// Sets the timers of numbers. Each number may be in a batch once: two sends to one number were
/// decided on the same facts.
async fn set_number_timers(tx: &Tx<'_>, timers: &[NumberTimer<'_>]) -> Result<(), Fault> {
    const SQL: &str = "UPDATE destination d SET next_send_at = u.next_send_at, used_at = u.now \
        FROM unnest($1::bytea[], $2::timestamptz[], $3::timestamptz[]) \
        AS u(destination_index, next_send_at, now) \
        WHERE d.destination_index = u.destination_index";
    let numbers: Vec<&[u8]> = timers.iter().map(|(number, ..)| *number).collect();
    let next: Vec<Timestamp> = timers.iter().map(|(_, next, _)| *next).collect();
    let now: Vec<Timestamp> = timers.iter().map(|(.., now)| *now).collect();
    tx.guarded(SQL, &[&numbers, &next, &now], timers.len()).await
}

/// Writes further sends.
///
/// # Errors
/// As every statement; `Transient` when a challenge is no longer as judged.
async fn grant(tx: &Tx<'_>, grants: &[&Grant]) -> Result<(), Fault> {
    const SQL: &str = "UPDATE challenge c SET sends = u.send, resend_at = u.resend_at \
        FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[]) AS u(id, send, resend_at) \
        WHERE c.id = u.id AND c.state = 'open' AND c.sends = u.send - 1";
    if grants.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = grants.iter().map(|grant| grant.challenge.0).collect();
    let sends: Vec<i16> = grants.iter().map(|grant| grant.send).collect();
    let resend_at: Vec<Timestamp> = grants.iter().map(|grant| grant.resend_at).collect();
    tx.guarded(SQL, &[&ids, &sends, &resend_at], grants.len()).await?;
    let new: Vec<attempts::NewSend<'_>> =
        grants.iter().map(|grant| attempts::NewSend::granted(grant)).collect();
    attempts::insert(tx, &new).await?;
    let timers: Vec<NumberTimer<'_>> = grants
        .iter()
        .filter(|grant| grant.channel == Channel::Sms)
        .map(|grant| (grant.destination_index.as_slice(), grant.resend_at, grant.now))
        .collect();
    set_number_timers(tx, &timers).await
}

/// Ends challenges. A verified one clears the timer of its number.
///
/// # Errors
/// As every statement; `Transient` when one is no longer open.
pub async fn end(tx: &Tx<'_>, endings: &[&Ending]) -> Result<(), Fault> {
    const SQL: &str = "UPDATE challenge c SET state = u.state, reason = u.reason, \
        ended_at = u.at, code_sealed = NULL, detail_sealed = NULL \
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) \
        AS u(id, state, reason, at) WHERE c.id = u.id AND c.state = 'open'";
    const CLEAR: &str = "UPDATE destination SET next_send_at = NULL WHERE destination_index IN \
        (SELECT phone_index FROM challenge WHERE id = ANY($1))";
    if endings.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = endings.iter().map(|ending| ending.challenge.0).collect();
    let states: Vec<&str> = endings.iter().map(|ending| ending.state.label()).collect();
    let reasons: Vec<Option<&str>> =
        endings.iter().map(|ending| ending.reason.map(|reason| reason.label())).collect();
    let at: Vec<Timestamp> = endings.iter().map(|ending| ending.at).collect();
    let verified: Vec<Uuid> = endings
        .iter()
        .filter(|ending| ending.state == State::Verified)
        .map(|ending| ending.challenge.0)
        .collect();
    let clear = async {
        if verified.is_empty() {
            return Ok(());
        }
        tx.execute(CLEAR, &[&verified]).await.map(drop)
    };
    let params: [super::Param<'_>; 4] = [&ids, &states, &reasons, &at];
    try_join!(tx.guarded(SQL, &params, endings.len()), clear).map(drop)
}
