//! A send: what is asked, what is known of it, and what becomes of it.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{AttemptState, Challenge, Channel};
use crate::domain::email::EmailAddress;
use crate::domain::id::{AppName, ChallengeId, derived};
use crate::domain::member::Member;
use crate::domain::provider::{ProviderAnswer, RenderedMessage};
use crate::message::{Command, EmailCause, Message, Rejected, Subject};

/// The send number of the automatic email: there is one at most.
pub const FALLBACK_SEND: i16 = 0;
/// Why nothing is sent: the template could not be rendered.
pub const TEXT_FAULTY: &str = "text_faulty";

/// One send that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// Whose code.
    pub challenge: ChallengeId,
    /// By which way.
    pub channel: Channel,
    /// Which send.
    pub send: i16,
    /// How many calls went before.
    pub tries: i16,
    /// Why by email.
    pub cause: Option<EmailCause>,
    /// The provider asked not to be called earlier.
    pub not_before: Option<Timestamp>,
}

impl SendRequest {
    /// The send that a command asks for, if it is one to send a code.
    pub const fn of(command: &Command) -> Option<Self> {
        match *command {
            Command::SendSms { challenge, send, tries, not_before } => {
                let channel = Channel::Sms;
                Some(Self { challenge, channel, send, tries, cause: None, not_before })
            }
            Command::SendEmail { challenge, send, tries, cause } => {
                let (channel, cause) = (Channel::Email, Some(cause));
                Some(Self { challenge, channel, send, tries, cause, not_before: None })
            }
            _ => None,
        }
    }

    /// Whether it is the automatic email.
    pub fn is_fallback(&self) -> bool {
        self.channel == Channel::Email && self.send == FALLBACK_SEND
    }

    /// The id of the attempt: the provider's idempotency key. The same for every try of one send,
    /// so that a provider which knows it sends nothing twice.
    pub fn attempt_id(&self) -> uuid::Uuid {
        derived(self.challenge.0, &format!("{}/{}", self.channel.label(), self.send))
    }
}

impl Message for SendRequest {
    fn read(key: &str, _: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        Command::read_as(key, body, Self::of)
    }

    fn subject(&self) -> Subject {
        Subject::of(self.challenge.0)
    }
}

/// A delivery as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// By which way.
    pub channel: Channel,
    /// Which send.
    pub send: i16,
    /// Where it stands.
    pub state: AttemptState,
    /// Calls so far.
    pub tries: i16,
    /// Until when the one who claimed it may still settle it.
    pub lease_until: Option<Timestamp>,
}

/// What is known when a send is picked up.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The challenge.
    pub challenge: Challenge,
    /// Its account.
    pub account: Account,
    /// Its member, today.
    pub member: Member,
    /// Its deliveries so far.
    pub attempts: Vec<Attempt>,
}

impl Facts {
    pub(super) fn attempt(&self, request: &SendRequest) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.channel == request.channel && a.send == request.send)
    }
}

/// An address as the mail server takes it. One that was stored before the rule of today, and cannot
/// be mailed, gets nothing, for this reason.
pub(in crate::rules) fn mailable(stored: &str) -> Result<Zeroizing<String>, &'static str> {
    EmailAddress::parse(stored).map(|address| address.wire()).map_err(|_| "invalid_address")
}

/// What a provider's answer means for a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken.
    Accepted {
        /// What the provider calls it.
        provider_ref: String,
    },
    /// Not taken now; later perhaps.
    NotNow {
        /// Not before.
        retry_after_seconds: Option<u64>,
        /// A word of a closed set.
        code: String,
    },
    /// The provider takes nothing at present, whatever the message: it is not there, or it refuses us.
    Closed {
        /// A word of a closed set.
        code: String,
    },
    /// Not taken, and never will be.
    Refused {
        /// A word of a closed set.
        code: String,
    },
    /// It may have been taken.
    Unknown {
        /// A word of a closed set.
        code: String,
    },
}

/// Which send, and what is known of it after the claim was decided.
#[derive(Clone)]
pub struct DeliverySend {
    /// Which send.
    pub request: SendRequest,
    /// The challenge, where there is one.
    pub challenge: Option<Box<Challenge>>,
    /// Whether email may still save a failed SMS.
    pub(super) email_left: bool,
    /// When it was decided.
    pub now: Timestamp,
}

/// A send that is to be claimed and then handed to the provider.
pub struct DeliveryCall {
    /// Which.
    pub send: DeliverySend,
    /// Whether the challenge had its `fallback_at` already.
    pub fallback_set: bool,
    /// Readable once it is claimed.
    pub(in crate::rules) message: RenderedMessage,
}

impl From<ProviderAnswer> for Answer {
    fn from(answer: ProviderAnswer) -> Self {
        match answer {
            ProviderAnswer::Accepted { provider_ref } => Self::Accepted { provider_ref },
            ProviderAnswer::Throttled { retry_after_seconds } => {
                Self::NotNow { retry_after_seconds, code: "throttled".to_owned() }
            }
            ProviderAnswer::Transient { retry_after_seconds, code } => {
                Self::NotNow { retry_after_seconds, code }
            }
            ProviderAnswer::Closed { code, .. } => Self::Closed { code },
            ProviderAnswer::Refused { scope, code } => {
                Self::Refused { code: format!("{}_{code}", scope.label()) }
            }
            ProviderAnswer::Unknown { code } => Self::Unknown { code },
        }
    }
}

/// How a send is settled.
pub enum Settled {
    /// The provider has answered.
    Answered(Answer),
    /// Claimed by a process that never settled it.
    Lost,
    /// Not to be sent: why.
    Skipped(&'static str),
    /// Email is only offered: say so (D-1).
    Offered,
    /// Nothing to do: it was settled under another message.
    Done,
}

/// What became of a send.
pub struct DeliverySettlement {
    /// Which.
    pub send: DeliverySend,
    /// How it is settled.
    pub settled: Settled,
}
