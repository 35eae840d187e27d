//! The engine of workers that only read and write the database.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::super::batch::{BatchContext, Item, sub_batches};
use super::super::blame::Failure;
use super::super::output::Output;
use super::super::worker::TransactionWorker;
use super::engine::{Engine, EngineSettings, RENEW_AFTER, Shared, pause_under_load};
use super::isolate::{How, Work};
use crate::broker::supervise;
use crate::failpoint::{self, Bug, Point, reach, seeded};
use crate::fault::Fault;
use crate::observe;

/// Runs a worker on one queue until `stop`, whatever happens to the broker or the database.
pub async fn run_transactions<W: TransactionWorker>(
    worker: Arc<W>,
    shared: Shared,
    settings: EngineSettings,
    stop: CancellationToken,
) {
    let engine = Engine::start(worker, shared, settings, failpoint::TRANSACTION);
    supervise(settings.queue, stop, async |stop: CancellationToken| {
        // On the heap: a debug build copies a future that it moves, and threads have 2 MiB of stack.
        let end = Box::pin(engine.transactions(stop)).await;
        end.inspect_err(|fault| observe::session_ended(settings.queue, fault))
    })
    .await;
}

impl<W: TransactionWorker> Engine<W> {
    /// Handles arriving messages until `stop`, a batch at a time.
    async fn transactions(&self, stop: CancellationToken) -> Result<(), Fault> {
        let batch_max = self.settings.batch_max;
        let (mut publisher, mut consumer) = self.open(batch_max * 2).await?;
        let mut draining = false;
        loop {
            let batch = tokio::select! {
                batch = consumer.next_batch(batch_max) => batch?,
                () = tokio::time::sleep(RENEW_AFTER), if !draining => {
                    consumer.renew().await?;
                    continue;
                }
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    consumer.cancel().await?;
                    continue;
                }
            };
            let Some(mut batch) = batch else { break };
            if !W::GATHER.is_zero() && batch.len() < batch_max {
                tokio::time::sleep(W::GATHER).await;
                batch.extend(consumer.try_batch(batch_max - batch.len())?);
            }
            let mut tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
            let Some(last) = tags.last().copied() else { continue };
            reach(W::NAME, Point::Received).await?;
            if seeded(Bug::AckBeforeCommit) {
                consumer.ack_through(last).await?;
            }
            let (started, size) = (Instant::now(), batch.len());
            let span = tracing::debug_span!("batch", worker = W::NAME, messages = size);
            async {
                let mut outputs = vec![Output::default()];
                let items = self.read(batch, &mut outputs[0]);
                // Usually one. Many guesses for one challenge are many: the first answers do not wait
                // for the last, and what is done is acked at once. Else a process that is killed
                // again and again before it comes to the end brings all of it nearer to the
                // delivery limit each time.
                let sub_batches = sub_batches(items);
                let one = sub_batches.len() <= 1;
                for sub_batch in sub_batches {
                    let done: Vec<u64> = sub_batch.iter().map(|item| item.delivery.tag).collect();
                    outputs.extend(self.handle(sub_batch).await);
                    self.publish(&mut publisher, &consumer, &outputs).await?;
                    outputs.clear();
                    if !one && !seeded(Bug::AckBeforeCommit) {
                        consumer.ack(&done).await?;
                        tags.retain(|tag| !done.contains(tag));
                    }
                }
                self.publish(&mut publisher, &consumer, &outputs).await?;
                reach(W::NAME, Point::Confirmed).await?;
                match (seeded(Bug::AckBeforeCommit), one) {
                    (true, _) => {}
                    (false, true) => consumer.ack_through(last).await?,
                    (false, false) => consumer.ack(&tags).await?,
                }
                reach(W::NAME, Point::Acked).await
            }
            .instrument(span)
            .await?;
            observe::batch(W::NAME, size, started.elapsed());
            let pause = pause_under_load(size, batch_max, started.elapsed());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        consumer.close().await
    }

    /// Handles a sub-batch; returns what is to be published for it.
    async fn handle(&self, sub_batch: Vec<Item<W::Message>>) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (items, done) in self.isolate(&self.settled, sub_batch, Writing(&self.context)).await {
            match done {
                Ok(output) => outputs.push(output),
                Err(undone) => outputs.extend(items.iter().map(|item| self.leave(item, &undone))),
            }
        }
        outputs
    }
}

/// The transaction of a sub-batch.
struct Writing<'a, W>(&'a BatchContext<W>);

impl<W: TransactionWorker> Work<Item<W::Message>> for Writing<'_, W> {
    type Done = Output;

    async fn run(&self, items: &[Item<W::Message>], how: How) -> Result<Output, Failure> {
        self.0.decide_and_write(items, how.lock_wait(items)).await
    }
}
