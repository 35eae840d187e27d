//! Consuming one queue.

use futures_util::{FutureExt, StreamExt, future::try_join_all, stream::Fuse};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::broadcast;

use super::{
    Broker, connection,
    fault::{CALL_DEADLINE, Failed, attempt, classify, within},
    properties::{incoming, returns, short},
    topology,
};
use crate::{fault::Fault, message::Incoming};

/// The consumer's name on its channel, where it is alone.
const TAG: &str = "stepup";

/// A message and what the broker says about it.
pub struct Delivery {
    /// Names it in an ack. Counts up from 1.
    pub tag: u64,
    /// It was delivered before, to us or to another.
    pub redelivered: bool,
    /// How often it came back from a consumer, as the broker counts (`x-delivery-count`); it is
    /// dead-lettered when this passes the delivery limit.
    pub returns: u32,
    /// The message.
    pub incoming: Incoming,
}

/// The consumer of one queue, on a channel of its own. Dropping it closes the channel, and the
/// broker takes back what is not acked.
pub struct Consumer {
    broker: Broker,
    channel: Channel,
    /// Fused, since the client library tells the end only once: asked again, it waits for ever.
    deliveries: Fuse<lapin::Consumer>,
    /// Without the prefix.
    queue: String,
    prefetch: u16,
    /// The queues that this process has declared again.
    declared: broadcast::Receiver<String>,
}

impl Consumer {
    /// Begins to consume `queue` (without the prefix), with up to `prefetch` messages unacked. Not
    /// 0, which means no limit to the broker. A queue that is missing is declared.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached or the queue cannot be declared.
    pub async fn open(broker: &Broker, queue: &str, prefetch: u16) -> Result<Self, Fault> {
        match Self::consume(broker, queue, prefetch).await {
            Err(Failed { missing: true, .. }) => {
                topology::repair(broker).await?;
                Ok(Self::consume(broker, queue, prefetch).await?)
            }
            opened => Ok(opened?),
        }
    }

    async fn consume(broker: &Broker, queue: &str, prefetch: u16) -> Result<Self, Failed> {
        let declared = broker.repairs().declared();
        let channel = broker.consuming_channel().await?;
        let qos = channel.basic_qos(prefetch.max(1), BasicQosOptions::default());
        within("set the prefetch", CALL_DEADLINE, qos).await?;
        let name = short(&broker.names().queue(queue))?;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(name, TAG.into(), options, FieldTable::default());
        let deliveries = attempt("consume", CALL_DEADLINE, consume).await?.fuse();
        let (broker, queue) = (broker.clone(), queue.to_owned());
        Ok(Self { broker, channel, deliveries, queue, prefetch, declared })
    }

    /// Waits for a message, and takes with it what else has arrived already, up to `max` in all.
    /// `None` when the consumer was cancelled and everything prefetched was handed out, or when its
    /// queue was deleted: open a new one.
    ///
    /// It ends as well when this process has declared its queue again: see [`renew`](Self::renew).
    ///
    /// May be dropped at any time without losing a message: while it waits it holds none. (A message
    /// lost by a dropped future would be acked unprocessed by the next [`ack_through`].)
    ///
    /// # Errors
    /// `Down` when the channel or the connection is gone. What was not acked is delivered again.
    ///
    /// [`ack_through`]: Self::ack_through
    pub async fn next_batch(&mut self, max: usize) -> Result<Option<Vec<Delivery>>, Fault> {
        loop {
            tokio::select! {
                biased;
                first = self.deliveries.next() => {
                    let Some(first) = first else { return Ok(None) };
                    let mut batch = vec![self.read(first)?];
                    self.fill(&mut batch, max)?;
                    return Ok(Some(batch));
                }
                declared = self.declared.recv() => {
                    if declared.is_err() || declared.is_ok_and(|queue| queue == self.queue) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Consumes on a new channel, and closes the old one. To be called now and then while nothing comes and
    /// nothing is unacked.
    ///
    /// RabbitMQ does not cancel each consumer whose queue is deleted and declared again at once. Such a
    /// consumer gets nothing any more, and no answer of the broker tells it from one that has nothing to do.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached or the queue cannot be declared.
    pub async fn renew(&mut self) -> Result<(), Fault> {
        let fresh = Self::open(&self.broker, &self.queue, self.prefetch).await?;
        std::mem::replace(self, fresh).close().await
    }

    /// What has arrived already, up to `max`; may be empty. Never waits.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub fn try_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Fault> {
        let mut batch = Vec::new();
        self.fill(&mut batch, max)?;
        Ok(batch)
    }

    /// Asks for no more messages. [`next_batch`](Self::next_batch) still hands out what was
    /// prefetched, then `None`.
    ///
    /// # Errors
    /// `Down` when the channel is gone.
    pub async fn cancel(&self) -> Result<(), Fault> {
        let cancel = self.channel.basic_cancel(TAG.into(), BasicCancelOptions::default());
        within("cancel the consumer", CALL_DEADLINE, cancel).await
    }

    /// Whether what it has delivered is still ours to ack.
    pub fn is_alive(&self) -> bool {
        self.channel.status().connected()
    }

    /// Acks `tag` and every earlier delivery that is not acked yet: only for what is wholly done.
    ///
    /// # Errors
    /// `Down` when the channel is gone: then everything is delivered again.
    ///
    /// # Panics
    /// On tag 0, which to the broker means everything, handed out or not.
    pub async fn ack_through(&self, tag: u64) -> Result<(), Fault> {
        assert!(tag != 0, "tag 0 acks what nobody has seen");
        let ack = self.channel.basic_ack(tag, BasicAckOptions { multiple: true });
        within("ack", CALL_DEADLINE, ack).await
    }

    /// Acks these deliveries and no others.
    ///
    /// # Errors
    /// As [`ack_through`](Self::ack_through).
    pub async fn ack(&self, tags: &[u64]) -> Result<(), Fault> {
        let acks = tags
            .iter()
            .map(|tag| self.channel.basic_ack(*tag, BasicAckOptions { multiple: false }));
        within("ack", CALL_DEADLINE, try_join_all(acks)).await.map(drop)
    }

    /// Closes the channel, after which all acks have been handled.
    ///
    /// # Errors
    /// `Down` when the channel is gone already.
    pub async fn close(self) -> Result<(), Fault> {
        connection::close(&self.channel).await
    }

    fn fill(&mut self, batch: &mut Vec<Delivery>, max: usize) -> Result<(), Fault> {
        while batch.len() < max {
            match self.deliveries.next().now_or_never() {
                Some(Some(next)) => batch.push(self.read(next)?),
                // Nothing more for now. An end of the stream is seen again by the next call.
                Some(None) | None => break,
            }
        }
        Ok(())
    }

    fn read(&self, next: lapin::Result<lapin::message::Delivery>) -> Result<Delivery, Fault> {
        let delivery = next.map_err(|error| classify("consume", &error))?;
        Ok(Delivery {
            tag: delivery.delivery_tag,
            redelivered: delivery.redelivered,
            returns: returns(&delivery.properties),
            incoming: incoming(&self.broker, delivery),
        })
    }
}
