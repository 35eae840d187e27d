//! Claims and settlements of sends.

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::Channel;
use crate::fault::Fault;
use crate::rules::delivery::{DeliveryCall, DeliverySettlement, FALLBACK_SEND, Facts, SendRequest};
use crate::store::challenge::rows;
use crate::store::delivery::attempts;
use crate::store::delivery::settlement::Settlement;
use crate::store::directory::{accounts, members};
use crate::store::tx::{Param, Tx};

/// The facts for sends, in order; `None` where there is no such challenge.
///
/// # Errors
/// As every statement.
pub async fn delivery_facts(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<Option<Facts>>, Fault> {
    let (challenges, members, sent, known) = try_join!(
        rows::lock_challenges(tx, ids),
        members::of(tx, ids),
        attempts::of(tx, ids),
        accounts::of(tx, ids)
    )?;
    let facts = ids.iter().map(|id| {
        let challenge = challenges.get(id)?;
        let key = (challenge.account.to_string(), challenge.member.to_string());
        Some(Facts {
            challenge: challenge.clone(),
            account: known.get(challenge.account.as_str())?.0.clone(),
            member: members.get(&key)?.clone(),
            attempts: sent.get(id).cloned().unwrap_or_default(),
        })
    });
    Ok(facts.collect())
}

/// What a claim sets.
#[derive(Clone, Copy)]
pub struct Claim {
    /// How long the one who claims may take.
    pub lease: std::time::Duration,
    /// When the email fallback is due after the first SMS.
    pub fallback_after: std::time::Duration,
}

/// Claims the sends that are about to be called.
///
/// # Errors
/// As every statement; `Transient` when one is no longer as judged.
pub async fn claim(tx: &Tx<'_>, calls: &[&DeliveryCall], claim: Claim) -> Result<(), Fault> {
    const QUEUED: &str = "UPDATE delivery_attempt d SET state = 'calling', tries = d.tries + 1, \
        lease_until = u.lease_until \
        FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::smallint[], $5::timestamptz[]) \
        AS u(challenge, channel, send, tries, lease_until) \
        WHERE d.challenge = u.challenge AND d.channel = u.channel AND d.send = u.send \
        AND d.state = 'queued' AND d.tries = u.tries";
    const FALLBACK: &str = "INSERT INTO delivery_attempt (challenge, channel, send, \
        backs_up_channel, backs_up_send, state, tries, destination_index, granted_at, lease_until) \
        SELECT u.challenge, 'email', $4, 'sms', 1, 'calling', 1, c.email_index, u.now, \
        u.lease_until FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) \
        AS u(challenge, now, lease_until) JOIN challenge c ON c.id = u.challenge";
    const FALLBACK_AT: &str = "UPDATE challenge c SET fallback_at = u.fallback_at \
        FROM unnest($1::uuid[], $2::timestamptz[]) AS u(id, fallback_at) \
        WHERE c.id = u.id AND c.fallback_at IS NULL AND c.email_index IS NOT NULL";
    const COUNT: &str = "UPDATE challenge SET sends = sends + 1 WHERE id = ANY($1)";
    if calls.is_empty() {
        return Ok(());
    }
    let (fresh, queued): (Vec<&DeliveryCall>, Vec<&DeliveryCall>) =
        calls.iter().copied().partition(|call| writes_row(call));
    let lease_until = |call: &&DeliveryCall| call.send.now + claim.lease;

    let ids: Vec<Uuid> = queued.iter().map(|call| call.send.request.challenge.0).collect();
    let channels: Vec<&str> = queued.iter().map(|call| call.send.request.channel.label()).collect();
    let sends: Vec<i16> = queued.iter().map(|call| call.send.request.send).collect();
    let tries: Vec<i16> = queued.iter().map(|call| call.send.request.tries).collect();
    let leases: Vec<Timestamp> = queued.iter().map(lease_until).collect();
    let queued_params: [Param<'_>; 5] = [&ids, &channels, &sends, &tries, &leases];

    if !fresh.is_empty() {
        let ids: Vec<Uuid> = fresh.iter().map(|call| call.send.request.challenge.0).collect();
        let now: Vec<Timestamp> = fresh.iter().map(|call| call.send.now).collect();
        let leases: Vec<Timestamp> = fresh.iter().map(lease_until).collect();
        tx.guarded(FALLBACK, &[&ids, &now, &leases, &FALLBACK_SEND], fresh.len()).await?;
        tx.execute(COUNT, &[&ids]).await?;
    }
    let first: Vec<&&DeliveryCall> = queued
        .iter()
        .filter(|call| call.send.request.channel == Channel::Sms && !call.fallback_set)
        .collect();
    let fallback_at = async {
        if first.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = first.iter().map(|call| call.send.request.challenge.0).collect();
        let due: Vec<Timestamp> =
            first.iter().map(|call| call.send.now + claim.fallback_after).collect();
        tx.execute(FALLBACK_AT, &[&ids, &due]).await.map(drop)
    };
    try_join!(tx.guarded(QUEUED, &queued_params, queued.len()), fallback_at).map(drop)
}

/// Takes back claims that were committed and whose calls were not made; a claim is known by the end of
/// its lease. What the claim has written for the automatic email goes with it; `fallback_at` stays.
///
/// # Errors
/// As every statement.
pub async fn release(tx: &Tx<'_>, calls: &[&DeliveryCall], claim: Claim) -> Result<(), Fault> {
    const QUEUED: &str = "UPDATE delivery_attempt d SET state = 'queued', tries = d.tries - 1, \
        lease_until = NULL \
        FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[]) \
        AS u(challenge, channel, send, lease_until) \
        WHERE d.challenge = u.challenge AND d.channel = u.channel AND d.send = u.send \
        AND d.state = 'calling' AND d.lease_until = u.lease_until";
    const FALLBACK: &str = "WITH gone AS (DELETE FROM delivery_attempt d \
        USING unnest($1::uuid[], $2::timestamptz[]) AS u(challenge, lease_until) \
        WHERE d.challenge = u.challenge AND d.channel = 'email' AND d.send = $3 \
        AND d.state = 'calling' AND d.lease_until = u.lease_until RETURNING d.challenge) \
        UPDATE challenge SET sends = sends - 1 WHERE id IN (SELECT challenge FROM gone)";
    let (fresh, queued): (Vec<&DeliveryCall>, Vec<&DeliveryCall>) =
        calls.iter().copied().partition(|call| writes_row(call));
    let of = |calls: &[&DeliveryCall]| -> (Vec<Uuid>, Vec<Timestamp>) {
        let of =
            |call: &&DeliveryCall| (call.send.request.challenge.0, call.send.now + claim.lease);
        calls.iter().map(of).unzip()
    };
    if !fresh.is_empty() {
        let (ids, leases) = of(&fresh);
        tx.execute(FALLBACK, &[&ids, &leases, &FALLBACK_SEND]).await?;
    }
    if !queued.is_empty() {
        let (ids, leases) = of(&queued);
        let channels: Vec<&str> =
            queued.iter().map(|call| call.send.request.channel.label()).collect();
        let sends: Vec<i16> = queued.iter().map(|call| call.send.request.send).collect();
        tx.execute(QUEUED, &[&ids, &channels, &sends, &leases]).await?;
    }
    Ok(())
}

/// Whether the claim writes the row of the send: that of the first try of the automatic email.
fn writes_row(call: &DeliveryCall) -> bool {
    call.send.request.is_fallback() && call.send.request.tries == 0
}

/// Settles sends. A settled send stays as it is: an answer after the end of the lease finds it `unknown`,
/// and the event that says so cannot be taken back.
///
/// # Errors
/// As every statement.
pub async fn settle(
    tx: &Tx<'_>,
    sends: &[&DeliverySettlement],
    now: Timestamp,
) -> Result<(), Fault> {
    const SQL: &str = "UPDATE delivery_attempt d SET state = u.state, answer = u.answer, \
        provider_ref = coalesce(u.provider_ref, d.provider_ref), settled_at = $1, \
        lease_until = NULL \
        FROM unnest($2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[]) \
        AS u(challenge, channel, send, state, answer, provider_ref) \
        WHERE d.challenge = u.challenge AND d.channel = u.channel AND d.send = u.send \
        AND d.state IN ('queued', 'calling')";
    let settled: Vec<(&SendRequest, Settlement<'_>)> = sends
        .iter()
        .filter_map(|s| Settlement::of(&s.settled).map(|settled| (&s.send.request, settled)))
        .collect();
    if settled.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = settled.iter().map(|(send, _)| send.challenge.0).collect();
    let channels: Vec<&str> = settled.iter().map(|(send, _)| send.channel.label()).collect();
    let sends: Vec<i16> = settled.iter().map(|(send, _)| send.send).collect();
    let states: Vec<&str> = settled.iter().map(|(_, s)| s.state.label()).collect();
    let answers: Vec<Option<&str>> = settled.iter().map(|(_, s)| s.answer).collect();
    let refs: Vec<Option<&str>> = settled.iter().map(|(_, s)| s.provider_ref).collect();
    tx.execute(SQL, &[&now, &ids, &channels, &sends, &states, &answers, &refs]).await?;
    Ok(())
}
