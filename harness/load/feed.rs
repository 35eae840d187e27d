//! The other end: what arrives on phones and in mailboxes, as the simulator streams it, brought to
//! the login that waits for it. The arrival times are the simulator's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Client;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use super::members::{Member, Members};

/// A code in somebody's hand.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When the simulator took the message.
    pub at: OffsetDateTime,
    /// The code in it.
    pub code: String,
}

/// One line of the stream.
#[derive(Deserialize)]
struct Line {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    channel: Medium,
    to: String,
    text: String,
    code: Option<String>,
}

/// How a message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Medium {
    /// To a phone.
    Sms,
    /// To a mailbox.
    Email,
}

/// Who waits for what.
pub(super) struct Feed {
    members: Arc<Members>,
    waiting: Mutex<HashMap<(Member, Medium), oneshot::Sender<Arrival>>>,
    unexpected: AtomicU64,
}

impl Feed {
    /// A feed nobody waits at yet.
    pub fn new(members: Arc<Members>) -> Self {
        Self { members, waiting: Mutex::default(), unexpected: AtomicU64::new(0) }
    }

    /// Waits for the next message to `member`. Ask before it can have been sent.
    pub fn expect(&self, member: Member, medium: Medium) -> oneshot::Receiver<Arrival> {
        let (arrived, arrival) = oneshot::channel();
        self.waiting().insert((member, medium), arrived);
        arrival
    }

    /// Waits no longer: what comes now is one too many.
    pub fn forget(&self, member: Member, medium: Medium) {
        self.waiting().remove(&(member, medium));
    }

    /// Messages that nobody waited for: one of them was sent twice.
    pub fn unexpected(&self) -> u64 {
        self.unexpected.load(Ordering::Relaxed)
    }

    /// Reads the stream until it ends.
    ///
    /// # Errors
    /// A sentence, when the simulator is gone.
    pub async fn read(&self, mut stream: Stream) -> Result<(), String> {
        while let Some(line) = stream.next().await? {
            self.deliver(line);
        }
        Err("the simulator has ended its stream".to_owned())
    }

    fn deliver(&self, line: Line) {
        // Somebody else's, such as a notice of another run.
        let Some(member) = self.members.by_contact(&line.to) else { return };
        let code = line.code.unwrap_or_else(|| first_word(&line.text));
        let waiting = self.waiting().remove(&(member, line.channel));
        let taken = waiting.map(|arrived| arrived.send(Arrival { at: line.at, code }));
        if !matches!(taken, Some(Ok(()))) {
            self.unexpected.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiting(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<(Member, Medium), oneshot::Sender<Arrival>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The simulator's stream, open.
pub(super) struct Stream {
    lines: mpsc::Receiver<Result<Line, String>>,
}

impl Stream {
    /// Opens it: from now on nothing is missed.
    ///
    /// # Errors
    /// A sentence, when there is no simulator at `url`.
    pub async fn open(url: &str) -> Result<Self, String> {
        let client = Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
        let answer = client.get(format!("{url}/ledger/stream")).send().await;
        let mut answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| {
            format!(
                "no simulator (`stepup-harness sim`) at {url}: {error}; give its address by --sim"
            )
        })?;
        let (sent, lines) = mpsc::channel(10_000);
        tokio::spawn(async move {
            let mut rest = Vec::new();
            while let Ok(Some(piece)) = answer.chunk().await {
                rest.extend_from_slice(&piece);
                let mut begin = 0;
                while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                    let line = serde_json::from_slice(&rest[begin..begin + length])
                        .map_err(|_| "a line of the simulator's stream is not known".to_owned());
                    begin += length + 1;
                    if sent.send(line).await.is_err() {
                        return;
                    }
                }
                rest.drain(..begin);
            }
        });
        Ok(Self { lines })
    }

    async fn next(&mut self) -> Result<Option<Line>, String> {
        self.lines.recv().await.transpose()
    }

    /// Waits for a text to `phone`.
    ///
    /// # Errors
    /// When a line cannot be read, or the stream ends.
    pub async fn text_to(&mut self, phone: &str) -> Result<(), String> {
        while let Some(line) = self.next().await? {
            if line.to == phone && line.channel == Medium::Sms {
                return Ok(());
            }
        }
        Err("the simulator has ended its stream".to_owned())
    }
}

/// A mail begins with the code.
fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}
