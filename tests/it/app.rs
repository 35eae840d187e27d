//! An app at the broker, as docs/messages.md describes one: a login of its own, requests with
//! replies, and the events that it may hear.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use stepup::domain::keys::PublicKey;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{PATIENCE, World, setting};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>;

/// An event with the key that it was published with.
pub type Heard = (String, Value);

/// A connected app.
pub struct App {
    channel: Channel,
    user: &'static str,
    prefix: String,
    key: PublicKey,
    waiting: Waiting,
    heard: Arc<Mutex<Vec<Heard>>>,
    // Dropped last: the channel lives as long as its connection.
    _connection: Connection,
}

/// A broker user of the test servers: `demo` is the app of the same name, `stepup` is the product.
fn broker_url(user: &str) -> String {
    match user {
        "stepup" => setting("STEPUP_AMQP_URL"),
        app => setting(&format!("STEPUP_{}_AMQP_URL", app.to_uppercase())),
    }
}

/// A channel of this broker user.
pub async fn connect(user: &str) -> (Connection, Channel) {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&broker_url(user), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

impl App {
    pub async fn connect(world: &World, user: &'static str) -> Self {
        let (connection, channel) = connect(user).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let replies = consume(&channel, REPLY_TO).await;
        let waiting = Waiting::default();
        tokio::spawn(take_replies(replies, Arc::clone(&waiting)));
        Self {
            channel,
            user,
            prefix: world.topology.prefix.clone(),
            key: world.public_key(),
            waiting,
            heard: Arc::default(),
            _connection: connection,
        }
    }

    /// Hears every event from now on.
    pub async fn listen(&self) {
        let queue = format!("{}.{}", self.user, Uuid::from_u128(rand::random()));
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let name = queue.as_str();
        self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
        let events = self.exchange("events");
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let everything = "#".into();
        let bound =
            self.channel.queue_bind(name.into(), events.as_str().into(), everything, options, none);
        bound.await.unwrap();
        let mut consumer = consume(&self.channel, name).await;
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                let body: Value = serde_json::from_slice(&delivery.data).unwrap();
                let mut heard = heard.lock().unwrap();
                // An event is published at least once, with the same id.
                if heard.iter().all(|(_, known)| known["id"] != body["id"]) {
                    heard.push((delivery.routing_key.to_string(), body));
                }
            }
        });
    }

    pub fn exchange(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    pub fn seal(&self, clear: &str) -> Value {
        Value::String(self.key.seal(clear.as_bytes()))
    }

    /// Publishes to one of the product's exchanges; `false` when the broker does not let it.
    pub async fn publish(&self, exchange: &str, key: &str, id: &str, body: &Value) -> bool {
        let properties = BasicProperties::default()
            .with_user_id(self.user.into())
            .with_message_id(id.into())
            .with_correlation_id(id.into())
            .with_reply_to(REPLY_TO.into())
            .with_content_type("application/json".into())
            .with_delivery_mode(2);
        self.publish_with(exchange, key, properties, body).await
    }

    /// The same with these properties.
    pub async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &Value,
    ) -> bool {
        let (exchange, body) = (self.exchange(exchange), body.to_string());
        let sent = self.channel.basic_publish(
            exchange.as_str().into(),
            key.into(),
            BasicPublishOptions::default(),
            body.as_bytes(),
            properties,
        );
        match sent.await {
            Ok(confirm) => confirm.await.is_ok_and(|confirm| confirm.is_ack()),
            Err(_) => false,
        }
    }

    /// The outcome of the request that is called this, once it is published.
    pub fn expect_reply(&self, id: &str) -> oneshot::Receiver<Value> {
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id.to_owned(), answer);
        answered
    }

    /// One request under an id of its own choice, and its outcome.
    pub async fn ask_as(&self, id: &str, key: &str, body: &Value) -> Value {
        let answered = self.expect_reply(id);
        assert!(self.publish("requests", key, id, body).await, "{key} was not confirmed");
        let answered = timeout(PATIENCE, answered).await;
        answered.unwrap_or_else(|_| panic!("no reply to {key}")).unwrap()
    }

    pub async fn ask(&self, key: &str, body: &Value) -> Value {
        self.ask_as(&Uuid::from_u128(rand::random()).to_string(), key, body).await
    }

    /// All of them at once: none waits for the confirm or the outcome of another.
    pub async fn ask_all(&self, key: &str, bodies: &[Value]) -> Vec<Value> {
        join_all(bodies.iter().map(|body| self.ask(key, body))).await
    }

    /// The first event of this kind that `is_it`, as soon as it has been heard.
    pub async fn hears(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let heard = self.heard().into_iter().map(|(_, event)| event);
            let mut wanted = heard.filter(|event| event["type"] == kind && is_it(event));
            if let Some(found) = wanted.next() {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "no {kind} was heard");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let tag = Uuid::from_u128(rand::random()).to_string();
    let none = FieldTable::default();
    channel.basic_consume(queue.into(), tag.as_str().into(), options, none).await.unwrap()
}

async fn take_replies(mut replies: Consumer, waiting: Waiting) {
    while let Some(Ok(reply)) = replies.next().await {
        let id = reply.properties.correlation_id().as_ref().unwrap().to_string();
        // A repeat is answered too, and nobody waits for it any longer.
        if let Some(answer) = waiting.lock().unwrap().remove(&id) {
            let _ = answer.send(serde_json::from_slice(&reply.data).unwrap());
        }
    }
}
