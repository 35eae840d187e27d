//! Providers that carry a code to a person: one trait a channel, and what a provider said.
//!
//! A gateway makes one call and classifies the outcome; it does not retry, log or count. The one
//! question that decides whether a second try may send the message twice is whether the provider
//! can have received the first, so every implementation answers it from facts of its own (what was
//! handed to the network) and not from the wording of a library's error.
//!
//! # Codes
//!
//! The `code` of an answer comes from a closed set and never contains a provider's free text:
//! `http_NNN`, `html_page`, `smtp_NNN`, `connect`, `connection_lost`, `timeout`, `no_answer`,
//! `invalid_address`, `non_ascii_address`, `invalid_message`, `starttls_unavailable` and
//! `auth_unsupported`; where the provider refuses us, `account_` or `sender_` comes first.

use std::fmt;
use std::future::Future;
use std::path::Path;

use uuid::Uuid;

mod hand_over;
mod http_status;
#[cfg(test)]
mod loopback;
mod retry_after;
pub mod sms_webhook;
pub mod smtp;
mod smtp_session;
mod smtp_url;
mod webhook_key;

pub use sms_webhook::{SmsWebhook, SmsWebhookSettings};
pub use smtp::{Smtp, SmtpSettings};
pub use webhook_key::WebhookKey;

/// The longest provider reference that is kept, in characters.
pub const PROVIDER_REF_CHARS_MAX: usize = 128;

/// What a provider said. Every one of these is a verdict to be stored, none is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The provider took the message over.
    Accepted {
        /// The provider's own id for it (see [`provider_ref`]); empty if it gave none.
        provider_ref: String,
    },
    /// The same provider will take it later.
    Throttled {
        /// How long the provider asks us to wait, if it says so; at most an hour.
        retry_after_seconds: Option<u64>,
    },
    /// The message was certainly not taken over; another try may succeed and cannot duplicate it.
    Transient {
        /// How long the provider asks us to wait, if it says so; at most an hour.
        retry_after_seconds: Option<u64>,
        /// Why, from the closed set.
        code: String,
    },
    /// The provider takes nothing at present, whatever the message: there is no session with it. The
    /// message was certainly not taken over; it may be once the cause is gone.
    Closed {
        /// Whether the provider has answered, and refuses us.
        refused: bool,
        /// Why, from the closed set.
        code: String,
    },
    /// The message was certainly not taken over, and the same call can never succeed.
    Refused {
        /// What the refusal is about, and so what else is worth trying.
        scope: Scope,
        /// Why, from the closed set.
        code: String,
    },
    /// The message may have been taken over: it was handed to the network and no answer came.
    Unknown {
        /// Why, from the closed set.
        code: String,
    },
}

impl Answer {
    /// Every [`label`](Self::label).
    pub const LABELS: [&'static str; 6] =
        ["accepted", "throttled", "transient", "closed", "refused", "unknown"];

    /// One word for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Throttled { .. } => "throttled",
            Self::Transient { .. } => "transient",
            Self::Closed { .. } => "closed",
            Self::Refused { .. } => "refused",
            Self::Unknown { .. } => "unknown",
        }
    }

    fn transient(code: impl Into<String>) -> Self {
        Self::Transient { retry_after_seconds: None, code: code.into() }
    }

    fn unreachable(code: impl Into<String>) -> Self {
        Self::Closed { refused: false, code: code.into() }
    }

    fn refuses_us(scope: Scope, code: &str) -> Self {
        Self::Closed { refused: true, code: format!("{}_{code}", scope.label()) }
    }

    fn refused(scope: Scope, code: impl Into<String>) -> Self {
        Self::Refused { scope, code: code.into() }
    }

    fn unknown(code: impl Into<String>) -> Self {
        Self::Unknown { code: code.into() }
    }
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This number or address cannot be reached, whoever sends and whatever is sent.
    Recipient,
    /// This text is not accepted.
    Message,
    /// Our sender name or address is not accepted.
    Sender,
    /// Our account with the provider or our configuration of it: no message will pass.
    Account,
}

impl Scope {
    /// One word for metrics and for tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::Sender => "sender",
            Self::Account => "account",
        }
    }

    /// The scope with this [`label`](Self::label), if there is one.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Recipient, Self::Message, Self::Sender, Self::Account]
            .into_iter()
            .find(|scope| scope.label() == label)
    }
}

