//! A way to the database that a test can make silent, and where it can lose the answer to a COMMIT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Database;

/// The way. Connections are accepted at any time.
pub struct Door {
    /// The database's URL by this way.
    pub url: String,
    silent: watch::Sender<bool>,
    lose: Arc<AtomicBool>,
}

impl Door {
    pub async fn before(database: &Database) -> Self {
        let (credentials, rest) = database.url.split_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{name}", listener.local_addr().unwrap());
        let (silent, heard) = watch::channel(false);
        let lose = Arc::new(AtomicBool::new(false));
        let (address, losing) = (address.to_owned(), Arc::clone(&lose));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&address).await.unwrap();
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                let (heard, losing) = (heard.clone(), Arc::clone(&losing));
                tokio::spawn(async move {
                    let lost = AtomicBool::new(false);
                    tokio::select! {
                        () = carry(from_near, to_far, heard.clone(), |bytes| {
                            let commit = bytes.windows(6).any(|part| part == b"COMMIT");
                            if commit && losing.swap(false, Ordering::Relaxed) {
                                lost.store(true, Ordering::Relaxed);
                            }
                            true
                        }) => {}
                        () = carry(from_far, to_near, heard, |_| !lost.load(Ordering::Relaxed)) => {}
                    }
                });
            }
        });
        Self { url, silent, lose }
    }

    /// Whether nothing passes, in either direction. What was sent meanwhile passes afterwards.
    pub fn silent(&self, on: bool) {
        self.silent.send_replace(on);
    }

    /// The next COMMIT reaches the server; its answer is lost, and the connection with it.
    pub fn lose_the_answer_to_a_commit(&self) {
        self.lose.store(true, Ordering::Relaxed);
    }
}

/// Carries bytes for as long as `passes` says so.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut silent: watch::Receiver<bool>,
    passes: impl Fn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let _ = silent.wait_for(|on| !on).await;
        if !passes(&buffer[..read]) || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
