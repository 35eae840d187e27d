//! What every message carries besides its body, as plain data: [`Incoming`] and [`Outgoing`].

use time::OffsetDateTime;
use uuid::Uuid;

/// The place a message is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// What apps may ask. Direct, public.
    Requests,
    /// What workers ask of each other. Direct, internal.
    Commands,
    /// What happened. Topic, key `<account>.<noun>.<verb>`.
    Events,
}

/// A delay queue: a message published there comes home to its queue when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryDelay {
    /// 1 s.
    Second1,
    /// 5 s.
    Second5,
    /// 30 s.
    Second30,
    /// 120 s.
    Second120,
}

impl RetryDelay {
    /// The ladder, shortest first.
    pub const ALL: [Self; 4] = [Self::Second1, Self::Second5, Self::Second30, Self::Second120];

    /// The delay in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second1 => 1,
            Self::Second5 => 5,
            Self::Second30 => 30,
            Self::Second120 => 120,
        }
    }

    /// The longest delay that is not longer than `wait`, or else the shortest.
    pub fn within(wait: time::Duration) -> Self {
        let fits = |delay: &Self| time::Duration::seconds(i64::from(delay.seconds())) <= wait;
        Self::ALL.into_iter().rev().find(fits).unwrap_or(Self::Second1)
    }
}

/// A message as it arrived, before anybody has read its body.
#[derive(Clone, Default)]
pub struct Incoming {
    /// `challenge.issue`, …: the routing key it was first published with; for events without the
    /// account in front.
    pub key: String,
    /// The property `message_id`.
    pub message_id: Option<String>,
    /// The property `user_id`, which the broker has checked against the publisher's login.
    pub user: Option<String>,
    /// Header `x-stepup-app`: for whom our own ingress publishes. Only believed from our own user.
    pub app: Option<String>,
    /// Header `x-stepup-attempt`: how often the message failed before; 0 at first.
    pub attempt: u32,
    /// Header `x-stepup-first-seen`: when it failed first.
    pub first_seen: Option<OffsetDateTime>,
    /// The property `timestamp`: when it was published, to the second.
    pub published_at: Option<OffsetDateTime>,
    /// Where the sender waits for the outcome.
    pub reply_to: Option<String>,
    /// What the sender calls its question.
    pub correlation_id: Option<String>,
    /// Header `traceparent` (W3C), passed on untouched.
    pub traceparent: Option<String>,
    /// A property that has to be UTF-8, and is not. It counts as absent in here.
    pub unreadable: Option<&'static str>,
    /// The body, unread.
    pub body: Vec<u8>,
}

/// A message to publish. Its id is a function of what caused it, so that publishing it again is
/// harmless: the copy dies in the next inbox.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outgoing {
    /// Where to.
    pub exchange: Exchange,
    /// The routing key.
    pub key: String,
    /// The property `message_id`.
    pub id: Uuid,
    /// The JSON body.
    pub body: String,
    /// Come home only after this delay. For commands only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<RetryDelay>,
    /// Header `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl serde::Serialize for Exchange {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.label())
    }
}

impl<'de> serde::Deserialize<'de> for Exchange {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let label = String::deserialize(from)?;
        [Self::Requests, Self::Commands, Self::Events]
            .into_iter()
            .find(|exchange| exchange.label() == label)
            .ok_or_else(|| serde::de::Error::custom("unknown exchange"))
    }
}

impl Exchange {
    /// The name without the prefix.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Commands => "commands",
            Self::Events => "events",
        }
    }
}

impl serde::Serialize for RetryDelay {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(self.seconds())
    }
}

impl<'de> serde::Deserialize<'de> for RetryDelay {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = u32::deserialize(from)?;
        Self::ALL
            .into_iter()
            .find(|delay| delay.seconds() == seconds)
            .ok_or_else(|| serde::de::Error::custom("unknown retry delay"))
    }
}

/// Why a message was dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The body or a property cannot be understood.
    Malformed,
    /// No `user_id`, or one that belongs to no app.
    Unidentified,
    /// The message id was used before with another body.
    IdReused,
    /// Every delay of the retry schedule was used.
    Exhausted,
    /// A fault that trying again cannot mend.
    Permanent,
    /// The worker panicked over it.
    Panicked,
}

impl DeadReason {
    /// Every reason, for metrics that are registered at zero.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Unidentified,
        Self::IdReused,
        Self::Exhausted,
        Self::Permanent,
        Self::Panicked,
    ];

    /// The word in the header `x-stepup-reason` and on the metric.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unidentified => "unidentified",
            Self::IdReused => "id_reused",
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Panicked => "panicked",
        }
    }
}

/// A message that an operator must look at. Its body is sealed to our own public key: what could not be
/// understood may hold anything, also a number in clear.
#[derive(Clone)]
pub struct DeadLetter {
    /// The message as it arrived; `body` already sealed.
    pub message: Incoming,
    /// Why.
    pub reason: DeadReason,
    /// What exactly, in words an operator can act on; never the message's content.
    pub detail: String,
    /// The worker that gave up.
    pub worker: String,
    /// The queue it came from, without the prefix.
    pub queue: String,
}