/// One SMS. It has no `Debug`: it holds a number and a code in clear.
pub struct Sms<'a> {
    /// The delivery attempt; the same on every repeat of the same attempt.
    pub attempt: Uuid,
    /// The recipient in E.164 with `+`.
    pub to: &'a str,
    /// What the person reads.
    pub text: &'a str,
}

/// One plain text email. It has no `Debug`: it holds an address and a code in clear.
pub struct Mail<'a> {
    /// The delivery attempt; the same on every repeat of the same attempt.
    pub attempt: Uuid,
    /// The recipient's address alone, without a display name.
    pub to: &'a str,
    /// The subject; control characters are removed.
    pub subject: &'a str,
    /// What the person reads; `\n` or `\r\n` ends a line.
    pub text: &'a str,
}

/// A provider of SMS.
pub trait SmsGateway: Send + Sync + 'static {
    /// Makes one call, bounded in time by the gateway's own settings.
    fn send(&self, sms: Sms<'_>) -> impl Future<Output = Answer> + Send;
}

/// A provider of email.
pub trait MailGateway: Send + Sync + 'static {
    /// Makes one call, bounded in time by the gateway's own settings.
    fn send(&self, mail: Mail<'_>) -> impl Future<Output = Answer> + Send;
}

/// A setting that cannot work. The text names the part that is wrong and never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl SettingsError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

/// What a file with certificates of authorities holds, PEM; nothing where there is no file.
fn authorities(ca_file: Option<&Path>) -> Result<Vec<u8>, SettingsError> {
    let unreadable = |error| SettingsError::new(format!("ca_file: cannot be read: {error}"));
    ca_file.map_or(Ok(Vec::new()), |path| std::fs::read(path).map_err(unreadable))
}

/// So many digits in a row are a code, or enough of a number to tell whose it is.
const TELLING_DIGITS: usize = 6;

/// The form in which a provider's id is kept and compared: letters, digits and `-_.:`, at most
/// [`PROVIDER_REF_CHARS_MAX`] of them. Empty where there is anything else in it, or digits of what was
/// `sent`: the recipient, or the text with its code. A provider that repeats those must not bring them
/// into the database.
pub fn provider_ref(raw: &str, sent: &[&str]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let theirs = digits(raw);
    let repeats = |sent: &&str| {
        let ours = digits(sent);
        let mut runs = ours.as_bytes().windows(TELLING_DIGITS);
        runs.any(|run| std::str::from_utf8(run).is_ok_and(|run| theirs.contains(run)))
    };
    let fits = raw.len() <= PROVIDER_REF_CHARS_MAX && raw.chars().all(plain);
    if fits && !sent.iter().any(repeats) { raw.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_reference_is_a_word_that_repeats_nothing_of_what_was_sent() {
        let sent = ["+12025550123", "Acme: 314159 is your code"];
        for kept in ["SM_1f.2-b:9", "202555", "7fd31415-9"] {
            assert_eq!(provider_ref(kept, &sent[..0]), kept);
        }
        assert_eq!(provider_ref("id-31-41", &sent), "id-31-41");
        for gone in ["SM\r\n12", "to +1", "é", "12025550123", "202-555-0123", "x314159", "31.41.59"]
        {
            assert_eq!(provider_ref(gone, &sent), "", "{gone}");
        }
        assert_eq!(provider_ref(&"a".repeat(PROVIDER_REF_CHARS_MAX + 1), &[]), "");
    }

    #[test]
    fn every_answer_has_one_of_the_labels() {
        let code = String::new;
        let answers = [
            Answer::Accepted { provider_ref: code() },
            Answer::Throttled { retry_after_seconds: None },
            Answer::transient(code()),
            Answer::unreachable(code()),
            Answer::refused(Scope::Message, code()),
            Answer::unknown(code()),
        ];
        assert_eq!(answers.map(|answer| answer.label()), Answer::LABELS);
    }

    #[test]
    fn every_scope_is_found_by_its_label_and_nothing_else_is() {
        for scope in [Scope::Recipient, Scope::Message, Scope::Sender, Scope::Account] {
            assert_eq!(Scope::from_label(scope.label()), Some(scope));
        }
        assert_eq!(Scope::from_label("Recipient"), None);
    }
}
