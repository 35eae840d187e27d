//! What is published, and the AMQP frames that carry it.

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, PublisherConfirm};
use uuid::Uuid;

use super::Broker;
use super::properties::{
    ATTEMPT, DETAIL, FIRST_SEEN, Headers, KEY, QUEUE, REASON, REPLY_ADDRESS, SEALED, WORKER, again,
    durable, now, short, transient, without_account,
};
use crate::fault::Fault;
use crate::message::{DeadLetter, Exchange, Incoming, Outgoing, Queue, RetryDelay};

/// How much of a dead letter's detail is kept: enough for a sentence, and the header frame has to
/// fit into one frame.
const DETAIL_CHARS: usize = 500;

/// The outcome of a request, for the app that waits for it. Best effort: the outcome is also an event and
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
        /// The queue it returns to, without the prefix.
        queue: &'a str,
        /// How long it waits.
        delay: RetryDelay,
        /// How often it has failed, this time included.
        attempt: u32,
    },
    /// A message that arrived in `unroutable` though a queue takes it: to that queue. Its missing binding
    /// is declared again.
    ToOwnQueue {
        /// As it arrived.
        message: &'a Incoming,
        /// Its queue, without the prefix.
        queue: &'a str,
    },
    /// A message that becomes a dead letter.
    Dead(&'a DeadLetter),
}

/// The messages of a batch, and its replies.
///
/// # Errors
/// `Permanent` when a name is longer than AMQP allows, or when no queue takes a delayed command.
pub(super) fn frames<'a>(
    broker: &Broker,
    batch: &[Publication<'a>],
) -> Result<(Vec<Frame<'a>>, Vec<Frame<'a>>), Fault> {
    let (mut messages, mut replies) = (Vec::with_capacity(batch.len()), Vec::new());
    for publication in batch {
        match *publication {
            Publication::Message(message) => messages.push(Frame::message(broker, message)?),
            Publication::Reply(reply) => replies.extend(Frame::reply(broker, reply)?),
            Publication::Again { message, queue, delay, attempt } => {
                messages.push(Frame::again(broker, message, queue, delay, attempt)?);
            }
            Publication::ToOwnQueue { message, queue } => {
                messages.push(Frame::to_own_queue(broker, message, queue)?);
            }
            Publication::Dead(letter) => messages.push(Frame::dead_letter(broker, letter)?),
        }
    }
    Ok((messages, replies))
}

/// One message, ready to go out.
pub(super) struct Frame<'a> {
    exchange: ShortString,
    key: ShortString,
    body: &'a [u8],
    properties: BasicProperties,
}

impl<'a> Frame<'a> {
    fn to_own_queue(broker: &Broker, message: &'a Incoming, queue: &str) -> Result<Self, Fault> {
        Ok(Self {
            exchange: short(&broker.names().return_exchange())?,
            key: short(&broker.names().queue(queue))?,
            body: &message.body,
            properties: again(broker.user(), message, Headers::default())?,
        })
    }

    fn again(
        broker: &Broker,
        message: &'a Incoming,
        queue: &str,
        delay: RetryDelay,
        attempt: u32,
    ) -> Result<Self, Fault> {
        let first_seen = message.first_seen.unwrap_or_else(now);
        let headers = Headers::default().number(ATTEMPT, attempt).time(FIRST_SEEN, first_seen);
        Ok(Self {
            exchange: short(&broker.names().retry_exchange(delay))?,
            key: short(&broker.names().queue(queue))?,
            body: &message.body,
            properties: again(broker.user(), message, headers)?,
        })
    }

    fn message(broker: &Broker, message: &'a Outgoing) -> Result<Self, Fault> {
        let names = broker.names();
        let headers = Headers::default().trace(message.traceparent.as_deref());
        let (exchange, key, headers) = match message.delay {
            None => (names.exchange(message.exchange), short(&message.key)?, headers),
            Some(delay) => {
                let queue = Queue::of(message.exchange, &message.key)
                    .ok_or_else(|| Fault::Permanent(format!("no queue takes {}", message.key)))?;
                let key = short(&names.queue(queue.label()))?;
                (names.retry_exchange(delay), key, headers.text(KEY, &message.key))
            }
        };
        let kind = match message.exchange {
            Exchange::Events => without_account(&message.key),
            Exchange::Requests | Exchange::Commands => &message.key,
        };
        Ok(Self {
            exchange: short(&exchange)?,
            key,
            body: message.body.as_bytes(),
            properties: headers
                .on(durable(broker.user(), kind, now())?.with_message_id(id(message.id))),
        })
    }

