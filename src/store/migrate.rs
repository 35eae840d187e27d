//! Migrations: forward only, one process at a time.

use super::Store;
use super::failure::fault;
use crate::fault::{Dependency, Fault};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The advisory lock that keeps two processes from migrating at once.
const LOCK: i64 = 0x7374_6570_7570;

/// Brings the tables to this version's state, and says which migrations were applied.
///
/// # Errors
/// `Down` when the server is away or a migration cannot be applied.
pub async fn migrate(store: &Store) -> Result<Vec<String>, Fault> {
    let mut client = store.client().await?;
    // A migration may take longer than any pass.
    let client: &mut tokio_postgres::Client = &mut client.0;
    let prepare = format!("SET statement_timeout = 0; SELECT pg_advisory_lock({LOCK})");
    client.batch_execute(&prepare).await.map_err(|error| fault(&error))?;
    let report = embedded::migrations::runner().run_async(client).await;
    // No ANALYZE: that a table is empty is the one statistic that makes plans bad once it is not.
    let finish = format!("SELECT pg_advisory_unlock({LOCK}); RESET statement_timeout");
    client.batch_execute(&finish).await.map_err(|error| fault(&error))?;
    let report = report.map_err(|error| {
        Fault::Down(Dependency::Database, format!("a migration cannot be applied: {error}"))
    })?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
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
    if super::row::get::<i64>(&applied, 0)? >= wanted {
        return Ok(());
    }
    Err(Fault::Down(Dependency::Database, "migrations are missing: run `stepup migrate`".into()))
}
