//! Connections that are cut or refused, and what comes by them that is not UTF-8.

use super::replies::echo;
use super::*;
use crate::support::publish;
use stepup::message::Queue;

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
        publish(&mut publisher, &[issue()], &[]).await.unwrap();
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
async fn a_message_with_a_property_that_is_not_utf8_ends_no_session_and_says_which_property() {
    under(random_prefix(), |broker| async move {
        let line = Line::lay().await;
        let app = stranger(&line.url).await;
        let requests = broker.names().exchange(Exchange::Requests);
        let latin_1 = BasicProperties::default()
            .with_message_id("caf~".into())
            .with_correlation_id("caf~".into());
        publish_raw(&app, &requests, ISSUE, latin_1).await;
        publish_raw(&app, &requests, "caf~", BasicProperties::default()).await;
        let good = BasicProperties::default().with_message_id("1".into());
        publish_raw(&app, &requests, ISSUE, good).await;
        let mut consumer = Consumer::open(&broker, LOGIN, 2).await.unwrap();
        let mut arrived = Vec::new();
        while arrived.len() < 2 {
            let batch = timeout(PATIENCE, consumer.next_batch(2)).await.unwrap();
            arrived.extend(batch.unwrap().unwrap().into_iter().map(|delivery| delivery.incoming));
        }
        assert_eq!((arrived[0].unreadable, &arrived[0].message_id), (Some("message_id"), &None));
        assert_eq!(arrived[0].correlation_id, None);
        assert_eq!(arrived[1].message_id.as_deref(), Some("1"));
        let unroutable = take(&broker, Queue::UnroutableBulk.label()).await.incoming;
        assert_eq!(unroutable.key, "caf\u{fffd}");
        // What it holds can be set aside, and is listed.
        let letter = DeadLetter {
            message: unroutable,
            reason: DeadReason::Malformed,
            detail: String::new(),
            worker: "unroutable".into(),
            queue: Queue::UnroutableBulk.label().into(),
        };
        let mut publisher = Publisher::open(&broker).await.unwrap();
        publisher.publish(&[Publication::Dead(&letter)]).await.unwrap();
        assert_eq!(dead::list(&broker, 1).await.unwrap()[0].key, "caf\u{fffd}");
    })
    .await;
}
