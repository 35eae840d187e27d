//! Publishing with confirms, pipelined: all frames of a batch go out together, then every confirm is
//! awaited. Replies go out beside them, without confirms.

use futures_util::future::try_join_all;
use lapin::{Channel, Confirmation};
use tokio::time::timeout;

use super::{
    Broker,
    fault::{CONFIRM_DEADLINE, Failed, away, failed},
    frame::{Frame, Publication, frames},
    replying::replied,
    topology,
};
use crate::{
    fault::Fault,
    message::{Exchange, Outgoing},
    observe,
};

/// The only owner of one confirm channel, and of a channel for replies.
pub struct Publisher {
    broker: Broker,
    /// `None` after a failure: what is still in flight on a channel could be taken for an answer
    /// about the next batch.
    channel: Option<Channel>,
    /// `None` until the first reply, and after a failure.
    replying: Option<Channel>,
}

impl Publisher {
    /// Opens the channel.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached.
    pub async fn open(broker: &Broker) -> Result<Self, Fault> {
        let channel = broker.confirm_channel().await?;
        Ok(Self { broker: broker.clone(), channel: Some(channel), replying: None })
    }

    /// Publishes all and awaits every confirm. `Ok` means that the broker has stored each message
    /// durably. Replies are handed to the broker meanwhile; what becomes of them decides nothing.
    ///
    /// Where an exchange, a queue or a binding is missing, it is declared. A message that is alone is then
    /// published again. Of several some may be stored already, so that is left to the caller.
    ///
    /// # Errors
    /// `Down` when any one was refused, came back as unroutable, or was not confirmed within 5 s.
    /// Then nothing is known of the others: publish the whole batch again, with the same ids. A new
    /// channel is opened for that. `Permanent` when a name in a publication is longer than AMQP
    /// allows; then nothing was published.
    pub async fn publish(&mut self, batch: &[Publication<'_>]) -> Result<(), Fault> {
        let (messages, replies) = frames(&self.broker, batch)?;
        let alone = messages.len() == 1;
        self.broker.refuse_when_blocked()?;
        // Taken out while in flight: when this future is dropped half-way, the channels are too.
        let (channel, replying) = (self.channel.take(), self.replying.take());
        let (channel, replying) = tokio::join!(
            confirmed(&self.broker, channel, messages),
            replied(&self.broker, replying, replies),
        );
        self.replying = replying;
        self.channel = match channel {
            Err(Failed { missing: true, .. }) if self.repair().await && alone => {
                let (messages, _) = frames(&self.broker, batch)?;
                confirmed(&self.broker, None, messages).await?
            }
            channel => channel?,
        };
        // Only now, so that the message does not wait for it.
        if batch.iter().any(|publication| matches!(publication, Publication::ToOwnQueue { .. })) {
            self.repair().await;
        }
        count(batch);
        Ok(())
    }

    async fn repair(&self) -> bool {
        let repaired = topology::repair(&self.broker).await;
        repaired
            .inspect_err(|fault| tracing::warn!(%fault, "cannot declare what is missing"))
            .is_ok()
    }
}

/// Counts what the broker has taken, by where it went.
fn count(batch: &[Publication<'_>]) {
    const KINDS: [&str; 6] = ["requests", "commands", "events", "reply", "retry", "dead"];
    let mut counts = [0_usize; KINDS.len()];
    for publication in batch {
        counts[match publication {
            Publication::Message(Outgoing { delay: Some(_), .. }) | Publication::Again { .. } => 4,
            Publication::Message(Outgoing { exchange, .. }) => match exchange {
                Exchange::Requests => 0,
                Exchange::Commands => 1,
                Exchange::Events => 2,
            },
            Publication::ToOwnQueue { .. } => 0,
            Publication::Reply(_) => 3,
            Publication::Dead(_) => 5,
        }] += 1;
    }
    for (kind, count) in KINDS.into_iter().zip(counts) {
        observe::published(kind, count);
    }
}

/// Publishes the messages on `channel`, or on a new one if that is gone, and gives it back when all
/// are stored.
async fn confirmed(
    broker: &Broker,
    channel: Option<Channel>,
    messages: Vec<Frame<'_>>,
) -> Result<Option<Channel>, Failed> {
    if messages.is_empty() {
        return Ok(channel);
    }
    let channel = match channel.filter(|channel| channel.status().connected()) {
        Some(channel) => channel,
        None => broker.confirm_channel().await?,
    };
    match timeout(CONFIRM_DEADLINE, stored(broker, &channel, messages)).await {
        Ok(outcome) => outcome.map(|()| Some(channel)),
        Err(_) => Err(away(format!(
            "unknown whether the messages are stored: no confirm in {} s",
            CONFIRM_DEADLINE.as_secs()
        ))
        .into()),
    }
}

async fn stored(
    broker: &Broker,
    channel: &Channel,
    messages: Vec<Frame<'_>>,
) -> Result<(), Failed> {
    let sending = messages.into_iter().map(|frame| frame.publish(channel, true));
    let confirms = try_join_all(sending).await.map_err(|error| failed("publish", &error))?;
    let (mut returned, mut refused, mut missing) = (0_u32, 0_u32, false);
    // Every one is looked at before judging: a returned message is attached to whichever confirm of
    // the channel comes first.
    for confirm in confirms {
        match confirm.await.map_err(|error| failed("await the confirm", &error))? {
            Confirmation::Ack(None) => {}
            Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) => {
                returned += 1;
                let (exchange, key) = (message.exchange.as_str(), message.routing_key.as_str());
                missing |= topology::has_way(broker, exchange, key);
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => refused += 1,
        }
    }
    match (returned, refused) {
        (0, 0) => Ok(()),
        (0, refused) => Err(away(format!(
            "it refused {refused} messages: a queue is full, or lacks a majority of its nodes"
        ))
        .into()),
        (returned, _) => {
            let fault = away(format!("no queue for {returned} messages: run `stepup topology`"));
            Err(Failed { fault, missing })
        }
    }
}
