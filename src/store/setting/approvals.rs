//! Approved changes of settings.

use uuid::Uuid;

use crate::domain::approval::{Approval, Operation};
use crate::domain::id::{ChallengeId, LoginId, MemberId, SettingName};
use crate::fault::Fault;
use crate::rules::setting::approval::{Facts, Spent};
use crate::store::directory::accounts;
use crate::store::row;
use crate::store::tx::{Param, Tx};

/// Writes new approvals.
///
/// # Errors
/// As every statement.
pub(in crate::store) async fn insert(tx: &Tx<'_>, approvals: &[&Approval]) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO approval (challenge, account, member, setting, change, \
        operation, approved_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    for approval in approvals {
        let params: [Param<'_>; 8] = [
            &approval.challenge.0,
            &approval.account.as_str(),
            &approval.member.as_str(),
            &approval.setting.as_str(),
            &approval.change.as_str(),
            &approval.operation.bytes(),
            &approval.approved_at,
            &approval.expires_at,
        ];
        tx.execute(SQL, &params).await?;
    }
    Ok(())
}

/// The facts for approvals, each locked; `None` where there is none for this challenge of the
/// asking app's account (app, account, challenge).
///
/// # Errors
/// As every statement.
pub async fn approval_facts(
    tx: &Tx<'_>,
    keys: &[(&str, &str, ChallengeId)],
) -> Result<Vec<Option<Facts>>, Fault> {
    const SQL: &str = "SELECT challenge, account, member, setting, change, operation, expires_at, \
        stale FROM approval WHERE challenge = ANY($1) ORDER BY challenge FOR UPDATE";
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = keys.iter().map(|(.., challenge)| challenge.0).collect();
    let of: Vec<&str> = keys.iter().map(|(_, account, _)| *account).collect();
    let known = accounts::load(tx, &of).await?;
    let mut found = Vec::new();
    for r in tx.rows(SQL, &[&ids]).await? {
        let Some((account, _)) = known.get(row::get::<&str>(&r, 1)?) else { continue };
        let operation = Operation::parse(row::get(&r, 5)?);
        found.push(Facts {
            account: account.clone(),
            challenge: ChallengeId(row::get(&r, 0)?),
            member: row::id(&r, 2, MemberId::parse)?,
            setting: row::id(&r, 3, SettingName::parse)?,
            change: row::id(&r, 4, LoginId::parse)?,
            operation: operation.ok_or_else(|| row::foreign("digest"))?,
            expires_at: row::get(&r, 6)?,
            spent: row::get(&r, 7)?,
        });
    }
    let facts = keys.iter().map(|(app, account, challenge)| {
        let mine = |f: &&Facts| {
            f.challenge == *challenge
                && (f.account.app.as_str(), f.account.id.as_str()) == (*app, *account)
        };
        found.iter().find(mine).cloned()
    });
    Ok(facts.collect())
}

/// Spends approvals.
///
/// # Errors
/// As every statement; `Transient` when one was spent meanwhile.
pub async fn spend(tx: &Tx<'_>, spent: &[&Spent]) -> Result<(), Fault> {
    const SQL: &str = "UPDATE approval SET spent_at = $2, stale = $3 \
        WHERE challenge = $1 AND spent_at IS NULL";
    for approval in spent {
        tx.guarded(SQL, &[&approval.challenge.0, &approval.at, &approval.stale], 1).await?;
    }
    Ok(())
}
