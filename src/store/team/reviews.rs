//! Reviews of contacts.

use uuid::Uuid;

use crate::fault::Fault;
use crate::rules::team::review::{self, Checked, NewReview};
use crate::store::directory::accounts;
use crate::store::row;
use crate::store::tx::{Param, Tx};

/// A digest of all that a verdict on a member's contacts rests on, but for what a login proves: else
/// a review would not outlive the next login.
const CONTACTS: &str = "md5(ROW(m.phone_index, m.phone_textable, m.phone_country = ANY(a.countries), \
    m.phone_owned_at IS NULL, m.email_index, m.email_verified)::text)";

/// Whether a review no longer says what is so: contacts have changed, or a member has come or gone.
pub(in crate::store) async fn outdated(
    tx: &Tx<'_>,
    review: Uuid,
    account: &str,
) -> Result<bool, Fault> {
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
        let params: [Param<'_>; 5] =
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
        let params: [Param<'_>; 5] = [&batch.review, &batch.batch, &many, &last, &done_at];
        tx.guarded(REVIEW, &params, 1).await?;
        tx.execute(FOUND, &[&batch.review, &names, &verdicts, &contacts]).await?;
    }
    Ok(())
}
