//! The calls that make the broker agree with the table.

use std::time::Duration;

use lapin::Channel;
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::plan::{Binding, Plan, delay, marker};
use crate::broker::Broker;
use crate::broker::connection::close;
use crate::broker::fault::{CALL_DEADLINE, TOPOLOGY_DEADLINE, away, classify, within};
use crate::broker::properties::short;
use crate::fault::Fault;
use crate::message::{Exchange, Queue, RetryDelay};

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
    close(&channel).await?;
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

/// [`declare`], with other retry delays than the names of their queues say. For tests, which cannot wait
/// for minutes; to [`check`] it is a deviation.
///
/// # Errors
/// As [`declare`].
pub async fn declare_with_delays(
    broker: &Broker,
    delay: fn(RetryDelay) -> Duration,
) -> Result<(), Fault> {
    let channel = broker.publishing_channel().await?;
    let plan = Plan::new(broker.names(), delay);
    for item in &plan.items {
        let doing = format!("declare {item}");
        within(&doing, TOPOLOGY_DEADLINE, item.declare(&channel, false)).await?;
    }
    for binding in &plan.bindings {
        bind(&channel, binding).await?;
    }
    close(&channel).await
}

pub(super) async fn bind(channel: &Channel, binding: &Binding) -> Result<(), Fault> {
    let Binding { queue, exchange, key } = binding;
    let doing = format!("bind {queue} to {exchange} by {key}");
    let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
    let options = QueueBindOptions::default();
    let bind = channel.queue_bind(queue, exchange, key, options, FieldTable::default());
    within(&doing, TOPOLOGY_DEADLINE, bind).await
}

/// Those of `queues` (without the prefix) that are not there.
///
/// # Errors
/// `Down` when the broker cannot be reached.
pub async fn missing(broker: &Broker, queues: &[&'static str]) -> Result<Vec<&'static str>, Fault> {
    let mut missing = Vec::new();
    let mut channel = broker.publishing_channel().await?;
    for queue in queues {
        let name = short(&broker.names().queue(queue))?;
        let options = QueueDeclareOptions::durable().passive();
        let asked = channel.queue_declare(name, options, FieldTable::default());
        if refusal(async { asked.await.map(drop) }).await?.is_err() {
            missing.push(*queue);
            // The answer of "no" has closed the channel.
            channel = broker.publishing_channel().await?;
        }
    }
    close(&channel).await?;
    Ok(missing)
}

/// Whether the table has a way for a message with this key, so that it is no fault of the message when
/// there is none. Full names, as they are on the wire.
pub(in crate::broker) fn has_way(broker: &Broker, exchange: &str, key: &str) -> bool {
    let exchange = broker.names().short(exchange);
    [Exchange::Requests, Exchange::Commands]
        .into_iter()
        .find(|direct| direct.label() == exchange)
        .is_none_or(|direct| Queue::of(direct, key).is_some())
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
            close(&channel).await?;
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
    close(&channel).await
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
    close(&channel).await?;
    Ok(false)
}

/// Leaves the mark that [`emptied`] looks for: an unused queue, which disappears when the
/// others go.
///
/// # Errors
/// `Down` when the broker cannot be reached.
pub async fn mark_filled(broker: &Broker) -> Result<(), Fault> {
    let channel = broker.publishing_channel().await?;
    let marker = marker(broker.names());
    within(&format!("declare {marker}"), TOPOLOGY_DEADLINE, marker.declare(&channel, false))
        .await?;
    close(&channel).await
}

/// The broker's "no" to a question as a value; anything else that fails is a fault.
pub(super) async fn refusal(
    asked: impl Future<Output = lapin::Result<()>>,
) -> Result<Result<(), String>, Fault> {
    match tokio::time::timeout(TOPOLOGY_DEADLINE, asked).await {
        Ok(Ok(())) => Ok(Ok(())),
        Ok(Err(error)) if error.is_amqp_soft_error() => Ok(Err(error.to_string())),
        Ok(Err(error)) => Err(classify("check the topology", &error)),
        Err(_) => Err(away("check the topology: no answer")),
    }
}
