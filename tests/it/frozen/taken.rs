//! What stands in queues and in tables, as the frozen file has it.

use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, ShortString};
use lapin::{BasicProperties, Channel};
use serde_json::{Map, Value, json};
use stepup::domain::id::{AppName, request_id};
use stepup::message::Queue;

use super::declared::PREFIX;
use crate::support::World;

/// Each after those that it refers to. What the timers, the trail and the Activity report have of their
/// own is not needed.
const TABLES: &[&str] = &[
    "account",
    "member",
    "challenge",
    "login",
    "delivery_attempt",
    "approval",
    "email_proof",
    "review",
    "review_member",
    "mandate",
    "reset",
    "notice",
    "inbox",
];
/// Takes what stands in the queues of workers. Of the events one is enough, with two queues.
pub async fn take(world: &World, channel: &Channel) -> Vec<Value> {
    let mut taken = Vec::new();
    for queue in Queue::ALL {
        let name = format!("{}.{}", world.topology.prefix, queue.label());
        let found = get(world, channel, &name).await;
        let is_kept = |message: &Value| match queue.label() {
            "audit.bulk" => false,
            "notification.notices" => message["body"]["type"] == "member.phone_changed",
            _ => true,
        };
        taken.extend(found.into_iter().filter(is_kept));
    }
    taken
}

pub async fn get(world: &World, channel: &Channel, queue: &str) -> Vec<Value> {
    let prefix = world.topology.prefix.as_str();
    let mut found = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get(queue.into(), options).await.unwrap() {
        let message = got.delivery;
        let exchange = message.exchange.as_str().strip_prefix(prefix).unwrap();
        found.push(json!({
            "exchange": exchange.trim_start_matches('.'),
            "key": message.routing_key.as_str().replace(prefix, PREFIX),
            "user": message.properties.user_id().as_ref().map(|user| user.as_str()),
            "properties": properties(&message.properties),
            "headers": headers(&message.properties),
            "body": serde_json::from_slice::<Value>(&message.data).unwrap(),
        }));
    }
    found
}

/// Without the address of a reply: it is gone with its connection.
fn properties(found: &BasicProperties) -> Value {
    let mut properties = Map::new();
    for (name, value) in [
        ("message_id", found.message_id()),
        ("correlation_id", found.correlation_id()),
        ("content_type", found.content_type()),
        ("type", found.kind()),
        ("app_id", found.app_id()),
    ] {
        properties.extend(value.as_ref().map(|text| (name.to_owned(), text.as_str().into())));
    }
    properties.extend(found.timestamp().map(|at| ("timestamp".to_owned(), at.into())));
    properties.into()
}

fn headers(found: &BasicProperties) -> Value {
    let mut headers = Map::new();
    let ours = |(name, _): &(&ShortString, _)| !name.as_str().starts_with("x-delivery");
    for (name, value) in found.headers().iter().flat_map(|table| table.inner()).filter(ours) {
        let value = match value {
            AMQPValue::LongString(text) => text.to_string().into(),
            AMQPValue::LongLongInt(number) => (*number).into(),
            other => panic!("{name}: {other:?}"),
        };
        headers.insert(name.to_string(), value);
    }
    headers.into()
}

/// The time, and the rows that the messages are about.
pub async fn rows(world: &World) -> (String, Vec<Value>) {
    let client = world.database().client().await;
    let mut rows = Vec::new();
    let handled = request_id(&AppName::parse("demo").unwrap(), "gil");
    for table in TABLES {
        let which =
            if *table == "inbox" { format!("message = '{handled}'") } else { "true".into() };
        let sql =
            format!("SELECT json_strip_nulls(json_agg(t))::text FROM {table} t WHERE {which}");
        let found: Option<String> = client.query_one(&sql, &[]).await.unwrap().get(0);
        if let Some(found) = found {
            let found: Value = serde_json::from_str(&found).unwrap();
            rows.push(json!({ "table": table, "rows": found }));
        }
    }
    let now = client.query_one("SELECT stepup_now()::text", &[]).await.unwrap().get(0);
    (now, rows)
}
