//! Members.

use std::collections::{HashMap, HashSet};

use super::{Tx, accounts, activity, challenges, owned, row};
use crate::domain::Timestamp;
use crate::domain::challenge::Challenge;
use crate::domain::member::Member;
use crate::fault::Fault;
use crate::rules::change::Change;
use crate::rules::directory::Facts;

/// Account and member, as a key.
pub(super) type Key = (String, String);

pub(super) fn key(member: &Member) -> Key {
    (member.account.as_str().to_owned(), member.id.as_str().to_owned())
}

fn by_key(rows: &[tokio_postgres::Row]) -> Result<HashMap<Key, Member>, Fault> {
    rows.iter().map(|found| row::member(found).map(|member| (key(&member), member))).collect()
}

/// Locks these members, in the order of their keys.
pub(super) async fn lock(
    tx: &Tx<'_>,
    accounts: &[&str],
    members: &[&str],
) -> Result<HashMap<Key, Member>, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE (m.account, m.member) IN \
         (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY m.account, m.member FOR UPDATE",
        row::MEMBER
    );
    by_key(&tx.rows(&sql, &[&accounts, &members]).await?)
}

/// Locks the members of these challenges, in the order of their keys.
pub(super) async fn lock_of(
    tx: &Tx<'_>,
    challenges: &[uuid::Uuid],
) -> Result<HashMap<Key, Member>, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE (m.account, m.member) IN \
         (SELECT account, member FROM challenge WHERE id = ANY($1)) \
         ORDER BY m.account, m.member FOR UPDATE",
        row::MEMBER
    );
    by_key(&tx.rows(&sql, &[&challenges]).await?)
}

/// Reads the members of these challenges.
pub(super) async fn of(
    tx: &Tx<'_>,
    challenges: &[uuid::Uuid],
) -> Result<HashMap<Key, Member>, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE (m.account, m.member) IN \
         (SELECT account, member FROM challenge WHERE id = ANY($1))",
        row::MEMBER
    );
    by_key(&tx.rows(&sql, &[&challenges]).await?)
}

/// Reads these members.
pub(super) async fn load(
    tx: &Tx<'_>,
    accounts: &[&str],
    members: &[&str],
) -> Result<HashMap<Key, Member>, Fault> {
    let sql = format!(
        "SELECT {} FROM member m WHERE (m.account, m.member) IN \
         (SELECT * FROM unnest($1::text[], $2::text[]))",
        row::MEMBER
    );
    by_key(&tx.rows(&sql, &[&accounts, &members]).await?)
}

/// The facts for upserts of accounts (`None`) and members, in order.
///
/// # Errors
/// As every statement.
pub async fn directory_facts(
    tx: &Tx<'_>,
    keys: &[(&str, Option<&str>)],
) -> Result<Vec<Facts>, Fault> {
    let accounts: Vec<&str> = keys.iter().map(|(account, _)| *account).collect();
    let (of, members): (Vec<&str>, Vec<&str>) =
        keys.iter().filter_map(|(account, member)| member.map(|m| (*account, m))).unzip();
    owned::keep_still(tx).await?;
    let known_accounts = accounts::lock(tx, &accounts).await?;
    let known_members = lock(tx, &of, &members).await?;
    let mut open = open(tx, &of, &members).await?;
    let facts = keys.iter().map(|(account, member)| {
        let key = ((*account).to_owned(), member.unwrap_or_default().to_owned());
        Facts {
            account: known_accounts.get(*account).cloned(),
            member: known_members.get(&key).cloned(),
            open: open.remove(&key).unwrap_or_default(),
            actor: None,
            owned: HashSet::new(),
            holders: Vec::new(),
        }
    });
    Ok(facts.collect())
}

/// These people, as members of the accounts they are said to belong to, in order.
///
/// # Errors
/// As every statement.
pub async fn actors(tx: &Tx<'_>, keys: &[(&str, &str)]) -> Result<Vec<Option<Member>>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (of, names): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    let known = load(tx, &of, &names).await?;
    let person = |(account, name): &(&str, &str)| {
        known.get(&((*account).to_owned(), (*name).to_owned())).cloned()
    };
    Ok(keys.iter().map(person).collect())
}

