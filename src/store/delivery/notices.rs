//! Notices: their facts, claims and settlements.

use std::time::Duration;

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::AttemptState;
use crate::domain::id::{AccountId, MemberId};
use crate::domain::notice::NoticeKind;
use crate::fault::Fault;
use crate::rules::delivery::notice::{Facts, NoticeCall, NoticeSettled, NoticeSettlement};
use crate::rules::delivery::recipients::{BEFORE, EventRecordRef, Notice, Recipients};
use crate::store::delivery::settlement::Settlement;
use crate::store::directory::{accounts, members};
use crate::store::factor::email_proofs;
use crate::store::row;
use crate::store::tx::Tx;

/// Who may be told of an event about this member: the members of the account who hear of changed
/// numbers, in the order of their ids, and the member.
///
/// # Errors
/// As every statement.
pub async fn recipients(tx: &Tx<'_>, account: &str, member: &str) -> Result<Recipients, Fault> {
    let who = members::load(tx, &[account], &[member]).await?;
    let since = tx.now().await? - BEFORE;
    let active = || who.values().filter(|member| member.active);
    Ok(Recipients {
        subscribers: subscribers(tx, account).await?,
        member_has_address: active().any(|member| member.email.is_some()),
        member_had_address: active().any(|m| m.email_changed_at.is_some_and(|at| at > since)),
    })
}

async fn subscribers(tx: &Tx<'_>, account: &str) -> Result<Vec<MemberId>, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE m.account = $1 AND m.notify_number_changes ORDER BY m.member",
        row::MEMBER
    );
    let mut found = Vec::new();
    for member in tx.rows(&sql, &[&account]).await?.iter().map(row::member) {
        let member = member?;
        if member.hears_of_number_changes() {
            found.push(member.id);
        }
    }
    Ok(found)
}

/// The facts for notices, in order; `None` where there is no such notice.
///
/// # Errors
/// As every statement.
pub async fn notice_facts(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<Option<Facts>>, Fault> {
    const SQL: &str = "SELECT id, account, admin, member, actor, happened_at, old_number, \
        new_number, state, tries, lease_until, kind, to_before \
        FROM notice WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let notices = tx
        .rows(SQL, &[&ids])
        .await?
        .iter()
        .map(|r| {
            Ok(Notice {
                id: row::get(r, 0)?,
                kind: row::word(r, 11, NoticeKind::parse)?,
                recipient: row::id(r, 2, MemberId::parse)?,
                to_before: row::get(r, 12)?,
                event: EventRecordRef {
                    account: row::id(r, 1, AccountId::parse)?,
                    member: row::id(r, 3, MemberId::parse)?,
                    actor: row::id(r, 4, MemberId::parse)?,
                    at: row::get(r, 5)?,
                    old_number: row::get(r, 6)?,
                    new_number: row::get(r, 7)?,
                },
                state: row::word(r, 8, AttemptState::parse)?,
                tries: row::get(r, 9)?,
                lease_until: row::get(r, 10)?,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    let of: Vec<&str> = notices.iter().map(|n| n.event.account.as_str()).collect();
    let names: Vec<&str> = notices.iter().map(|n| n.recipient.as_str()).collect();
    let (known, recipients, proofs) = try_join!(
        accounts::load(tx, &of),
        members::load(tx, &of, &names),
        email_proofs::load(tx, &of, &names)
    )?;
    let facts = ids.iter().map(|id| {
        let notice = notices.iter().find(|notice| notice.id == *id)?;
        let key = (notice.event.account.to_string(), notice.recipient.to_string());
        Some(Facts {
            notice: notice.clone(),
            account: known.get(&key.0)?.0.clone(),
            recipient: recipients.get(&key)?.clone(),
            proof: proofs.get(&key).cloned(),
        })
    });
    Ok(facts.collect())
}

/// Claims the notices that are about to be mailed.
///
/// # Errors
/// As every statement; `Transient` when one is no longer as judged.
pub async fn claim(tx: &Tx<'_>, calls: &[&NoticeCall], lease: Duration) -> Result<(), Fault> {
    const SQL: &str = "UPDATE notice SET state = 'calling', tries = tries + 1, lease_until = $2 \
        WHERE id = $1 AND state = 'queued' AND tries = $3";
    for NoticeCall { notice, now, .. } in calls {
        let until = *now + lease;
        tx.guarded(SQL, &[&notice.id, &until, &notice.tries], 1).await?;
    }
    Ok(())
}

/// Takes back claims that were committed and whose notices were not mailed; a claim is known by the
/// end of its lease.
///
/// # Errors
/// As every statement.
pub async fn release(tx: &Tx<'_>, calls: &[&NoticeCall], lease: Duration) -> Result<(), Fault> {
    const SQL: &str = "UPDATE notice SET state = 'queued', tries = tries - 1, lease_until = NULL \
        WHERE id = $1 AND state = 'calling' AND lease_until = $2";
    for NoticeCall { notice, now, .. } in calls {
        let until = *now + lease;
        tx.execute(SQL, &[&notice.id, &until]).await?;
    }
    Ok(())
}

/// Settles notices.
///
/// # Errors
/// As every statement.
pub async fn settle(
    tx: &Tx<'_>,
    notices: &[&NoticeSettlement],
    now: Timestamp,
) -> Result<(), Fault> {
    const SQL: &str = "UPDATE notice SET state = $2, answer = $3, settled_at = $4, \
        lease_until = NULL WHERE id = $1 \
        AND state IN ('queued', 'calling')";
    for NoticeSettlement { notice, settled } in notices {
        let Some(notice) = notice else { continue };
        let (state, answer) = match settled {
            NoticeSettled::Answered(answer) => {
                let settled = Settlement::answered(answer);
                (settled.state, settled.answer)
            }
            NoticeSettled::Lost => (AttemptState::Unknown, Some("process_died")),
            NoticeSettled::Dropped(why) => (AttemptState::Skipped, Some(*why)),
            NoticeSettled::Done => continue,
        };
        tx.execute(SQL, &[&notice.id, &state.label(), &answer, &now]).await?;
    }
    Ok(())
}
