//! `stepup migrate`.

use std::time::Duration;

use stepup::config::Need;
use stepup::store;

use crate::cli::connect::{configured, store as pool};
use crate::cli::output::print;

/// How long a migration is tried again while its table is in use.
const MIGRATE_WAIT_MAX: Duration = Duration::from_secs(600);

/// Applies what is missing.
///
/// # Errors
/// When the database is away or a migration fails.
pub async fn migrate() -> Result<(), String> {
    let config = configured(&[Need::Database])?;
    // One connection migrates, the other looks who is in the way.
    let migrated = store::migrate(&pool(&config, 2)?, MIGRATE_WAIT_MAX).await;
    let applied = migrated.map_err(|fault| fault.to_string())?;
    for migration in &applied {
        print(&format!("applied {migration}"));
    }
    if applied.is_empty() {
        print("nothing to apply");
    }
    Ok(())
}
