//! The loop around batches: consume, decide, publish, ack; until drained.

mod attempt;
#[expect(clippy::module_inception, reason = "what all engines share has the name of the thing")]
mod engine;
mod isolate;
mod provider;
mod publish;
mod transaction;

pub use engine::{EngineSettings, Shared};
pub use provider::{CallLimits, run_provider};
pub use transaction::run_transactions;
