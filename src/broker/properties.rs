//! Between AMQP properties and our plain data: what we write on a message, and what we believe of
//! one that arrives.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use time::OffsetDateTime;

use super::Broker;
use crate::{
    fault::Fault,
    message::{Exchange, Incoming},
};

/// The `app_id` of all our messages.
const APP_ID: &str = "stepup";
const JSON: &str = "application/json";
/// The body of our dead letters.
pub(super) const SEALED: &str = "application/vnd.stepup.sealed";

const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// Direct reply-to: the only addresses a reply goes to, since any other name would let whoever asks
/// write into a queue of his choice with our rights.
pub(super) const REPLY_ADDRESS: &str = "amq.rabbitmq.reply-to.";

pub(super) const KEY: &str = "x-stepup-key";
pub(super) const APP: &str = "x-stepup-app";
/// Who published it first, when it is published again by us. Empty for nobody.
pub(super) const USER: &str = "x-stepup-user";
pub(super) const ATTEMPT: &str = "x-stepup-attempt";
pub(super) const FIRST_SEEN: &str = "x-stepup-first-seen";
pub(super) const REASON: &str = "x-stepup-reason";
pub(super) const DETAIL: &str = "x-stepup-detail";
pub(super) const WORKER: &str = "x-stepup-worker";
pub(super) const QUEUE: &str = "x-stepup-queue";
const TRACEPARENT: &str = "traceparent";
const DELIVERY_COUNT: &str = "x-delivery-count";

/// The length of a W3C `traceparent` of version 00.
const TRACEPARENT_BYTES: usize = 55;

/// Header tables, built entry by entry.
#[derive(Default)]
pub(super) struct Headers(FieldTable);

impl Headers {
    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.into(), AMQPValue::LongString(value.into()));
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(super) fn number(mut self, name: &str, value: u32) -> Self {
        self.0.insert(name.into(), AMQPValue::LongLongInt(value.into()));
        self
    }

    pub(super) fn time(mut self, name: &str, value: OffsetDateTime) -> Self {
        self.0.insert(name.into(), AMQPValue::LongLongInt(value.unix_timestamp()));
        self
    }

    pub(super) fn trace(self, traceparent: Option<&str>) -> Self {
        self.maybe(TRACEPARENT, traceparent)
    }

    pub(super) fn on(self, properties: BasicProperties) -> BasicProperties {
        if self.0.inner().is_empty() { properties } else { properties.with_headers(self.0) }
    }
}

/// The clock of the host, for the property `timestamp` and for message ages: information for people,
/// never a reason for a decision.
#[expect(clippy::disallowed_methods, reason = "no decision hangs on the property timestamp")]
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A name or key as AMQP carries it.
///
/// # Errors
/// `Permanent` when it is longer than AMQP allows (255 bytes).
pub(super) fn short(text: &str) -> Result<ShortString, Fault> {
    ShortString::try_new(text)
        .map_err(|_| Fault::Permanent("a name or key is longer than 255 bytes".into()))
}

/// What stands on every durable message of ours.
pub(super) fn durable(
    user: &str,
    kind: &str,
    at: OffsetDateTime,
) -> Result<BasicProperties, Fault> {
    Ok(BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(JSON.into())
        .with_type(short(kind)?)
        .with_app_id(APP_ID.into())
        .with_user_id(short(user)?)
        .with_timestamp(u64::try_from(at.unix_timestamp()).unwrap_or(0)))
}

/// What stands on a reply.
pub(super) fn transient(user: &str) -> Result<BasicProperties, Fault> {
    Ok(BasicProperties::default()
        .with_delivery_mode(TRANSIENT)
        .with_content_type(JSON.into())
        .with_app_id(APP_ID.into())
        .with_user_id(short(user)?))
}

/// The properties with which `message` is published again by us: all that it came with, and who
/// sent it, since the property `user_id` has to be ours now.
pub(super) fn again(
    user: &str,
    message: &Incoming,
    headers: Headers,
) -> Result<BasicProperties, Fault> {
    let at = message.published_at.unwrap_or_else(now);
    let mut properties = durable(user, &message.key, at)?;
    if let Some(id) = &message.message_id {
        properties = properties.with_message_id(short(id)?);
    }
    if let Some(to) = message.reply_to.as_deref().filter(|to| to.starts_with(REPLY_ADDRESS)) {
        properties = properties.with_reply_to(short(to)?);
    }
    if let Some(id) = &message.correlation_id {
        properties = properties.with_correlation_id(short(id)?);
    }
    let headers = headers
        .text(KEY, &message.key)
        .text(USER, message.user.as_deref().unwrap_or_default())
        .maybe(APP, message.app.as_deref())
        .trace(message.traceparent.as_deref());
    Ok(headers.on(properties))
}

