//! Every exchange and queue, as a table, and the calls that make the broker agree with it.
//!
//! | exchange | type | what goes in |
//! |---|---|---|
//! | `requests` | direct | what apps ask; an unknown key goes on to `unroutable` |
//! | `commands` | direct | what workers ask of each other |
//! | `events` | topic | what happened, `<account>.<noun>.<verb>` |
//! | `home` | direct | what comes back to its queue from a rung or from an operator |
//! | `retry.<delay>` | fanout | what waits, one exchange and one queue per delay |
//! | `unroutable` | fanout | requests no queue is bound for |
//! | `dead` | fanout | what was set aside |
//!
//! All of it is durable, and declared with arguments that mean the same to RabbitMQ 3.10 and 4.x.

use std::time::Duration;

use lapin::{
    Channel, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};

use super::{
    Broker, Names,
    fault::{CALL_DEADLINE, TOPOLOGY_DEADLINE, classify, within},
    properties::short,
};
use crate::{
    fault::Fault,
    message::{Exchange, Rung},
};

/// A queue with a worker, and what is routed to it.
pub struct WorkQueue {
    /// `<worker>.<lane>`. A lane keeps logins from waiting behind bulk.
    pub name: &'static str,
    /// From which exchange, by which keys.
    pub routes: &'static [(Exchange, &'static [&'static str])],
}

/// Who gets what. Each queue is also bound to `home` with its full name.
pub const WORK_QUEUES: [WorkQueue; 14] = [
    WorkQueue {
        name: "code_generation.login",
        routes: &[(
            Exchange::Requests,
            &["challenge.issue", "challenge.resend", "challenge.cancel"],
        )],
    },
    WorkQueue {
        name: "code_generation.bulk",
        routes: &[(Exchange::Commands, &["challenge.expire", "challenge.abandon"])],
    },
    WorkQueue {
        name: "verification.login",
        routes: &[(Exchange::Requests, &["challenge.verify"])],
    },
    WorkQueue {
        name: "directory.settings",
        routes: &[(
            Exchange::Requests,
            &["directory.account", "directory.owned_numbers", "directory.member"],
        )],
    },
    WorkQueue {
        name: "settings.settings",
        routes: &[(
            Exchange::Requests,
            &[
                "enrolment.start",
                "enrolment.send",
                "number.change",
                "factor.disable",
                "email_backup.set",
                "email.prove",
                "email.confirm",
                "settings.change.request",
                "settings.change.redeem",
            ],
        )],
    },
    WorkQueue {
        name: "team.settings",
        routes: &[(
            Exchange::Requests,
            &[
                "team.review",
                "team.mandate.enable",
                "team.mandate.disable",
                "team.member.enable",
                "team.member.disable",
            ],
        )],
    },
    WorkQueue {
        name: "team_batch.bulk",
        routes: &[(Exchange::Commands, &["review.check", "mandate.apply"])],
    },
    WorkQueue {
        name: "support.settings",
        routes: &[
            (
                Exchange::Requests,
                &["support.reset.request", "support.reset.approve", "support.reset.cancel"],
            ),
            (Exchange::Commands, &["reset.carry_out"]),
        ],
    },
    WorkQueue { name: "sms_delivery.login", routes: &[(Exchange::Commands, &["sms.send"])] },
    WorkQueue { name: "email_fallback.login", routes: &[(Exchange::Commands, &["email.send"])] },
    WorkQueue {
        name: "notice_delivery.notices",
        routes: &[(Exchange::Commands, &["notice.send"])],
    },
    WorkQueue { name: "audit.bulk", routes: &[(Exchange::Events, &["#"])] },
    WorkQueue {
        name: "notification.notices",
        routes: &[(
            Exchange::Events,
            &[
                "*.member.phone_changed",
                "*.member.number_owned",
                "*.factor.enabled",
                "*.factor.disabled",
                "*.factor.reset",
                "*.reset.approved",
            ],
        )],
    },
    WorkQueue { name: UNROUTABLE, routes: &[] },
];

/// Requests with a key nobody knows. A worker dead-letters them with a reason, which the broker
/// itself could not give.
pub const UNROUTABLE: &str = "unroutable.bulk";

/// After so many returns the broker dead-letters a message. Every process that dies with a message
/// in its hands counts as one, so this catches what kills us, and has room for restarts.
const DELIVERY_LIMIT: i32 = 20;

/// Dead letters are looked at by fetching and returning them, and each look counts as a return.
/// Beyond the limit the broker would drop the message, and the queue has nowhere to pass it on to.
/// "No limit" cannot be said in a way that 3.10 and 4.x both understand: -1 means none to 4.x and
/// drop at the first return to 3.10; leaving it out means none to 3.10 and 20 to 4.x.
const DEAD_DELIVERY_LIMIT: i32 = 1_000_000;

/// The queue that a key of a direct exchange is routed to, without the prefix.
pub fn home_queue(exchange: Exchange, key: &str) -> Option<&'static str> {
    WORK_QUEUES
        .iter()
        .find(|queue| {
            queue.routes.iter().any(|(from, keys)| {
                *from == exchange && exchange != Exchange::Events && keys.contains(&key)
            })
        })
        .map(|queue| queue.name)
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Messages ready to be delivered.
    pub messages: u32,
    /// Consumers of all processes.
    pub consumers: u32,
}

