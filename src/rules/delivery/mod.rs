//! Whether a code is handed to a provider, and what its answer means.
//!
//! The claim is decided on facts that are locked; then the provider is called with no transaction
//! open; then the answer is settled. What was claimed and never settled is `unknown`: it is not
//! sent again by itself.

mod claim;
pub mod notice;
pub mod recipients;
mod send;
mod settlement;

pub use crate::rules::delivery::claim::decide;
pub(super) use crate::rules::delivery::claim::too_late;
pub(super) use crate::rules::delivery::send::mailable;
pub use crate::rules::delivery::send::{
    Answer, Attempt, DeliveryCall, DeliverySettlement, FALLBACK_SEND, Facts, SendRequest, Settled,
    TEXT_FAULTY,
};
pub use crate::rules::delivery::settlement::{ASKED_CALLS_MAX, delay_while_closed, retry_delay};

#[cfg(test)]
mod tests;
