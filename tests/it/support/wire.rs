//! An AMQP client by hand, which publishes what no client library would.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// A property of a message, by its place in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    ContentType,
    ContentEncoding,
    Headers,
    DeliveryMode,
    Priority,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Timestamp,
    Type,
    UserId,
    AppId,
    ClusterId,
}

/// A message, byte by byte.
#[derive(Clone, Debug)]
pub struct Raw {
    pub key: Vec<u8>,
    /// Each with its value as it is on the wire.
    pub properties: Vec<(Property, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Raw {
    /// With a property more, or in the place of the one that was there.
    pub fn with(mut self, property: Property, value: Vec<u8>) -> Self {
        self = self.without(property);
        self.properties.push((property, value));
        self
    }

    /// Without a property.
    pub fn without(mut self, property: Property) -> Self {
        self.properties.retain(|(name, _)| *name != property);
        self
    }

    fn header(&self) -> Vec<u8> {
        let mut properties = self.properties.clone();
        properties.sort();
        let flags =
            properties.iter().fold(0_u16, |flags, (name, _)| flags | 1 << (15 - *name as u16));
        let mut header = [&60_u16.to_be_bytes()[..], &[0, 0]].concat();
        header.extend(u64::try_from(self.body.len()).unwrap().to_be_bytes());
        header.extend(flags.to_be_bytes());
        header.extend(properties.into_iter().flat_map(|(_, value)| value));
        header
    }
}

/// A connection with one channel, which asks for confirmations.
pub struct Wire {
    stream: TcpStream,
    frame_max: usize,
    published: u64,
}

impl Wire {
    pub async fn connect(url: &str) -> Self {
        let (credentials, rest) = url.strip_prefix("amqp://").unwrap().split_once('@').unwrap();
        let (user, password) = credentials.split_once(':').unwrap();
        let stream = TcpStream::connect(rest.split('/').next().unwrap()).await.unwrap();
        let mut wire = Self { stream, frame_max: 4096, published: 0 };
        wire.stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        wire.expect(10, 10).await;
        let answer = format!("\0{user}\0{password}");
        let start_ok =
            [&[0; 4], &short(b"PLAIN")[..], &long(answer.as_bytes()), &short(b"en_US")].concat();
        wire.method(0, 10, 11, &start_ok).await;
        let tune = wire.expect(10, 30).await;
        wire.frame_max = u32::from_be_bytes(tune[2..6].try_into().unwrap()) as usize;
        wire.method(0, 10, 31, &tune).await;
        wire.method(0, 10, 40, &[&short(b"/")[..], &[0, 0]].concat()).await;
        wire.expect(10, 41).await;
        wire.method(1, 20, 10, &[0]).await;
        wire.expect(20, 11).await;
        // Confirm.Select. Without it, RabbitMQ 3.10 loses what a channel published last if that closes
        // while the queue is busy.
        wire.method(1, 85, 10, &[0]).await;
        wire.expect(85, 11).await;
        wire
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let head = [&[kind][..], &channel.to_be_bytes()].concat();
        self.stream.write_all(&[&head, &long(payload)[..], &[0xce]].concat()).await.unwrap();
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let name = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(METHOD, channel, &[&name, arguments].concat()).await;
    }

    /// The arguments of the next method, which must be this one.
    async fn expect(&mut self, class: u16, method: u16) -> Vec<u8> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await.unwrap();
        let bytes = u32::from_be_bytes(head[3..].try_into().unwrap()) as usize;
        let mut payload = vec![0; bytes + 1];
        self.stream.read_exact(&mut payload).await.unwrap();
        let text = String::from_utf8_lossy(&payload[4..bytes]);
        assert_eq!(payload[..4], [class.to_be_bytes(), method.to_be_bytes()].concat(), "{text}");
        payload[4..bytes].to_vec()
    }

    /// Publishes a message.
    pub async fn publish(&mut self, exchange: &str, message: &Raw) {
        let to = [&[0, 0], &short(exchange.as_bytes())[..], &short(&message.key), &[0]].concat();
        self.method(1, 60, 40, &to).await;
        self.frame(HEADER, 1, &message.header()).await;
        // A frame has eight bytes around what it carries.
        for part in message.body.chunks(self.frame_max - 8) {
            self.frame(BODY, 1, part).await;
        }
        self.published += 1;
    }

    /// Waits until the broker has confirmed all that was published.
    pub async fn close(mut self) {
        let mut unconfirmed: BTreeSet<u64> = (1..=self.published).collect();
        while !unconfirmed.is_empty() {
            // Basic.Ack: a delivery tag, and whether it stands for all before it too.
            let ack = self.expect(60, 80).await;
            let tag = u64::from_be_bytes(ack[..8].try_into().unwrap());
            if ack[8] == 0 {
                unconfirmed.remove(&tag);
            } else {
                unconfirmed = unconfirmed.split_off(&(tag + 1));
            }
        }
    }
}

/// A short string, whatever its bytes.
pub fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

/// A long string, or the entries of a table or an array, with their length.
pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// An entry of a table: the value comes with the letter of its type.
pub fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&short(name), value].concat()
}
