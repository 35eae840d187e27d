//! What is done to the broker and to the database.

use std::time::Duration;

use lapin::types::FieldTable;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use stepup::broker::topology;
use tokio::time::sleep;

use super::database_faults::{full_disk, in_database};
use super::history::channel;
use super::proxy::Channels;
use super::reordering::{How, reorder};
use super::tally::Victim;
use super::world::{self, World};

/// A fault of a server, from its beginning until the server is well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFault {
    BrokerKilled,
    BrokerStopped,
    MemoryAlarm,
    DiskAlarm,
    ConnectionsClosed,
    PermissionsRevoked,
    QueueFull,
    BindingLost,
    Reordered,
    HeldBack,
    ConsumingChannelsClosed,
    PublishingChannelsClosed,
    BrokerCut,
    BrokerSlow,
    BrokerSilent,
    DatabaseKilled,
    DatabaseStopped,
    BackendKilled,
    BackendsTerminated,
    Deadlocks,
    TableLocked,
    RowsHeld,
    CommitsWait,
    ConnectionsUsedUp,
    DiskFull,
    ReadOnly,
    DatabaseCut,
    DatabaseSlow,
    DatabaseSilent,
    CommitAnswersLost,
}

use ServerFault as F;

impl ServerFault {
    /// Those of the broker. `rabbitmqctl` costs a second of a core each, so the cheap ones come
    /// more often.
    pub const BROKER: &[Self] = &[
        F::BrokerKilled,
        F::ConsumingChannelsClosed,
        F::BrokerCut,
        F::BrokerStopped,
        F::BindingLost,
        F::Reordered,
        F::MemoryAlarm,
        F::PublishingChannelsClosed,
        F::BrokerSlow,
        F::QueueFull,
        F::BrokerSilent,
        F::HeldBack,
        F::ConnectionsClosed,
        F::DiskAlarm,
        F::PermissionsRevoked,
    ];
    pub const DATABASE: &[Self] = &[
        F::CommitAnswersLost,
        F::DatabaseKilled,
        F::BackendsTerminated,
        F::Deadlocks,
        F::TableLocked,
        F::CommitsWait,
        F::CommitAnswersLost,
        F::BackendKilled,
        F::DatabaseCut,
        F::DatabaseSlow,
        F::ConnectionsUsedUp,
        F::DatabaseSilent,
        F::RowsHeld,
        F::DiskFull,
        F::ReadOnly,
        F::DatabaseStopped,
    ];

    /// Those that `FAULTS_FAULT` names; none for all.
    pub fn ordered() -> Vec<Self> {
        let names = std::env::var("FAULTS_FAULT").unwrap_or_default();
        let all = Self::BROKER.iter().chain(Self::DATABASE).copied();
        all.filter(|fault| names.split(',').any(|name| name == format!("{fault:?}"))).collect()
    }

    pub fn victim(self) -> Victim {
        if Self::BROKER.contains(&self) { Victim::Broker } else { Victim::Database }
    }