    /// `None` for a reply with an address that leads to no app.
    fn reply(broker: &Broker, reply: &'a Reply) -> Result<Option<Self>, Fault> {
        if !reply.to.starts_with(REPLY_ADDRESS) {
            return Ok(None);
        }
        let Ok(key) = short(&reply.to) else { return Ok(None) };
        let mut properties = transient(broker.user())?;
        if let Some(id) = reply.correlation_id.as_deref().and_then(|id| short(id).ok()) {
            properties = properties.with_correlation_id(id);
        }
        Ok(Some(Self {
            exchange: ShortString::default(),
            key,
            body: reply.body.as_bytes(),
            properties,
        }))
    }

    fn dead_letter(broker: &Broker, letter: &'a DeadLetter) -> Result<Self, Fault> {
        let message = &letter.message;
        let detail: String = letter.detail.chars().take(DETAIL_CHARS).collect();
        let headers = Headers::default()
            .text(REASON, letter.reason.label())
            .text(DETAIL, &detail)
            .text(WORKER, &letter.worker)
            .text(QUEUE, &letter.queue)
            .number(ATTEMPT, message.attempt)
            .time(FIRST_SEEN, message.first_seen.unwrap_or_else(now));
        Ok(Self {
            exchange: short(&broker.names().dead())?,
            key: short(&message.key)?,
            body: &message.body,
            properties: again(broker.user(), message, headers)?.with_content_type(SEALED.into()),
        })
    }

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

fn id(id: Uuid) -> ShortString {
    id.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::connection::tests::any_broker;
    use crate::message::DeadReason;

    fn outgoing(exchange: Exchange, key: &str, delay: Option<RetryDelay>) -> Outgoing {
        let (key, body) = (key.to_owned(), "{}".to_owned());
        Outgoing { exchange, key, id: Uuid::nil(), body, delay, traceparent: None }
    }

    #[test]
    fn a_delayed_command_goes_to_the_retry_queue_and_says_where_it_belongs() {
        let message = outgoing(Exchange::Commands, "sms.send", Some(RetryDelay::Second30));
        let broker = any_broker();
        let frame = Frame::message(&broker, &message).unwrap();
        assert_eq!(frame.exchange.as_str(), "stepup.retry.30s");
        assert_eq!(frame.key.as_str(), "stepup.sms_delivery.login");
        let headers = frame.properties.headers().as_ref().unwrap();
        assert!(headers.contains_key(KEY));
        let unknown = outgoing(Exchange::Commands, "sms.unknown", Some(RetryDelay::Second30));
        assert!(matches!(Frame::message(&broker, &unknown), Err(Fault::Permanent(_))));
    }

    #[test]
    fn the_type_of_an_event_is_its_key_without_the_account() {
        let message = outgoing(Exchange::Events, "acme.challenge.issued", None);
        let broker = any_broker();
        let frame = Frame::message(&broker, &message).unwrap();
        assert_eq!(frame.key.as_str(), "acme.challenge.issued");
        assert_eq!(frame.properties.kind().as_ref().unwrap().as_str(), "challenge.issued");
    }

    #[test]
    fn a_reply_goes_only_to_a_direct_address() {
        let to = |to: &str| Reply { to: to.into(), correlation_id: None, body: "{}".into() };
        let broker = any_broker();
        assert!(Frame::reply(&broker, &to("stepup.dead")).unwrap().is_none());
        assert!(Frame::reply(&broker, &to("amq.rabbitmq.reply-to")).unwrap().is_none());
        assert!(
            Frame::reply(&broker, &to(&format!("{REPLY_ADDRESS}{:300}", 1))).unwrap().is_none()
        );
        let reply = to("amq.rabbitmq.reply-to.abc");
        assert!(Frame::reply(&broker, &reply).unwrap().is_some());
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
        let broker = any_broker();
        let frame = Frame::dead_letter(&broker, &letter).unwrap();
        let headers = frame.properties.headers().as_ref().unwrap();
        let detail = headers.inner()[DETAIL].as_long_string().unwrap();
        assert_eq!(detail.to_string().chars().count(), DETAIL_CHARS);
    }

    #[test]
    fn a_key_that_is_too_long_is_permanent_and_no_panic() {
        let message = outgoing(Exchange::Events, &"k".repeat(300), None);
        assert!(matches!(Frame::message(&any_broker(), &message), Err(Fault::Permanent(_))));
    }
}
