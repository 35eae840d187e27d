//! What operators type: migrate, topology, config check, dead letters.

use std::sync::Arc;

use clap::Subcommand;
use stepup::broker::{dead, topology};
use stepup::config::Need;
use stepup::domain::keys::Keyring;
use stepup::store;

use crate::roles::{broker, configured, store as pool};

/// What can be done with dead letters.
#[derive(Subcommand)]
pub enum DeadLetters {
    /// One line each: id, reason, worker, detail.
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Publish one again, as if it came for the first time.
    Replay {
        /// Its id, as `list` shows it.
        id: String,
    },
    /// Throw one away.
    Drop {
        /// Its id, as `list` shows it.
        id: String,
    },
}

#[expect(clippy::print_stdout, reason = "a command's answer goes to the one who typed it")]
fn print(text: &str) {
    println!("{text}");
}

/// The configured keys.
///
/// # Errors
/// The configuration's errors.
pub fn keyring() -> Result<Arc<Keyring>, String> {
    configured(&[Need::Keys])?.keys.ok_or_else(|| "STEPUP_KEYS is missing".to_owned())
}

/// Applies what is missing.
///
/// # Errors
/// When the database is away or a migration fails.
pub async fn migrate() -> Result<(), String> {
    let config = configured(&[Need::Database])?;
    let applied = store::migrate(&pool(&config, 1)?).await.map_err(|fault| fault.to_string())?;
    for migration in &applied {
        print(&format!("applied {migration}"));
    }
    if applied.is_empty() {
        print("nothing to apply");
    }
    Ok(())
}

/// Declares or checks the topology.
///
/// # Errors
/// When the broker is away, or the check finds a deviation.
pub async fn topology(check: bool) -> Result<(), String> {
    let config = configured(&[Need::Broker])?;
    let broker = broker(&config, "stepup-topology")?;
    if !check {
        topology::declare(&broker).await.map_err(|fault| fault.to_string())?;
        print("declared");
        return Ok(());
    }
    let deviations = topology::check(&broker).await.map_err(|fault| fault.to_string())?;
    if deviations.is_empty() {
        print("as it should be");
        return Ok(());
    }
    Err(deviations.join("\n"))
}

/// Prints the effective settings.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check_config() -> Result<(), String> {
    print(&configured(&[])?.describe());
    Ok(())
}

/// Reads or handles dead letters.
///
/// # Errors
/// When the broker is away or there is no such letter.
pub async fn dead_letters(command: DeadLetters) -> Result<(), String> {
    let config = configured(&[Need::Broker])?;
    let broker = broker(&config, "stepup-dead-letters")?;
    let found = |found: bool| if found { Ok(()) } else { Err("no such dead letter".to_owned()) };
    match command {
        DeadLetters::List { limit } => {
            let letters = dead::list(&broker, limit).await.map_err(|fault| fault.to_string())?;
            for letter in &letters {
                print(&format!(
                    "{} {} {} {} {}",
                    letter.id, letter.reason, letter.key, letter.worker, letter.detail
                ));
            }
            print(&format!("{} dead letters", letters.len()));
            Ok(())
        }
        DeadLetters::Replay { id } => {
            let keys = keyring()?;
            let open = |sealed: &[u8]| {
                let text = std::str::from_utf8(sealed).map_err(|_| "is not sealed".to_owned())?;
                let clear = keys.open_request(text).map_err(|why| why.to_string())?;
                Ok(clear.to_vec())
            };
            let replayed = dead::replay(&broker, &id, open).await;
            found(replayed.map_err(|fault| fault.to_string())?)
        }
        DeadLetters::Drop { id } => {
            found(dead::drop(&broker, &id).await.map_err(|fault| fault.to_string())?)
        }
    }
}