    /// Does it, and undoes it. True unless there was nothing to do it to.
    pub async fn inject(self, world: &World, rng: &mut StdRng) -> bool {
        let servers = &world.servers;
        let moment = Duration::from_millis(rng.random_range(500..4000));
        match self {
            F::BrokerKilled => restart(world, "rabbitmq-kill", "rabbitmq-start", moment).await,
            F::BrokerStopped => restart(world, "rabbitmq-stop", "rabbitmq-start", moment).await,
            F::DatabaseKilled => restart(world, "postgres-kill", "postgres-start", moment).await,
            F::DatabaseStopped => restart(world, "postgres-stop", "postgres-start", moment).await,
            F::MemoryAlarm => {
                servers.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
                sleep(moment).await;
                servers.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).await;
            }
            F::DiskAlarm => {
                servers.rabbitmqctl(&["set_disk_free_limit", "100000GB"]).await;
                sleep(moment).await;
                servers.rabbitmqctl(&["set_disk_free_limit", "50MB"]).await;
            }
            F::ConnectionsClosed => {
                servers.rabbitmqctl(&["close_all_connections", "fault test"]).await;
            }
            F::PermissionsRevoked => {
                servers.rabbitmqctl(&["clear_permissions", "stepup"]).await;
                sleep(moment).await;
                servers.rabbitmqctl(&["set_permissions", "stepup", ".*", ".*", ".*"]).await;
            }
            F::DiskFull => full_disk(world, moment).await,
            F::QueueFull => full_queue(world, moment).await,
            F::BindingLost => lost_binding(world, rng, moment).await,
            F::Reordered => return reorder(world, How::Moved, rng, moment).await,
            F::HeldBack => return reorder(world, How::HeldBack, rng, moment).await,
            F::ConsumingChannelsClosed | F::PublishingChannelsClosed => {
                let consuming = self == F::ConsumingChannelsClosed;
                let channels = if consuming { Channels::Consuming } else { Channels::Publishing };
                let times = rng.random_range(1..6);
                servers.broker.close_channels(channels, times);
                sleep(moment).await;
                let left = servers.broker.channels_left(channels);
                servers.broker.heal();
                return left < times;
            }
            F::BrokerCut => servers.broker.cut(),
            F::DatabaseCut => servers.database.cut(),
            F::BrokerSlow | F::DatabaseSlow => {
                let proxy = if self == F::BrokerSlow { &servers.broker } else { &servers.database };
                proxy.delay(Duration::from_millis(rng.random_range(20..150)));
                sleep(moment).await;
                proxy.heal();
            }
            F::BrokerSilent | F::DatabaseSilent => {
                let silent = self == F::BrokerSilent;
                let proxy = if silent { &servers.broker } else { &servers.database };
                proxy.blackhole(true);
                sleep(moment).await;
                proxy.heal();
            }
            F::CommitAnswersLost => {
                servers.database.lose_commit_answers(rng.random_range(1..8));
                sleep(moment).await;
                servers.database.heal();
            }
            F::BackendKilled
            | F::BackendsTerminated
            | F::Deadlocks
            | F::TableLocked
            | F::RowsHeld
            | F::CommitsWait
            | F::ConnectionsUsedUp
            | F::ReadOnly => {
                // A session of ours that is hit as well has done its work.
                let _ = in_database(self, world, rng, moment).await;
            }
        }
        true
    }
}

async fn restart(world: &World, down: &str, up: &str, moment: Duration) {
    world.servers.run(&[down]).await;
    sleep(moment).await;
    world.servers.run(&[up]).await;
    world.servers.find().await;
}

/// The trail's queue takes one message, and nobody takes it from there.
async fn full_queue(world: &World, moment: Duration) {
    let audit = world.fleet.with_role("audit");
    audit.iter().for_each(|at| world.fleet.hold(*at));
    let limit = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let queue = r"^stepup\.audit\.bulk$";
    world.servers.rabbitmqctl(&["set_policy", "full", queue, limit, "--apply-to", "queues"]).await;
    sleep(moment).await;
    world.servers.rabbitmqctl(&["clear_policy", "full"]).await;
    audit.iter().for_each(|at| world.fleet.release(*at));
}

async fn lost_binding(world: &World, rng: &mut StdRng, moment: Duration) {
    let bindings = [
        ("stepup.sms_delivery.login", "stepup.commands", "sms.send"),
        ("stepup.email_fallback.login", "stepup.commands", "email.send"),
        ("stepup.code_generation.bulk", "stepup.commands", "challenge.expire"),
    ];
    let (queue, exchange, key) = *bindings.choose(rng).unwrap();
    let url = world.servers.direct().amqp;
    if let Ok(channel) = channel(&url).await {
        let none = FieldTable::default();
        let _ = channel.queue_unbind(queue.into(), exchange.into(), key.into(), none).await;
    }
    // An operator notices, and runs `stepup topology`.
    sleep(moment).await;
    let broker = world::broker(&url);
    while topology::declare(&broker).await.is_err() {
        sleep(Duration::from_millis(200)).await;
    }
    broker.close().await;
}
