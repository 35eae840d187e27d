//! How a request is declared: its struct is the only list of its fields, and this stands beside it.

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use super::json_schema::described;
use super::kind::Subject;
use super::outcome::OutcomeKind;
use super::queue_name::Queue;

/// What the struct of a request cannot say itself.
pub trait RequestBody: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The routing key.
    const KEY: &'static str;
    /// The queue: with it the worker and the lane.
    const QUEUE: Queue;

    /// Where the HTTP status of an outcome, or the advice, differs from the usual one of its kind.
    const EXCEPTIONS: &'static [Exception] = &[];

    /// Two requests about the same subject are never decided on the same facts.
    fn subject(&self) -> Subject;
}

/// An HTTP status of one outcome of one request.
pub struct Exception {
    /// The outcome.
    pub outcome: OutcomeKind,
    /// The status.
    pub status: u16,
    /// What the caller can do about it; empty where nothing is to do.
    pub advice: &'static str,
}

/// A declaration as data.
pub struct RequestDecl {
    /// The routing key.
    pub key: &'static str,
    /// The queue.
    pub queue: Queue,
    /// Makes the schema of the struct.
    pub schema: fn() -> Schema,
    /// Where statuses or advice differ.
    pub exceptions: &'static [Exception],
}

impl RequestDecl {
    pub(super) const fn of<T: RequestBody>() -> Self {
        Self { key: T::KEY, queue: T::QUEUE, schema: described::<T>, exceptions: T::EXCEPTIONS }
    }
}
