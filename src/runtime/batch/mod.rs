//! Batches: a few messages, one transaction.

mod context;
mod provider;
mod sub_batch;
mod transaction;

pub(super) use context::{BatchContext, Item, LockWait};
pub(super) use provider::{Claims, Next, Settled, TooOld, Unsure};
pub(super) use sub_batch::sub_batches;
