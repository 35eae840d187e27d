//! The broker floor against a real RabbitMQ. Each test has a topology of its own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::HashSet,
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
        Answer, Broker, Consumer, Delivery, Publication, Publisher, Reply, Requester, Settings,
        dead, supervise, topology,
    },
    fault::{Dependency, Fault},
    message::{DeadLetter, DeadReason, Exchange, Incoming, Outgoing, Rung},
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
    Broker::new(Settings { url, prefix, connection_name, ca_file: None }).unwrap()
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
        publisher.publish_all(std::slice::from_ref(&message), &[]).await.unwrap();
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
        publisher.publish_all(&events, &[]).await.unwrap();
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
        publisher.publish_all(&messages, &[]).await.unwrap();
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
        publisher.publish_all(&[large(), issue(), large()], &[]).await.unwrap();
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
                publisher.publish_all(&[issue()], &[]).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_home_after_its_delay_with_all_it_had() {
    under(random_prefix(), |broker| async move {
        let first = Incoming {
            key: ISSUE.into(),
            message_id: Some("an id of the app's own".into()),
            user: Some("shop".into()),
            app: Some("shop-app".into()),
            reply_to: Some("amq.rabbitmq.reply-to.g1h2AA==".into()),
            correlation_id: Some("question 7".into()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            published_at: time::OffsetDateTime::from_unix_timestamp(1_700_000_000).ok(),
            body: b"{\"a\":1}".to_vec(),
            ..Incoming::default()
        };
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let started = Instant::now();
        let again = |message, attempt| {
            [Publication::Again { message, queue: LOGIN, rung: Rung::Second1, attempt }]
        };
        publisher.publish(&again(&first, 1)).await.unwrap();
        let second = take(&broker, LOGIN).await.incoming;
        assert!(started.elapsed() >= Duration::from_millis(950), "{:?}", started.elapsed());
        publisher.publish(&again(&second, 2)).await.unwrap();
        let third = take(&broker, LOGIN).await.incoming;
        assert_eq!((second.attempt, third.attempt), (1, 2));
        assert!(second.first_seen.is_some());
        assert_eq!(second.first_seen, third.first_seen);
        for later in [second, third] {
            assert_eq!(later.key, first.key);
            assert_eq!(later.message_id, first.message_id);
            assert_eq!(later.user, first.user);
            assert_eq!(later.app, first.app);
            assert_eq!(later.reply_to, first.reply_to);
            assert_eq!(later.correlation_id, first.correlation_id);
            assert_eq!(later.traceparent, first.traceparent);
            assert_eq!(later.published_at, first.published_at);
            assert_eq!(later.body, first.body);
        }
        let later = Outgoing {
            delay: Some(Rung::Second1),
            ..outgoing(Exchange::Commands, "sms.send", "{}")
        };
        publisher.publish_all(&[later], &[]).await.unwrap();
        assert_eq!(topology::depth(&broker, "sms_delivery.login").await.unwrap().messages, 0);
        let command = take(&broker, "sms_delivery.login").await.incoming;
        assert_eq!((command.key.as_str(), command.attempt), ("sms.send", 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_replayed_and_dropped() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let letter = |id: Option<&str>| DeadLetter {
            message: Incoming {
                key: ISSUE.into(),
                message_id: id.map(str::to_owned),
                user: Some("shop".into()),
                attempt: 3,
                body: b"sealed".to_vec(),
                ..Incoming::default()
            },
            reason: DeadReason::Exhausted,
            detail: "the provider said no".into(),
            worker: "code_generation".into(),
            queue: LOGIN.into(),
        };
        let letters = [letter(Some("a")), letter(Some("b")), letter(None)];
        let batch: Vec<Publication<'_>> = letters.iter().map(Publication::Dead).collect();
        publisher.publish(&batch).await.unwrap();

        for _ in 0..3 {
            let views = dead::list(&broker, 10).await.unwrap();
            assert_eq!(views.len(), 3);
            assert_eq!(views[0].message_id.as_deref(), Some("a"));
            assert_eq!(views[0].key, ISSUE);
            assert_eq!(views[0].reason, "exhausted");
            assert_eq!(views[0].detail, "the provider said no");
            assert_eq!(views[0].worker, "code_generation");
            assert_eq!(views[0].queue, LOGIN);
            assert_eq!(views[0].attempt, 3);
            assert_eq!(views[0].user.as_deref(), Some("shop"));
            assert!(views[0].sealed && views[0].first_seen.is_some());
            assert_eq!(views[2].message_id, None);
        }
        let nameless = dead::list(&broker, 10).await.unwrap().remove(2).id;
        let (view, body) = dead::show(&broker, "b").await.unwrap().unwrap();
        assert_eq!(
            (view.message_id.as_deref(), body.as_slice()),
            (Some("b"), b"sealed".as_slice())
        );

        let b = view.id.as_str();
        let refused = dead::replay(&broker, b, |_| Err("no key".into())).await;
        assert_eq!(refused, Err(Fault::Permanent("no key".into())));
        let open = |sealed: &[u8]| {
            assert_eq!(sealed, b"sealed");
            Ok(b"opened".to_vec())
        };
        assert!(dead::replay(&broker, b, open).await.unwrap());
        assert!(!dead::replay(&broker, b, open).await.unwrap());
        let replayed = take(&broker, LOGIN).await.incoming;
        assert_eq!(replayed.message_id.as_deref(), Some("b"));
        assert_eq!((replayed.key.as_str(), replayed.attempt), (ISSUE, 0));
        assert_eq!(replayed.user.as_deref(), Some("shop"));
        assert_eq!(replayed.body, b"opened");

        assert!(dead::drop(&broker, &nameless).await.unwrap());
        assert!(!dead::drop(&broker, "z").await.unwrap());
        let left = dead::list(&broker, 10).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].message_id.as_deref(), Some("a"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_worker_ends_as_a_dead_letter_of_the_broker() {
    // The demo user may write where a name begins with its own.
    under(format!("demo.{}", random_prefix()), |broker| async move {
        let app = stranger(&url("STEPUP_DEMO_AMQP_URL")).await;
        let requests = broker.names().exchange(Exchange::Requests);
        let properties =
            BasicProperties::default().with_user_id("demo".into()).with_message_id("killer".into());
        publish_raw(&app, &requests, ISSUE, properties).await;
        // By way of a rung first, since then the broker has two things to tell.
        let delivery = take(&broker, LOGIN).await;
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let message = &delivery.incoming;
        let again = Publication::Again { message, queue: LOGIN, rung: Rung::Second1, attempt: 1 };
        publisher.publish(&[again]).await.unwrap();
        let mut returns = Vec::new();
        for _ in 0..=20 {
            let mut consumer = Consumer::open(&broker, LOGIN, 1).await.unwrap();
            let batch = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap();
            returns.push(batch.unwrap().unwrap()[0].returns);
            consumer.close().await.unwrap();
        }
        assert_eq!(returns, (0..=20).collect::<Vec<u32>>());
        let started = Instant::now();
        let view = loop {
            if let Some(view) = dead::list(&broker, 1).await.unwrap().pop() {
                break view;
            }
            assert!(started.elapsed() < PATIENCE, "not dead-lettered");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(view.reason, "delivery_limit");
        assert_eq!((view.queue.as_str(), view.key.as_str()), (LOGIN, ISSUE));
        assert_eq!(view.message_id.as_deref(), Some("killer"));
        assert_eq!(view.user.as_deref(), Some("demo"));
        assert!(!view.sealed);
        let never = |_: &[u8]| panic!("not sealed");
        assert!(dead::replay(&broker, "killer", never).await.unwrap());
        let replayed = take(&broker, LOGIN).await;
        assert_eq!(replayed.incoming.user.as_deref(), Some("demo"));
        assert_eq!((replayed.incoming.attempt, replayed.returns), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_cannot_claim_to_be_another_one_or_us() {
    under(format!("demo.{}", random_prefix()), |broker| async move {
        let app = stranger(&url("STEPUP_DEMO_AMQP_URL")).await;
        let requests = broker.names().exchange(Exchange::Requests);
        let claims = || {
            let mut headers = FieldTable::default();
            let text = |text: &str| AMQPValue::LongString(text.into());
            headers.insert("x-stepup-app".into(), text("bank"));
            headers.insert("x-stepup-user".into(), text(broker.user()));
            headers.insert("x-stepup-key".into(), text("sms.send"));
            headers.insert("x-stepup-attempt".into(), AMQPValue::LongInt(99));
            BasicProperties::default().with_headers(headers)
        };
        publish_raw(&app, &requests, ISSUE, claims().with_user_id("demo".into())).await;
        publish_raw(&app, &requests, ISSUE, claims()).await;
        for user in [Some("demo"), None] {
            let incoming = take(&broker, LOGIN).await.incoming;
            assert_eq!(incoming.user.as_deref(), user);
            assert_eq!((incoming.app, incoming.attempt), (None, 0));
            assert_eq!(incoming.key, ISSUE);
        }
        // As our user the broker does not let it publish at all.
        let ours = claims().with_user_id(broker.user().into());
        let options = BasicPublishOptions::default();
        let key = ISSUE.into();
        let sent = app.basic_publish(requests.as_str().into(), key, options, b"{}", ours).await;
        drop(sent);
        let started = Instant::now();
        while app.status().connected() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!app.status().connected());
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_headers_arrive_without_harm() {
    under(random_prefix(), |broker| async move {
        let channel = stranger(&url("STEPUP_AMQP_URL")).await;
        let requests = broker.names().exchange(Exchange::Requests);
        let mut deep = AMQPValue::Void;
        for _ in 0..40 {
            let mut table = FieldTable::default();
            table.insert("x-stepup-key".into(), deep);
            deep = AMQPValue::FieldTable(table);
        }
        for value in [deep, AMQPValue::LongString(vec![0xff].into()), AMQPValue::Double(0.5)] {
            let mut headers = FieldTable::default();
            for name in ["key", "app", "user", "attempt", "first-seen", "reason"] {
                headers.insert(format!("x-stepup-{name}").into(), value.clone());
            }
            headers.insert("traceparent".into(), value.clone());
            let properties = BasicProperties::default()
                .with_user_id(broker.user().into())
                .with_timestamp(u64::MAX)
                .with_headers(headers);
            publish_raw(&channel, &requests, ISSUE, properties).await;
            let incoming = take(&broker, LOGIN).await.incoming;
            assert_eq!(incoming.key, ISSUE);
            assert_eq!((incoming.message_id, incoming.traceparent), (None, None));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_request_is_kept_and_an_unknown_command_is_refused() {
    under(random_prefix(), |broker| async move {
        let channel = stranger(&url("STEPUP_AMQP_URL")).await;
        let requests = broker.names().exchange(Exchange::Requests);
        let properties = BasicProperties::default().with_message_id("lost?".into());
        publish_raw(&channel, &requests, "challenge.isue", properties).await;
        let kept = take(&broker, topology::UNROUTABLE).await.incoming;
        assert_eq!(kept.message_id.as_deref(), Some("lost?"));
        assert_eq!(kept.key, "challenge.isue");

        let mut publisher = Publisher::open(&broker).await.unwrap();
        let unknown = outgoing(Exchange::Commands, "sms.unknown", "{}");
        let fault = publisher.publish_all(&[issue(), unknown, issue()], &[]).await.unwrap_err();
        assert!(is_down(&fault, "no queue for 1 messages"), "{fault}");
        publisher.publish_all(&[issue()], &[]).await.unwrap();
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 3);
    })
    .await;
}

/// Answers every request with its own body, on connections of its own.
async fn echo(broker: Broker, stop: CancellationToken) -> Result<(), Fault> {
    let mut consumer = Consumer::open(&broker, LOGIN, 100).await?;
    let mut publisher = Publisher::open(&broker).await?;
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch(50) => batch?,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(batch) = batch else { return Ok(()) };
        let replies: Vec<Reply> = batch
            .iter()
            .map(|delivery| Reply {
                to: delivery.incoming.reply_to.clone().unwrap_or_default(),
                correlation_id: delivery.incoming.correlation_id.clone(),
                body: String::from_utf8(delivery.incoming.body.clone()).unwrap(),
            })
            .collect();
        publisher.publish_all(&[], &replies).await?;
        let last = batch.last().map_or(0, |delivery| delivery.tag);
        consumer.ack_through(last).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_gets_its_own_answer_from_another_connection() {
    under(random_prefix(), |broker| async move {
        let stop = CancellationToken::new();
        let worker = connect(url("STEPUP_AMQP_URL"), broker.names().queue("").trim_matches('.'));
        let answering = tokio::spawn(echo(worker, stop.clone()));
        let requester = Requester::start(&broker, &stop);
        let asking = (0..300).map(|number| {
            let requester = requester.clone();
            async move {
                let body = format!("{{\"number\":{number}}}");
                let message = outgoing(Exchange::Requests, ISSUE, &body);
                let correlation = Uuid::from_u128(rand::random());
                let answer = requester.request(message, "shop", correlation, PATIENCE).await;
                assert_eq!(answer.unwrap(), Answer::Replied(body.into_bytes()));
            }
        });
        futures_util::future::join_all(asking).await;
        stop.cancel();
        answering.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_in_time_is_accepted() {
    under(random_prefix(), |broker| async move {
        let requester = Requester::start(&broker, &CancellationToken::new());
        let ask = |message| {
            let wait = Duration::from_millis(200);
            requester.request(message, "shop", Uuid::from_u128(rand::random()), wait)
        };
        assert_eq!(ask(issue()).await, Ok(Answer::Accepted));
        let stored = take(&broker, LOGIN).await.incoming;
        assert_eq!(stored.app.as_deref(), Some("shop"));
        assert!(stored.reply_to.unwrap().starts_with("amq.rabbitmq.reply-to."));
        let unknown = outgoing(Exchange::Commands, "sms.unknown", "{}");
        let fault = ask(unknown).await.unwrap_err();
        assert!(is_down(&fault, "run `stepup topology`"), "{fault}");
        assert_eq!(ask(issue()).await, Ok(Answer::Accepted), "the session is run again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_nobody_fails_neither_the_batch_nor_later_replies() {
    under(random_prefix(), |broker| async move {
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let reply = |to: &str| Reply {
            to: to.into(),
            correlation_id: Some("x".repeat(300)),
            body: "{}".into(),
        };
        let dead = broker.names().dead();
        let replies = [
            reply("amq.rabbitmq.reply-to.garbage"),
            reply("amq.rabbitmq.reply-to."),
            reply(&dead),
            // At this one RabbitMQ 3.10 ends the connection it comes by.
            reply("amq.rabbitmq.reply-to.g2dkABByYWJiaXRAbG9jYWxob3N0AAAEYQAAAAABrabc.AAAA=="),
        ];
        for _ in 0..3 {
            publisher.publish_all(&[issue()], &replies).await.unwrap();
        }
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 3);
        assert_eq!(topology::depth(&broker, "dead").await.unwrap().messages, 0);
        for _ in 0..3 {
            take(&broker, LOGIN).await;
        }
        let stop = CancellationToken::new();
        let requester = Requester::start(&broker, &stop);
        let answering = async {
            let mut consumer = Consumer::open(&broker, LOGIN, 1).await.unwrap();
            let request = consumer.next_batch(1).await.unwrap().unwrap().remove(0);
            let good = Reply {
                to: request.incoming.reply_to.unwrap(),
                correlation_id: request.incoming.correlation_id,
                body: "good".into(),
            };
            publisher.publish_all(&[], &[good]).await.unwrap();
            consumer.ack_through(request.tag).await.unwrap();
        };
        let asking = requester.request(issue(), "shop", Uuid::from_u128(1), PATIENCE);
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer, Ok(Answer::Replied(b"good".to_vec())));
    })
    .await;
}

/// Where it stands in what goes to the broker, a byte that is not UTF-8 goes there instead: the client
/// library, which takes only UTF-8, could not send it.
const PLACE_OF_LATIN_1: u8 = b'~';

/// A way to the broker that can be cut: everything passes through one TCP port.
struct Line {
    url: String,
    cuts: watch::Sender<u32>,
}

impl Line {
    async fn lay() -> Self {
        let real = url("STEPUP_AMQP_URL");
        let (credentials, rest) = real.split_once('@').unwrap();
        let (address, vhost) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{vhost}", listener.local_addr().unwrap());
        let (cuts, cut) = watch::channel(0);
        let address = address.to_owned();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut cut, address) = (cut.clone(), address.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let far = TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = carry(near, far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { url, cuts }
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream) -> std::io::Result<()> {
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.split(), far.split());
    let up = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = from_near.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let marks = buffer[..length].iter_mut().filter(|byte| **byte == PLACE_OF_LATIN_1);
            marks.for_each(|byte| *byte = 0xe9);
            to_far.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        end = up => end,
        end = tokio::io::copy(&mut from_far, &mut to_near) => end.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_ends_the_session_and_the_supervisor_brings_it_back() {
    under(random_prefix(), |direct| async move {
        let line = Line::lay().await;
        let cut_off = connect(line.url.clone(), direct.names().queue("").trim_matches('.'));
        let stop = CancellationToken::new();
        let (sessions, mut begun) = watch::channel(0);
        let worker = cut_off.clone();
        let supervised = tokio::spawn(supervise("echo", stop.clone(), move |stop| {
            sessions.send_modify(|sessions| *sessions += 1);
            echo(worker.clone(), stop)
        }));
        let requester = Requester::start(&direct, &stop);
        for session in 1..=4 {
            timeout(PATIENCE, begun.wait_for(|begun| *begun >= session)).await.unwrap().unwrap();
            let message = outgoing(Exchange::Requests, ISSUE, "{}");
            let correlation = Uuid::from_u128(rand::random());
            let answer = requester.request(message, "shop", correlation, PATIENCE).await;
            assert_eq!(answer, Ok(Answer::Replied(b"{}".to_vec())));
            line.cut();
        }
        stop.cancel();
        timeout(PATIENCE, supervised).await.unwrap().unwrap();
        cut_off.ping().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_fails_what_is_in_flight_at_once_and_nothing_hangs() {
    under(random_prefix(), |direct| async move {
        let line = Line::lay().await;
        let cut_off = connect(line.url.clone(), direct.names().queue("").trim_matches('.'));
        let requester = Requester::start(&cut_off, &CancellationToken::new());
        let mut consumer = Consumer::open(&cut_off, LOGIN, 10).await.unwrap();
        let mut publisher = Publisher::open(&cut_off).await.unwrap();
        let started = Instant::now();
        let ask = |wait| requester.request(issue(), "shop", Uuid::from_u128(rand::random()), wait);
        let cut = async {
            let held = consumer.next_batch(10).await.unwrap().unwrap();
            // By then it is confirmed.
            tokio::time::sleep(Duration::from_millis(300)).await;
            line.cut();
            held
        };
        let (answer, held) = tokio::join!(ask(PATIENCE), cut);
        assert_eq!(answer, Ok(Answer::Accepted), "it is stored");
        assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
        let end = timeout(PATIENCE, consumer.next_batch(10)).await.unwrap();
        assert!(end.is_err_and(|fault| is_down(&fault, "consume")));
        assert!(timeout(PATIENCE, consumer.next_batch(10)).await.unwrap().unwrap().is_none());
        assert!(consumer.ack_through(held[0].tag).await.is_err());
        // A publisher opens a new channel by itself, since nothing of it is in flight.
        publisher.publish_all(&[issue()], &[]).await.unwrap();
        let again = take(&direct, LOGIN).await;
        assert!(again.redelivered && again.returns == 1);
        assert_eq!(ask(Duration::ZERO).await, Ok(Answer::Accepted), "the requester came back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_down_and_named_without_its_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let broker = connect(format!("amqp://stepup:geheim@{address}/%2f"), "t");
    for fault in [
        broker.ping().await.err(),
        Publisher::open(&broker).await.err(),
        Consumer::open(&broker, LOGIN, 1).await.err(),
    ] {
        let fault = fault.unwrap();
        assert!(is_down(&fault, "connect"), "{fault}");
        assert!(!fault.to_string().contains("geheim"), "{fault}");
    }
    assert!(!broker.blocked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_says_so() {
    let real = url("STEPUP_AMQP_URL");
    let (_, address) = real.split_once('@').unwrap();
    let broker = connect(format!("amqp://stepup:geheim@{address}"), "t");
    let fault = broker.ping().await.unwrap_err();
    assert!(is_down(&fault, "check the password"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_message_is_set_aside_and_its_neighbours_get_done() {
    under(random_prefix(), |broker| async move {
        let line = Line::lay().await;
        let app = stranger(&line.url).await;
        let requests = broker.names().exchange(Exchange::Requests);
        for id in ["1", "2", "3", "caf~", "4", "5", "6"] {
            let properties = BasicProperties::default().with_message_id(id.into());
            publish_raw(&app, &requests, ISSUE, properties).await;
        }
        let stop = CancellationToken::new();
        let (done, mut all_done) = watch::channel(HashSet::new());
        let worker = broker.clone();
        let working = tokio::spawn(supervise("work", stop.clone(), move |stop| {
            let (worker, done) = (worker.clone(), done.clone());
            async move {
                let mut consumer = Consumer::open(&worker, LOGIN, 100).await?;
                loop {
                    let batch = tokio::select! {
                        batch = consumer.next_batch(50) => batch?,
                        () = stop.cancelled() => return Ok(()),
                    };
                    let Some(batch) = batch else { return Ok(()) };
                    for Delivery { tag, returns, incoming, .. } in batch {
                        assert!(returns < 5, "a neighbour pays for it");
                        consumer.ack(&[tag]).await?;
                        done.send_modify(|done| done.extend([incoming.message_id]));
                    }
                }
            }
        }));
        timeout(PATIENCE, all_done.wait_for(|done| done.len() == 6)).await.unwrap().unwrap();
        let dead = async {
            while topology::depth(&broker, "dead").await.unwrap().messages == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, dead).await.unwrap();
        stop.cancel();
        working.await.unwrap();
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 0);
        assert_eq!(topology::depth(&broker, "dead").await.unwrap().messages, 1);
        let fault = dead::list(&broker, 1).await.unwrap_err();
        assert!(is_down(&fault, "unreadable"), "{fault}");
    })
    .await;
}
