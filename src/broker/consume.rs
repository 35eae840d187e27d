//! Consuming one queue.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::try_join_all, stream::Fuse};
use lapin::{
    Channel,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions,
    },
    types::FieldTable,
};

use super::{
    Broker,
    connection::{self, or_death},
    fault::{CALL_DEADLINE, classify, unreadable, within},
    properties::{incoming, returns, short},
};
use crate::{fault::Fault, message::Incoming};

/// After so many ends in a row without any delivery, unreadable messages are alone at the head of
/// their queue: each end moves one of them behind its neighbours, so only this many of them at once
/// could hide one that can be read.
const EMPTY_ENDS_MAX: u32 = 4;

/// How often [`expel`] fetches an unreadable message: more than the delivery limit, since not every
/// fetch needs to get the same one.
const EXPEL_ATTEMPTS: u32 = 30;

/// Until the broker has taken back what a dead connection held.
const RETURN_PAUSE: Duration = Duration::from_millis(100);

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
    queue: String,
    /// Deliveries until a cautious consumer ends, so that the next one is none; see [`expel`].
    cautious: Option<usize>,
    /// Consumers of this queue in a row that ended before they got anything.
    empty_ends: u32,
}

impl Consumer {
    /// Begins to consume `queue` (without the prefix), with up to `prefetch` messages unacked. Not
    /// 0, which means no limit to the broker.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached or the queue is not there.
    pub async fn open(broker: &Broker, queue: &str, prefetch: u16) -> Result<Self, Fault> {
        let suspicion = broker.take_suspicion(queue);
        let mut empty_ends = suspicion.unwrap_or(0);
        if empty_ends >= EMPTY_ENDS_MAX {
            expel(broker, queue).await?;
            empty_ends = 0;
        }
        let cautious = suspicion.map(|_| usize::from(prefetch.max(1)));
        let window = if cautious.is_some() { 1 } else { prefetch.max(1) };
        let channel = broker.consuming_channel().await?;
        let qos = channel.basic_qos(window, BasicQosOptions::default());
        within("set the prefetch", CALL_DEADLINE, qos).await?;
        let name = short(&broker.names().queue(queue))?;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(name, TAG.into(), options, FieldTable::default());
        let deliveries = within("consume", CALL_DEADLINE, consume).await?.fuse();
        let (broker, queue) = (broker.clone(), queue.to_owned());
        Ok(Self { broker, channel, deliveries, queue, cautious, empty_ends })
    }

    /// Waits for a message, and takes with it what else has arrived already, up to `max` in all.
    /// `None` when the consumer was cancelled and everything prefetched was handed out, when its
    /// queue was deleted, or when it has been cautious for long enough: open a new one.
    ///
    /// May be dropped at any time without losing a message: while it waits it holds none. (A message
    /// lost by a dropped future would be acked unprocessed by the next [`ack_through`].)
    ///
    /// # Errors
    /// `Down` when the channel or the connection is gone. What was not acked is delivered again.
    ///
    /// [`ack_through`]: Self::ack_through
    pub async fn next_batch(&mut self, max: usize) -> Result<Option<Vec<Delivery>>, Fault> {
        if self.cautious == Some(0) {
            return Ok(None);
        }
        let Some(first) = self.deliveries.next().await else { return Ok(None) };
        let mut batch = vec![self.read(first)?];
        self.fill(&mut batch, max)?;
        Ok(Some(batch))
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

    fn note(&self, error: &lapin::Error) {
        if unreadable(error) {
            self.broker.suspect(&self.queue, self.empty_ends + 1);
        }
    }

    fn read(&mut self, next: lapin::Result<lapin::message::Delivery>) -> Result<Delivery, Fault> {
        let delivery = next.map_err(|error| {
            self.note(&error);
            classify("consume", &error)
        })?;
        self.empty_ends = 0;
        self.cautious = self.cautious.map(|left| left.saturating_sub(1));
        Ok(Delivery {
            tag: delivery.delivery_tag,
            redelivered: delivery.redelivered,
            returns: returns(&delivery.properties),
            incoming: incoming(&self.broker, delivery),
        })
    }
}

impl Drop for Consumer {
    /// A session may end by an ack that failed, before it has read why.
    fn drop(&mut self) {
        while let Some(Some(next)) = self.deliveries.next().now_or_never() {
            if let Err(error) = next {
                self.note(&error);
            }
        }
    }
}

/// Gets rid of an unreadable message, which ends the connection of everybody it is delivered to.
///
/// Each such end counts as a return of everything the connection held, so left alone it would take
/// its neighbours along into the dead letters when it reaches the delivery limit, and stop us for as
/// long. Therefore the consumer opened after such an end is cautious: it has one message at a time,
/// so the neighbours get done. What was returned is delivered first, in the order of its return; so
/// after a few ends without any delivery only unreadable ones are left there. Now they are fetched,
/// each time on a new connection, until the broker dead-letters them.
async fn expel(broker: &Broker, queue: &str) -> Result<(), Fault> {
    for _ in 0..EXPEL_ATTEMPTS {
        let connection = broker.connect("expel").await?;
        let channel = within("open a channel", CALL_DEADLINE, connection.create_channel()).await?;
        let name = short(&broker.names().queue(queue))?;
        let get = channel.basic_get(name, BasicGetOptions { no_ack: false });
        match within("expel an unreadable message", CALL_DEADLINE, or_death(&channel, get)).await? {
            None => tokio::time::sleep(RETURN_PAUSE).await,
            // One that can be read, or that there is none: closing gives it back.
            Some(_) => {
                let close = connection.close(200, "bye".into());
                return within("close the connection", CALL_DEADLINE, close).await;
            }
        }
    }
    tracing::warn!(queue, "more unreadable messages than one session can expel");
    Ok(())
}