/// How full `queue` (without the prefix) is.
///
/// # Errors
/// `Down` when the broker cannot be reached or the queue is not there.
pub async fn depth(broker: &Broker, queue: &str) -> Result<Depth, Fault> {
    let channel = broker.publishing_channel().await?;
    let name = short(&broker.names().queue(queue))?;
    let options = QueueDeclareOptions::durable().passive();
    let asked = channel.queue_declare(name, options, FieldTable::default());
    let found = within("ask for a queue's depth", CALL_DEADLINE, asked).await?;
    super::connection::close(&channel).await?;
    Ok(Depth { messages: found.message_count(), consumers: found.consumer_count() })
}

/// Declares everything. Harmless when it is there already.
///
/// # Errors
/// `Down` when the broker cannot be reached, when our user may not declare, or when something of
/// the same name with other arguments is there; see [`check`].
pub async fn declare(broker: &Broker) -> Result<(), Fault> {
    declare_with_delays(broker, delay).await
}

/// [`declare`], with other delays of the rungs than their names say. For tests, which cannot wait
/// for minutes; to [`check`] it is a deviation.
///
/// # Errors
/// As [`declare`].
pub async fn declare_with_delays(
    broker: &Broker,
    delay: fn(Rung) -> Duration,
) -> Result<(), Fault> {
    let channel = broker.publishing_channel().await?;
    let plan = Plan::new(broker.names(), delay);
    for item in &plan.items {
        let doing = format!("declare {item}");
        within(&doing, TOPOLOGY_DEADLINE, item.declare(&channel, false)).await?;
    }
    for Binding { queue, exchange, key } in plan.bindings {
        let doing = format!("bind {queue} to {exchange} by {key}");
        let (queue, exchange, key) = (short(&queue)?, short(&exchange)?, short(&key)?);
        let options = QueueBindOptions::default();
        let bind = channel.queue_bind(queue, exchange, key, options, FieldTable::default());
        within(&doing, TOPOLOGY_DEADLINE, bind).await?;
    }
    super::connection::close(&channel).await
}

/// How long a message stays on a rung.
fn delay(rung: Rung) -> Duration {
    Duration::from_secs(rung.seconds().into())
}

/// Compares what is there with the table; one sentence per deviation. Changes nothing. Bindings
/// cannot be asked for over AMQP, and so are not compared: [`declare`] adds those that lack.
///
/// # Errors
/// `Down` when the broker cannot be reached.
pub async fn check(broker: &Broker) -> Result<Vec<String>, Fault> {
    let mut deviations = Vec::new();
    for item in &Plan::new(broker.names(), delay).items {
        // An answer of "no" closes the channel, so each question has its own.
        let channel = broker.publishing_channel().await?;
        // Asking passively shows that it is there; only then may it be declared, which compares the
        // arguments, and would make what is not there.
        if let Err(why) = refusal(item.declare(&channel, true)).await? {
            deviations.push(format!("{item} is missing: {why}"));
        } else if let Err(why) = refusal(item.declare(&channel, false)).await? {
            deviations.push(format!("{item} is not as it should be: {why}"));
        } else {
            super::connection::close(&channel).await?;
        }
    }
    Ok(deviations)
}

/// Deletes everything under this prefix, with all messages. For tests, and to leave a broker clean.
///
/// # Errors
/// `Down` when the broker cannot be reached.
pub async fn delete(broker: &Broker) -> Result<(), Fault> {
    let channel = broker.publishing_channel().await?;
    let marker = marker(broker.names());
    for item in Plan::new(broker.names(), delay).items.iter().chain([&marker]) {
        within(&format!("delete {item}"), TOPOLOGY_DEADLINE, item.delete(&channel)).await?;
    }
    super::connection::close(&channel).await
}

/// Whether the broker was emptied since [`mark_filled`], or is new: then what was pending in its
/// queues is gone, and the database has to publish it again.
///
/// # Errors
/// `Down` when the broker cannot be reached.
pub async fn emptied(broker: &Broker) -> Result<bool, Fault> {
    let channel = broker.publishing_channel().await?;
    let marker = marker(broker.names());
    if refusal(marker.declare(&channel, true)).await?.is_err() {
        // The answer of "no" has closed the channel.
        return Ok(true);
    }
    super::connection::close(&channel).await?;
    Ok(false)
}

/// Leaves the mark that [`emptied`] looks for: a queue that nobody uses, and that goes when the
/// others go.
///
/// # Errors
/// `Down` when the broker cannot be reached.
pub async fn mark_filled(broker: &Broker) -> Result<(), Fault> {
    let channel = broker.publishing_channel().await?;
    let marker = marker(broker.names());
    within(&format!("declare {marker}"), TOPOLOGY_DEADLINE, marker.declare(&channel, false))
        .await?;
    super::connection::close(&channel).await
}

