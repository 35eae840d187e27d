//! A door in front of a server: it can delay, cut and swallow what passes, and cut a connection to
//! PostgreSQL after a COMMIT has reached the server and before the answer is seen.

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
    /// Nothing.
    Bytes,
    /// The frontend's messages.
    Postgres,
}

#[derive(Default)]
struct Orders {
    upstream: AtomicU16,
    delay_ms: AtomicU64,
    blackhole: AtomicBool,
    /// So many COMMITs are still to be cut off from their answers.
    commits: AtomicU64,
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

    /// Everything passes again. What was swallowed stays so: such a connection is cut.
    pub fn heal(&self) {
        let swallowed = self.orders.blackhole.swap(false, Ordering::Relaxed);
        self.delay(Duration::ZERO);
        self.lose_commit_answers(0);
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
    let commits = (kind == Kind::Postgres).then(Commits::default);
    tokio::select! {
        () = copy(from_client, to_server, &orders, &lose_answer, commits, true) => {}
        () = copy(from_server, to_client, &orders, &lose_answer, None, false) => {}
        _ = cut.changed() => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    orders: &Orders,
    lose_answer: &AtomicBool,
    mut commits: Option<Commits>,
    outward: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let bytes = &buffer[..read];
        if let Some(commits) = &mut commits
            && commits.seen_in(bytes)
            && orders
                .commits
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
        {
            lose_answer.store(true, Ordering::Relaxed);
        }
        if !outward && lose_answer.load(Ordering::Relaxed) {
            // The server has answered, so it has committed; nobody will know.
            return;
        }
        if orders.blackhole.load(Ordering::Relaxed) {
            continue;
        }
        let delay = orders.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
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
}
