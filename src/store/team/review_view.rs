//! A review as its app may see it.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::id::{AccountId, AppName, MemberId};
use crate::domain::member::Contacts;
use crate::fault::Fault;
use crate::message::{ReviewState, ReviewView, ReviewedMember};
use crate::store::pool::Store;
use crate::store::row;
use crate::store::team::reviews;

/// Members shown at once of a review.
pub const REVIEW_PAGE_MAX: i64 = 1000;

/// A review of contacts, with a page of what was found, in the order of the members' ids and behind
/// `after`. `None` for one that is not the app's, as for one that does not exist.
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
        stepup_now(), r.account FROM review r JOIN account a ON a.account = r.account \
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
        None => ReviewState::Running,
        Some(_) if late || reviews::outdated(&tx, id, account).await? => ReviewState::Stale,
        Some(_) => ReviewState::Done,
    };
    let counts = tx.rows(COUNTS, &[&id]).await?;
    let counts = counts.iter().map(|c| Ok((row::get(c, 0)?, row::get(c, 1)?)));
    let page = tx.rows(PAGE, &[&id, &after, &REVIEW_PAGE_MAX]).await?;
    let members: Vec<ReviewedMember> = page.iter().map(reviewed).collect::<Result<_, Fault>>()?;
    let full = page.len() as i64 == REVIEW_PAGE_MAX;
    let view = ReviewView {
        review: id,
        account: row::id(found, 6, AccountId::parse)?,
        actor: row::id(found, 0, MemberId::parse)?,
        state,
        checked: row::get(found, 1)?,
        created_at: row::get(found, 2)?,
        expires_at,
        done_at,
        counts: counts.collect::<Result<_, Fault>>()?,
        next_after: members.last().filter(|_| full).map(|last| last.member.clone()),
        members,
    };
    // A struct of texts and numbers always serialises.
    Ok(Some(serde_json::to_value(view).unwrap_or_default()))
}

fn reviewed(found: &tokio_postgres::Row) -> Result<ReviewedMember, Fault> {
    let verdicts: Vec<&str> = row::get(found, 1)?;
    let verdicts: Option<_> = verdicts.into_iter().map(Contacts::parse).collect();
    let verdicts = verdicts.ok_or_else(|| row::foreign("word"))?;
    Ok(ReviewedMember { member: row::id(found, 0, MemberId::parse)?, verdicts })
}
