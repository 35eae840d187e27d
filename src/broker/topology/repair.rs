//! Declares again what goes missing while we run: somebody has deleted a queue, or removed a binding.
//!
//! Any process that notices does it at once: whoever publishes what cannot be routed, consumes from a
//! queue that is not there, gets what was routed to `unroutable`, or answers `/readyz`.

use std::time::Duration;

use tokio::time::Instant;

use super::declare::{bind, refusal};
use super::plan::{Item, Plan, delay, marker};
use crate::{
    broker::{
        Broker,
        connection::close,
        fault::{TOPOLOGY_DEADLINE, within},
    },
    fault::Fault,
    observe,
};

/// Between two repairs of one process, so that what cannot be repaired is not tried without a rest.
const PAUSE: Duration = Duration::from_millis(250);

/// Between noticing that a queue is missing and declaring it, so that the broker has cancelled its consumers
/// by then: see [`renew`](crate::broker::Consumer::renew).
const CANCEL_PAUSE: Duration = Duration::from_millis(200);

/// Declares what is missing, and nothing else: what is there with other arguments stays as it is, and
/// keeps nothing else from being declared. Many who notice at once share one repair.
///
/// A queue that is missing has taken its messages along. Before it is declared, the mark goes that
/// [`emptied`](super::emptied) looks for, so that the database publishes them again.
///
/// # Errors
/// `Down` when the broker cannot be reached, or when our user may not declare.
pub async fn repair(broker: &Broker) -> Result<(), Fault> {
    let noticed = Instant::now();
    let mut last = broker.repairs().last().await;
    if let Some((began, ended)) = *last {
        if began >= noticed {
            return Ok(());
        }
        tokio::time::sleep_until(ended + PAUSE).await;
    }
    let began = Instant::now();
    let end = declare_missing(broker).await;
    *last = Some((began, Instant::now()));
    end
}

async fn declare_missing(broker: &Broker) -> Result<(), Fault> {
    let plan = Plan::new(broker.names(), delay);
    let mut channel = broker.publishing_channel().await?;
    let (marker, mut end, began) = (marker(broker.names()), Ok(()), Instant::now());
    for item in &plan.items {
        if refusal(item.declare(&channel, true)).await?.is_ok() {
            continue;
        }
        // The answer of "no" has closed the channel.
        channel = broker.publishing_channel().await?;
        if matches!(item, Item::Queue { .. }) {
            tokio::time::sleep(CANCEL_PAUSE.saturating_sub(began.elapsed())).await;
            within(&format!("delete {marker}"), TOPOLOGY_DEADLINE, marker.delete(&channel)).await?;
        }
        let declare = item.declare(&channel, false);
        match within(&format!("declare {item}"), TOPOLOGY_DEADLINE, declare).await {
            Ok(()) => {
                observe::declared_again(&item.to_string());
                if let Item::Queue { name, .. } = item {
                    broker.repairs().declare(broker.names().short(name));
                }
            }
            Err(fault) => {
                end = Err(fault);
                channel = broker.publishing_channel().await?;
            }
        }
    }
    for binding in &plan.bindings {
        if let Err(fault) = bind(&channel, binding).await {
            end = Err(fault);
            channel = broker.publishing_channel().await?;
        }
    }
    close(&channel).await?;
    end
}
