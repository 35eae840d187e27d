//! Proofs of email addresses: one open for each member at most.

use std::collections::HashMap;

use crate::domain::Timestamp;
use crate::domain::code::CodeDigest;
use crate::domain::email_proof::EmailProof;
use crate::domain::id::{AccountId, MemberId};
use crate::domain::keys::KeyId;
use crate::fault::Fault;
use crate::rules::factor::email_proof::Write;
use crate::store::delivery::notice_rows;
use crate::store::directory::members::{self, Key};
use crate::store::row;
use crate::store::tx::{Param, Tx};

/// The open proofs of these members.
pub(in crate::store) async fn load(
    tx: &Tx<'_>,
    accounts: &[&str],
    members: &[&str],
) -> Result<HashMap<Key, EmailProof>, Fault> {
    const SQL: &str = "SELECT id, account, member, email_index, code_kid, code_mac, code_sealed, \
        created_at, expires_at, wrong FROM email_proof \
        WHERE (account, member) IN (SELECT * FROM unnest($1::text[], $2::text[]))";
    let mut found = HashMap::new();
    for r in tx.rows(SQL, &[&accounts, &members]).await? {
        let kid = KeyId::parse(row::get(&r, 4)?).ok_or_else(|| row::foreign("key id"))?;
        let mac: &[u8] = row::get(&r, 5)?;
        let proof = EmailProof {
            id: row::get(&r, 0)?,
            account: row::id(&r, 1, AccountId::parse)?,
            member: row::id(&r, 2, MemberId::parse)?,
            email_index: row::get(&r, 3)?,
            digest: CodeDigest { kid, mac: mac.try_into().map_err(|_| row::foreign("digest"))? },
            code_sealed: row::get(&r, 6)?,
            created_at: row::get(&r, 7)?,
            expires_at: row::get(&r, 8)?,
            wrong: row::get(&r, 9)?,
        };
        found.insert((proof.account.to_string(), proof.member.to_string()), proof);
    }
    Ok(found)
}

/// Writes what became of proofs. The members are locked.
///
/// # Errors
/// As every statement; `Transient` when a proof is no longer as judged.
pub async fn write(tx: &Tx<'_>, writes: &[&Write], now: Timestamp) -> Result<(), Fault> {
    const DELETE: &str = "DELETE FROM email_proof WHERE account = $1 AND member = $2";
    for write in writes {
        match write {
            Write::New { proof, notice } => {
                insert(tx, proof).await?;
                notice_rows::insert(tx, &[notice], now).await?;
            }
            Write::Wrong { proof, at } => count(tx, proof, *at).await?,
            Write::Confirmed(change) => {
                let (account, member) = (change.member.account.as_str(), change.member.id.as_str());
                tx.execute(DELETE, &[&account, &member]).await?;
                members::write_changes(tx, &[change], now).await?;
            }
        }
    }
    Ok(())
}

async fn insert(tx: &Tx<'_>, proof: &EmailProof) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO email_proof (account, member, id, email_index, code_kid, \
        code_mac, code_sealed, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
        ON CONFLICT (account, member) DO UPDATE SET id = $3, email_index = $4, code_kid = $5, \
        code_mac = $6, code_sealed = $7, created_at = $8, expires_at = $9, wrong = 0";
    let params: [Param<'_>; 9] = [
        &proof.account.as_str(),
        &proof.member.as_str(),
        &proof.id,
        &proof.email_index,
        &proof.digest.kid.as_str(),
        &proof.digest.mac.as_slice(),
        &proof.code_sealed,
        &proof.created_at,
        &proof.expires_at,
    ];
    tx.execute(SQL, &params).await?;
    Ok(())
}

/// Counts a wrong code, for the proof and for the member.
async fn count(tx: &Tx<'_>, proof: &EmailProof, at: Timestamp) -> Result<(), Fault> {
    const PROOF: &str = "UPDATE email_proof SET wrong = wrong + 1 \
        WHERE account = $1 AND member = $2 AND id = $3 AND wrong = $4";
    const WRONG: &str =
        "INSERT INTO wrong_guess (account, member, challenge, at) VALUES ($1, $2, $3, $4)";
    let (account, member) = (proof.account.as_str(), proof.member.as_str());
    tx.guarded(PROOF, &[&account, &member, &proof.id, &proof.wrong], 1).await?;
    tx.execute(WRONG, &[&account, &member, &proof.id, &at]).await?;
    Ok(())
}
