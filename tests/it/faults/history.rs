//! What was seen from outside: every call of a client, every event, every command.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::checker::Outage;

/// What a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Register,
    Login,
    /// A sensitive setting is to change.
    Change,
    /// An approved change is about to be carried out.
    Redeem,
    /// An admin has the contacts of an account reviewed.
    Review,
    /// An admin makes 2FA mandatory: first without a proof, then with it.
    Mandate,
    /// Support asks for a reset.
    Reset,
    /// Another person at support approves it.
    Approval,
    Resend,
    Cancel,
    /// A guess, and whether it is the code that the person was sent.
    Guess {
        right: bool,
    },
}

/// One request of a client, under one id, with every answer it got.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub what: What,
    pub member: String,
    /// The challenge it names; for a login the one it leads to, if any.
    pub challenge: Option<Uuid>,
    pub sent_at: OffsetDateTime,
    /// Whether the system has said that it will see to it.
    pub accepted: bool,
    /// Every outcome that was answered.
    pub outcomes: Vec<Value>,
}

impl Call {
    /// The first outcome by its name.
    pub fn outcome(&self) -> Option<&str> {
        self.outcomes.first()?["outcome"].as_str()
    }
}

/// An event as a subscriber got it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub body: Value,
    /// When it came first.
    pub at: OffsetDateTime,
}

#[derive(Default)]
pub struct History {
    pub calls: Mutex<Vec<Call>>,
    /// By event id.
    pub events: Mutex<HashMap<Uuid, Seen>>,
    /// Ids of the commands seen, by key and body.
    pub commands: Mutex<HashMap<(String, String), Vec<Uuid>>>,
    /// Ids of messages that are meant to end as dead letters.
    pub provoked: Mutex<Vec<String>>,
    /// When a server was not well.
    pub outages: Mutex<Vec<Outage>>,
}

impl History {
    pub fn add(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn event(&self, body: &[u8]) {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
        let Some(id) = body["id"].as_str().and_then(|id| Uuid::parse_str(id).ok()) else { return };
        let seen = Seen { body, at: OffsetDateTime::now_utc() };
        self.events.lock().unwrap().entry(id).or_insert(seen);
    }

    fn command(&self, key: &str, id: &str, body: &[u8]) {
        let Ok(id) = Uuid::parse_str(id) else { return };
        let what = (key.to_owned(), String::from_utf8_lossy(body).into_owned());
        let mut commands = self.commands.lock().unwrap();
        let ids = commands.entry(what).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

const EVENTS: &str = "faults.events";
const COMMANDS: &str = "faults.commands";
const COMMAND_KEYS: &[&str] =
    &["sms.send", "email.send", "challenge.expire", "challenge.abandon", "notice.send"];

/// Two queues of our own that get a copy of every event and command, and who reads them.
pub struct Tap {
    url: String,
    reading: Vec<JoinHandle<()>>,
}

impl Tap {
    pub async fn start(url: &str, history: &Arc<History>) -> Self {
        let channel = channel(url).await.unwrap();
        for (queue, exchange, keys) in
            [(EVENTS, "stepup.events", &["#"][..]), (COMMANDS, "stepup.commands", COMMAND_KEYS)]
        {
            let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            deleted.await.unwrap();
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_declare(queue.into(), options, arguments).await.unwrap();
            for key in keys {
                let (options, none) = (QueueBindOptions::default(), FieldTable::default());
                let bound =
                    channel.queue_bind(queue.into(), exchange.into(), (*key).into(), options, none);
                bound.await.unwrap();
            }
        }
        let read = |queue: &'static str| {
            let (url, history) = (url.to_owned(), Arc::clone(history));
            tokio::spawn(async move {
                loop {
                    let _ = read(&url, queue, &history).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            })
        };
        Self { url: url.to_owned(), reading: vec![read(EVENTS), read(COMMANDS)] }
    }

    pub async fn end(self) {
        self.reading.iter().for_each(JoinHandle::abort);
        if let Ok(channel) = channel(&self.url).await {
            for queue in [EVENTS, COMMANDS] {
                let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
            }
        }
    }
}

pub async fn channel(url: &str) -> lapin::Result<Channel> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    connection.create_channel().await
}

async fn read(url: &str, queue: &str, history: &History) -> lapin::Result<()> {
    let channel = channel(url).await?;
    let options = BasicConsumeOptions::default();
    let none = FieldTable::default();
    let mut deliveries = channel.basic_consume(queue.into(), "tap".into(), options, none).await?;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        if queue == EVENTS {
            history.event(&delivery.data);
        } else {
            let id = delivery.properties.message_id().as_ref().map(|id| id.to_string());
            let id = id.unwrap_or_default();
            history.command(delivery.routing_key.as_str(), &id, &delivery.data);
        }
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
