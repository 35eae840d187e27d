//! Providers that carry a code to a person: one file each, one trait.
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

use crate::domain::provider::{ProviderAnswer, RenderedMessage};

mod hand_over;
mod http_status;
#[cfg(test)]
mod loopback;
mod retry_after;
pub mod sms_webhook;
pub mod smtp;
mod smtp_session;
mod smtp_url;
mod watched;
mod webhook_key;

pub use sms_webhook::{SmsWebhook, SmsWebhookSettings};
pub use smtp::{Smtp, SmtpSettings};
pub use watched::Watched;
pub use webhook_key::WebhookKey;

/// The longest provider reference that is kept, in characters.
pub const PROVIDER_REF_CHARS_MAX: usize = 128;

/// A provider that carries messages to people.
pub trait Gateway: Send + Sync + 'static {
    /// Makes one call, bounded in time by the gateway's own settings.
    fn send(&self, message: &RenderedMessage) -> impl Future<Output = ProviderAnswer> + Send;
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
}
