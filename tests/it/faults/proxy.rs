//! A door in front of a server: it can delay, cut and swallow what passes, cut a connection to
//! PostgreSQL after a COMMIT has reached the server and before the answer is seen, and make RabbitMQ
//! close one channel of a connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy understands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client's frames.
    Amqp,
    /// The frontend's messages.
    Postgres,
}

/// A channel by what its client does on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// It takes messages, and acks them.
    Consuming,
    /// It publishes.
    Publishing,
}

#[derive(Default)]
struct Orders {
    upstream: AtomicU16,
    delay_ms: AtomicU64,
    blackhole: AtomicBool,
    /// So many COMMITs are still to be cut off from their answers.
    commits: AtomicU64,
    /// How many acks, and how many publishes, are still to pass before no channel is closed any more.
    acks: AtomicU64,
    publishes: AtomicU64,
}

/// Between two channels that are closed so many frames of the same kind pass, so that it is not
/// always the busiest one that is hit.
const FRAMES_BETWEEN: u64 = 7;

impl Orders {
    fn of(&self, channels: Channels) -> &AtomicU64 {
        match channels {
            Channels::Consuming => &self.acks,
            Channels::Publishing => &self.publishes,
        }
    }
}

pub struct Proxy {
    port: u16,
    orders: Arc<Orders>,
    cut: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = Arc::new(Orders::default());
        let (cut, _) = watch::channel(0);
        let (owned, cuts) = (Arc::clone(&orders), cut.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (orders, cut) = (Arc::clone(&owned), cuts.subscribe());
                tokio::spawn(connection(client, kind, orders, cut));
            }
        });
        Self { port, orders, cut }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn lead_to(&self, port: u16) {
        self.orders.upstream.store(port, Ordering::Relaxed);
    }

    pub fn delay(&self, delay: Duration) {
        self.orders.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Swallows everything in both directions; connections stay open.
    pub fn blackhole(&self, on: bool) {
        self.orders.blackhole.store(on, Ordering::Relaxed);
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// The answers of the next `times` COMMITs are lost, with their connections.
    pub fn lose_commit_answers(&self, times: u64) {
        self.orders.commits.store(times, Ordering::Relaxed);
    }

    /// The broker is made to close so many channels of this kind, each alone: in front of a frame it
    /// is sent an ack of a message that it never delivered.
    pub fn close_channels(&self, channels: Channels, times: u64) {
        self.orders.of(channels).store(times * FRAMES_BETWEEN, Ordering::Relaxed);
    }

    /// How many of `times` channels were not closed yet.
    pub fn channels_left(&self, channels: Channels) -> u64 {
        self.orders.of(channels).load(Ordering::Relaxed).div_ceil(FRAMES_BETWEEN)
    }

    /// Everything passes again. What was swallowed stays so: such a connection is cut.
    pub fn heal(&self) {
        let swallowed = self.orders.blackhole.swap(false, Ordering::Relaxed);
        self.delay(Duration::ZERO);
        self.lose_commit_answers(0);
        self.close_channels(Channels::Consuming, 0);
        self.close_channels(Channels::Publishing, 0);
        if swallowed {
            self.cut();
        }
    }
}

async fn connection(
    client: TcpStream,
    kind: Kind,
    orders: Arc<Orders>,
    mut cut: watch::Receiver<u64>,
) {
    let upstream = ("127.0.0.1", orders.upstream.load(Ordering::Relaxed));
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    cut.mark_unchanged();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let lose_answer = AtomicBool::new(false);
    let reader = match kind {
        Kind::Postgres => Reader::Commits(Commits::default()),
        Kind::Amqp => Reader::Frames(Frames::default()),
    };
    tokio::select! {
        () = copy(from_client, to_server, &orders, &lose_answer, reader) => {}
        () = copy(from_server, to_client, &orders, &lose_answer, Reader::Answers) => {}
        _ = cut.changed() => {}
    }
}

/// What passes in one direction of a connection.
enum Reader {
    /// From a client of PostgreSQL.
    Commits(Commits),
    /// From a client of RabbitMQ.
    Frames(Frames),
    /// From a server.
    Answers,
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    orders: &Orders,
    lose_answer: &AtomicBool,
    mut reader: Reader,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let mut bytes = Cow::Borrowed(&buffer[..read]);
        match &mut reader {
            Reader::Commits(commits) => {
                if commits.seen_in(&bytes) && one_less(&orders.commits).is_some() {
                    lose_answer.store(true, Ordering::Relaxed);
                }
            }
            Reader::Frames(frames) => bytes = Cow::Owned(frames.with_false_acks(&bytes, orders)),
            // The server has answered, so it has committed; nobody will know.
            Reader::Answers if lose_answer.load(Ordering::Relaxed) => return,
            Reader::Answers => {}
        }
        if orders.blackhole.load(Ordering::Relaxed) {
            continue;
        }
        let delay = orders.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Counts down; what it was before, unless that was nothing.
fn one_less(count: &AtomicU64) -> Option<u64> {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()
}

/// Reads the frames of AMQP 0-9-1 far enough to put one of ours between two of the client's.
#[derive(Default)]
struct Frames {
    started: bool,
    pending: Vec<u8>,
}

impl Frames {
    /// What comes before the first frame.
    const PREAMBLE: usize = 8;
    const METHOD: u8 = 1;
    const END: u8 = 0xce;
    const ACK: [u8; 4] = [0, 60, 0, 80];
    const PUBLISH: [u8; 4] = [0, 60, 0, 40];

    /// The frames that are whole by now, with ours in front of those that the orders say.
    fn with_false_acks(&mut self, bytes: &[u8], orders: &Orders) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let mut passing = Vec::with_capacity(self.pending.len());
        while let Some(frame) = self.next() {
            // No frame may come between the parts of a message; but in front of a method of its
            // channel no part is awaited any more.
            let channels = match frame.get(7..11) {
                _ if frame[0] != Self::METHOD => None,
                Some(method) if method == Self::ACK => Some(Channels::Consuming),
                Some(method) if method == Self::PUBLISH => Some(Channels::Publishing),
                _ => None,
            };
            let left = channels.and_then(|channels| one_less(orders.of(channels)));
            if left.is_some_and(|left| left % FRAMES_BETWEEN == 0) {
                passing.extend(Self::false_ack([frame[1], frame[2]]));
            }
            passing.extend(frame);
        }
        passing
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let length = if self.started {
            let size = self.pending.get(3..7)?;
            u32::from_be_bytes(size.try_into().unwrap()) as usize + 8
        } else {
            Self::PREAMBLE
        };
        if self.pending.len() < length {
            return None;
        }
        if !self.started {
            // It is no frame, and nothing may come in front of it.
            self.started = true;
        }
        Some(self.pending.drain(..length).collect())
    }

    /// `basic.ack` of a tag that no channel reaches: RabbitMQ closes the channel with 406.
    fn false_ack(channel: [u8; 2]) -> Vec<u8> {
        let mut frame = vec![Self::METHOD, channel[0], channel[1], 0, 0, 0, 13];
        frame.extend(Self::ACK);
        frame.extend((1_u64 << 62).to_be_bytes());
        frame.extend([0, Self::END]);
        frame
    }
}

/// Reads the frontend's messages far enough to see a COMMIT.
#[derive(Default)]
struct Commits {
    started: bool,
    pending: Vec<u8>,
}

impl Commits {
    fn seen_in(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        let mut seen = false;
        loop {
            let head = if self.started { 1 } else { 0 };
            let Some(length) = self.pending.get(head..head + 4) else { return seen };
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + head;
            if self.pending.len() < length {
                return seen;
            }
            let message: Vec<u8> = self.pending.drain(..length).collect();
            if !self.started {
                self.started = true;
            } else if matches!(message[0], b'Q' | b'P') {
                seen |= message[5..].windows(6).any(|word| word.eq_ignore_ascii_case(b"commit"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend((body.len() as u32 + 4).to_be_bytes());
        message.extend(body);
        message
    }

    #[test]
    fn a_commit_is_seen_however_its_bytes_arrive() {
        let mut stream = vec![0, 0, 0, 8, 0, 3, 0, 0];
        stream.extend(message(b'Q', b"BEGIN\0"));
        let before = stream.len();
        stream.extend(message(b'Q', b"COMMIT\0"));
        let mut commits = Commits::default();
        let seen: Vec<bool> = stream.iter().map(|byte| commits.seen_in(&[*byte])).collect();
        assert_eq!(seen.iter().position(|seen| *seen), Some(stream.len() - 1));
        assert!(!Commits::default().seen_in(&stream[..before]));
        assert!(Commits::default().seen_in(&stream));
    }
    fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, channel];
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        frame.push(Frames::END);
        frame
    }

    #[test]
    fn a_false_ack_stands_in_front_of_a_whole_method_however_its_bytes_arrive() {
        let publish = [&Frames::PUBLISH[..], b"..."].concat();
        let parts = [
            b"AMQP\0\0\x09\x01".to_vec(),
            frame(1, 3, &publish),
            frame(2, 3, b"header"),
            frame(3, 3, &Frames::PUBLISH),
            frame(1, 5, &[&Frames::ACK[..], &[0; 9]].concat()),
        ];
        let stream = parts.concat();
        let pass = |channels: Option<Channels>, step: usize| {
            let (orders, mut frames) = (Orders::default(), Frames::default());
            if let Some(channels) = channels {
                orders.of(channels).store(FRAMES_BETWEEN, Ordering::Relaxed);
            }
            let chunks = stream.chunks(step);
            chunks.flat_map(|bytes| frames.with_false_acks(bytes, &orders)).collect::<Vec<u8>>()
        };
        for step in [1, 5, stream.len()] {
            assert_eq!(pass(None, step), stream, "{step}");
            let mut before = parts.to_vec();
            before.insert(1, Frames::false_ack([0, 3]));
            assert_eq!(pass(Some(Channels::Publishing), step), before.concat(), "{step}");
            let mut before = parts.to_vec();
            before.insert(4, Frames::false_ack([0, 5]));
            assert_eq!(pass(Some(Channels::Consuming), step), before.concat(), "{step}");
        }
    }
}
