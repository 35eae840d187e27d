//! The loop around passes: consume, settle, publish, ack; until drained.

mod attempt;
mod inward;
mod outward;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::try_join;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::attempt::Undone;
use super::blame::{Blame, Neighbours};
use super::disposal::{DeadLetterSource, Output};
use super::pass::{BatchContext, Failure, Item, LockWait};
use super::worker::Worker;
use crate::broker::{Broker, Consumer, Delivery, Publication, Publisher, pauses, supervise};
use crate::domain::keys::Keyring;
use crate::failpoint::{self, Bug, Point, reach, seeded};
use crate::fault::{Dependency, Fault};
use crate::message::{DeadReason, Effect, Message, Senders, decode};
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
    /// Messages in one pass at most.
    pub batch_max: usize,
    /// Outward: calls under way at most.
    pub calls_max: usize,
    /// Outward: a claim older than this is not carried out, since another process may soon take it
    /// for dead.
    pub claim_fresh: Duration,
}

/// Pauses between looks at a dependency that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a worker that gets nothing keeps its consumer.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// So many messages in one pass do not come by chance: the machine is busy.
const BUSY_BATCH: usize = 4;
/// The longest rest.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// On a busy machine a worker rests after a pass for as long as that took, so that more messages share
/// the next one, its round trips and its commit. What comes alone never waits, and neither does a
/// backlog that fills every pass, of `most` messages.
fn pause_under_load(messages: usize, most: usize, worked: Duration) -> Duration {
    if (BUSY_BATCH..most).contains(&messages) { worked.min(PAUSE_MAX) } else { Duration::ZERO }
}

struct Engine<W: Worker> {
    context: Arc<BatchContext<W>>,
    shared: Shared,
    settings: EngineSettings,
    /// What became of settlements.
    settled: Mutex<Neighbours>,
    /// What became of claims.
    claimed: Mutex<Neighbours>,
}

/// The messages of a sub-batch.
fn ids<M>(sub_batch: &[Item<M>]) -> Vec<Uuid> {
    sub_batch.iter().map(|item| item.decoded.id).collect()
}

/// Runs a worker on one queue until `stop`, whatever happens to the broker or the database.
pub async fn run<W: Worker>(
    worker: Arc<W>,
    shared: Shared,
    settings: EngineSettings,
    stop: CancellationToken,
) {
    let reasons: Vec<&'static str> = DeadReason::ALL.iter().map(|reason| reason.label()).collect();
    observe::worker_started(W::NAME, &reasons);
    failpoint::announce(W::NAME, if W::OUTWARD { failpoint::OUTWARD } else { failpoint::INWARD });
    let origin =
        DeadLetterSource { worker: W::NAME, queue: settings.queue, seal_to: shared.keys.public() };
    let context = Arc::new(BatchContext { worker, store: shared.store.clone(), origin });
    let engine =
        Engine { context, shared, settings, settled: Mutex::default(), claimed: Mutex::default() };
    supervise(settings.queue, stop, async |stop: CancellationToken| {
        // On the heap: a debug build copies a future that it moves, and threads have 2 MiB of stack.
        let end = if W::OUTWARD {
            Box::pin(engine.outward(stop)).await
        } else {
            Box::pin(engine.inward(stop)).await
        };
        if let Err(fault) = &end {
            observe::session_ended(settings.queue, fault);
        }
        end
    })
    .await;
}

