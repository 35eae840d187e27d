//! The broker by itself, on the same connections as the product.
//!
//! Everything goes through quorum queues of its own, `<prefix>.bare.<n>`, which are deleted again.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::try_join_all};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use stepup::broker::{Broker, CALL_DEADLINE, away, classify, close, within};
use stepup::fault::Fault;

/// Published in one write, by each of two batches in flight, when the limit is measured.
const BURST: usize = 250;
/// Unacked messages of a consumer when the limit is measured.
const PREFETCH: u16 = 1000;
/// Acked at once when the limit is measured.
const ACK_MAX: u64 = 250;

/// The broker puts the real address of our channel in its place.
const REPLY_TO_ME: &str = "amq.rabbitmq.reply-to";

/// Publishes one message after the other, each confirmed before the next, until `span` is over. How
/// long each took.
///
/// # Errors
/// `Down` when the broker is away or refuses one.
pub async fn publish(
    broker: &Broker,
    body_bytes: usize,
    span: Duration,
) -> Result<Vec<Duration>, Fault> {
    with_queues(broker, 1, async || {
        let channel = broker.confirm_channel().await?;
        // A queue that fills up would be slower with every message.
        let emptying = tokio::spawn(empty(broker.clone(), name(broker, 0)));
        let message = Message::new(broker, 0, body_bytes)?;
        let (mut took, end) = (Vec::new(), Instant::now() + span);
        while Instant::now() < end {
            let started = Instant::now();
            message.publish_confirmed(&channel, None).await?;
            took.push(started.elapsed());
        }
        emptying.abort();
        Ok(took)
    })
    .await
}

/// The smallest honest request: published and confirmed, consumed, `commit`, replied to; one caller,
/// one after the other, until `span` is over. How long each took, from publishing to the reply.
///
/// # Errors
/// `Down` when the broker is away; what `commit` fails with.
pub async fn step<F>(
    broker: &Broker,
    body_bytes: usize,
    span: Duration,
    commit: impl Fn(Uuid) -> F + Send + 'static,
) -> Result<Vec<Duration>, Fault>
where
    F: Future<Output = Result<(), Fault>> + Send + 'static,
{
    with_queues(broker, 1, async || {
        let channel = broker.confirm_channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let table = FieldTable::default();
        let consume = channel.basic_consume(REPLY_TO_ME.into(), "bare".into(), options, table);
        let mut replies = within("listen for replies", CALL_DEADLINE, consume).await?;
        let mut answering = tokio::spawn(answer(broker.clone(), name(broker, 0), commit));
        let message = Message::new(broker, 0, body_bytes)?;
        let (mut took, end) = (Vec::new(), Instant::now() + span);
        while Instant::now() < end {
            let started = Instant::now();
            let publish = message.publish_confirmed(&channel, Some(REPLY_TO_ME));
            let reply = async {
                tokio::select! {
                    reply = tokio::time::timeout(CALL_DEADLINE, replies.next()) => match reply {
                        Ok(Some(Ok(_))) => Ok(()),
                        Ok(Some(Err(error))) => Err(classify("listen for replies", &error)),
                        Ok(None) | Err(_) => Err(away("no reply on the bare path")),
                    },
                    ended = &mut answering => match ended {
                        Ok(Err(fault)) => Err(fault),
                        Ok(Ok(())) | Err(_) => Err(away("the bare consumer has ended")),
                    },
                }
            };
            tokio::try_join!(publish, reply)?;
            took.push(started.elapsed());
        }
        answering.abort();
        Ok(took)
    })
    .await
}

