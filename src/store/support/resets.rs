//! Resets of factors by support.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::id::{AccountId, MemberId};
use crate::domain::reset::{Reset, ResetState};
use crate::fault::Fault;
use crate::rules::support::decide::{CarriedOut, Facts, SupportMessage, Write};
use crate::store::directory::{accounts, members};
use crate::store::tx::{Param, Tx};
use crate::store::{activity, row};

const COLUMNS: &str = "id, account, member, reason, requested_by, approved_by, due_at, state";

fn reset(found: &tokio_postgres::Row) -> Result<Reset, Fault> {
    let approved_by: Option<&str> = row::get(found, 5)?;
    Ok(Reset {
        id: row::get(found, 0)?,
        account: row::id(found, 1, AccountId::parse)?,
        member: row::id(found, 2, MemberId::parse)?,
        reason: row::get(found, 3)?,
        requested_by: row::id(found, 4, MemberId::parse)?,
        approved_by: approved_by
            .map(MemberId::parse)
            .transpose()
            .map_err(|_| row::foreign("id"))?,
        due_at: row::get(found, 6)?,
        state: row::word(found, 7, ResetState::parse)?,
    })
}

/// The facts for what support asks, and for what is due; `None` where the member or the reset
/// does not exist, or the account is not the app's.
///
/// # Errors
/// As every statement.
pub async fn support_facts(
    tx: &Tx<'_>,
    id: Uuid,
    ask: &SupportMessage,
) -> Result<Option<Facts>, Fault> {
    let (asker, named, actor) = match ask {
        SupportMessage::Request(request) => {
            (Some((&request.app, &request.body.account)), None, None)
        }
        SupportMessage::Approve(request) => {
            (Some((&request.app, &request.body.account)), Some(request.body.reset), None)
        }
        SupportMessage::Cancel(request) => {
            let actor = Some(&request.body.actor);
            (Some((&request.app, &request.body.account)), Some(request.body.reset), actor)
        }
        SupportMessage::CarryOut(reset) => (None, Some(*reset), None),
    };
    let (account, member) = match (ask, named) {
        (SupportMessage::Request(request), _) => {
            (request.body.account.to_string(), request.body.member.to_string())
        }
        (_, Some(reset)) => {
            const OF: &str = "SELECT account, member FROM reset WHERE id = $1";
            let rows = tx.rows(OF, &[&reset]).await?;
            let Some(found) = rows.first() else { return Ok(None) };
            (row::get(found, 0)?, row::get(found, 1)?)
        }
        (_, None) => return Ok(None),
    };
    if asker.is_some_and(|(_, asked)| asked.as_str() != account) {
        return Ok(None);
    }
    let known = accounts::load(tx, &[&account]).await?.remove(&account);
    let own = |account: &crate::domain::account::Account| {
        asker.is_none_or(|(app, _)| account.app == *app)
    };
    let Some((known, _)) = known.filter(|(account, _)| own(account)) else { return Ok(None) };
    let mut people = vec![member.as_str()];
    people.extend(actor.map(MemberId::as_str));
    let of = vec![account.as_str(); people.len()];
    let mut locked = members::lock(tx, &of, &people).await?;
    let actor = actor.and_then(|name| locked.get(&(account.clone(), name.to_string())).cloned());
    let Some(member) = locked.remove(&(account.clone(), member)) else { return Ok(None) };
    let open = members::open(tx, &[&account], &[member.id.as_str()]).await?;
    let sql = match named {
        Some(_) => format!("SELECT {COLUMNS} FROM reset WHERE id = $1 FOR UPDATE"),
        None => format!(
            "SELECT {COLUMNS} FROM reset WHERE account = $1 AND member = $2 \
             AND ended_at IS NULL FOR UPDATE"
        ),
    };
    let rows = match &named {
        Some(reset) => tx.rows(&sql, &[reset]).await?,
        None => tx.rows(&sql, &[&account, &member.id.as_str()]).await?,
    };
    Ok(Some(Facts {
        id,
        account: known,
        open: open.into_values().flatten().collect(),
        member,
        reset: rows.first().map(reset).transpose()?,
        actor,
    }))
}

/// Writes what becomes of resets.
///
/// # Errors
/// As every statement; `Transient` when one is no longer as judged.
pub async fn write_resets(tx: &Tx<'_>, writes: &[&Write]) -> Result<(), Fault> {
    const REQUESTED: &str = "INSERT INTO reset (id, account, member, reason, requested_by, \
        requested_at, state) VALUES ($1, $2, $3, $4, $5, $6, 'requested')";
    const APPROVED: &str = "UPDATE reset SET state = 'approved', approved_by = $2, due_at = $3 \
        WHERE id = $1 AND state = 'requested'";
    const CANCELLED: &str = "UPDATE reset SET state = 'cancelled', cancelled_by = $2, \
        ended_at = $3 WHERE id = $1 AND ended_at IS NULL";
    for write in writes {
        match write {
            Write::Requested(reset, row) => {
                let params: [Param<'_>; 6] = [
                    &reset.id,
                    &reset.account.as_str(),
                    &reset.member.as_str(),
                    &reset.reason,
                    &reset.requested_by.as_str(),
                    &row.at,
                ];
                tx.execute(REQUESTED, &params).await?;
                activity::append(tx, &[row.as_ref()]).await?;
            }
            Write::Approved(reset, due_at, row) => {
                tx.guarded(APPROVED, &[reset, &row.actor.as_str(), due_at], 1).await?;
                activity::append(tx, &[row.as_ref()]).await?;
            }
            Write::Cancelled(reset, row) => {
                tx.guarded(CANCELLED, &[reset, &row.actor.as_str(), &row.at], 1).await?;
                activity::append(tx, &[row.as_ref()]).await?;
            }
            Write::Done(done) => carry_out(tx, done, done.at).await?,
        }
    }
    Ok(())
}

/// The member's wrong codes go as well: they would suspend the factor again.
async fn carry_out(tx: &Tx<'_>, done: &CarriedOut, now: Timestamp) -> Result<(), Fault> {
    const DONE: &str = "UPDATE reset SET state = 'done', ended_at = $2 \
        WHERE id = $1 AND state = 'approved'";
    const FREE: &str = "UPDATE member SET suspended_at = NULL, wrong_in_a_row = 0, \
        guess_after = NULL WHERE account = $1 AND member = $2";
    const WRONG: &str = "DELETE FROM wrong_guess WHERE account = $1 AND member = $2";
    let member = &done.change.member;
    let key: [Param<'_>; 2] = [&member.account.as_str(), &member.id.as_str()];
    tx.guarded(DONE, &[&done.reset, &now], 1).await?;
    tx.guarded(FREE, &key, 1).await?;
    tx.execute(WRONG, &key).await?;
    members::write_changes(tx, &[&done.change], now).await
}
