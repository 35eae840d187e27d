//! Replies go out without confirms, so the broker's "no" to them comes later, or never.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join_all;
use lapin::{Channel, options::BasicQosOptions};
use tokio::time::timeout;

use super::{
    Broker,
    fault::{REPLY_DEADLINE, away, classify, is_refused_access},
    publish::Frame,
};
use crate::fault::Fault;

/// Hands replies to the broker, on `channel` or on a new one if that is gone, and gives it back. Not
/// mandatory: the broker calls a direct reply unroutable even when it has delivered it.
pub(super) async fn replied(
    broker: &Broker,
    channel: Option<Channel>,
    replies: Vec<Frame<'_>>,
) -> Option<Channel> {
    if replies.is_empty() {
        return channel;
    }
    let handing_over = async {
        let kept = channel.filter(|channel| channel.status().connected());
        let is_new = kept.is_none();
        let channel = match kept {
            Some(channel) => channel,
            None => {
                // By itself: a connection that takes longer is there for the next replies.
                let broker = broker.clone();
                let opening = tokio::spawn(async move { broker.replying_channel().await });
                opening.await.map_err(|error| away(error.to_string()))??
            }
        };
        let sending = replies.into_iter().map(|frame| frame.publish(&channel, false));
        try_join_all(sending).await.map_err(|error| classify("reply", &error))?;
        if is_new {
            broker.refusals().look(broker.user(), &channel).await;
        }
        Ok::<Channel, Fault>(channel)
    };
    match timeout(REPLY_DEADLINE, handing_over).await {
        Ok(Ok(channel)) => return Some(channel),
        Ok(Err(fault)) => tracing::warn!(%fault, "replies are lost"),
        Err(_) => tracing::warn!("replies are lost: the broker does not take them"),
    }
    None
}

/// Whether the broker refuses the replies of this process.
#[derive(Default)]
pub(super) struct Refusals(AtomicBool);

impl Refusals {
    /// As it was when it was last looked at.
    pub(super) fn are_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Looks what has become of the first replies of a channel, and tells what has changed. A refusal
    /// closes the channel, so a channel that is in use for longer has none.
    async fn look(&self, user: &str, channel: &Channel) {
        // Answered after the replies are handled. It means nothing on a channel without a consumer.
        let refused = match channel.basic_qos(1, BasicQosOptions::default()).await {
            Ok(()) => false,
            Err(error) if is_refused_access(&error) => true,
            Err(_) => return,
        };
        if self.0.swap(refused, Ordering::Relaxed) == refused {
            return;
        }
        if refused {
            tracing::warn!(
                user,
                "the broker refuses our replies: no app gets an answer, and the ingress answers 202. \
                 This user lacks the right `write` on `amq.default`: give it by `rabbitmqctl \
                 set_permissions`, as docs/operations.md shows"
            );
        } else {
            tracing::info!(user, "the broker takes our replies again");
        }
    }
}
