//! What the commands need of the configuration.

use std::sync::Arc;

use stepup::broker::Broker;
use stepup::config::{Config, Need};
use stepup::domain::keys::Keyring;
use stepup::store::{self, Store};

/// Reads the configuration for these needs; all errors at once.
///
/// # Errors
/// All of them, a line each.
pub fn configured(needs: &[Need]) -> Result<Config, String> {
    Config::from_env(needs).map_err(|errors| errors.join("\nstepup: "))
}

/// A pool for this configuration.
///
/// # Errors
/// A sentence, when the settings cannot work.
pub fn store(config: &Config, connections: usize) -> Result<Store, String> {
    pool(config, config.pool_size.unwrap_or(connections))
}

/// A pool of at most this many connections.
pub(crate) fn pool(config: &Config, connections_max: usize) -> Result<Store, String> {
    Store::new(&store::DatabaseSettings {
        url: config.database_url.clone(),
        connections_max,
        transaction_max: config.policy.transaction_max,
        ca_file: config.ca_file.clone(),
        application_name: "stepup".to_owned(),
    })
}

/// A handle on the broker for this configuration.
///
/// # Errors
/// A sentence, when the URL is none.
pub fn broker(config: &Config, name: &str) -> Result<Broker, String> {
    Broker::new(config.broker_settings(name)).map_err(|fault| fault.to_string())
}

/// The configured keys.
///
/// # Errors
/// The configuration's errors.
pub fn keyring() -> Result<Arc<Keyring>, String> {
    configured(&[Need::Keys])?.keys.ok_or_else(|| "STEPUP_KEYS is missing".to_owned())
}
