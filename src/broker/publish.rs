//! Publishing with confirms, pipelined: all frames of a batch go out together, then every confirm is
//! awaited. Replies go out beside them, without confirms.

use futures_util::future::try_join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, PublisherConfirm, options::BasicPublishOptions,
    types::ShortString,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Broker,
    fault::{CONFIRM_DEADLINE, Failed, away, failed},
    properties::{
        ATTEMPT, DETAIL, FIRST_SEEN, Headers, KEY, QUEUE, REASON, REPLY_ADDRESS, SEALED, WORKER,
        again, durable, now, short, transient, without_account,
    },
    replying::replied,
    topology::{self, home_queue},
};
use crate::{
    fault::Fault,
    message::{DeadLetter, Exchange, Incoming, Outgoing, RetryDelay},
    observe,
};

/// How much of a dead letter's detail is kept: enough for a sentence, and the header frame has to
/// fit into one frame.
const DETAIL_CHARS: usize = 500;

/// The outcome of a request, for whoever waits for it. Best effort: the outcome is also an event and
/// a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's `reply_to`. Addresses that are none of the broker's direct ones are passed over.
    pub to: String,
    /// The request's `correlation_id`.
    pub correlation_id: Option<String>,
    /// The JSON body.
    pub body: String,
}

/// Something to publish.
#[derive(Clone, Copy)]
pub enum Publication<'a> {
    /// A message, to where it says.
    Message(&'a Outgoing),
    /// A reply.
    Reply(&'a Reply),
    /// A message that failed: the same once more, after a retry delay.
    Again {
        /// As it arrived.
        message: &'a Incoming,
        /// The queue it comes home to, without the prefix.
        queue: &'a str,
        /// How long it waits.
        delay: RetryDelay,
        /// How often it has failed, this time included.
        attempt: u32,
    },
    /// A message that came by a detour: to its queue, as if it had come straight there. Its own way is
    /// declared again.
    Home {
        /// As it arrived.
        message: &'a Incoming,
        /// Its queue, without the prefix.
        queue: &'a str,
    },
    /// A message set aside.
    Dead(&'a DeadLetter),
}

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

    /// [`publish`](Self::publish) for messages and the replies that go with them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_all(
        &mut self,
        messages: &[Outgoing],
        replies: &[Reply],
    ) -> Result<(), Fault> {
        let batch: Vec<Publication<'_>> = messages
            .iter()
            .map(Publication::Message)
            .chain(replies.iter().map(Publication::Reply))
            .collect();
        self.publish(&batch).await
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
        let (messages, replies) = self.frames(batch)?;
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
                let (messages, _) = self.frames(batch)?;
                confirmed(&self.broker, None, messages).await?
            }
            channel => channel?,
        };
        // Only now, so that the message does not wait for it.
        if batch.iter().any(|publication| matches!(publication, Publication::Home { .. })) {
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

    /// The messages of a batch, and its replies.
    fn frames<'a>(
        &self,
        batch: &[Publication<'a>],
    ) -> Result<(Vec<Frame<'a>>, Vec<Frame<'a>>), Fault> {
        let (mut messages, mut replies) = (Vec::with_capacity(batch.len()), Vec::new());
        for publication in batch {
            match *publication {
                Publication::Message(message) => messages.push(self.message(message)?),
                Publication::Reply(reply) => replies.extend(self.reply(reply)?),
                Publication::Again { message, queue, delay, attempt } => {
                    messages.push(self.again(message, queue, delay, attempt)?);
                }
                Publication::Home { message, queue } => messages.push(self.home(message, queue)?),
                Publication::Dead(letter) => messages.push(self.dead_letter(letter)?),
            }
        }
        Ok((messages, replies))
    }

    fn home<'a>(&self, message: &'a Incoming, queue: &str) -> Result<Frame<'a>, Fault> {
        Ok(Frame {
            exchange: short(&self.broker.names().home())?,
            key: short(&self.broker.names().queue(queue))?,
            body: &message.body,
            properties: again(self.broker.user(), message, Headers::default())?,
        })
    }

    fn again<'a>(
        &self,
        message: &'a Incoming,
        queue: &str,
        delay: RetryDelay,
        attempt: u32,
    ) -> Result<Frame<'a>, Fault> {
        let first_seen = message.first_seen.unwrap_or_else(now);
        let headers = Headers::default().number(ATTEMPT, attempt).time(FIRST_SEEN, first_seen);
        Ok(Frame {
            exchange: short(&self.broker.names().retry_exchange(delay))?,
            key: short(&self.broker.names().queue(queue))?,
            body: &message.body,
            properties: again(self.broker.user(), message, headers)?,
        })
    }

    fn message<'a>(&self, message: &'a Outgoing) -> Result<Frame<'a>, Fault> {
        let names = self.broker.names();
        let headers = Headers::default().trace(message.traceparent.as_deref());
        let (exchange, key, headers) = match message.delay {
            None => (names.exchange(message.exchange), short(&message.key)?, headers),
            Some(delay) => {
                let queue = home_queue(message.exchange, &message.key).ok_or_else(|| {
                    Fault::Permanent(format!("no queue to come home to for {}", message.key))
                })?;
                let key = short(&names.queue(queue))?;
                (names.retry_exchange(delay), key, headers.text(KEY, &message.key))
            }
        };
        let kind = match message.exchange {
            Exchange::Events => without_account(&message.key),
            Exchange::Requests | Exchange::Commands => &message.key,
        };
        Ok(Frame {
            exchange: short(&exchange)?,
            key,
            body: message.body.as_bytes(),
            properties: headers
                .on(durable(self.broker.user(), kind, now())?.with_message_id(id(message.id))),
        })
    }

    /// `None` for a reply that nobody can get.
    fn reply<'a>(&self, reply: &'a Reply) -> Result<Option<Frame<'a>>, Fault> {
        if !reply.to.starts_with(REPLY_ADDRESS) {
            return Ok(None);
        }
        let Ok(key) = short(&reply.to) else { return Ok(None) };
        let mut properties = transient(self.broker.user())?;
        if let Some(id) = reply.correlation_id.as_deref().and_then(|id| short(id).ok()) {
            properties = properties.with_correlation_id(id);
        }
        Ok(Some(Frame {
            exchange: ShortString::default(),
            key,
            body: reply.body.as_bytes(),
            properties,
        }))
    }

    fn dead_letter<'a>(&self, letter: &'a DeadLetter) -> Result<Frame<'a>, Fault> {
        let message = &letter.message;
        let detail: String = letter.detail.chars().take(DETAIL_CHARS).collect();
        let headers = Headers::default()
            .text(REASON, letter.reason.label())
            .text(DETAIL, &detail)
            .text(WORKER, &letter.worker)
            .text(QUEUE, &letter.queue)
            .number(ATTEMPT, message.attempt)
            .time(FIRST_SEEN, message.first_seen.unwrap_or_else(now));
        Ok(Frame {
            exchange: short(&self.broker.names().dead())?,
            key: short(&message.key)?,
            body: &message.body,
            properties: again(self.broker.user(), message, headers)?
                .with_content_type(SEALED.into()),
        })
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
            Publication::Home { .. } => 0,
            Publication::Reply(_) => 3,
            Publication::Dead(_) => 5,
        }] += 1;
    }
    for (kind, count) in KINDS.into_iter().zip(counts) {
        observe::published(kind, count);
    }
}

