//! Deliveries: one row per send.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::Channel;
use crate::domain::id::ChallengeId;
use crate::fault::Fault;
use crate::rules::challenge::resend::Grant;
use crate::rules::delivery::Attempt;
use crate::store::row;
use crate::store::tx::Tx;

/// A send that is granted.
pub(in crate::store) struct NewSend<'a> {
    challenge: Uuid,
    channel: Channel,
    send: i16,
    destination_index: &'a [u8],
    at: Timestamp,
}

impl<'a> NewSend<'a> {
    pub(in crate::store) fn sms(
        challenge: ChallengeId,
        send: i16,
        to: &'a [u8],
        at: Timestamp,
    ) -> Self {
        let (challenge, channel) = (challenge.0, Channel::Sms);
        Self { challenge, channel, send, destination_index: to, at }
    }

    pub(in crate::store) fn granted(grant: &'a Grant) -> Self {
        Self {
            challenge: grant.challenge.0,
            channel: grant.channel,
            send: grant.send,
            destination_index: &grant.destination_index,
            at: grant.now,
        }
    }
}

/// Writes granted sends. An email row names the challenge's first SMS, which it backs up.
pub(in crate::store) async fn insert(tx: &Tx<'_>, sends: &[NewSend<'_>]) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO delivery_attempt (challenge, channel, send, backs_up_channel, \
        backs_up_send, state, destination_index, granted_at) \
        SELECT u.challenge, u.channel, u.send, CASE u.channel WHEN 'email' THEN 'sms' END, \
        CASE u.channel WHEN 'email' THEN 1 END, 'queued', u.destination_index, u.at \
        FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::bytea[], $5::timestamptz[]) \
        AS u(challenge, channel, send, destination_index, at)";
    let ids: Vec<Uuid> = sends.iter().map(|send| send.challenge).collect();
    let channels: Vec<&str> = sends.iter().map(|send| send.channel.label()).collect();
    let numbers: Vec<i16> = sends.iter().map(|send| send.send).collect();
    let to: Vec<&[u8]> = sends.iter().map(|send| send.destination_index).collect();
    let at: Vec<Timestamp> = sends.iter().map(|send| send.at).collect();
    tx.execute(SQL, &[&ids, &channels, &numbers, &to, &at]).await?;
    Ok(())
}

/// The deliveries of these challenges.
pub(in crate::store) async fn of(
    tx: &Tx<'_>,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Attempt>>, Fault> {
    const SQL: &str = "SELECT challenge, channel, send, state, tries, lease_until \
        FROM delivery_attempt WHERE challenge = ANY($1) ORDER BY challenge, channel DESC, send";
    let mut found: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for r in tx.rows(SQL, &[&ids]).await? {
        found.entry(row::get(&r, 0)?).or_default().push(row::attempt(&r, 1)?);
    }
    Ok(found)
}
