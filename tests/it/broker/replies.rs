//! Requests and their answers.

use crate::support::publish;
use std::{fs, sync::Arc};

use super::*;

/// Answers every request with its own body, on connections of its own.
pub(super) async fn echo(broker: Broker, stop: CancellationToken) -> Result<(), Fault> {
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
        publish(&mut publisher, &[], &replies).await?;
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
            publish(&mut publisher, &[issue()], &replies).await.unwrap();
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
            publish(&mut publisher, &[], &[good]).await.unwrap();
            consumer.ack_through(request.tag).await.unwrap();
        };
        let asking = requester.request(issue(), "shop", Uuid::from_u128(1), PATIENCE);
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer, Ok(Answer::Replied(b"good".to_vec())));
    })
    .await;
}

/// In one thread, of which the log is taken.
#[tokio::test]
async fn replies_that_the_broker_refuses_are_told_once() {
    let path = std::env::temp_dir().join(random_prefix());
    let log = Arc::new(fs::File::create(&path).unwrap());
    let format = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    let _taken = tracing::subscriber::set_default(format.with_writer(log).finish());
    let lines = || {
        let log = fs::read_to_string(&path).unwrap();
        log.lines().filter(|line| line.contains("the right `write` on `amq.default`")).count()
    };
    // An app may not publish to the default exchange.
    for (user, refused) in [("STEPUP_AMQP_URL", false), ("STEPUP_DEMO_AMQP_URL", true)] {
        let broker = connect(url(user), &random_prefix());
        let mut publisher = Publisher::open(&broker).await.unwrap();
        for _ in 0..3 {
            let to = "amq.rabbitmq.reply-to.garbage".to_owned();
            let reply = Reply { to, correlation_id: None, body: "{}".into() };
            publish(&mut publisher, &[], &[reply]).await.unwrap();
            assert_eq!(broker.refuses_replies(), refused, "{user}");
        }
        assert_eq!(lines(), usize::from(refused), "{user}");
        broker.close().await;
    }
    fs::remove_file(path).unwrap();
}
