//! Wrong guesses of members.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::store::directory::members::Key;
use crate::store::row;
use crate::store::tx::{Tx, ago};

/// The longest of the windows that a member's wrong codes are counted in.
pub(in crate::store) fn wrong_window(policy: &Policy) -> Duration {
    policy.wrong_per_day.within.max(policy.wrong_per_month.within)
}

/// When these members entered wrong codes, over the last `window`.
pub(in crate::store) async fn wrong(
    tx: &Tx<'_>,
    accounts: &[&str],
    members: &[&str],
    window: Duration,
) -> Result<HashMap<Key, Vec<Timestamp>>, Fault> {
    let sql = wrong_sql("SELECT * FROM unnest($1::text[], $2::text[])", 3);
    by_member(&tx.rows(&sql, &[&accounts, &members, &window.as_secs_f64()]).await?)
}

/// When the members of these challenges entered wrong codes, over the last `window`.
pub(in crate::store) async fn wrong_of(
    tx: &Tx<'_>,
    challenges: &[Uuid],
    window: Duration,
) -> Result<HashMap<Key, Vec<Timestamp>>, Fault> {
    let sql = wrong_sql("SELECT account, member FROM challenge WHERE id = ANY($1)", 2);
    by_member(&tx.rows(&sql, &[&challenges, &window.as_secs_f64()]).await?)
}

fn wrong_sql(members: &str, window: usize) -> String {
    format!(
        "SELECT account, member, array_agg(at) FROM wrong_guess \
         WHERE (account, member) IN ({members}) AND at > {} GROUP BY account, member",
        ago(window)
    )
}

fn by_member(rows: &[tokio_postgres::Row]) -> Result<HashMap<Key, Vec<Timestamp>>, Fault> {
    rows.iter().map(|r| Ok(((row::get(r, 0)?, row::get(r, 1)?), row::get(r, 2)?))).collect()
}
