//! The traits that every worker implements.

use std::time::Duration;

use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::message::{Decoded, Event, Message};
use crate::rules::claimed::{Claimed, Decision};
use crate::rules::{Decided, DecisionContext, Verdict};
use crate::store::Tx;

/// What every worker has in common: its name, what it reads, and what it must know to decide.
///
/// Consuming, decoding, deduplication, retries, dead letters, replies, metrics, spans and draining
/// are the runtime's; none of them appears in a worker file.
pub trait Worker: Send + Sync + 'static {
    /// The name on every metric, span and inbox row. Never changes once shipped.
    const NAME: &'static str;
    /// False when the rows that are written are keyed by the message and nothing is caused: then they
    /// are the inbox.
    const INBOX: bool = true;

    /// What it reads.
    type Message: Message;
    /// What it must know to decide.
    type Facts: Send;

    /// The queue of messages with this key, where the worker gets them only because a binding is missing.
    fn own_queue_of(_key: &str) -> Option<&'static str> {
        None
    }

    /// The event that says that this message came to nothing, when it is given up after it was
    /// understood. For requests whose app waits for events.
    fn given_up(_message: &Self::Message) -> Option<Event> {
        None
    }

    /// Reads the facts, one for each message, in order, and locks what the decision depends on.
    fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<Self::Message>],
    ) -> impl Future<Output = Result<Vec<Self::Facts>, Fault>> + Send;
}

/// A worker that decides and writes in one transaction.
pub trait TransactionWorker: Worker {
    /// How long to wait for more messages when the batch is not full. Zero if a request waits for the
    /// result.
    const GATHER: Duration = Duration::ZERO;

    /// What it writes.
    type Write: Send + Sync + 'static;

    /// The rule. Pure.
    fn decide(
        &self,
        message: &Decoded<Self::Message>,
        facts: Self::Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Self::Write>;

    /// Writes what was decided, all in one transaction, with the judged condition as a guard.
    fn store(
        &self,
        tx: &Tx<'_>,
        writes: &[&Self::Write],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// A worker that calls a provider between two transactions: the first claims, the second settles.
///
/// No method has a default: a worker that does not claim does not compile.
pub trait ProviderWorker: Worker {
    /// A call to make.
    type Call: Send + Sync + 'static;
    /// What became of a message.
    type Settlement: Verdict;

    /// The rule of the claim. Pure.
    fn decide(
        &self,
        message: &Decoded<Self::Message>,
        facts: Self::Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Decision<Self::Call, Self::Settlement>;

    /// Writes that these calls are about to be made. Committed before the first of them.
    fn claim(
        &self,
        tx: &Tx<'_>,
        calls: &[&Self::Call],
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Takes claims back that may or may not have been committed, and whose calls were not made. Leaves
    /// those alone that were not committed, or that another process has settled.
    fn release(
        &self,
        tx: &Tx<'_>,
        calls: &[&Self::Call],
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Calls the provider. The gateway bounds the time.
    fn call(&self, call: Claimed<Self::Call>) -> impl Future<Output = Self::Settlement> + Send;

    /// Writes what became of messages, all in one transaction.
    fn settle(
        &self,
        tx: &Tx<'_>,
        settlements: &[&Self::Settlement],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}
