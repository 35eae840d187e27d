//! `stepup-harness load`: complete logins against a running system, at a rate or flat out, and what they
//! cost. An operator's command, for a system whose SMS and mail go to `stepup-harness sim`.
//!
//! The product's limits stay on: there are members enough. In the same run it measures the broker
//! and the database without the product ([`crate::bare::broker`]), since absolute figures say more
//! about the machine than about us. docs/performance.md says what each figure means.

mod door;
mod drive;
mod feed;
mod figures;
mod members;
mod options;
mod report;
mod run;
mod say;
mod scrape;
mod site;

pub use options::{LoadOptions, Over};

/// Drives the load and reports.
///
/// # Errors
/// A sentence, when it cannot be driven, and when anything was lost or doubled.
pub async fn run(options: LoadOptions) -> Result<(), String> {
    options.check()?;
    match options.fill {
        Some(members) => run::fill(&options, members).await,
        None => run::run(&options).await,
    }
}
