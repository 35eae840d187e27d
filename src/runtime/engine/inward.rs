//! Passes that only read and write the database.

use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::super::disposal::Output;
use super::super::pass::sub_batches;
use super::super::worker::Worker;
use super::{Engine, RENEW_AFTER, pause_under_load};
use crate::failpoint::{Bug, Point, reach, seeded};
use crate::fault::Fault;
use crate::observe;

impl<W: Worker> Engine<W> {
    /// Settles what comes until `stop`, a pass at a time.
    pub(super) async fn inward(&self, stop: CancellationToken) -> Result<(), Fault> {
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
            let span = tracing::debug_span!("pass", worker = W::NAME, messages = size);
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
                    outputs.extend(self.settle(sub_batch).await);
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
            observe::pass(W::NAME, size, started.elapsed());
            let pause = pause_under_load(size, batch_max, started.elapsed());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        consumer.close().await
    }
}
