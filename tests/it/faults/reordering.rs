//! Messages that come in another order than they were sent in.

use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, ErrorKind};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::time::sleep;

use super::history::channel;
use super::world::World;

/// Queues that are meddled with, and the role that takes from them.
const QUEUES: &[(&str, &str)] = &[
    ("stepup.verification.login", "verification"),
    ("stepup.code_generation.login", "code-generation"),
    ("stepup.code_generation.bulk", "code-generation"),
    ("stepup.sms_delivery.login", "sms-delivery"),
    ("stepup.email_fallback.login", "email-fallback"),
    ("stepup.directory.settings", "directory"),
    ("stepup.notification.notices", "notification"),
    ("stepup.audit.bulk", "audit"),
];
/// Messages that one fault touches at most.
const MOST: usize = 200;

/// What is done to the messages that have piled up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// An operator moves all of them: each is taken and published again, in any order.
    Moved,
    /// Somebody takes the older ones and gives them back unacked, behind those that came later.
    HeldBack,
}

/// Messages pile up in a queue, since whoever takes from it is away; then they are brought into
/// another order. True if there was anything to do that with.
pub async fn reorder(world: &World, how: How, rng: &mut StdRng, moment: Duration) -> bool {
    let (queue, role) = *QUEUES.choose(rng).unwrap();
    let takers = world.fleet.with_role(role);
    takers.iter().for_each(|at| world.fleet.hold(*at));
    sleep(moment).await;
    let done = match how {
        How::Moved => moved(world, queue, rng).await,
        How::HeldBack => {
            let held = take(world, queue, rng.random_range(1..20)).await;
            takers.iter().for_each(|at| world.fleet.release(*at));
            sleep(moment).await;
            match held {
                Ok((holder, held)) => {
                    // What was taken and not acked is back in the queue with this.
                    let _ = holder.close(200, "bye".into()).await;
                    Ok(held.len())
                }
                Err(error) => Err(error),
            }
        }
    };
    takers.iter().for_each(|at| world.fleet.release(*at));
    done.is_ok_and(|messages| messages > 0)
}

/// Up to `most` messages, not acked, and the channel they are held by.
async fn take(
    world: &World,
    queue: &str,
    most: usize,
) -> lapin::Result<(Channel, Vec<BasicGetMessage>)> {
    let holder = channel(&world.servers.direct().amqp).await?;
    let mut taken = Vec::new();
    while taken.len() < most {
        match holder.basic_get(queue.into(), BasicGetOptions::default()).await? {
            Some(message) => taken.push(message),
            None => break,
        }
    }
    Ok((holder, taken))
}

/// Each goes to the exchange and by the key it came by, with all its properties, and is acked when
/// it is confirmed. The broker checks `user_id`, so what an app has sent is sent by the app again.
async fn moved(world: &World, queue: &str, rng: &mut StdRng) -> lapin::Result<usize> {
    let direct = world.servers.direct();
    let (holder, mut taken) = take(world, queue, MOST).await?;
    let (ours, app) = (channel(&direct.amqp).await?, channel(&direct.app_amqp).await?);
    for channel in [&ours, &app] {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
    }
    taken.shuffle(rng);
    for message in &taken {
        let (delivery, options) = (&message.delivery, BasicPublishOptions::default());
        let properties = delivery.properties.clone();
        let by_app = properties.user_id().as_ref().is_some_and(|user| user.as_str() == "demo");
        let (exchange, key) = (delivery.exchange.clone(), delivery.routing_key.clone());
        let channel = if by_app { &app } else { &ours };
        let sent =
            channel.basic_publish(exchange, key, options, &delivery.data, properties).await?;
        if !sent.await?.is_ack() {
            return Err(ErrorKind::ChannelsLimitReached.into());
        }
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    holder.close(200, "bye".into()).await?;
    Ok(taken.len())
}
