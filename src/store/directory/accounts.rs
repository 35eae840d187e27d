//! Accounts.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::fault::Fault;
use crate::store::row;
use crate::store::tx::{Param, Tx};

/// The accounts of these ids, whosesoever, and their versions.
pub(in crate::store) async fn load(
    tx: &Tx<'_>,
    accounts: &[&str],
) -> Result<HashMap<String, (Account, i64)>, Fault> {
    let sql = format!("SELECT {} FROM account a WHERE a.account = ANY($1)", row::ACCOUNT);
    by_id(&tx.rows(&sql, &[&accounts]).await?)
}

/// The accounts of these challenges.
pub(in crate::store) async fn of(
    tx: &Tx<'_>,
    challenges: &[uuid::Uuid],
) -> Result<HashMap<String, (Account, i64)>, Fault> {
    let sql = format!(
        "SELECT {} FROM account a WHERE a.account IN \
         (SELECT account FROM challenge WHERE id = ANY($1))",
        row::ACCOUNT
    );
    by_id(&tx.rows(&sql, &[&challenges]).await?)
}

fn by_id(rows: &[tokio_postgres::Row]) -> Result<HashMap<String, (Account, i64)>, Fault> {
    let key =
        |(account, version): (Account, i64)| (account.id.as_str().to_owned(), (account, version));
    rows.iter().map(|found| row::account(found).map(key)).collect()
}

/// The accounts of these ids, locked in the order of their ids.
pub(in crate::store) async fn lock(
    tx: &Tx<'_>,
    accounts: &[&str],
) -> Result<HashMap<String, (Account, i64)>, Fault> {
    let sql = format!(
        "SELECT {} FROM account a WHERE a.account = ANY($1) ORDER BY a.account FOR UPDATE",
        row::ACCOUNT
    );
    by_id(&tx.rows(&sql, &[&accounts]).await?)
}

/// Writes accounts, each only over an older version of the same app's.
///
/// # Errors
/// As every statement; `Transient` when a newer version came meanwhile.
pub async fn put(tx: &Tx<'_>, accounts: &[(&Account, i64)], now: Timestamp) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO account AS a (account, app, version, name, origin, country, \
        countries, email_fallback, changed_at, sensitive_settings, \
        require_for_sensitive_settings) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
        ON CONFLICT (account) DO UPDATE SET version = $3, name = $4, origin = $5, country = $6, \
        countries = $7, email_fallback = $8, changed_at = $9, sensitive_settings = $10, \
        require_for_sensitive_settings = $11 \
        WHERE a.app = $2 AND a.version < $3";
    let written = accounts.iter().map(async |(account, version)| {
        let countries: Vec<&str> = account.countries.iter().map(|c| c.as_str()).collect();
        let settings: Vec<&str> = account.sensitive_settings.iter().map(|s| s.as_str()).collect();
        let params: [Param<'_>; 11] = [
            &account.id.as_str(),
            &account.app.as_str(),
            version,
            &account.name,
            &account.origin,
            &account.country.as_str(),
            &countries,
            &account.email_fallback.label(),
            &now,
            &settings,
            &account.require_for_sensitive_settings,
        ];
        tx.guarded(SQL, &params, 1).await
    });
    try_join_all(written).await.map(drop)
}
