//! Exchanges, queues and bindings with their full names and their arguments.

use std::time::Duration;

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use crate::broker::Names;
use crate::message::{Exchange, Queue, RetryDelay};

/// After so many returns the broker dead-letters a message. Every process that dies with a message
/// in its hands counts as one, so this catches what kills us, and has room for restarts.
const DELIVERY_LIMIT: i32 = 20;

/// Dead letters are looked at by fetching and returning them, and each look counts as a return.
/// Beyond the limit the broker would drop the message, and the queue has nowhere to pass it on to.
/// "No limit" cannot be said in a way that 3.10 and 4.x both understand: -1 means none to 4.x and
/// drop at the first return to 3.10; leaving it out means none to 3.10 and 20 to 4.x.
const DEAD_DELIVERY_LIMIT: i32 = 1_000_000;

/// How long a message stays in a retry queue.
pub(super) fn delay(delay: RetryDelay) -> Duration {
    Duration::from_secs(delay.seconds().into())
}

pub(super) fn marker(names: &Names) -> Item {
    let arguments = quorum().number("x-delivery-limit", DELIVERY_LIMIT).0;
    Item::Queue { name: names.marker(), arguments }
}

/// The table with full names.
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    pub(super) bindings: Vec<Binding>,
}

pub(super) enum Item {
    Exchange { name: String, kind: ExchangeKind, arguments: FieldTable },
    Queue { name: String, arguments: FieldTable },
}

pub(super) struct Binding {
    pub(super) queue: String,
    pub(super) exchange: String,
    pub(super) key: String,
}

impl Plan {
    pub(super) fn new(names: &Names, delay: fn(RetryDelay) -> Duration) -> Self {
        let mut plan = Self { items: Vec::new(), bindings: Vec::new() };
        plan.exchanges(names);
        for queue in Queue::ALL {
            plan.work_queue(names, *queue);
        }
        for retry in RetryDelay::ALL {
            plan.retry_queue(names, retry, delay(retry));
        }
        plan.queue(names.dead(), quorum().number("x-delivery-limit", DEAD_DELIVERY_LIMIT));
        plan.bind(names.dead(), names.dead(), "");
        plan.bind(names.queue(Queue::UnroutableBulk.label()), names.unroutable(), "");
        plan
    }

    fn exchanges(&mut self, names: &Names) {
        let none = Arguments::default;
        self.exchange(names.unroutable(), ExchangeKind::Fanout, none());
        // An app that publishes an unknown key without `mandatory` would never learn that it is
        // gone. For our own exchanges `mandatory` does it, and this would switch it off.
        let elsewhere = none().text("alternate-exchange", &names.unroutable());
        self.exchange(names.exchange(Exchange::Requests), ExchangeKind::Direct, elsewhere);
        self.exchange(names.exchange(Exchange::Commands), ExchangeKind::Direct, none());
        self.exchange(names.exchange(Exchange::Events), ExchangeKind::Topic, none());
        self.exchange(names.return_exchange(), ExchangeKind::Direct, none());
        self.exchange(names.dead(), ExchangeKind::Fanout, none());
        for delay in RetryDelay::ALL {
            self.exchange(names.retry_exchange(delay), ExchangeKind::Fanout, none());
        }
    }

    fn work_queue(&mut self, names: &Names, queue: Queue) {
        let full = names.queue(queue.label());
        let arguments = quorum()
            .number("x-delivery-limit", DELIVERY_LIMIT)
            .text("x-dead-letter-exchange", &names.dead())
            .without_loss();
        self.queue(full.clone(), arguments);
        self.bind(full.clone(), names.return_exchange(), &full);
        for (exchange, key) in queue.bindings() {
            self.bind(full.clone(), names.exchange(exchange), &key);
        }
    }

    /// The delay is the queue's, not the message's: a message behind one with a longer delay would
    /// wait for that. No `x-dead-letter-routing-key`: the key stays the name of the queue it came from.
    fn retry_queue(&mut self, names: &Names, delay: RetryDelay, life: Duration) {
        let milliseconds = i32::try_from(life.as_millis()).unwrap_or(i32::MAX);
        let arguments = quorum()
            .number("x-message-ttl", milliseconds)
            .text("x-dead-letter-exchange", &names.return_exchange())
            // Nobody consumes here, so nothing is ever returned. Said all the same, since the
            // default differs between versions.
            .number("x-delivery-limit", DELIVERY_LIMIT)
            .without_loss();
        self.queue(names.retry_queue(delay), arguments);
        self.bind(names.retry_queue(delay), names.retry_exchange(delay), "");
    }