/// Messages a second that the broker takes and gives at once: confirmed publishers on one side,
/// consumers that ack in batches on the other, one of each on each of `queues` queues. Counted until
/// the last message is consumed.
///
/// # Errors
/// `Down` when the broker is away or refuses a message.
pub async fn limit(
    broker: &Broker,
    body_bytes: usize,
    queues: usize,
    span: Duration,
) -> Result<f64, Fault> {
    with_queues(broker, queues, async || {
        let started = Instant::now();
        let mut lanes = JoinSet::new();
        for queue in 0..queues {
            let message = Message::new(broker, queue, body_bytes)?;
            let (broker, queue) = (broker.clone(), name(broker, queue));
            lanes.spawn(async move {
                let (published, publishing) = tokio::sync::watch::channel(None);
                let channel = broker.confirm_channel().await?;
                let publish = async {
                    let count = flood(&channel, &message, started + span).await?;
                    published.send_replace(Some(count));
                    Ok::<u64, Fault>(count)
                };
                let (count, ()) = tokio::try_join!(publish, drain(&broker, queue, publishing))?;
                Ok::<u64, Fault>(count)
            });
        }
        let mut messages = 0;
        while let Some(lane) = lanes.join_next().await {
            messages += lane.map_err(|_| away("a lane of the limit has panicked"))??;
        }
        Ok(messages as f64 / started.elapsed().as_secs_f64())
    })
    .await
}

/// One message, published many times: as large and as durable as one of ours.
struct Message {
    queue: ShortString,
    body: Vec<u8>,
    properties: BasicProperties,
}

impl Message {
    fn new(broker: &Broker, queue: usize, body_bytes: usize) -> Result<Self, Fault> {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_type("bare".into())
            .with_app_id("stepup".into())
            .with_user_id(broker.user().into())
            .with_message_id(Uuid::nil().to_string().into());
        Ok(Self { queue: name(broker, queue), body: vec![b'x'; body_bytes], properties })
    }

    async fn publish(
        &self,
        channel: &Channel,
        reply_to: Option<&str>,
    ) -> lapin::Result<lapin::PublisherConfirm> {
        let properties = match reply_to {
            Some(to) => self.properties.clone().with_reply_to(to.into()),
            None => self.properties.clone(),
        };
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let (exchange, queue) = (ShortString::default(), self.queue.clone());
        channel.basic_publish(exchange, queue, options, &self.body, properties).await
    }

    async fn publish_confirmed(
        &self,
        channel: &Channel,
        reply_to: Option<&str>,
    ) -> Result<(), Fault> {
        let confirmed = async { self.publish(channel, reply_to).await?.await };
        stored(&within("publish", CALL_DEADLINE, confirmed).await?)
    }
}

fn stored(confirmation: &Confirmation) -> Result<(), Fault> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(away("it refused a message of the bare path")),
    }
}

/// Publishes until `end`, with one batch in the air while the next is written. How many.
async fn flood(channel: &Channel, message: &Message, end: Instant) -> Result<u64, Fault> {
    let (mut count, mut in_the_air) = (0, Vec::new());
    loop {
        let over = Instant::now() >= end;
        let burst = if over { 0 } else { BURST };
        let sending = (0..burst).map(|_| message.publish(channel, None));
        let confirms = within("publish", CALL_DEADLINE, try_join_all(sending)).await?;
        count += burst as u64;
        for confirm in std::mem::replace(&mut in_the_air, confirms) {
            stored(&within("await the confirm", CALL_DEADLINE, confirm).await?)?;
        }
        if over && in_the_air.is_empty() {
            return Ok(count);
        }
    }
}