fn marker(names: &Names) -> Item {
    let arguments = quorum().number("x-delivery-limit", DELIVERY_LIMIT).0;
    Item::Queue { name: names.marker(), arguments }
}

/// The broker's "no" to a question as a value; anything else that fails is a fault.
async fn refusal(
    asked: impl Future<Output = lapin::Result<()>>,
) -> Result<Result<(), String>, Fault> {
    match tokio::time::timeout(TOPOLOGY_DEADLINE, asked).await {
        Ok(Ok(())) => Ok(Ok(())),
        Ok(Err(error)) if error.is_amqp_soft_error() => Ok(Err(error.to_string())),
        Ok(Err(error)) => Err(classify("check the topology", &error)),
        Err(_) => Err(super::fault::away("check the topology: no answer")),
    }
}

/// The table with full names.
struct Plan {
    items: Vec<Item>,
    bindings: Vec<Binding>,
}

enum Item {
    Exchange { name: String, kind: ExchangeKind, arguments: FieldTable },
    Queue { name: String, arguments: FieldTable },
}

struct Binding {
    queue: String,
    exchange: String,
    key: String,
}

impl Plan {
    fn new(names: &Names, delay: fn(Rung) -> Duration) -> Self {
        let mut plan = Self { items: Vec::new(), bindings: Vec::new() };
        plan.exchanges(names);
        for queue in &WORK_QUEUES {
            plan.work_queue(names, queue);
        }
        for rung in Rung::ALL {
            plan.rung(names, rung, delay(rung));
        }
        plan.queue(names.dead(), quorum().number("x-delivery-limit", DEAD_DELIVERY_LIMIT));
        plan.bind(names.dead(), names.dead(), "");
        plan.bind(names.queue(UNROUTABLE), names.unroutable(), "");
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
        self.exchange(names.home(), ExchangeKind::Direct, none());
        self.exchange(names.dead(), ExchangeKind::Fanout, none());
        for rung in Rung::ALL {
            self.exchange(names.rung_exchange(rung), ExchangeKind::Fanout, none());
        }
    }

    fn work_queue(&mut self, names: &Names, queue: &WorkQueue) {
        let full = names.queue(queue.name);
        let arguments = quorum()
            .number("x-delivery-limit", DELIVERY_LIMIT)
            .text("x-dead-letter-exchange", &names.dead())
            .without_loss();
        self.queue(full.clone(), arguments);
        self.bind(full.clone(), names.home(), &full);
        for (exchange, keys) in queue.routes {
            for key in *keys {
                self.bind(full.clone(), names.exchange(*exchange), key);
            }
        }
    }

    /// The delay is the queue's, not the message's: a message behind one with a longer delay would
    /// wait for that. No `x-dead-letter-routing-key`: the key stays the home queue's name.
    fn rung(&mut self, names: &Names, rung: Rung, delay: Duration) {
        let milliseconds = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        let arguments = quorum()
            .number("x-message-ttl", milliseconds)
            .text("x-dead-letter-exchange", &names.home())
            // Nobody consumes here, so nothing is ever returned. Said all the same, since the
            // default differs between versions.
            .number("x-delivery-limit", DELIVERY_LIMIT)
            .without_loss();
        self.queue(names.rung_queue(rung), arguments);
        self.bind(names.rung_queue(rung), names.rung_exchange(rung), "");
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
    async fn declare(&self, channel: &Channel, passive: bool) -> lapin::Result<()> {
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

    async fn delete(&self, channel: &Channel) -> lapin::Result<()> {
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
    fn a_key_of_a_direct_exchange_has_one_queue() {
        let mut seen = HashSet::new();
        for queue in &WORK_QUEUES {
            for (exchange, keys) in queue.routes {
                for key in keys.iter().filter(|_| *exchange != Exchange::Events) {
                    assert!(seen.insert((*exchange, *key)), "{key} twice");
                    assert_eq!(home_queue(*exchange, key), Some(queue.name));
                }
            }
        }
    }

    #[test]
    fn r111_what_a_login_needs_waits_behind_nothing_else() {
        const LOGIN: &[(Exchange, &str)] = &[
            (Exchange::Requests, "challenge.issue"),
            (Exchange::Requests, "challenge.resend"),
            (Exchange::Requests, "challenge.cancel"),
            (Exchange::Requests, "challenge.verify"),
            (Exchange::Commands, "sms.send"),
            (Exchange::Commands, "email.send"),
        ];
        for queue in &WORK_QUEUES {
            let is_login = queue.name.ends_with(".login");
            for (exchange, keys) in queue.routes {
                for key in *keys {
                    assert_eq!(LOGIN.contains(&(*exchange, key)), is_login, "{} {key}", queue.name);
                }
            }
        }
    }

    #[test]
    fn an_event_and_an_unknown_key_have_no_home() {
        assert_eq!(home_queue(Exchange::Events, "#"), None);
        assert_eq!(home_queue(Exchange::Commands, "challenge.issue"), None);
    }

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
