//! What guesses cost or bring.

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::approval::Approval;
use crate::fault::Fault;
use crate::rules::challenge::verify::Write;
use crate::rules::factor::change::Change;
use crate::store::challenge::rows;
use crate::store::directory::members;
use crate::store::setting::approvals;
use crate::store::tx::{Param, Tx};

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
    let count_params: [Param<'_>; 2] = [&ids, &judged];
    let wrong_params: [Param<'_>; 4] = [&of, &names, &ids, &at];

    let changed: Vec<&Write> = writes.iter().copied().filter(|w| w.changes_member()).collect();
    let accounts: Vec<&str> = changed.iter().map(|w| w.challenge.account.as_str()).collect();
    let members: Vec<&str> = changed.iter().map(|w| w.challenge.member.as_str()).collect();
    let before: Vec<i32> = changed.iter().map(|w| w.in_a_row.0).collect();
    let after: Vec<i32> = changed.iter().map(|w| w.in_a_row.1).collect();
    let guess_after: Vec<Option<Timestamp>> = changed.iter().map(|w| w.guess_after).collect();
    let suspend: Vec<bool> = changed.iter().map(|w| w.suspend).collect();
    let verified: Vec<bool> = changed.iter().map(|w| w.phone_verified).collect();
    let judged_at: Vec<Timestamp> = changed.iter().map(|w| w.now).collect();
    let member_params: [Param<'_>; 8] =
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
    try_join!(count, change, rows::end(tx, &endings))?;
    let changes: Vec<&Change> = writes.iter().filter_map(|w| w.change.as_ref()).collect();
    members::write_changes(tx, &changes, now).await?;
    let approvals: Vec<&Approval> = writes.iter().filter_map(|w| w.approval.as_ref()).collect();
    approvals::insert(tx, &approvals).await
}
