//! What the simulator's two servers share.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    sync::{Notify, futures::Notified},
    time::timeout,
};

use super::{
    connections::Connections,
    faults::Faults,
    ledger::{Channel, Ledger, Limits, Record},
    settings::Settings,
    signature::Secret,
};

/// Waiting readers are spread over this many bells, so that a message wakes few of them and
/// nothing has to be kept or cleaned up per recipient.
const BELLS: usize = 256;

/// Ledger, faults and the checks of the servers.
pub(super) struct State {
    /// Checked by the carrier, if set.
    pub sms_secret: Option<Secret>,
    /// Checked by the SMTP server, if set.
    pub smtp_credentials: Option<(String, String)>,
    /// How the carrier treats connections that are kept open.
    pub connections: Connections,
    books: Mutex<Books>,
    bells: Vec<Notify>,
    /// Rings with every bell.
    news: Notify,
}

/// What changes together.
pub(super) struct Books {
    /// What happened.
    pub ledger: Ledger,
    /// What is to go wrong.
    pub faults: Faults,
}

impl State {
    /// With the contents of the ledger file, if there is one.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let ledger = Ledger::open(settings.ledger_file.as_deref(), Limits::STANDARD)?;
        Ok(Self {
            sms_secret: settings.sms_secret,
            smtp_credentials: settings.smtp_credentials,
            connections: Connections::default(),
            books: Mutex::new(Books { ledger, faults: Faults::default() }),
            bells: (0..BELLS).map(|_| Notify::new()).collect(),
            news: Notify::new(),
        })
    }

    /// Exclusive access; never held across an await.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        // Every change of the books is complete before anything in it can panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a message to `recipient`.
    pub fn ring(&self, recipient: &str) {
        self.bell(recipient).notify_waiters();
        self.news.notify_waiters();
    }

    /// Completes with the next message to anybody.
    pub fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// The message number `index` (from 0) of a phone or mailbox, if it comes within `wait`.
    pub async fn message(
        &self,
        channel: Channel,
        recipient: &str,
        index: usize,
        wait: Duration,
    ) -> Option<Arc<Record>> {
        let arrival = async {
            loop {
                // Listening before looking: what comes in between is heard.
                let mut rung = std::pin::pin!(self.bell(recipient).notified());
                rung.as_mut().enable();
                let found = self.books().ledger.message(channel, recipient, index);
                if let Some(message) = found {
                    return message;
                }
                rung.await;
            }
        };
        timeout(wait, arrival).await.ok()
    }

    fn bell(&self, recipient: &str) -> &Notify {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(recipient);
        &self.bells[hash as usize % BELLS]
    }
}

/// The simulator's clock. Its word is never compared with the product's.
pub(super) fn now() -> OffsetDateTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "a carrier is another company: it has no access to the product's clock"
    )]
    OffsetDateTime::now_utc()
}

/// A name for a message, unique also across restarts.
pub(super) fn new_provider_ref() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "ids of the simulator have nothing to do with the product's Ctx"
    )]
    uuid::Uuid::now_v7().to_string()
}

/// The one spelling of a number or address: `+` and digits, or lower case and without quotation marks.
/// In a path a `+` may be missing or have become a space.
///
/// `None` if the text is neither a number (8 to 15 digits) nor an address.
pub(super) fn recipient(text: &str) -> Option<(Channel, String)> {
    let text = text.trim();
    if text.contains('@') {
        let printable = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let (local, domain) = text.rsplit_once('@')?;
        let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let bare = format!("{}@{domain}", quoted.unwrap_or(local));
        return printable.then(|| (Channel::Email, bare.to_lowercase()));
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let number = (8..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    number.then(|| (Channel::Sms, format!("+{digits}")))
}

#[cfg(test)]
mod tests {
    use super::{Channel, recipient};

    #[test]
    fn numbers_and_addresses_have_one_spelling() {
        for text in ["+12025550123", " 12025550123", "12025550123"] {
            assert_eq!(recipient(text), Some((Channel::Sms, "+12025550123".into())));
        }
        let ana = Some((Channel::Email, "ana@example.org".into()));
        assert_eq!(recipient("Ana@Example.org"), ana);
        assert_eq!(recipient("\"Ana\"@example.org"), ana);
        for text in ["", "+", "1234567", "1234567890123456", "++12025550123", "ana", "a b@c"] {
            assert_eq!(recipient(text), None, "{text}");
        }
    }
}