/// Writes members, each only over an older version. What only we know stays as it is.
///
/// # Errors
/// As every statement; `Transient` when a newer version came meanwhile.
pub async fn put(tx: &Tx<'_>, changes: &[&Change], now: Timestamp) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO member AS m (account, member, version, active, role, locale, \
        phone, phone_index, phone_prefix_index, phone_country, phone_textable, phone_verified_at, \
        email, email_index, email_verified, two_factor, email_backup, notify_number_changes, \
        changed_at, phone_owned_at, factor_by_mandate, grace_until, factor_changed_at, reset_at, \
        email_proved_at, email_before, email_changed_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
        $19, $20, $21, $22, $23, $24, $25, $26, $27) \
        ON CONFLICT (account, member) DO UPDATE SET version = $3, active = $4, role = $5, \
        locale = $6, phone = $7, phone_index = $8, phone_prefix_index = $9, phone_country = $10, \
        phone_textable = $11, phone_verified_at = $12, email = $13, email_index = $14, \
        email_verified = $15, two_factor = $16, email_backup = $17, notify_number_changes = $18, \
        changed_at = $19, phone_owned_at = $20, factor_by_mandate = $21, grace_until = $22, \
        factor_changed_at = $23, reset_at = $24, email_proved_at = $25, email_before = $26, \
        email_changed_at = $27 WHERE m.version < $3";
    for member in changes.iter().map(|change| &change.member) {
        let (phone, email) = (member.phone.as_ref(), member.email.as_ref());
        let params: [super::Param<'_>; 27] = [
            &member.account.as_str(),
            &member.id.as_str(),
            &member.version,
            &member.active,
            &member.role.label(),
            &member.locale,
            &phone.map(|contact| &contact.sealed),
            &phone.map(|contact| &contact.index),
            &member.phone_prefix_index,
            &member.phone_country.as_ref().map(|country| country.as_str()),
            &member.phone_textable,
            &member.phone_verified_at,
            &email.map(|contact| &contact.sealed),
            &email.map(|contact| &contact.index),
            &member.email_verified,
            &member.two_factor,
            &member.email_backup,
            &member.notify_number_changes,
            &now,
            &member.phone_owned_at,
            &member.factor_by_mandate,
            &member.grace_until,
            &member.factor_changed_at,
            &member.reset_at,
            &member.email_proved_at,
            &member.email_before,
            &member.email_changed_at,
        ];
        tx.guarded(SQL, &params, 1).await?;
    }
    follow(tx, changes).await
}

/// Writes changes that members have made to their own factor, with all that goes with them; each
/// where the directory has said nothing new meanwhile.
///
/// # Errors
/// As every statement; `Transient` when something is no longer as judged.
pub async fn write_changes(tx: &Tx<'_>, changes: &[&Change], now: Timestamp) -> Result<(), Fault> {
    const SQL: &str = "UPDATE member SET phone = $4, phone_index = $5, phone_prefix_index = $6, \
        phone_country = $7, phone_textable = $8, phone_verified_at = $9, phone_owned_at = $10, \
        email_verified = $11, two_factor = $12, email_backup = $13, changed_at = $14, \
        factor_by_mandate = $15, grace_until = $16, factor_changed_at = $17, reset_at = $18, \
        email_proved_at = $19 \
        WHERE account = $1 AND member = $2 AND version = $3";
    for member in changes.iter().map(|change| &change.member) {
        let phone = member.phone.as_ref();
        let params: [super::Param<'_>; 19] = [
            &member.account.as_str(),
            &member.id.as_str(),
            &member.version,
            &phone.map(|contact| &contact.sealed),
            &phone.map(|contact| &contact.index),
            &member.phone_prefix_index,
            &member.phone_country.as_ref().map(|country| country.as_str()),
            &member.phone_textable,
            &member.phone_verified_at,
            &member.phone_owned_at,
            &member.email_verified,
            &member.two_factor,
            &member.email_backup,
            &now,
            &member.factor_by_mandate,
            &member.grace_until,
            &member.factor_changed_at,
            &member.reset_at,
            &member.email_proved_at,
        ];
        tx.guarded(SQL, &params, 1).await?;
    }
    follow(tx, changes).await
}

/// What goes with a change: ended challenges, and rows for the Activity report.
async fn follow(tx: &Tx<'_>, changes: &[&Change]) -> Result<(), Fault> {
    let endings: Vec<_> = changes.iter().flat_map(|change| &change.endings).collect();
    let rows: Vec<_> = changes.iter().flat_map(|change| &change.activity).collect();
    challenges::end(tx, &endings).await?;
    activity::append(tx, &rows).await
}

/// The open challenges of these members, locked in the order of their ids.
pub(super) async fn open(
    tx: &Tx<'_>,
    accounts: &[&str],
    members: &[&str],
) -> Result<HashMap<Key, Vec<Challenge>>, Fault> {
    let sql = format!(
        "SELECT {} FROM login l JOIN challenge c ON c.id = l.challenge \
         WHERE (l.account, l.member) IN (SELECT * FROM unnest($1::text[], $2::text[])) \
         AND c.state = 'open' ORDER BY c.id FOR UPDATE OF c",
        row::CHALLENGE
    );
    let mut open: HashMap<Key, Vec<Challenge>> = HashMap::new();
    for found in tx.rows(&sql, &[&accounts, &members]).await? {
        let challenge = row::challenge(&found)?;
        let key = (challenge.account.as_str().to_owned(), challenge.member.as_str().to_owned());
        open.entry(key).or_default().push(challenge);
    }
    Ok(open)
}
