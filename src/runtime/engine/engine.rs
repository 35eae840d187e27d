//! What the engines of all workers have in common: sessions, reading, and what becomes of a message
//! that is not handled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::batch::{BatchContext, Item};
use super::super::blame::{Blame, Failure, Neighbours, Undone};
use super::super::output::{DeadLetterSource, Output};
use super::super::worker::Worker;
use crate::broker::{Broker, Consumer, Delivery, Publisher};
use crate::domain::keys::Keyring;
use crate::failpoint::{self, Bug, Point, seeded};
use crate::fault::Fault;
use crate::message::{DeadReason, Effect, Senders, decode};
use crate::observe;
use crate::store::Store;

/// What all engines of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The database.
    pub store: Store,
    /// The broker.
    pub broker: Broker,
    /// The keys.
    pub keys: Arc<Keyring>,
    /// Who may ask.
    pub senders: Arc<Senders>,
}

/// The settings of one engine.
#[derive(Clone, Copy)]
pub struct EngineSettings {
    /// The queue, without the prefix.
    pub queue: &'static str,
    /// Messages in one batch at most.
    pub batch_max: usize,
}

/// Pauses between looks at a dependency that is away.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// How long a worker that gets nothing keeps its consumer.
pub(super) const RENEW_AFTER: Duration = Duration::from_secs(10);

/// A batch of this size means the worker is under load.
const BUSY_BATCH: usize = 4;
/// The longest pause under load.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Under load, a worker pauses after a batch for as long as it took, so that the next batch, its round
/// trips and its commit serve more messages. A single message never waits, and neither does a backlog
/// that fills every batch, of `most` messages.
pub(super) fn pause_under_load(messages: usize, most: usize, worked: Duration) -> Duration {
    if (BUSY_BATCH..most).contains(&messages) { worked.min(PAUSE_MAX) } else { Duration::ZERO }
}

/// One worker on one queue.
pub(super) struct Engine<W: Worker> {
    pub(super) context: Arc<BatchContext<W>>,
    pub(super) shared: Shared,
    pub(super) settings: EngineSettings,
    /// What became of settlements.
    pub(super) settled: Mutex<Neighbours>,
    /// What became of claims.
    pub(super) claimed: Mutex<Neighbours>,
}

impl<W: Worker> Engine<W> {
    /// Announces the worker and its failpoints.
    pub(super) fn start(
        worker: Arc<W>,
        shared: Shared,
        settings: EngineSettings,
        points: &[Point],
    ) -> Self {
        let reasons: Vec<&'static str> =
            DeadReason::ALL.iter().map(|reason| reason.label()).collect();
        observe::worker_started(W::NAME, &reasons);
        failpoint::announce(W::NAME, points);
        let (queue, seal_to) = (settings.queue, shared.keys.public());
        let source = DeadLetterSource { worker: W::NAME, queue, seal_to };
        let context = Arc::new(BatchContext { worker, store: shared.store.clone(), source });
        Self { context, shared, settings, settled: Mutex::default(), claimed: Mutex::default() }
    }

    /// Opens the channels of a session.
    pub(super) async fn open(&self, prefetch: usize) -> Result<(Publisher, Consumer), Fault> {
        let publisher = Publisher::open(&self.shared.broker).await?;
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX).min(2000);
        let consumer = Consumer::open(&self.shared.broker, self.settings.queue, prefetch).await?;
        Ok((publisher, consumer))
    }

    /// Reads deliveries. Those that cannot be read are dead-lettered; those that are here since a binding
    /// is missing go to their own queue.
    pub(super) fn read(&self, batch: Vec<Delivery>, output: &mut Output) -> Vec<Item<W::Message>> {
        let mut items = Vec::with_capacity(batch.len());
        for delivery in batch {
            if let Some(queue) = W::own_queue_of(&delivery.incoming.key) {
                observe::handled(W::NAME, "redirected", None);
                output.redirect(delivery.incoming, queue);
                continue;
            }
            match decode(&delivery.incoming, &self.shared.senders, &self.shared.keys) {
                Ok(decoded) => items.push(Item { delivery, decoded }),
                Err(why) => output.rejected(&delivery.incoming, why, &self.context.source),
            }
        }
        items
    }

    /// What becomes of a message that was not handled.
    pub(super) fn leave(&self, item: &Item<W::Message>, undone: &Undone) -> Output {
        match (undone.blame, &undone.failure) {
            (Blame::Surroundings, Failure::Fault(fault)) => {
                let mut output = Output::default();
                output.held(&item.delivery.incoming, fault, W::NAME);
                output
            }
            (_, failure) => self.give_up(item, failure),
        }
    }

    /// To the next retry delay, or to the dead letters; then an event says so too.
    pub(super) fn give_up(&self, item: &Item<W::Message>, failure: &Failure) -> Output {
        let mut output = Output::default();
        if seeded(Bug::FailedDropped) {
            return output;
        }
        let (incoming, source) = (&item.delivery.incoming, &self.context.source);
        match failure {
            Failure::Fault(fault) => output.failed(incoming, fault, source),
            Failure::Panicked => {
                let detail = "the worker panicked over it: report it, then replay".to_owned();
                output.dead_letter(incoming, DeadReason::Panicked, detail, source);
            }
        }
        if output.dead_lettered() {
            let event = W::given_up(&item.decoded.message).map(Effect::from);
            output
                .messages
                .extend(event.map(|e| e.render(item.decoded.id, 0, super::super::host_now())));
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_follows_a_busy_batch_that_is_not_full() {
        let (short, long) = (Duration::from_millis(7), Duration::from_secs(3));
        for alone in 0..BUSY_BATCH {
            assert_eq!(pause_under_load(alone, 100, short), Duration::ZERO);
        }
        assert_eq!(pause_under_load(BUSY_BATCH, 100, short), short);
        assert_eq!(pause_under_load(99, 100, short), short);
        assert_eq!(pause_under_load(100, 100, short), Duration::ZERO);
        assert_eq!(pause_under_load(BUSY_BATCH, 100, long), PAUSE_MAX);
        assert_eq!(pause_under_load(1, 1, long), Duration::ZERO);
    }
}
