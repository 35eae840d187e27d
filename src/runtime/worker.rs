//! The trait that every worker implements.

use std::time::Duration;

use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::message::{Decoded, Message};
use crate::rules::{DecisionContext, Verdict};
use crate::store::Tx;

/// One dedicated worker: what it reads, what it decides, what it writes.
///
/// Consuming, decoding, deduplication, retries, dead letters, replies, metrics, spans and draining
/// are the runtime's; none of them appears in a worker file.
pub trait Worker: Send + Sync + 'static {
    /// The name on every metric, span and inbox row. Never changes once shipped.
    const NAME: &'static str;
    /// True when `act` leaves the process: no transaction is open across it, and what is to be
    /// called is claimed in a commit of its own before.
    const OUTWARD: bool = false;
    /// False when the rows that `store` writes are keyed by the message and nothing is caused: then
    /// they are the inbox.
    const INBOX: bool = true;
    /// How long an inward pass that is not full waits for more. Not at all, where anybody waits for
    /// its outcome; where nobody does, fewer and fuller passes leave the machine to the others.
    const GATHER: Duration = Duration::ZERO;

    /// What it reads.
    type Message: Message;
    /// What it must know to decide.
    type Facts: Send;
    /// What it decides.
    type Verdict: Verdict;

    /// The queue of messages with this key, where they come to this worker by a detour only.
    fn home_of(_key: &str) -> Option<&'static str> {
        None
    }

    /// Reads the facts, one for each message, in order, and locks what the decision rests on.
    fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<Self::Message>],
    ) -> impl Future<Output = Result<Vec<Self::Facts>, Fault>> + Send;

    /// The rule. Pure.
    fn decide(
        &self,
        message: &Decoded<Self::Message>,
        facts: Self::Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Self::Verdict;

    /// Outward: writes that these are about to be called. Committed before the first call.
    fn claim(
        &self,
        _tx: &Tx<'_>,
        _verdicts: &[&Self::Verdict],
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Outward: takes claims back that may have been committed or not, and whose calls were not made.
    /// Those that were not committed, or that another process has settled, it leaves alone.
    fn release(
        &self,
        _tx: &Tx<'_>,
        _verdicts: &[&Self::Verdict],
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Outward: calls, and brings back the answer. Every answer is a verdict. Bounded in time by
    /// the gateway.
    fn act(&self, verdict: Self::Verdict) -> impl Future<Output = Self::Verdict> + Send {
        async { verdict }
    }

    /// Writes the verdicts, all in one transaction, with the judged condition as a guard.
    fn store(
        &self,
        tx: &Tx<'_>,
        verdicts: &[&Self::Verdict],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}
