//! Queues and bindings that somebody removes while we run.

use crate::support::publish;
use std::slice::from_ref;
use stepup::message::Queue;

use super::*;

/// Removes things as an operator does.
struct Operator(Channel);

impl Operator {
    async fn come() -> Self {
        Self(stranger(&url("STEPUP_AMQP_URL")).await)
    }

    async fn delete(&self, queue: &str) {
        self.0.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    async fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        let none = FieldTable::default();
        self.0.queue_unbind(queue.into(), exchange.into(), key.into(), none).await.unwrap();
    }

    async fn delete_exchange(&self, exchange: &str) {
        self.0.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }
}

/// Something for the queue, by the way that is named: exchange and key, in full.
fn message_for(broker: &Broker, exchange: &str, key: &str) -> Option<Outgoing> {
    let kinds = [Exchange::Requests, Exchange::Commands, Exchange::Events];
    let kind = kinds.into_iter().find(|kind| broker.names().exchange(*kind) == exchange)?;
    let key = key.replace('*', "acme").replace('#', "acme.challenge.issued");
    Some(outgoing(kind, &key, "{}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_a_command_or_an_event_without_a_way_is_published_again_once_the_way_is_declared() {
    under(random_prefix(), |broker| async move {
        let (operator, mut publisher) =
            (Operator::come().await, Publisher::open(&broker).await.unwrap());
        for queue in Queue::ALL {
            let full = broker.names().queue(queue.label());
            // Requests go on to another queue, and an event for one queue to the other as well.
            let alone = |exchange| exchange == Exchange::Commands || *queue == Queue::AuditBulk;
            let bindings = queue.bindings().into_iter();
            for (exchange, key) in bindings.filter(|(exchange, _)| alone(*exchange)) {
                let exchange = broker.names().exchange(exchange);
                operator.unbind(&full, &exchange, &key).await;
                let message = message_for(&broker, &exchange, &key).unwrap();
                publish(&mut publisher, from_ref(&message), &[]).await.unwrap();
                let found = take(&broker, queue.label()).await.incoming;
                assert_eq!(found.message_id, Some(message.id.to_string()), "{key}");
                operator.delete(&full).await;
                publish(&mut publisher, &[message], &[]).await.unwrap();
                take(&broker, queue.label()).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_a_retry_a_return_and_a_dead_letter_find_their_queues_again() {
    under(random_prefix(), |broker| async move {
        let (operator, mut publisher) =
            (Operator::come().await, Publisher::open(&broker).await.unwrap());
        let (names, message) =
            (broker.names(), Incoming { key: ISSUE.into(), ..Incoming::default() });
        for delay in RetryDelay::ALL {
            let again = [Publication::Again { message: &message, queue: LOGIN, delay, attempt: 1 }];
            operator.unbind(&names.retry_queue(delay), &names.retry_exchange(delay), "").await;
            publisher.publish(&again).await.unwrap();
            operator.delete(&names.retry_queue(delay)).await;
            publisher.publish(&again).await.unwrap();
            operator.delete_exchange(&names.retry_exchange(delay)).await;
            publisher.publish(&again).await.unwrap();
        }
        let letter = DeadLetter {
            message: message.clone(),
            reason: DeadReason::Exhausted,
            detail: String::new(),
            worker: "audit".into(),
            queue: "audit.bulk".into(),
        };
        for _ in 0..2 {
            operator.delete(&names.dead()).await;
            publisher.publish(&[Publication::Dead(&letter)]).await.unwrap();
            operator.delete_exchange(&names.dead()).await;
            publisher.publish(&[Publication::Dead(&letter)]).await.unwrap();
            assert_eq!(dead::list(&broker, 10).await.unwrap().len(), 2);
        }
        // Not to the queue that messages return to after their retry delay meanwhile.
        const QUIET: &str = "audit.bulk";
        let home = [Publication::ToOwnQueue { message: &message, queue: QUIET }];
        operator.delete(&names.queue(QUIET)).await;
        publisher.publish(&home).await.unwrap();
        operator.delete_exchange(&names.return_exchange()).await;
        publisher.publish(&home).await.unwrap();
        until_depth(&broker, QUIET, 2).await;
        assert_eq!(topology::check(&broker).await.unwrap(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_declares_the_queue_that_it_does_not_find() {
    under(random_prefix(), |broker| async move {
        let operator = Operator::come().await;
        for queue in Queue::ALL {
            let mut consumer = Consumer::open(&broker, queue.label(), 1).await.unwrap();
            operator.delete(&broker.names().queue(queue.label())).await;
            let end = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap();
            assert!(end.unwrap().is_none(), "{} is gone, and nothing says so", queue.label());
            Consumer::open(&broker, queue.label(), 1).await.unwrap();
        }
        assert_eq!(topology::check(&broker).await.unwrap(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_lost_queue_makes_the_broker_count_as_emptied() {
    under(random_prefix(), |broker| async move {
        let operator = Operator::come().await;
        topology::mark_filled(&broker).await.unwrap();
        let (commands, queue) = (broker.names().exchange(Exchange::Commands), "sms_delivery.login");
        operator.unbind(&broker.names().queue(queue), &commands, "sms.send").await;
        operator.delete_exchange(&broker.names().dead()).await;
        topology::repair(&broker).await.unwrap();
        assert!(!topology::emptied(&broker).await.unwrap());
        operator.delete(&broker.names().queue(queue)).await;
        assert_eq!(topology::missing(&broker, &[LOGIN, queue]).await.unwrap(), [queue]);
        topology::repair(&broker).await.unwrap();
        assert_eq!(topology::missing(&broker, &[LOGIN, queue]).await.unwrap(), [""; 0]);
        assert!(topology::emptied(&broker).await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_with_other_arguments_keeps_nothing_else_from_being_declared() {
    under(random_prefix(), |broker| async move {
        let operator = Operator::come().await;
        let (other, gone) = (broker.names().queue(LOGIN), broker.names().queue("audit.bulk"));
        operator.delete(&other).await;
        let options = QueueDeclareOptions::durable();
        let none = FieldTable::default();
        operator.0.queue_declare(other.as_str().into(), options, none).await.unwrap();
        operator.delete(&gone).await;
        topology::repair(&broker).await.unwrap();
        let deviations = topology::check(&broker).await.unwrap();
        assert_eq!(deviations.len(), 1, "{deviations:?}");
        assert!(deviations[0].contains(&other), "{deviations:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_notice_at_once_share_a_repair() {
    under(random_prefix(), |broker| async move {
        let started = Instant::now();
        topology::repair(&broker).await.unwrap();
        let one = started.elapsed();
        let started = Instant::now();
        let noticing = (0..100).map(|_| topology::repair(&broker));
        for end in futures_util::future::join_all(noticing).await {
            end.unwrap();
        }
        let hundred = started.elapsed();
        println!("one repair {one:?}, a hundred at once {hundred:?}");
        assert!(hundred < 10 * one.max(Duration::from_millis(250)), "{one:?}, {hundred:?}");
    })
    .await;
}
