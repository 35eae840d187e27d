//! What the ingress reads: a challenge as its app may see it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Store, Tx, row};
use crate::domain::Timestamp;
use crate::domain::challenge::State;
use crate::domain::id::AppName;
use crate::fault::Fault;

/// Events shown of one challenge at most; one has a dozen.
pub const CHALLENGE_VIEW_EVENTS_MAX: i64 = 200;

/// The challenge with this id, or the one that the request with this id led to. `None` for one that
/// is not the app's, as for one that nobody knows.
///
/// # Errors
/// As every statement.
pub async fn challenge(store: &Store, app: &AppName, id: Uuid) -> Result<Option<Value>, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    if let Some(view) = by_id(&tx, app, id).await? {
        return Ok(Some(view));
    }
    // The id of a 202 is the request's. Ids of requests are derived from the app's name, so that
    // only the app that made it can know it.
    const SQL: &str = "SELECT reply FROM inbox WHERE worker = ANY('{code_generation,settings,team,support}') AND message = $1";
    let rows = tx.rows(SQL, &[&id]).await?;
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
    let mut deliveries = Vec::new();
    for d in tx.rows(DELIVERIES, &[&id]).await? {
        deliveries.push(json!({
            "channel": row::get::<&str>(&d, 0)?,
            "send": row::get::<i16>(&d, 1)?,
            "state": row::get::<&str>(&d, 2)?,
            "reason": row::get::<Option<&str>>(&d, 3)?,
            "settled_at": stamp(row::get(&d, 4)?),
        }));
    }
    let events = tx.rows(TIMELINE, &[&id, &CHALLENGE_VIEW_EVENTS_MAX]).await?;
    let timeline: Vec<Value> =
        events.iter().map(|event| row::get(event, 0)).collect::<Result<_, _>>()?;
    let mut view = Map::new();
    let mut set = |name: &str, value: Value| view.insert(name.to_owned(), value);
    set("challenge", json!(challenge.id));
    set("account", json!(challenge.account));
    set("member", json!(challenge.member));
    set("login", json!(challenge.login));
    set("purpose", json!(challenge.purpose));
    set("setting", json!(challenge.setting));
    // Past its time it takes no code, whether the timer has come round or not.
    let late = challenge.state == State::Open && now >= challenge.expires_at;
    set("state", json!(if late { State::Expired } else { challenge.state }));
    set("reason", json!(challenge.reason));
    set("created_at", stamp(Some(challenge.created_at)));
    set("expires_at", stamp(Some(challenge.expires_at)));
    set("ended_at", stamp(row::get(found, 22)?));
    set("send_at", stamp(row::get(found, 23)?));
    set("resend_available_at", stamp(Some(challenge.resend_at)));
    set("fallback_at", stamp(challenge.fallback_at.filter(|_| challenge.email_index.is_some())));
    set("sends", json!(challenge.sends));
    set("wrong_codes", json!(challenge.wrong));
    set("deliveries", Value::Array(deliveries));
    set("timeline", Value::Array(timeline));
    Ok(Some(Value::Object(view)))
}

/// Members shown at once of a review.
pub const REVIEW_PAGE_MAX: i64 = 1000;

/// A review of contacts, with a page of what was found, in the order of the members' ids and behind
/// `after`. `None` for one that is not the app's, as for one that nobody knows.
///
/// # Errors
/// As every statement.
pub async fn review(
    store: &Store,
    app: &AppName,
    account: &str,
    id: Uuid,
    after: &str,
) -> Result<Option<Value>, Fault> {
    const REVIEW: &str = "SELECT r.actor, r.checked, r.created_at, r.expires_at, r.done_at, \
        stepup_now() FROM review r JOIN account a ON a.account = r.account \
        WHERE r.id = $1 AND r.account = $2 AND a.app = $3";
    const COUNTS: &str = "SELECT v, count(*) FROM review_member, unnest(verdicts) v \
        WHERE review = $1 GROUP BY v";
    const PAGE: &str = "SELECT member, verdicts FROM review_member \
        WHERE review = $1 AND member > $2 ORDER BY member LIMIT $3";
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let rows = tx.rows(REVIEW, &[&id, &account, &app.as_str()]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    let (done_at, expires_at): (Option<Timestamp>, Timestamp) =
        (row::get(found, 4)?, row::get(found, 3)?);
    let late = row::get::<Timestamp>(found, 5)? >= expires_at;
    let state = match done_at {
        None => "running",
        Some(_) if late || super::team::outdated(&tx, id, account).await? => "stale",
        Some(_) => "done",
    };
    let mut counts = Map::new();
    for count in tx.rows(COUNTS, &[&id]).await? {
        counts.insert(row::get(&count, 0)?, json!(row::get::<i64>(&count, 1)?));
    }
    let page = tx.rows(PAGE, &[&id, &after, &REVIEW_PAGE_MAX]).await?;
    let mut members = Vec::with_capacity(page.len());
    for member in &page {
        let (name, verdicts): (&str, Vec<&str>) = (row::get(member, 0)?, row::get(member, 1)?);
        members.push(json!({ "member": name, "verdicts": verdicts }));
    }
    let full = page.len() as i64 == REVIEW_PAGE_MAX;
    let last: Option<&str> = page.last().map(|member| row::get(member, 0)).transpose()?;
    Ok(Some(json!({
        "review": id,
        "account": account,
        "actor": row::get::<&str>(found, 0)?,
        "state": state,
        "checked": row::get::<i64>(found, 1)?,
        "created_at": stamp(row::get(found, 2)?),
        "expires_at": stamp(Some(expires_at)),
        "done_at": stamp(done_at),
        "counts": counts,
        "members": members,
        "next_after": last.filter(|_| full),
    })))
}

fn stamp(at: Option<Timestamp>) -> Value {
    let text = at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok());
    text.map_or(Value::Null, Value::String)
}
