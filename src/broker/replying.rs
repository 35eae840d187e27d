//! Replies go out without confirms, but for the first ones of a channel: those confirms tell whether the
//! broker refuses replies.

use futures_util::future::{join_all, try_join_all};
use lapin::Channel;
use tokio::time::timeout;

use super::{
    Broker,
    fault::{REPLY_DEADLINE, away, classify, is_refused_access},
    frame::Frame,
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
        match channel.filter(|channel| channel.status().connected()) {
            Some(channel) => {
                let sending = replies.into_iter().map(|frame| frame.publish(&channel, false));
                try_join_all(sending).await.map_err(|error| classify("reply", &error))?;
                Ok(Some(channel))
            }
            None => first_replies(broker, replies).await,
        }
    };
    match timeout(REPLY_DEADLINE, handing_over).await {
        Ok(Ok(channel)) => return channel,
        Ok(Err(fault)) => tracing::warn!(%fault, "replies are lost"),
        Err(_) => tracing::warn!("replies are lost: the broker does not take them"),
    }
    None
}

/// Replies with confirms, which tell whether the broker refuses them. A refusal closes the channel, so
/// a channel that is in use for longer has none. Gives the channel for the next replies.
async fn first_replies(broker: &Broker, replies: Vec<Frame<'_>>) -> Result<Option<Channel>, Fault> {
    // By itself: a connection that takes longer is there for the next replies.
    let opening = tokio::spawn({
        let broker = broker.clone();
        async move { broker.confirming_replies_channel().await }
    });
    let channel = opening.await.map_err(|error| away(error.to_string()))??;
    let sending = replies
        .into_iter()
        .map(|frame| async { frame.publish(&channel, false).await?.await.map(drop) });
    let errors: Vec<_> = join_all(sending).await.into_iter().filter_map(Result::err).collect();
    if errors.iter().any(is_refused_access) {
        broker.refusals().set(broker.user(), true);
        return Ok(None);
    }
    // A connection that is lost says nothing of the right.
    if let Some(error) = errors.first() {
        return Err(classify("reply", error));
    }
    broker.refusals().set(broker.user(), false);
    Ok(broker.replying_channel().await.ok())
}
