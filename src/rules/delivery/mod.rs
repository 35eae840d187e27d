//! Whether a code is handed to a provider, and what its answer means.
//!
//! The claim is decided on facts that are locked; then the provider is called with no transaction
//! open; then the answer is settled. What was claimed and never settled is `unknown`: it is not
//! sent again by itself.

mod claim;
mod settlement;

use zeroize::Zeroizing;

use super::RuleInputs;
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{AttemptState, Challenge, Channel};
use crate::domain::email::EmailAddress;
use crate::domain::id::{ChallengeId, derived};
use crate::domain::member::Member;
use crate::message::{Command, EmailCause, RetryDelay};

pub(super) use self::claim::too_late;
pub use self::settlement::{ASKED_CALLS_MAX, delay_while_closed, retry_delay};

/// The send number of the automatic email: there is one at most.
pub const FALLBACK_SEND: i16 = 0;
/// Why nothing is sent: the template could not be rendered.
pub const TEXT_FAULTY: &str = "text_faulty";

/// One send that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
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

impl Ask {
    /// The ask of a command, if it is one to send a code.
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

    /// The id of the attempt: the provider's idempotency key. The same for every try of one send,
    /// so that a provider which knows it sends nothing twice.
    pub fn attempt_id(&self) -> uuid::Uuid {
        derived(self.challenge.0, &format!("{}/{}", self.channel.label(), self.send))
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
    fn attempt(&self, ask: &Ask) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.channel == ask.channel && a.send == ask.send)
    }
}

/// A message ready for its provider. In clear, so it lives only from the claim to the call.
pub struct RenderedMessage {
    /// The provider's idempotency key.
    pub attempt: uuid::Uuid,
    /// The number or address.
    pub to: Zeroizing<String>,
    /// The subject of a mail.
    pub subject: String,
    /// The text.
    pub text: Zeroizing<String>,
}

/// An address as the mail server takes it. One that was stored before the rule of today, and cannot
/// be mailed, gets nothing, for this reason.
pub(super) fn mailable(stored: &str) -> Result<Zeroizing<String>, &'static str> {
    EmailAddress::parse(stored).map(|address| address.wire()).map_err(|_| "invalid_address")
}

/// What became of a call.
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
    /// Nobody knows.
    Unknown {
        /// A word of a closed set.
        code: String,
    },
}

/// What is to be done with a send.
pub enum Step {
    /// Claim it, then call the provider.
    Call(Box<RenderedMessage>),
    /// The provider has answered.
    Answered(Answer),
    /// Claimed by one who never came back.
    Lost,
    /// Not to be sent: why.
    Skip(&'static str),
    /// Email is only offered: say so (D-1).
    Offer,
    /// Nothing to do: it was settled under another message.
    Done,
    /// Another process has claimed it; its lease still runs.
    Leased,
    /// The provider asked for a longer wait, of which this delay is the next part.
    Early(RetryDelay),
}

/// The verdict of a sender.
pub struct Dispatch {
    /// Which send.
    pub ask: Ask,
    /// What to do.
    pub step: Step,
    /// The challenge, where there is one.
    pub challenge: Option<Box<Challenge>>,
    /// Whether email may still save a failed SMS.
    email_left: bool,
    /// Whether the challenge had its `fallback_at` already.
    pub fallback_set: bool,
    /// When it was decided.
    pub now: Timestamp,
}

/// The rule of the claim.
pub fn decide(ask: &Ask, facts: Option<Facts>, rules: &RuleInputs, now: Timestamp) -> Dispatch {
    let Some(facts) = facts else {
        return Dispatch {
            ask: *ask,
            step: Step::Skip("challenge_unknown"),
            challenge: None,
            email_left: false,
            fallback_set: true,
            now,
        };
    };
    let step = claim::step(ask, &facts, rules, now);
    let email_sent = facts.attempts.iter().any(|attempt| attempt.channel == Channel::Email);
    let sends_left = facts.challenge.sends < rules.policy.sends_per_challenge;
    Dispatch {
        ask: *ask,
        step,
        email_left: facts.challenge.email_index.is_some() && !email_sent && sends_left,
        fallback_set: facts.challenge.fallback_at.is_some(),
        challenge: Some(Box::new(facts.challenge)),
        now,
    }
}

#[cfg(test)]
mod tests;
