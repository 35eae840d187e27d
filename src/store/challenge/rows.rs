//! Rows of challenges.

use std::collections::{HashMap, HashSet};

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::{Challenge, Channel, State};
use crate::fault::Fault;
use crate::rules::challenge::events::Ending;
use crate::rules::challenge::resend::Grant;
use crate::rules::challenge::spec::NewChallenge;
use crate::store::delivery::attempts;
use crate::store::delivery::numbers::{NumberTimer, set_number_timers};
use crate::store::row;
use crate::store::tx::{Param, Tx, column};

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

/// Those of these challenges whose pending login has a newer one.
pub(in crate::store) async fn replaced(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<Uuid>, Fault> {
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
    let ids = column(&rows, |c| c.id.0);
    let accounts = column(&rows, |c| c.account.as_str());
    let members = column(&rows, |c| c.member.as_str());
    let logins = column(&rows, |c| c.login.as_str());
    let purposes = column(&rows, |c| c.purpose.label());
    let params: [Param<'_>; 19] = [
        &digits,
        &ids,
        &accounts,
        &members,
        &logins,
        &purposes,
        &column(&rows, |c| c.created_at),
        &column(&rows, |c| c.expires_at),
        &column(&rows, |c| c.digest.kid.as_str()),
        &column(&rows, |c| c.digest.mac.as_slice()),
        &column(&rows, |c| c.code_sealed.as_deref()),
        &column(&rows, |c| c.phone_index.as_slice()),
        &column(&rows, |c| c.email_index.as_deref()),
        &column(&rows, |c| c.email_fallback.label()),
        &column(&rows, |c| c.resend_at),
        // Only a send that has to wait needs a timer.
        &column(new, |n| (n.send_at > n.now).then_some(n.send_at)),
        &column(&rows, |c| c.operation.as_slice()),
        &column(&rows, |c| c.setting.as_ref().map(|setting| setting.as_str())),
        &column(&rows, |c| c.detail_sealed.as_deref()),
    ];
    let login_params: [Param<'_>; 5] = [&accounts, &members, &purposes, &logins, &ids];
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
    let params: [Param<'_>; 4] = [&ids, &states, &reasons, &at];
    try_join!(tx.guarded(SQL, &params, endings.len()), clear).map(drop)
}
