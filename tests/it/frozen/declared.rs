//! Exchanges, queues and bindings as they are declared at the broker.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use serde_json::{Map, Value, json};
use stepup::broker::topology;

use crate::support::{Line, Topology, random_name};

/// In the place of the prefix.
pub const PREFIX: &str = "{prefix}";

/// What this version declares: `exchanges` with type and arguments, `queues` with arguments and what
/// they are bound to, as `<exchange> <key>`. Names are without the prefix.
pub async fn declared() -> Value {
    let line = Line::lay().await;
    let topology = Topology::new(&random_name());
    let broker = topology.connect(&line.url);
    topology::declare(&broker).await.unwrap();
    topology::mark_filled(&broker).await.unwrap();
    broker.close().await;
    let mut found = json!({ "exchanges": {}, "queues": {} });
    for method in line.declared() {
        let mut reader = Reader { bytes: &method, prefix: &topology.prefix };
        match (reader.take(4), reader.take(2)) {
            ([0, 40, 0, 10], _) => {
                let (name, kind) = (reader.name(), reader.short());
                assert_eq!(reader.take(1), [2], "{name} is durable, and nothing else");
                found["exchanges"][name] = json!({ "type": kind, "arguments": reader.table() });
            }
            ([0, 50, 0, 10], _) => {
                let name = reader.name();
                // The marker is asked for before.
                let passive = reader.take(1) == [3];
                let queue = json!({ "arguments": reader.table(), "bound_to": [] });
                if !passive {
                    found["queues"][name] = queue;
                }
            }
            _ => {
                let (queue, exchange, key) = (reader.name(), reader.name(), reader.short());
                let bound_to = found["queues"][queue]["bound_to"].as_array_mut().unwrap();
                bound_to.push(format!("{exchange} {key}").trim().into());
            }
        }
    }
    found
}

/// Declares what is listed, as the version did that listed it.
pub async fn declare(channel: &Channel, prefix: &str, listed: &Value) {
    for (name, exchange) in listed["exchanges"].as_object().unwrap() {
        let kind = match exchange["type"].as_str().unwrap() {
            "direct" => ExchangeKind::Direct,
            "topic" => ExchangeKind::Topic,
            "fanout" => ExchangeKind::Fanout,
            other => panic!("{other}"),
        };
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let (name, arguments) = (format!("{prefix}.{name}"), table(&exchange["arguments"], prefix));
        channel.exchange_declare(name.as_str().into(), kind, options, arguments).await.unwrap();
    }
    for (name, queue) in listed["queues"].as_object().unwrap() {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let (name, arguments) = (format!("{prefix}.{name}"), table(&queue["arguments"], prefix));
        channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
        for bound_to in queue["bound_to"].as_array().unwrap() {
            let bound_to = bound_to.as_str().unwrap().replace(PREFIX, prefix);
            let (exchange, key) = bound_to.split_once(' ').unwrap_or((&bound_to, ""));
            let (exchange, options) = (format!("{prefix}.{exchange}"), QueueBindOptions::default());
            let (queue, exchange) = (name.as_str().into(), exchange.as_str().into());
            let none = FieldTable::default();
            channel.queue_bind(queue, exchange, key.into(), options, none).await.unwrap();
        }
    }
}

/// A table of AMQP; texts with the prefix that is used here.
pub fn table(values: &Value, prefix: &str) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in values.as_object().unwrap() {
        let value = match value {
            Value::String(text) => AMQPValue::LongString(text.replace(PREFIX, prefix).into()),
            // The broker compares numbers, not their widths.
            number => AMQPValue::LongLongInt(number.as_i64().unwrap()),
        };
        table.insert(name.as_str().into(), value);
    }
    table
}

/// Reads the arguments of a method.
struct Reader<'a> {
    bytes: &'a [u8],
    prefix: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }

    fn number(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn text(&mut self, bytes: usize) -> String {
        let text = String::from_utf8(self.take(bytes).to_vec()).unwrap();
        text.replace(self.prefix, PREFIX)
    }

    fn short(&mut self) -> String {
        let bytes = self.take(1)[0];
        self.text(bytes.into())
    }

    /// A name without the prefix.
    fn name(&mut self) -> String {
        let name = self.short();
        name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.')).unwrap().to_owned()
    }

    fn table(&mut self) -> Map<String, Value> {
        let bytes = self.number().try_into().unwrap();
        let mut inner = Self { bytes: self.take(bytes), prefix: self.prefix };
        let mut members = Map::new();
        while !inner.bytes.is_empty() {
            let name = inner.short();
            let value = match inner.take(1)[0] {
                b'S' => {
                    let bytes = inner.number().try_into().unwrap();
                    inner.text(bytes).into()
                }
                b'I' => inner.number().into(),
                kind => panic!("{name} is a `{}`", char::from(kind)),
            };
            members.insert(name, value);
        }
        members
    }
}
