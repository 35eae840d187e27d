//! A message for a provider, and what the provider answered.

use uuid::Uuid;
use zeroize::Zeroizing;

/// A message ready for its provider. In clear, so it lives only from the claim to the call, and has no
/// `Debug`.
pub struct RenderedMessage {
    /// The delivery attempt: the provider's idempotency key, the same on every repeat.
    pub attempt: Uuid,
    /// The number in E.164 with `+`, or the address alone.
    pub to: Zeroizing<String>,
    /// The subject of a mail; control characters are removed. Empty for an SMS.
    pub subject: String,
    /// What the person reads.
    pub text: Zeroizing<String>,
}

/// What a provider said. Every one of these is a verdict to be stored, none is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderAnswer {
    /// The provider took the message over.
    Accepted {
        /// The provider's own id for it; empty if it gave none.
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

impl ProviderAnswer {
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

    /// Certainly not taken over, with no time given.
    pub fn transient(code: impl Into<String>) -> Self {
        Self::Transient { retry_after_seconds: None, code: code.into() }
    }

    /// There is no session with the provider.
    pub fn unreachable(code: impl Into<String>) -> Self {
        Self::Closed { refused: false, code: code.into() }
    }

    /// The provider refuses us.
    pub fn refuses_us(scope: Scope, code: &str) -> Self {
        Self::Closed { refused: true, code: format!("{}_{code}", scope.label()) }
    }

    /// Certainly not taken over, now or later.
    pub fn refused(scope: Scope, code: impl Into<String>) -> Self {
        Self::Refused { scope, code: code.into() }
    }

    /// It may have been taken over.
    pub fn unknown(code: impl Into<String>) -> Self {
        Self::Unknown { code: code.into() }
    }
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This number or address cannot be reached, whatever the sender and the content.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_one_of_the_labels() {
        let code = String::new;
        let answers = [
            ProviderAnswer::Accepted { provider_ref: code() },
            ProviderAnswer::Throttled { retry_after_seconds: None },
            ProviderAnswer::transient(code()),
            ProviderAnswer::unreachable(code()),
            ProviderAnswer::refused(Scope::Message, code()),
            ProviderAnswer::unknown(code()),
        ];
        assert_eq!(answers.map(|answer| answer.label()), ProviderAnswer::LABELS);
    }

    #[test]
    fn every_scope_is_found_by_its_label_and_nothing_else_is() {
        for scope in [Scope::Recipient, Scope::Message, Scope::Sender, Scope::Account] {
            assert_eq!(Scope::from_label(scope.label()), Some(scope));
        }
        assert_eq!(Scope::from_label("Recipient"), None);
    }
}