impl<W: Worker> Engine<W> {
    async fn open(&self, prefetch: usize) -> Result<(Publisher, Consumer), Fault> {
        let publisher = Publisher::open(&self.shared.broker).await?;
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX).min(2000);
        let consumer = Consumer::open(&self.shared.broker, self.settings.queue, prefetch).await?;
        Ok((publisher, consumer))
    }

    /// Reads deliveries; those that cannot be read go aside, those that came by a detour go home.
    fn read(&self, batch: Vec<Delivery>, output: &mut Output) -> Vec<Item<W::Message>> {
        let mut items = Vec::with_capacity(batch.len());
        for delivery in batch {
            if let Some(queue) = W::home_of(&delivery.incoming.key) {
                observe::handled(W::NAME, "sent_home", None);
                output.send_home(delivery.incoming, queue);
                continue;
            }
            match decode(&delivery.incoming, &self.shared.senders, &self.shared.keys) {
                Ok(decoded) => items.push(Item { delivery, decoded }),
                Err(why) => output.rejected(&delivery.incoming, why, &self.context.origin),
            }
        }
        items
    }

    /// Settles a sub-batch; if that fails, its messages one by one, so that a bad one spoils only itself.
    async fn settle(&self, sub_batch: Vec<Item<W::Message>>) -> Vec<Output> {
        let together = || self.context.settle_sub_batch(&sub_batch, LockWait::of(&sub_batch));
        match self.attempt(&self.settled, &ids(&sub_batch), together).await {
            Ok(output) => vec![output],
            Err(left) if left.blame == Blame::OneOfSeveral => {
                self.walked(sub_batch.len(), &left.failure);
                let mut outputs = Vec::with_capacity(sub_batch.len());
                for item in sub_batch {
                    let alone = [item];
                    let apart = || self.context.settle_sub_batch(&alone, LockWait::Short);
                    outputs.push(match self.attempt(&self.settled, &ids(&alone), apart).await {
                        Ok(output) => output,
                        Err(left) => self.leave(&alone[0], &left),
                    });
                }
                outputs
            }
            Err(left) => sub_batch.iter().map(|item| self.leave(item, &left)).collect(),
        }
    }

    /// What becomes of a message that was not handled.
    fn leave(&self, item: &Item<W::Message>, left: &Undone) -> Output {
        match (left.blame, &left.failure) {
            (Blame::Surroundings, Failure::Fault(fault)) => {
                let mut output = Output::default();
                output.held(&item.delivery.incoming, fault, W::NAME);
                output
            }
            (_, failure) => self.give_up(item, failure),
        }
    }

    fn walked(&self, messages: usize, failure: &Failure) {
        let fault = match failure {
            Failure::Fault(fault) => fault.clone(),
            Failure::Panicked => Fault::Permanent("panicked".into()),
        };
        observe::walked(W::NAME, messages, &fault);
    }

    /// to the next retry delay, or to the dead letters; then whoever follows the events learns of it too.
    fn give_up(&self, item: &Item<W::Message>, failure: &Failure) -> Output {
        let mut output = Output::default();
        if seeded(Bug::FailedDropped) {
            return output;
        }
        let (incoming, origin) = (&item.delivery.incoming, &self.context.origin);
        match failure {
            Failure::Fault(fault) => output.failed(incoming, fault, origin),
            Failure::Panicked => {
                let detail = "the worker panicked over it: report it, then replay".to_owned();
                output.aside(incoming, DeadReason::Panicked, detail, origin);
            }
        }
        if output.set_aside() {
            let event = item.decoded.message.given_up().map(Effect::from);
            output.messages.extend(event.map(|e| e.render(item.decoded.id, 0, super::host_now())));
        }
        output
    }

    /// Publishes what a batch causes.
    ///
    /// A broker that does not take it (an alarm, a full queue, a binding or a right that is missing) is
    /// no fault of the messages. They stay here, unacked, for as long as the consumer lives: at every
    /// end of a session they would return to the queue, and that counts against them.
    async fn publish(
        &self,
        publisher: &mut Publisher,
        consumer: &Consumer,
        outputs: &[Output],
    ) -> Result<(), Fault> {
        let mut publications: Vec<_> =
            outputs.iter().flat_map(|output| output.publications(self.settings.queue)).collect();
        if publications.is_empty() {
            return Ok(());
        }
        let (mut pauses, mut paused) = (pauses(), false);
        let end = loop {
            let publishing = async {
                if paused {
                    one_by_one(publisher, consumer, &mut publications).await
                } else {
                    publisher.publish(&publications).await
                }
            };
            // Polled second: by then the frames are on their way.
            match try_join!(publishing, reach(W::NAME, Point::Published)).map(drop) {
                Err(Fault::Down(Dependency::Broker, why)) if consumer.is_alive() => {
                    observe::paused(W::NAME, Dependency::Broker, &why);
                    paused = true;
                    tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
                    while self.shared.broker.blocked() && consumer.is_alive() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                end => break end,
            }
        };
        if paused {
            observe::resumed(W::NAME, Dependency::Broker);
        }
        end
    }
}

/// Publishes each by itself and leaves those that the broker does not take: what it does take must not
/// go out again with them, as often as they are tried.
async fn one_by_one(
    publisher: &mut Publisher,
    consumer: &Consumer,
    publications: &mut Vec<Publication<'_>>,
) -> Result<(), Fault> {
    let (mut end, mut at) = (Ok(()), 0);
    while at < publications.len() && (end.is_ok() || consumer.is_alive()) {
        // Taken out once it is stored, and not before: whoever drops this half-way tries again.
        match publisher.publish(&publications[at..=at]).await {
            Ok(()) => drop(publications.remove(at)),
            Err(fault) => {
                end = Err(fault);
                at += 1;
            }
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_follows_a_crowd_that_does_not_fill_the_pass() {
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
