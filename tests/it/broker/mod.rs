//! The broker floor against a real RabbitMQ. Each test has a topology of its own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cuts;
mod dead_letters;
mod missing;
mod replies;

use crate::support::publish;
use std::{
    future::Future,
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use stepup::{
    broker::{
        Answer, Broker, BrokerSettings, Consumer, Delivery, Publication, Publisher, Reply,
        Requester, dead, supervise, topology,
    },
    fault::{Dependency, Fault},
    message::{DeadLetter, DeadReason, Exchange, Incoming, Outgoing, RetryDelay},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LOGIN: &str = "code_generation.login";
const ISSUE: &str = "challenge.issue";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "tests read the environment themselves")]
pub fn url(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make up`, then `. .services/env`, or `make test`")
    })
}

fn connect(url: String, prefix: &str) -> Broker {
    let (prefix, connection_name) = (prefix.to_owned(), "stepup test".to_owned());
    Broker::new(BrokerSettings { url, prefix, connection_name, ca_file: None }).unwrap()
}

pub fn random_prefix() -> String {
    format!("t{:016x}", rand::random::<u64>())
}

/// Runs a test on its own topology, and deletes that whatever the test does.
pub async fn under<F, T>(prefix: String, test: T)
where
    T: FnOnce(Broker) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let broker = connect(url("STEPUP_AMQP_URL"), &prefix);
    topology::declare(&broker).await.unwrap();
    let end = tokio::spawn(test(broker.clone())).await;
    topology::delete(&broker).await.unwrap();
    broker.close().await;
    if let Err(end) = end {
        std::panic::resume_unwind(end.into_panic());
    }
}

fn outgoing(exchange: Exchange, key: &str, body: &str) -> Outgoing {
    let (key, id, body) = (key.to_owned(), Uuid::from_u128(rand::random()), body.to_owned());
    Outgoing { exchange, key, id, body, delay: None, traceparent: None }
}

fn issue() -> Outgoing {
    outgoing(Exchange::Requests, ISSUE, "{}")
}

/// The next message of a queue, acked. The consumer is closed again.
async fn take(broker: &Broker, queue: &str) -> Delivery {
    let mut consumer = Consumer::open(broker, queue, 1).await.unwrap();
    let mut batch = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap().unwrap();
    let delivery = batch.remove(0);
    consumer.ack_through(delivery.tag).await.unwrap();
    consumer.close().await.unwrap();
    delivery
}

/// Waits until a queue holds so many messages.
async fn until_depth(broker: &Broker, queue: &str, wanted: usize) {
    let started = Instant::now();
    loop {
        let found = topology::depth(broker, queue).await.unwrap().messages as usize;
        if found == wanted {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{queue} holds {found}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client that is not ours.
async fn stranger(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

async fn publish_raw(channel: &Channel, exchange: &str, key: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties);
    sent.await.unwrap().await.unwrap();
}

fn is_down(fault: &Fault, word: &str) -> bool {
    matches!(fault, Fault::Down(Dependency::Broker, why) if why.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn declaring_twice_is_harmless_and_checks_out() {
    under(random_prefix(), |broker| async move {
        topology::declare(&broker).await.unwrap();
        assert_eq!(topology::check(&broker).await.unwrap(), Vec::<String>::new());
        broker.ping().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_finds_what_is_missing_or_different_and_changes_nothing() {
    under(random_prefix(), |broker| async move {
        let channel = stranger(&url("STEPUP_AMQP_URL")).await;
        let queue = broker.names().queue("audit.bulk");
        let gone = broker.names().exchange(Exchange::Commands);
        let options = QueueDeleteOptions::default();
        channel.queue_delete(queue.as_str().into(), options).await.unwrap();
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(3));
        let options = QueueDeclareOptions::durable();
        channel.queue_declare(queue.as_str().into(), options, arguments).await.unwrap();
        let options = ExchangeDeleteOptions::default();
        channel.exchange_delete(gone.as_str().into(), options).await.unwrap();
        for _ in 0..2 {
            let deviations = topology::check(&broker).await.unwrap();
            assert_eq!(deviations.len(), 2, "{deviations:?}");
            assert!(deviations[0].contains(&gone) && deviations[0].contains("missing"));
            assert!(
                deviations[1].contains(&queue) && deviations[1].contains("inequivalent"),
                "{deviations:?}"
            );
        }
        let fault = topology::declare(&broker).await.unwrap_err();
        assert!(is_down(&fault, "stepup topology --check"), "{fault}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_consumed_once_and_gone_after_the_ack() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let message = Outgoing { traceparent: Some(trace.into()), ..issue() };
        publish(&mut publisher, std::slice::from_ref(&message), &[]).await.unwrap();
        let depth = topology::depth(&broker, LOGIN).await.unwrap();
        assert_eq!((depth.messages, depth.consumers), (1, 0));
        let delivery = take(&broker, LOGIN).await;
        assert_eq!((delivery.tag, delivery.redelivered, delivery.returns), (1, false, 0));
        let incoming = delivery.incoming;
        assert_eq!(incoming.key, ISSUE);
        assert_eq!(incoming.message_id, Some(message.id.to_string()));
        assert_eq!(incoming.user.as_deref(), Some(broker.user()));
        assert_eq!(incoming.traceparent.as_deref(), Some(trace));
        assert_eq!(incoming.body, b"{}");
        assert!(incoming.published_at.is_some());
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 0);
        let missing = Consumer::open(&broker, "nobody.login", 1).await;
        assert!(missing.is_err_and(|fault| is_down(&fault, "run `stepup topology`")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_audit_and_whoever_wants_them() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let events = [
            outgoing(Exchange::Events, "acme.challenge.issued", "1"),
            outgoing(Exchange::Events, "acme.member.phone_changed", "2"),
        ];
        publish(&mut publisher, &events, &[]).await.unwrap();
        assert_eq!(topology::depth(&broker, "audit.bulk").await.unwrap().messages, 2);
        let delivery = take(&broker, "notification.notices").await;
        assert_eq!(delivery.incoming.key, "member.phone_changed");
        assert_eq!(delivery.incoming.body, b"2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_arrives_complete_and_cancelling_hands_out_the_rest() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let messages: Vec<Outgoing> = (0..500).map(|_| issue()).collect();
        publish(&mut publisher, &messages, &[]).await.unwrap();
        let mut consumer = Consumer::open(&broker, LOGIN, 100).await.unwrap();
        let mut seen = Vec::new();
        let mut cancelled = false;
        while let Some(batch) = timeout(PATIENCE, consumer.next_batch(40)).await.unwrap().unwrap() {
            assert!(batch.len() <= 40);
            consumer.ack_through(batch.last().unwrap().tag).await.unwrap();
            seen.extend(batch.into_iter().filter_map(|delivery| delivery.incoming.message_id));
            if seen.len() >= 200 && !cancelled {
                consumer.cancel().await.unwrap();
                cancelled = true;
            }
        }
        // The end is said again to whoever asks again.
        assert!(timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap().is_none());
        assert!(consumer.try_batch(1).unwrap().is_empty());
        assert!((200..500).contains(&seen.len()), "{}", seen.len());
        consumer.close().await.unwrap();
        // RabbitMQ 4 counts what it takes back a moment after the close.
        until_depth(&broker, LOGIN, 500 - seen.len()).await;
        let ids: Vec<String> = messages.iter().map(|message| message.id.to_string()).collect();
        assert_eq!(seen, ids[..seen.len()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_many_frames_arrive_whole() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        // A megabyte: over 100 of the frames that our brokers are set to.
        let body: String = (0..100_000).map(|n| format!("{n:09} ")).collect();
        let large = || outgoing(Exchange::Requests, ISSUE, &body);
        publish(&mut publisher, &[large(), issue(), large()], &[]).await.unwrap();
        for expected in [body.as_bytes(), b"{}", body.as_bytes()] {
            assert!(take(&broker, LOGIN).await.incoming.body == expected, "another body");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_batch_may_be_given_up_without_losing_a_message() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let mut consumer = Consumer::open(&broker, LOGIN, 100).await.unwrap();
        let publishing = tokio::spawn(async move {
            for _ in 0..200 {
                publish(&mut publisher, &[issue()], &[]).await.unwrap();
            }
        });
        let mut seen = 0;
        while seen < 200 {
            tokio::select! {
                batch = consumer.next_batch(7) => {
                    let batch = batch.unwrap().unwrap();
                    seen += batch.len();
                    let tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
                    assert_eq!(tags.last(), Some(&(seen as u64)), "a delivery is missing");
                    consumer.ack(&tags).await.unwrap();
                }
                () = tokio::time::sleep(Duration::from_micros(300)) => {}
            }
        }
        publishing.await.unwrap();
        consumer.close().await.unwrap();
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 0);
    })
    .await;
}
