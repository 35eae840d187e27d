//! A challenge as its app may see it.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::approval::Operation;
use crate::domain::challenge::{AttemptState, Channel, State};
use crate::domain::id::AppName;
use crate::fault::Fault;
use crate::message::{ChallengeView, DeliveryView};
use crate::store::pool::Store;
use crate::store::row;
use crate::store::tx::Tx;

/// Events shown of one challenge at most; one has a dozen.
pub const CHALLENGE_VIEW_EVENTS_MAX: i64 = 200;

/// The challenge with this id, or the one that the request with this id led to. `None` for one that
/// is not the app's, as for one that does not exist.
///
/// # Errors
/// As every statement.
pub async fn challenge(store: &Store, app: &AppName, id: Uuid) -> Result<Option<Value>, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    if let Some(view) = by_id(&tx, app, id).await? {
        return Ok(Some(view));
    }
    // The id of a 202 is the request's.
    const SQL: &str =
        "SELECT reply FROM inbox WHERE message = $1 AND app = $2 AND reply IS NOT NULL";
    let rows = tx.rows(SQL, &[&id, &app.as_str()]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let reply: Option<&str> = row::get(found, 0)?;
    let outcome: Value =
        reply.and_then(|reply| serde_json::from_str(reply).ok()).unwrap_or(Value::Null);
    let led_to = outcome.get("challenge").and_then(Value::as_str);
    match led_to.and_then(|id| Uuid::parse_str(id).ok()) {
        Some(challenge) => by_id(&tx, app, challenge).await,
        None => Ok(Some(outcome)),
    }
}

async fn by_id(tx: &Tx<'_>, app: &AppName, id: Uuid) -> Result<Option<Value>, Fault> {
    let sql = format!(
        "SELECT {}, c.ended_at, c.send_at, stepup_now() FROM challenge c \
         JOIN account a ON a.account = c.account WHERE c.id = $1 AND a.app = $2",
        row::CHALLENGE
    );
    const DELIVERIES: &str = "SELECT channel, send, state, answer, settled_at \
        FROM delivery_attempt WHERE challenge = $1 ORDER BY granted_at, send";
    const TIMELINE: &str =
        "SELECT body FROM trail WHERE challenge = $1 ORDER BY at, event LIMIT $2";
    let rows = tx.rows(&sql, &[&id, &app.as_str()]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let challenge = row::challenge(found)?;
    let now: Timestamp = row::get(found, 24)?;
    let deliveries = tx.rows(DELIVERIES, &[&id]).await?;
    let deliveries = deliveries.iter().map(delivery).collect::<Result<_, _>>()?;
    let events = tx.rows(TIMELINE, &[&id, &CHALLENGE_VIEW_EVENTS_MAX]).await?;
    let timeline = events.iter().map(|event| row::get(event, 0)).collect::<Result<_, _>>()?;
    // Past its time it takes no code, whether the timer has come round or not.
    let late = challenge.state == State::Open && now >= challenge.expires_at;
    let operation = Operation::of_challenge(&challenge).map(|operation| operation.label());
    let view = ChallengeView {
        challenge: challenge.id,
        account: challenge.account,
        member: challenge.member,
        login: challenge.login,
        purpose: challenge.purpose,
        setting: challenge.setting,
        operation,
        state: if late { State::Expired } else { challenge.state },
        reason: challenge.reason,
        created_at: challenge.created_at,
        expires_at: challenge.expires_at,
        ended_at: row::get(found, 22)?,
        send_at: row::get(found, 23)?,
        resend_available_at: challenge.resend_at,
        fallback_at: challenge.fallback_at.filter(|_| challenge.email_index.is_some()),
        sends: challenge.sends,
        wrong_codes: challenge.wrong,
        deliveries,
        timeline,
    };
    // A struct of texts and numbers always serialises.
    Ok(Some(serde_json::to_value(view).unwrap_or_default()))
}

fn delivery(found: &tokio_postgres::Row) -> Result<DeliveryView, Fault> {
    let reason: Option<&str> = row::get(found, 3)?;
    Ok(DeliveryView {
        channel: row::word(found, 0, Channel::parse)?,
        send: row::get(found, 1)?,
        state: row::word(found, 2, AttemptState::parse)?,
        reason: reason.map(str::to_owned),
        settled_at: row::get(found, 4)?,
    })
}