/// Reads what arrived. Whatever the headers hold, this gives a value: what cannot be read counts as
/// absent. The `x-stepup-*` headers are believed only of messages that carry our own `user_id`,
/// which the broker has checked; else an app could claim to be another one.
pub(super) fn incoming(broker: &Broker, delivery: lapin::message::Delivery) -> Incoming {
    let lapin::message::Delivery { exchange, routing_key, properties, data, .. } = delivery;
    let headers = properties.headers().as_ref();
    let publisher = owned(properties.user_id());
    let ours = headers.filter(|_| publisher.as_deref() == Some(broker.user()));
    let key = ours.and_then(|headers| text(headers, KEY)).unwrap_or_else(|| {
        let key = routing_key.as_str();
        let event = broker.names().short(exchange.as_str()) == Exchange::Events.label();
        if event { without_account(key) } else { key }.to_owned()
    });
    let user = match ours.and_then(|headers| text(headers, USER)) {
        Some(first) => Some(first).filter(|first| !first.is_empty()),
        None => publisher,
    };
    let attempt = ours.and_then(|headers| number(headers, ATTEMPT)).unwrap_or(0);
    let first_seen = ours.and_then(|headers| number(headers, FIRST_SEEN));
    let published_at = properties.timestamp().and_then(|at| i64::try_from(at).ok());
    let needed =
        [("message_id", properties.message_id()), ("correlation_id", properties.correlation_id())];
    let unreadable = needed.into_iter().find(|(_, text)| !text.as_ref().is_none_or(is_utf8));
    Incoming {
        key,
        message_id: owned(properties.message_id()),
        user,
        app: ours.and_then(|headers| text(headers, APP)),
        attempt: u32::try_from(attempt.max(0)).unwrap_or(u32::MAX),
        first_seen: first_seen.and_then(instant),
        published_at: published_at.and_then(instant),
        reply_to: owned(properties.reply_to()),
        correlation_id: owned(properties.correlation_id()),
        traceparent: headers
            .and_then(|headers| text(headers, TRACEPARENT))
            .filter(|value| is_traceparent(value)),
        unreadable: unreadable.map(|(name, _)| name),
        body: data,
    }
}

/// How often the broker has taken the message back from a consumer, as it counts; 0 at first.
pub(super) fn returns(properties: &BasicProperties) -> u32 {
    let count = properties.headers().as_ref().and_then(|headers| number(headers, DELIVERY_COUNT));
    u32::try_from(count.unwrap_or(0).max(0)).unwrap_or(u32::MAX)
}

/// `challenge.issued` for `acme.challenge.issued`.
pub(super) fn without_account(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, rest)| rest)
}

/// A header as text; `None` when it is absent, of another type or not UTF-8.
pub(super) fn text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(value) => {
            std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
        }
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A header as a number; `None` when it is absent or of a type that is none. Which integer type a
/// client library picks is its own affair.
pub(super) fn number(headers: &FieldTable, name: &str) -> Option<i64> {
    match *headers.inner().get(name)? {
        AMQPValue::ShortShortInt(value) => Some(value.into()),
        AMQPValue::ShortShortUInt(value) => Some(value.into()),
        AMQPValue::ShortInt(value) => Some(value.into()),
        AMQPValue::ShortUInt(value) => Some(value.into()),
        AMQPValue::LongInt(value) => Some(value.into()),
        AMQPValue::LongUInt(value) => Some(value.into()),
        AMQPValue::LongLongInt(value) => Some(value),
        AMQPValue::Timestamp(value) => i64::try_from(value).ok(),
        _ => None,
    }
}

/// The moment, if there is a calendar date for it.
pub(super) fn instant(unix_seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(unix_seconds).ok()
}

/// A property as text; `None` when it is absent or not UTF-8. RabbitMQ lets any bytes through.
fn owned(text: &Option<ShortString>) -> Option<String> {
    text.as_ref().filter(|text| is_utf8(text)).map(ShortString::to_string)
}

/// The codec reads bytes that are not UTF-8 as U+FFFD (vendor/README.md).
fn is_utf8(text: &ShortString) -> bool {
    !text.as_str().contains(char::REPLACEMENT_CHARACTER)
}