/// Consumes and acks until as many have come as were published, once that is known.
async fn drain(
    broker: &Broker,
    queue: ShortString,
    mut published: tokio::sync::watch::Receiver<Option<u64>>,
) -> Result<(), Fault> {
    let (channel, mut deliveries) = consumer(broker, queue, PREFETCH).await?;
    let mut seen = 0;
    loop {
        let all = *published.borrow_and_update();
        if all.is_some_and(|all| seen >= all) {
            return close(&channel).await;
        }
        let next = tokio::select! {
            next = tokio::time::timeout(CALL_DEADLINE, deliveries.next()) => next,
            Ok(()) = published.changed() => continue,
        };
        let mut next = next.map_err(|_| away("a message of the bare path did not come"))?;
        let mut taken = 0;
        let last = loop {
            let last = match next {
                Some(Ok(delivery)) => delivery.delivery_tag,
                Some(Err(error)) => return Err(classify("consume", &error)),
                None => return Err(away("the consumer of the bare path was cancelled")),
            };
            taken += 1;
            if taken == ACK_MAX {
                break last;
            }
            match deliveries.next().now_or_never() {
                Some(ready) => next = ready,
                None => break last,
            }
        };
        seen += taken;
        let ack = channel.basic_ack(last, BasicAckOptions { multiple: true });
        within("ack", CALL_DEADLINE, ack).await?;
    }
}

/// Consumes one queue, commits and replies, message by message, until it is aborted.
async fn answer<F>(
    broker: Broker,
    queue: ShortString,
    commit: impl Fn(Uuid) -> F,
) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>>,
{
    let (channel, mut deliveries) = consumer(&broker, queue, 1).await?;
    let replying = broker.replying_channel().await?;
    while let Some(next) = deliveries.next().await {
        let delivery = next.map_err(|error| classify("consume", &error))?;
        commit(Uuid::from_u128(rand::random())).await?;
        if let Some(to) = delivery.properties.reply_to().clone() {
            let properties = BasicProperties::default()
                .with_delivery_mode(1)
                .with_content_type("application/json".into())
                .with_user_id(broker.user().into());
            let options = BasicPublishOptions::default();
            let reply = replying.basic_publish("".into(), to, options, b"{}", properties);
            within("reply", CALL_DEADLINE, reply).await?;
        }
        let ack = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
        within("ack", CALL_DEADLINE, ack).await?;
    }
    Err(away("the consumer of the bare path was cancelled"))
}

/// Consumes and acks, until it is aborted.
async fn empty(broker: Broker, queue: ShortString) -> Result<(), Fault> {
    let (channel, mut deliveries) = consumer(&broker, queue, PREFETCH).await?;
    while let Some(Ok(delivery)) = deliveries.next().await {
        let ack = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
        within("ack", CALL_DEADLINE, ack).await?;
    }
    Ok(())
}

async fn consumer(
    broker: &Broker,
    queue: ShortString,
    prefetch: u16,
) -> Result<(Channel, lapin::Consumer), Fault> {
    let channel = broker.consuming_channel().await?;
    let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
    within("set the prefetch", CALL_DEADLINE, qos).await?;
    let options = BasicConsumeOptions::default();
    let consume = channel.basic_consume(queue, "bare".into(), options, FieldTable::default());
    let deliveries = within("consume", CALL_DEADLINE, consume).await?;
    Ok((channel, deliveries))
}

fn name(broker: &Broker, queue: usize) -> ShortString {
    broker.names().queue(&format!("bare.{queue}")).into()
}

/// Declares empty queues, does `work`, and deletes them whatever became of it.
async fn with_queues<T>(
    broker: &Broker,
    queues: usize,
    work: impl AsyncFnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let channel = broker.publishing_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    delete(&channel, broker, queues).await?;
    for queue in 0..queues {
        let options = QueueDeclareOptions::durable();
        let declare = channel.queue_declare(name(broker, queue), options, arguments.clone());
        within("declare a bare queue", CALL_DEADLINE, declare).await?;
    }
    let done = work().await;
    delete(&channel, broker, queues).await?;
    close(&channel).await?;
    done
}

/// What is not there counts as deleted.
async fn delete(channel: &Channel, broker: &Broker, queues: usize) -> Result<(), Fault> {
    for queue in 0..queues {
        let delete = channel.queue_delete(name(broker, queue), QueueDeleteOptions::default());
        within("delete a bare queue", CALL_DEADLINE, delete).await?;
    }
    Ok(())
}
