//! Rows of members.

use std::collections::HashMap;

use futures_util::try_join;

use crate::domain::Timestamp;
use crate::domain::challenge::Challenge;
use crate::domain::member::Member;
use crate::fault::Fault;
use crate::rules::factor::change::Change;
use crate::store::challenge::rows;
use crate::store::tx::{Param, Tx, column};
use crate::store::{activity, row};

/// Account and member, as a key.
pub(in crate::store) type Key = (String, String);

pub(in crate::store) fn key(member: &Member) -> Key {
    (member.account.as_str().to_owned(), member.id.as_str().to_owned())
}

fn by_key(rows: &[tokio_postgres::Row]) -> Result<HashMap<Key, Member>, Fault> {
    rows.iter().map(|found| row::member(found).map(|member| (key(&member), member))).collect()
}

/// Locks these members, in the order of their keys.
pub(in crate::store) async fn lock(
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
pub(in crate::store) async fn lock_of(
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
pub(in crate::store) async fn of(
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
pub(in crate::store) async fn load(
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

/// Writes members, each only over an older version. What only we know stays as it is.
///
/// # Errors
/// As every statement; `Transient` when a newer version came meanwhile.
pub async fn put(tx: &Tx<'_>, changes: &[&Change], now: Timestamp) -> Result<(), Fault> {
    // In the order of the keys, in which the rows of others are locked, too.
    const SQL: &str = "INSERT INTO member AS m (account, member, version, active, role, locale, \
        phone, phone_index, phone_prefix_index, phone_country, phone_textable, phone_verified_at, \
        email, email_index, email_verified, two_factor, email_backup, notify_number_changes, \
        phone_owned_at, factor_by_mandate, grace_until, factor_changed_at, reset_at, \
        email_proved_at, email_before, email_changed_at, changed_at) \
        SELECT u.*, $27 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], \
        $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::bytea[], $10::text[], \
        $11::boolean[], $12::timestamptz[], $13::bytea[], $14::bytea[], $15::boolean[], \
        $16::boolean[], $17::boolean[], $18::boolean[], $19::timestamptz[], $20::boolean[], \
        $21::timestamptz[], $22::timestamptz[], $23::timestamptz[], $24::timestamptz[], \
        $25::bytea[], $26::timestamptz[]) AS u(account, member) ORDER BY u.account, u.member \
        ON CONFLICT (account, member) DO UPDATE SET version = EXCLUDED.version, \
        active = EXCLUDED.active, role = EXCLUDED.role, locale = EXCLUDED.locale, \
        phone = EXCLUDED.phone, phone_index = EXCLUDED.phone_index, \
        phone_prefix_index = EXCLUDED.phone_prefix_index, \
        phone_country = EXCLUDED.phone_country, phone_textable = EXCLUDED.phone_textable, \
        phone_verified_at = EXCLUDED.phone_verified_at, email = EXCLUDED.email, \
        email_index = EXCLUDED.email_index, email_verified = EXCLUDED.email_verified, \
        two_factor = EXCLUDED.two_factor, email_backup = EXCLUDED.email_backup, \
        notify_number_changes = EXCLUDED.notify_number_changes, \
        phone_owned_at = EXCLUDED.phone_owned_at, \
        factor_by_mandate = EXCLUDED.factor_by_mandate, grace_until = EXCLUDED.grace_until, \
        factor_changed_at = EXCLUDED.factor_changed_at, reset_at = EXCLUDED.reset_at, \
        email_proved_at = EXCLUDED.email_proved_at, email_before = EXCLUDED.email_before, \
        email_changed_at = EXCLUDED.email_changed_at, changed_at = EXCLUDED.changed_at \
        WHERE m.version < EXCLUDED.version";
    if changes.is_empty() {
        return Ok(());
    }
    let members: Vec<&Member> = changes.iter().map(|change| &*change.member).collect();
    let params: [Param<'_>; 27] = [
        &column(&members, |m| m.account.as_str()),
        &column(&members, |m| m.id.as_str()),
        &column(&members, |m| m.version),
        &column(&members, |m| m.active),
        &column(&members, |m| m.role.label()),
        &column(&members, |m| m.locale.as_str()),
        &column(&members, |m| m.phone.as_ref().map(|contact| contact.sealed.as_slice())),
        &column(&members, |m| m.phone.as_ref().map(|contact| contact.index.as_slice())),
        &column(&members, |m| m.phone_prefix_index.as_deref()),
        &column(&members, |m| m.phone_country.as_ref().map(|country| country.as_str())),
        &column(&members, |m| m.phone_textable),
        &column(&members, |m| m.phone_verified_at),
        &column(&members, |m| m.email.as_ref().map(|contact| contact.sealed.as_slice())),
        &column(&members, |m| m.email.as_ref().map(|contact| contact.index.as_slice())),
        &column(&members, |m| m.email_verified),
        &column(&members, |m| m.two_factor),
        &column(&members, |m| m.email_backup),
        &column(&members, |m| m.notify_number_changes),
        &column(&members, |m| m.phone_owned_at),
        &column(&members, |m| m.factor_by_mandate),
        &column(&members, |m| m.grace_until),
        &column(&members, |m| m.factor_changed_at),
        &column(&members, |m| m.reset_at),
        &column(&members, |m| m.email_proved_at),
        &column(&members, |m| m.email_before.as_deref()),
        &column(&members, |m| m.email_changed_at),
        &now,
    ];
    tx.guarded(SQL, &params, changes.len()).await?;
    follow(tx, changes).await
}

/// Writes changes that members have made to their own factor, with all that goes with them; each
/// where the directory has said nothing new meanwhile.
///
/// # Errors
/// As every statement; `Transient` when something is no longer as judged.
pub async fn write_changes(tx: &Tx<'_>, changes: &[&Change], now: Timestamp) -> Result<(), Fault> {
    const SQL: &str = "UPDATE member m SET phone = u.phone, phone_index = u.phone_index, \
        phone_prefix_index = u.phone_prefix_index, phone_country = u.phone_country, \
        phone_textable = u.phone_textable, phone_verified_at = u.phone_verified_at, \
        phone_owned_at = u.phone_owned_at, email_verified = u.email_verified, \
        two_factor = u.two_factor, email_backup = u.email_backup, \
        factor_by_mandate = u.factor_by_mandate, grace_until = u.grace_until, \
        factor_changed_at = u.factor_changed_at, reset_at = u.reset_at, \
        email_proved_at = u.email_proved_at, changed_at = $19 \
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], \
        $6::bytea[], $7::text[], $8::boolean[], $9::timestamptz[], $10::timestamptz[], \
        $11::boolean[], $12::boolean[], $13::boolean[], $14::boolean[], $15::timestamptz[], \
        $16::timestamptz[], $17::timestamptz[], $18::timestamptz[]) \
        AS u(account, member, version, phone, phone_index, phone_prefix_index, phone_country, \
        phone_textable, phone_verified_at, phone_owned_at, email_verified, two_factor, \
        email_backup, factor_by_mandate, grace_until, factor_changed_at, reset_at, \
        email_proved_at) \
        WHERE m.account = u.account AND m.member = u.member AND m.version = u.version";
    if changes.is_empty() {
        return Ok(());
    }
    let members: Vec<&Member> = changes.iter().map(|change| &*change.member).collect();
    let params: [Param<'_>; 19] = [
        &column(&members, |m| m.account.as_str()),
        &column(&members, |m| m.id.as_str()),
        &column(&members, |m| m.version),
        &column(&members, |m| m.phone.as_ref().map(|contact| contact.sealed.as_slice())),
        &column(&members, |m| m.phone.as_ref().map(|contact| contact.index.as_slice())),
        &column(&members, |m| m.phone_prefix_index.as_deref()),
        &column(&members, |m| m.phone_country.as_ref().map(|country| country.as_str())),
        &column(&members, |m| m.phone_textable),
        &column(&members, |m| m.phone_verified_at),
        &column(&members, |m| m.phone_owned_at),
        &column(&members, |m| m.email_verified),
        &column(&members, |m| m.two_factor),
        &column(&members, |m| m.email_backup),
        &column(&members, |m| m.factor_by_mandate),
        &column(&members, |m| m.grace_until),
        &column(&members, |m| m.factor_changed_at),
        &column(&members, |m| m.reset_at),
        &column(&members, |m| m.email_proved_at),
        &now,
    ];
    tx.guarded(SQL, &params, changes.len()).await?;
    follow(tx, changes).await
}

/// What goes with a change: ended challenges, and rows for the Activity report.
async fn follow(tx: &Tx<'_>, changes: &[&Change]) -> Result<(), Fault> {
    let endings: Vec<_> = changes.iter().flat_map(|change| &change.endings).collect();
    let rows: Vec<_> = changes.iter().flat_map(|change| &change.activity).collect();
    try_join!(rows::end(tx, &endings), activity::append(tx, &rows)).map(drop)
}

/// The open challenges of these members, locked in the order of their ids.
pub(in crate::store) async fn open(
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
