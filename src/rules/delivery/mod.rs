//! Whether a code is handed to a provider, and what its answer means.
//!
//! The claim is decided on facts that are locked; then the provider is called with no transaction
//! open; then the answer is settled. What was claimed and never settled is `unknown`: it is not
//! sent again by itself.

mod claim;
mod send;
mod settlement;

pub use self::claim::decide;
pub(super) use self::claim::too_late;
pub(super) use self::send::mailable;
pub use self::send::{
    Answer, Attempt, DeliveryCall, DeliverySettlement, FALLBACK_SEND, Facts, RenderedMessage,
    SendRequest, Settled, TEXT_FAULTY,
};
pub use self::settlement::{ASKED_CALLS_MAX, delay_while_closed, retry_delay};

#[cfg(test)]
mod tests;