/// Only what has the form of a `traceparent` is passed on, so that nothing else gets into traces.
fn is_traceparent(value: &str) -> bool {
    value.len() == TRACEPARENT_BYTES
        && value.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use lapin::types::{ByteArray, DecimalValue, FieldArray};

    use super::*;
    use crate::broker::connection::tests::any_broker;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn arrived(exchange: &str, key: &str, properties: BasicProperties) -> Incoming {
        let mut delivery =
            lapin::message::Delivery::mock(1, exchange.into(), key.into(), false, b"{}".to_vec());
        delivery.properties = properties;
        incoming(&any_broker(), delivery)
    }

    fn claims() -> Headers {
        Headers::default()
            .text(KEY, "sms.send")
            .text(APP, "shop")
            .number(ATTEMPT, 3)
            .number(FIRST_SEEN, 1_700_000_000)
            .trace(Some(TRACE))
    }

    #[test]
    fn our_own_headers_are_believed() {
        let properties = claims().on(BasicProperties::default().with_user_id("us".into()));
        let message = arrived("stepup.home", "stepup.sms_delivery.login", properties);
        assert_eq!(message.key, "sms.send");
        assert_eq!(message.app.as_deref(), Some("shop"));
        assert_eq!(message.attempt, 3);
        assert_eq!(message.first_seen.unwrap().unix_timestamp(), 1_700_000_000);
        assert_eq!(message.user.as_deref(), Some("us"));
    }

    #[test]
    fn the_same_headers_from_an_app_or_from_nobody_are_not_believed() {
        for user in [Some("app"), None] {
            let mut properties = claims().text(USER, "us").on(BasicProperties::default());
            if let Some(user) = user {
                properties = properties.with_user_id(user.into());
            }
            let message = arrived("stepup.requests", "challenge.issue", properties);
            assert_eq!(message.key, "challenge.issue");
            assert_eq!(message.app, None);
            assert_eq!(message.attempt, 0);
            assert_eq!(message.first_seen, None);
            assert_eq!(message.user.as_deref(), user);
            assert_eq!(message.traceparent.as_deref(), Some(TRACE));
        }
    }

    #[test]
    fn a_message_published_again_keeps_its_sender_even_when_there_was_none() {
        for user in [Some("app".to_owned()), None] {
            let first = Incoming { key: "challenge.issue".into(), user, ..Incoming::default() };
            let properties = again("us", &first, Headers::default()).unwrap();
            let message = arrived("stepup.home", "stepup.x", properties);
            assert_eq!(message.user, first.user);
            assert_eq!(message.key, first.key);
        }
    }

    #[test]
    fn an_event_is_known_by_its_key_without_the_account() {
        let message = arrived("stepup.events", "acme.challenge.issued", BasicProperties::default());
        assert_eq!(message.key, "challenge.issued");
        let message = arrived("stepup.events", "bare", BasicProperties::default());
        assert_eq!(message.key, "bare");
    }

    #[test]
    fn headers_of_any_type_are_read_without_harm() {
        let values = [
            AMQPValue::Boolean(true),
            AMQPValue::ShortShortInt(-1),
            AMQPValue::ShortShortUInt(1),
            AMQPValue::ShortInt(-1),
            AMQPValue::ShortUInt(1),
            AMQPValue::LongInt(i32::MIN),
            AMQPValue::LongUInt(u32::MAX),
            AMQPValue::LongLongInt(i64::MIN),
            AMQPValue::LongLongInt(i64::MAX),
            AMQPValue::Float(f32::NAN),
            AMQPValue::Double(f64::INFINITY),
            AMQPValue::DecimalValue(DecimalValue { scale: 255, value: 1 }),
            AMQPValue::ShortString("text".into()),
            AMQPValue::LongString(vec![0xff, 0xfe].into()),
            AMQPValue::FieldArray(FieldArray::default()),
            AMQPValue::Timestamp(u64::MAX),
            AMQPValue::FieldTable(FieldTable::default()),
            AMQPValue::ByteArray(ByteArray::from(vec![0])),
            AMQPValue::Void,
        ];
        for value in values {
            let mut headers = FieldTable::default();
            for name in [KEY, APP, USER, ATTEMPT, FIRST_SEEN, TRACEPARENT, DELIVERY_COUNT] {
                headers.insert(name.into(), value.clone());
            }
            let properties = BasicProperties::default()
                .with_user_id("us".into())
                .with_timestamp(u64::MAX)
                .with_headers(headers);
            let _ = returns(&properties);
            let message = arrived("", "", properties);
            assert_eq!(message.published_at, None);
            assert_eq!(message.traceparent, None);
        }
    }

    #[test]
    fn only_an_id_that_is_not_utf8_makes_a_message_unreadable() {
        let latin_1: ShortString = "caf\u{fffd}".into();
        let properties = BasicProperties::default()
            .with_content_type(latin_1.clone())
            .with_content_encoding(latin_1.clone())
            .with_type(latin_1.clone())
            .with_app_id(latin_1.clone())
            .with_cluster_id(latin_1.clone())
            .with_user_id(latin_1.clone())
            .with_reply_to(latin_1.clone());
        let message = arrived("stepup.requests", "challenge.issue", properties.clone());
        assert_eq!(message.unreadable, None);
        assert_eq!((message.user, message.reply_to), (None, None));
        let with_id = properties.clone().with_message_id(latin_1.clone());
        let message = arrived("stepup.requests", "challenge.issue", with_id);
        assert_eq!((message.unreadable, message.message_id), (Some("message_id"), None));
        let message =
            arrived("stepup.requests", "challenge.issue", properties.with_correlation_id(latin_1));
        assert_eq!((message.unreadable, message.correlation_id), (Some("correlation_id"), None));
    }

    #[test]
    fn a_reply_address_that_is_none_of_the_brokers_is_not_passed_on() {
        let message = Incoming { reply_to: Some("stepup.dead".into()), ..Incoming::default() };
        assert_eq!(again("us", &message, Headers::default()).unwrap().reply_to(), &None);
    }
}
