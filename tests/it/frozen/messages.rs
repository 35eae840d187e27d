//! A running system of the version before is upgraded: its messages stand in the queues.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use serde_json::{Map, Value, json};
use stepup::broker::dead;
use stepup::domain::id::{AppName, request_id};
use tokio_postgres::Client;
use uuid::Uuid;

use super::declared::{declare, table};
use super::read;
use super::wire::{differences, metrics};
use crate::app::{App, connect};
use crate::support::{PATIENCE, World};

/// The keys of the tests, and limits that can be reached.
pub const SETTINGS: &[(&str, &str)] =
    &[("STEPUP_RESET_HOLD_SECONDS", "60"), ("STEPUP_CODE_DIGITS", "10")];
const KEYS: &str =
    r#"{"active":"t1","index":"KEY","sets":{"t1":{"pepper":"KEY","seal":"KEY","opener":"KEY"}}}"#;
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// A product with the frozen keys of which no process runs.
pub async fn prepared() -> World {
    let world = World::prepare(SETTINGS).await;
    std::fs::write(world.folder.join("keys"), KEYS.replace("KEY", KEY)).unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_of_the_version_before_is_lost_in_an_upgrade() {
    let (wire, frozen) = (read("wire.json"), read("messages.json"));
    let upgraded = upgrade(&wire, &frozen).await;
    let mut broken = Vec::new();
    for (at, message) in frozen["messages"].as_array().unwrap().iter().enumerate() {
        if message["ends"] != upgraded.ends[at] {
            let (key, wanted) = (&message["key"], &message["ends"]);
            broken.push(format!("{key} ended with {}, not {wanted}", upgraded.ends[at]));
        }
    }
    differences("/metrics", &wire["metrics"], &upgraded.metrics, &mut broken);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What came of all that stood in the queues.
pub struct Upgraded {
    /// For each message its outcome, if an app waits for it, and what each worker has caused.
    pub ends: Vec<Value>,
    pub metrics: Value,
}

/// Puts the rows and the messages where they were, starts this version, and waits until all is done.
pub async fn upgrade(wire: &Value, frozen: &Value) -> Upgraded {
    let mut world = prepared().await;
    let client = world.database().client().await;
    restore(&client, frozen).await;
    let (connection, channel) = connect("stepup").await;
    declare(&channel, &world.topology.prefix, wire).await;
    let apps = [App::connect(&world, "demo").await, App::connect(&world, "stepup").await];
    let messages = frozen["messages"].as_array().unwrap();
    let mut replies = BTreeMap::new();
    for (at, message) in messages.iter().enumerate() {
        let user = message["user"].as_str().unwrap();
        let app = if user == "demo" { &apps[0] } else { &apps[1] };
        let properties = properties(message, &world.topology.prefix);
        if user == "demo" {
            let id = properties.correlation_id().as_ref().unwrap().to_string();
            replies.insert(at, app.expect_reply(&id));
        }
        let key = message["key"].as_str().unwrap().replace("{prefix}", &world.topology.prefix);
        let exchange = message["exchange"].as_str().unwrap();
        let stands = app.publish_with(exchange, &key, properties, &message["body"]).await;
        assert!(stands, "{exchange} {key} was not confirmed");
    }
    world.begin(vec!["all"]);
    world.await_ready().await;
    nothing_is_lost(&world, messages).await;
    world.drain().await;
    let mut ends = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let mut end = caused(&client, message).await;
        if let Some(reply) = replies.remove(&at) {
            let reply = tokio::time::timeout(PATIENCE, reply).await.unwrap().unwrap();
            end.insert("outcome".into(), reply["outcome"].clone());
        }
        ends.push(end.into());
    }
    let metrics = json!(metrics(&world.metrics().await[0].1));
    drop((connection, channel));
    world.end().await;
    Upgraded { ends, metrics }
}

/// The rows as they were, and the clock.
async fn restore(client: &Client, frozen: &Value) {
    for table in frozen["rows"].as_array().unwrap() {
        let (name, rows) = (table["table"].as_str().unwrap(), &table["rows"]);
        let columns =
            rows.as_array().unwrap().iter().flat_map(|row| row.as_object().unwrap().keys());
        let mut columns: Vec<&str> = columns.map(String::as_str).collect();
        columns.sort_unstable();
        columns.dedup();
        let columns = columns.join(", ");
        let sql = format!(
            "INSERT INTO {name} ({columns}) \
             SELECT {columns} FROM json_populate_recordset(NULL::{name}, $1::text::json)"
        );
        client.execute(&sql, &[&rows.to_string()]).await.unwrap();
    }
    let now = frozen["now"].as_str().unwrap();
    let sql = "UPDATE test_clock SET ahead = $1::text::timestamptz - clock_timestamp()";
    client.execute(sql, &[&now]).await.unwrap();
}

fn properties(message: &Value, prefix: &str) -> BasicProperties {
    let found = &message["properties"];
    let text = |name: &str| found[name].as_str();
    let mut properties = BasicProperties::default()
        .with_user_id(message["user"].as_str().unwrap().into())
        .with_message_id(text("message_id").unwrap().into())
        .with_content_type(text("content_type").unwrap().into())
        .with_delivery_mode(2);
    if let Some(id) = text("correlation_id") {
        properties = properties.with_correlation_id(id.into());
    }
    if message["user"] == "demo" {
        properties = properties.with_reply_to("amq.rabbitmq.reply-to".into());
    }
    if let Some(kind) = text("type") {
        properties = properties.with_type(kind.into());
    }
    if let Some(app) = text("app_id") {
        properties = properties.with_app_id(app.into());
    }
    if let Some(at) = found["timestamp"].as_u64() {
        properties = properties.with_timestamp(at);
    }
    properties.with_headers(table(&message["headers"], prefix))
}

/// The id under which a message is known to the workers.
fn id(message: &Value) -> Uuid {
    let id = message["properties"]["message_id"].as_str().unwrap();
    let app = message["headers"]["x-stepup-app"].as_str();
    match app.or_else(|| (message["user"] == "demo").then_some("demo")) {
        Some(app) => request_id(&AppName::parse(app).unwrap(), id),
        None => Uuid::parse_str(id).unwrap(),
    }
}

/// Waits until each message is settled by a worker, and none is set aside.
async fn nothing_is_lost(world: &World, messages: &[Value]) {
    let (started, broker) = (Instant::now(), world.broker());
    for message in messages {
        let id = id(message);
        let mut settled = format!("SELECT count(*) FROM inbox WHERE message = '{id}'");
        if message["exchange"] == "events" {
            settled += &format!(" AND EXISTS (SELECT FROM trail WHERE event = '{id}')");
        }
        while world.count(&settled).await == 0 {
            let dead = dead::list(&broker, 10).await.unwrap();
            assert!(dead.is_empty(), "set aside: {dead:#?}");
            let key = &message["key"];
            assert!(started.elapsed() < PATIENCE, "{key} is lost: {:?}", world.folder);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let dead = dead::list(&broker, 10).await.unwrap();
    assert!(dead.is_empty(), "set aside: {dead:#?}");
    broker.close().await;
}

/// The keys of what each worker has caused when it settled this message.
async fn caused(client: &Client, message: &Value) -> Map<String, Value> {
    let sql = "SELECT worker, caused FROM inbox WHERE message = $1";
    let rows = client.query(sql, &[&id(message)]).await.unwrap();
    let of = |row: &tokio_postgres::Row| {
        let caused: Option<&str> = row.get(1);
        let caused: Value = serde_json::from_str(caused.unwrap_or("[]")).unwrap();
        let keys = caused.as_array().unwrap().iter().map(|message| message["key"].clone());
        (row.get(0), keys.collect())
    };
    rows.iter().map(of).collect()
}
