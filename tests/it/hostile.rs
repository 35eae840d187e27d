//! Messages that are made to do harm.

use std::time::{Duration, Instant};

use stepup::broker::{Broker, Settings, dead, topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, World};

/// Fills a frame of 8192 bytes, at 6 bytes a level. No frame may be smaller than 4096.
const LEVELS: usize = 1300;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// An AMQP connection by hand: the client library would overflow its own stack by writing this.
struct Wire(TcpStream);

impl Wire {
    async fn connect(url: &str) -> Self {
        let (credentials, rest) = url.strip_prefix("amqp://").unwrap().split_once('@').unwrap();
        let (user, password) = credentials.split_once(':').unwrap();
        let mut wire = Self(TcpStream::connect(rest.split('/').next().unwrap()).await.unwrap());
        wire.0.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        wire.expect(10, 10).await;
        let answer = format!("\0{user}\0{password}");
        let start_ok =
            [&[0; 4], &short("PLAIN")[..], &length(answer.as_bytes()), &short("en_US")].concat();
        wire.method(0, 10, 11, &start_ok).await;
        let tune = wire.expect(10, 30).await;
        wire.method(0, 10, 31, &tune).await;
        wire.method(0, 10, 40, &[&short("/")[..], &[0, 0]].concat()).await;
        wire.expect(10, 41).await;
        wire.method(1, 20, 10, &[0]).await;
        wire.expect(20, 11).await;
        wire
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let head = [&[kind][..], &channel.to_be_bytes()].concat();
        self.0.write_all(&[&head, &length(payload)[..], &[0xce]].concat()).await.unwrap();
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let name = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(METHOD, channel, &[&name, arguments].concat()).await;
    }

    /// The arguments of the next method, which must be this one.
    async fn expect(&mut self, class: u16, method: u16) -> Vec<u8> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).await.unwrap();
        let bytes = u32::from_be_bytes(head[3..].try_into().unwrap()) as usize;
        let mut payload = vec![0; bytes + 1];
        self.0.read_exact(&mut payload).await.unwrap();
        assert_eq!(payload[..4], [class.to_be_bytes(), method.to_be_bytes()].concat());
        payload[4..bytes].to_vec()
    }

    /// Publishes `{}` with these headers (a table as it is on the wire), and waits until the broker
    /// has it.
    async fn publish(&mut self, exchange: &str, key: &str, user: &str, headers: &[u8]) {
        let to = [&[0, 0], &short(exchange)[..], &short(key), &[0]].concat();
        self.method(1, 60, 40, &to).await;
        const HEADERS_AND_USER_ID: u16 = 1 << 13 | 1 << 4;
        let header = [
            &60_u16.to_be_bytes()[..],
            &[0, 0],
            &2_u64.to_be_bytes(),
            &HEADERS_AND_USER_ID.to_be_bytes(),
            &length(headers),
            &short(user),
        ];
        self.frame(HEADER, 1, &header.concat()).await;
        self.frame(BODY, 1, b"{}").await;
        // Channel.Close; its answer says that all before was handled.
        self.method(1, 20, 40, &[0, 200, 0, 0, 0, 0, 0]).await;
        self.expect(20, 41).await;
    }
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn length(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// The entries of a table that holds a table that holds a table …
fn nested(levels: usize) -> Vec<u8> {
    let mut entries = Vec::new();
    for _ in 0..levels {
        // An empty name, and the type of a table.
        entries = [&[0, b'F'][..], &length(&entries)].concat();
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_headers_nested_without_end_are_set_aside_and_nobody_dies_of_them() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let url = std::env::var("STEPUP_AMQP_URL").unwrap();
    let prefix = world.topology.prefix.clone();
    let user = url.strip_prefix("amqp://").unwrap().split_once(':').unwrap().0.to_owned();
    Wire::connect(&url)
        .await
        .publish(&format!("{prefix}.requests"), "challenge.issue", &user, &nested(LEVELS))
        .await;
    let settings = Settings { url, prefix, connection_name: "test".into(), ca_file: None };
    let broker = Broker::new(settings).unwrap();
    let started = Instant::now();
    while topology::depth(&broker, "dead").await.unwrap().messages == 0 {
        assert!(started.elapsed() < PATIENCE, "not set aside");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let letter = dead::list(&broker, 1).await.unwrap().remove(0);
    assert_eq!(
        (letter.reason.as_str(), letter.worker.as_str()),
        ("unidentified", "code_generation")
    );
    broker.close().await;
    world.register("acme", "ada", "+12025550123", None).await;
    assert_eq!(world.login("acme", "ada", "after").await["outcome"], "open");
    world.end().await;
}
