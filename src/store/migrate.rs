//! Migrations: forward only, one process at a time.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::failure::{fault, with_causes};
use super::pool::Store;
use crate::fault::{Dependency, Fault};
use crate::observe;
use crate::store::row;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The advisory lock that keeps two processes from migrating at once.
const LOCK: i64 = 0x7374_6570_7570;

/// How long a statement of a migration waits for a lock. What asks for the same table meanwhile waits
/// behind it, so this is also the longest time for which a migration that waits holds up others.
const LOCK_WAIT: &str = "2s";
/// When, in such a wait, to look who is in the way.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// The time for others, before the next try.
const PAUSE: Duration = Duration::from_secs(3);

/// Brings the tables to this version's state, and says which migrations were applied. A migration that
/// finds its table in use, by `pg_dump` for example, is tried again for `wait_max`. Each is one
/// transaction: one that was not applied has left nothing.
///
/// # Errors
/// `Down` when the server is away or a migration cannot be applied; then with who was in the way.
pub async fn migrate(store: &Store, wait_max: Duration) -> Result<Vec<String>, Fault> {
    let mut client = store.client().await?;
    // A migration may take longer than any pass, and another process may be at it.
    let client: &mut tokio_postgres::Client = &mut client.0;
    let prepare = format!(
        "SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock({LOCK}); \
         SET lock_timeout = '{LOCK_WAIT}'"
    );
    client.batch_execute(&prepare).await.map_err(|error| fault(&error))?;
    let applied = apply(store, client, wait_max).await;
    // No ANALYZE: that a table is empty is the one statistic that makes plans bad once it is not.
    let finish =
        format!("SELECT pg_advisory_unlock({LOCK}); RESET statement_timeout; RESET lock_timeout");
    client.batch_execute(&finish).await.map_err(|error| fault(&error))?;
    applied
}

async fn apply(
    store: &Store,
    client: &mut tokio_postgres::Client,
    wait_max: Duration,
) -> Result<Vec<String>, Fault> {
    let (started, mut all) = (Instant::now(), Vec::new());
    loop {
        let look = async {
            tokio::time::sleep(LOOK_AFTER).await;
            store.in_the_way().await
        };
        let runner = embedded::migrations::runner();
        let run = runner.run_async(client);
        let (mut run, mut look) = (std::pin::pin!(run), std::pin::pin!(look));
        let (done, holder) = tokio::select! {
            done = &mut run => (done, None),
            holder = &mut look => (run.await, holder),
        };
        let error = match done {
            Ok(report) => {
                all.extend(report.applied_migrations().iter().map(ToString::to_string));
                return Ok(all);
            }
            Err(error) => error,
        };
        let applied = error.report().map(|report| report.applied_migrations().iter());
        all.extend(applied.into_iter().flatten().map(ToString::to_string));
        let why = match holder {
            Some(holder) => format!("a migration finds its table in use by {holder}"),
            None => "a migration finds its table in use: see pg_locks".to_owned(),
        };
        if !finds_a_lock(&error) {
            let why = format!("a migration cannot be applied: {}", with_causes(&error));
            return Err(Fault::Down(Dependency::Database, why));
        }
        if started.elapsed() >= wait_max {
            let seconds = wait_max.as_secs();
            let why = format!("{why}, for {seconds} s by now: end that, and migrate again");
            return Err(Fault::Down(Dependency::Database, why));
        }
        observe::migration_waits(&why);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a migration has failed by a lock alone.
fn finds_a_lock(error: &refinery::Error) -> bool {
    let refinery::error::Kind::Connection(_, cause) = error.kind() else { return false };
    let code = cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| {
        [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
    })
}

/// Whether every migration of this version was applied.
///
/// # Errors
/// `Down` when the server is away, or behind: run `stepup migrate`.
pub async fn check(store: &Store) -> Result<(), Fault> {
    const SQL: &str = "SELECT count(*) FROM refinery_schema_history";
    let client = store.client().await?;
    let wanted = embedded::migrations::runner().get_migrations().len() as i64;
    let applied = client.0.query_one(SQL, &[]).await.map_err(|error| fault(&error))?;
    if row::get::<i64>(&applied, 0)? >= wanted {
        return Ok(());
    }
    Err(Fault::Down(Dependency::Database, "migrations are missing: run `stepup migrate`".into()))
}
