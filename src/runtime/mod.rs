//! FLOOR 4. The one generic worker runtime: the traits, the batch, the engine, the life of a process.

mod batch;
mod blame;
mod code_sender;
mod engine;
mod faulty;
mod lifecycle;
mod output;
mod worker;

pub use code_sender::{CodeProvider, CodeSender};
pub use engine::{CallLimits, EngineSettings, Shared, run_provider, run_transactions};
pub use lifecycle::{Health, await_dependencies, serve_health, stop_on_signal};
pub use worker::{ProviderWorker, TransactionWorker, Worker};

use std::time::Duration;

use crate::domain::Timestamp;

/// How old a message is by this process's clock. For a histogram, never for a decision.
fn age_of(published_at: Timestamp) -> Duration {
    (host_now() - published_at).try_into().unwrap_or_default()
}

/// The host's clock, for what no rule sees.
#[expect(clippy::disallowed_methods, reason = "told to people, or said when the database is away")]
fn host_now() -> Timestamp {
    Timestamp::now_utc()
}