/// One message, ready to go out.
pub(super) struct Frame<'a> {
    exchange: ShortString,
    key: ShortString,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Frame<'_> {
    pub(super) async fn publish(
        self,
        channel: &Channel,
        mandatory: bool,
    ) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory, immediate: false };
        let Frame { exchange, key, body, properties } = self;
        channel.basic_publish(exchange, key, options, body, properties).await
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

fn id(id: Uuid) -> ShortString {
    id.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{broker::BrokerSettings, message::DeadReason};

    fn publisher() -> Publisher {
        let broker = Broker::new(BrokerSettings {
            url: "amqp://us:x@localhost/%2f".into(),
            prefix: "stepup".into(),
            connection_name: "test".into(),
            ca_file: None,
        });
        Publisher { broker: broker.unwrap(), channel: None, replying: None }
    }

    fn outgoing(exchange: Exchange, key: &str, delay: Option<RetryDelay>) -> Outgoing {
        let (key, body) = (key.to_owned(), "{}".to_owned());
        Outgoing { exchange, key, id: Uuid::nil(), body, delay, traceparent: None }
    }

    #[test]
    fn a_delayed_command_goes_to_the_retry_queue_and_says_where_it_belongs() {
        let message = outgoing(Exchange::Commands, "sms.send", Some(RetryDelay::Second30));
        let publisher = publisher();
        let frame = publisher.message(&message).unwrap();
        assert_eq!(frame.exchange.as_str(), "stepup.retry.30s");
        assert_eq!(frame.key.as_str(), "stepup.sms_delivery.login");
        let headers = frame.properties.headers().as_ref().unwrap();
        assert!(headers.contains_key(KEY));
        let unknown = outgoing(Exchange::Commands, "sms.unknown", Some(RetryDelay::Second30));
        assert!(matches!(publisher.message(&unknown), Err(Fault::Permanent(_))));
    }

    #[test]
    fn the_type_of_an_event_is_its_key_without_the_account() {
        let message = outgoing(Exchange::Events, "acme.challenge.issued", None);
        let publisher = publisher();
        let frame = publisher.message(&message).unwrap();
        assert_eq!(frame.key.as_str(), "acme.challenge.issued");
        assert_eq!(frame.properties.kind().as_ref().unwrap().as_str(), "challenge.issued");
    }

    #[test]
    fn a_reply_goes_only_to_a_direct_address() {
        let to = |to: &str| Reply { to: to.into(), correlation_id: None, body: "{}".into() };
        let publisher = publisher();
        assert!(publisher.reply(&to("stepup.dead")).unwrap().is_none());
        assert!(publisher.reply(&to("amq.rabbitmq.reply-to")).unwrap().is_none());
        assert!(publisher.reply(&to(&format!("{REPLY_ADDRESS}{:300}", 1))).unwrap().is_none());
        let reply = to("amq.rabbitmq.reply-to.abc");
        assert!(publisher.reply(&reply).unwrap().is_some());
    }

    #[test]
    fn a_dead_letter_has_a_short_detail() {
        let letter = DeadLetter {
            message: Incoming::default(),
            reason: DeadReason::Malformed,
            detail: "é".repeat(10_000),
            worker: "audit".into(),
            queue: "audit.bulk".into(),
        };
        let publisher = publisher();
        let frame = publisher.dead_letter(&letter).unwrap();
        let headers = frame.properties.headers().as_ref().unwrap();
        let detail = headers.inner()[DETAIL].as_long_string().unwrap();
        assert_eq!(detail.to_string().chars().count(), DETAIL_CHARS);
    }

    #[test]
    fn a_key_that_is_too_long_is_permanent_and_no_panic() {
        let message = outgoing(Exchange::Events, &"k".repeat(300), None);
        assert!(matches!(publisher().message(&message), Err(Fault::Permanent(_))));
    }
}