    fn exchange(&mut self, name: String, kind: ExchangeKind, arguments: Arguments) {
        self.items.push(Item::Exchange { name, kind, arguments: arguments.0 });
    }

    fn queue(&mut self, name: String, arguments: Arguments) {
        self.items.push(Item::Queue { name, arguments: arguments.0 });
    }

    fn bind(&mut self, queue: String, exchange: String, key: &str) {
        self.bindings.push(Binding { queue, exchange, key: key.to_owned() });
    }
}

impl Item {
    pub(super) async fn declare(&self, channel: &Channel, passive: bool) -> lapin::Result<()> {
        match self {
            Self::Exchange { name, kind, arguments } => {
                let options =
                    ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
                let (name, kind) = (name.as_str().into(), kind.clone());
                channel.exchange_declare(name, kind, options, arguments.clone()).await
            }
            Self::Queue { name, arguments } => {
                let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
                let (name, arguments) = (name.as_str().into(), arguments.clone());
                channel.queue_declare(name, options, arguments).await.map(drop)
            }
        }
    }

    pub(super) async fn delete(&self, channel: &Channel) -> lapin::Result<()> {
        match self {
            Self::Exchange { name, .. } => {
                let options = ExchangeDeleteOptions::default();
                channel.exchange_delete(name.as_str().into(), options).await
            }
            Self::Queue { name, .. } => {
                let options = QueueDeleteOptions::default();
                channel.queue_delete(name.as_str().into(), options).await.map(drop)
            }
        }
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exchange { name, .. } => write!(f, "exchange {name}"),
            Self::Queue { name, .. } => write!(f, "queue {name}"),
        }
    }
}

#[derive(Default)]
struct Arguments(FieldTable);

impl Arguments {
    fn text(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.into(), AMQPValue::LongString(value.into()));
        self
    }

    fn number(mut self, name: &str, value: i32) -> Self {
        self.0.insert(name.into(), AMQPValue::LongInt(value));
        self
    }

    /// The default strategy for dead letters loses messages when the broker restarts, and this one
    /// falls back to it in silence unless a full queue refuses messages.
    fn without_loss(self) -> Self {
        self.text("x-dead-letter-strategy", "at-least-once").text("x-overflow", "reject-publish")
    }
}

fn quorum() -> Arguments {
    Arguments::default().text("x-queue-type", "quorum")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn everything_that_is_bound_or_pointed_to_is_declared() {
        let plan = Plan::new(&Names::new("p"), delay);
        let declared: HashSet<String> = plan.items.iter().map(Item::to_string).collect();
        assert_eq!(declared.len(), plan.items.len(), "a name is declared twice");
        for binding in &plan.bindings {
            assert!(declared.contains(&format!("exchange {}", binding.exchange)));
            assert!(declared.contains(&format!("queue {}", binding.queue)));
        }
        for item in &plan.items {
            let (Item::Queue { arguments, .. } | Item::Exchange { arguments, .. }) = item;
            for name in ["x-dead-letter-exchange", "alternate-exchange"] {
                let target = arguments.inner().get(name).and_then(AMQPValue::as_long_string);
                if let Some(target) = target {
                    assert!(declared.contains(&format!("exchange {target}")), "{item}");
                }
            }
        }
    }

    #[test]
    fn every_queue_is_a_quorum_queue_that_loses_nothing() {
        for item in &Plan::new(&Names::new("p"), delay).items {
            let Item::Queue { arguments, .. } = item else { continue };
            let text = |name: &str| {
                arguments
                    .inner()
                    .get(name)
                    .and_then(AMQPValue::as_long_string)
                    .map(|v| v.to_string())
            };
            assert_eq!(text("x-queue-type").as_deref(), Some("quorum"), "{item}");
            assert!(arguments.contains_key("x-delivery-limit"), "{item}");
            if arguments.contains_key("x-dead-letter-exchange") {
                assert_eq!(text("x-dead-letter-strategy").as_deref(), Some("at-least-once"));
                assert_eq!(text("x-overflow").as_deref(), Some("reject-publish"), "{item}");
            }
        }
    }
}
