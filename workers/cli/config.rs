//! `stepup config`.

use stepup::config::Need;

use crate::cli::connect::configured;
use crate::cli::output::print;

/// Prints the effective settings.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(needs: &[Need]) -> Result<(), String> {
    print(&configured(needs)?.describe());
    Ok(())
}
