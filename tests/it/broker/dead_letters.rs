//! What comes back, what is set aside, and what strangers send.

use super::*;
use crate::support::publish;
use stepup::message::Queue;

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
            [Publication::Again { message, queue: LOGIN, delay: RetryDelay::Second1, attempt }]
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
            delay: Some(RetryDelay::Second1),
            ..outgoing(Exchange::Commands, "sms.send", "{}")
        };
        publish(&mut publisher, &[later], &[]).await.unwrap();
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
        // After a retry delay first, since then the broker has two things to tell.
        let delivery = take(&broker, LOGIN).await;
        let mut publisher = Publisher::open(&broker).await.unwrap();
        let message = &delivery.incoming;
        let again =
            Publication::Again { message, queue: LOGIN, delay: RetryDelay::Second1, attempt: 1 };
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
        let kept = take(&broker, Queue::UnroutableBulk.label()).await.incoming;
        assert_eq!(kept.message_id.as_deref(), Some("lost?"));
        assert_eq!(kept.key, "challenge.isue");

        let mut publisher = Publisher::open(&broker).await.unwrap();
        let unknown = outgoing(Exchange::Commands, "sms.unknown", "{}");
        let fault = publish(&mut publisher, &[issue(), unknown, issue()], &[]).await.unwrap_err();
        assert!(is_down(&fault, "no queue for 1 messages"), "{fault}");
        publish(&mut publisher, &[issue()], &[]).await.unwrap();
        assert_eq!(topology::depth(&broker, LOGIN).await.unwrap().messages, 3);
    })
    .await;
}
