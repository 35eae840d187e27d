//! What workers ask of each other. A command carries ids; what else it takes is read from the
//! database in the transaction in which it is decided.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::envelope::{Exchange, Outgoing};
use super::kind::{Message, Rejected, Subject};
use super::queue_name::Queue;
use crate::domain::Timestamp;
use crate::domain::id::{AppName, ChallengeId};
use crate::domain::schema::Moment;
use crate::domain::string_enum::string_enum;

string_enum! {
    /// Why a code goes by email.
    EmailCause {
        /// The SMS has not led to a verification in time.
        Fallback = "fallback",
        /// The SMS failed for good.
        SmsFailed = "sms_failed",
        /// The person chose email when asking for a resend.
        Resend = "resend",
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Command {
    /// `sms.send`: hand one send of a code to the SMS provider.
    #[serde(rename = "sms.send")]
    SendSms {
        /// Whose code.
        challenge: ChallengeId,
        /// Which send of it, from 1.
        send: i16,
        /// How many calls to the provider went before.
        #[serde(default, rename = "try")]
        tries: i16,
        /// The provider asked not to be called earlier.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "time::serde::rfc3339::option"
        )]
        #[schemars(with = "Option<Moment>")]
        not_before: Option<Timestamp>,
    },
    /// `email.send`: hand a code to the mail server. Send 0 is the automatic fallback.
    #[serde(rename = "email.send")]
    SendEmail {
        /// Whose code.
        challenge: ChallengeId,
        /// Which send of it.
        send: i16,
        /// How many calls to the mail server went before.
        #[serde(default, rename = "try")]
        tries: i16,
        /// Why.
        cause: EmailCause,
    },
    /// `challenge.expire`: the challenge's time is over.
    #[serde(rename = "challenge.expire")]
    Expire {
        /// Which.
        challenge: ChallengeId,
    },
    /// `challenge.abandon`: a send failed for good; the challenge ends if no hope is left.
    #[serde(rename = "challenge.abandon")]
    Abandon {
        /// Which.
        challenge: ChallengeId,
    },
    /// `review.check`: look at the contacts of the next members of an account.
    #[serde(rename = "review.check")]
    CheckContacts {
        /// The review.
        review: Uuid,
        /// How many batches went before.
        batch: i32,
    },
    /// `mandate.apply`: carry a mandate, or its end, to the next members of an account.
    #[serde(rename = "mandate.apply")]
    ApplyMandate {
        /// The mandate.
        mandate: Uuid,
        /// How many batches went before.
        batch: i32,
    },
    /// `reset.carry_out`: the hold of an approved reset is over.
    #[serde(rename = "reset.carry_out")]
    CarryOutReset {
        /// The reset.
        reset: Uuid,
    },
    /// `notice.send`: mail a notice to an admin.
    #[serde(rename = "notice.send")]
    SendNotice {
        /// Which.
        notice: Uuid,
        /// How many calls to the mail server went before.
        #[serde(default, rename = "try")]
        tries: i16,
    },
}

/// Every command: its routing key and the queue of the worker that takes it.
pub(super) const COMMANDS: &[(&str, Queue)] = &[
    ("sms.send", Queue::SmsDeliveryLogin),
    ("email.send", Queue::EmailFallbackLogin),
    ("challenge.expire", Queue::CodeGenerationBulk),
    ("challenge.abandon", Queue::CodeGenerationBulk),
    ("review.check", Queue::TeamBatchBulk),
    ("mandate.apply", Queue::TeamBatchBulk),
    ("reset.carry_out", Queue::SupportSettings),
    ("notice.send", Queue::NoticeDeliveryNotices),
];

impl Command {
    /// One send of a code by SMS, at once.
    pub const fn sms(challenge: ChallengeId, send: i16) -> Self {
        Self::SendSms { challenge, send, tries: 0, not_before: None }
    }

    /// The routing key.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::SendSms { .. } => "sms.send",
            Self::SendEmail { .. } => "email.send",
            Self::Expire { .. } => "challenge.expire",
            Self::Abandon { .. } => "challenge.abandon",
            Self::CheckContacts { .. } => "review.check",
            Self::ApplyMandate { .. } => "mandate.apply",
            Self::CarryOutReset { .. } => "reset.carry_out",
            Self::SendNotice { .. } => "notice.send",
        }
    }

    /// Reads a command for a worker that takes some commands only: `take` gives `None` for the others.
    ///
    /// # Errors
    /// What is wrong with the body, or that the worker does not take the command.
    pub fn read_as<T>(
        key: &str,
        body: serde_json::Value,
        take: impl FnOnce(&Self) -> Option<T>,
    ) -> Result<T, Rejected> {
        let refused = || Rejected::malformed("this queue does not take that command");
        take(&Self::read(key, None, body)?).ok_or_else(refused)
    }

    /// The message that carries it.
    pub fn outgoing(&self, id: Uuid) -> Outgoing {
        // A struct of ids and numbers always serialises.
        let body = serde_json::to_string(self).unwrap_or_default();
        Outgoing {
            exchange: Exchange::Commands,
            key: self.key().to_owned(),
            id,
            body,
            delay: None,
            traceparent: None,
        }
    }
}

impl Message for Command {
    fn read(key: &str, _: Option<AppName>, body: serde_json::Value) -> Result<Self, Rejected> {
        let command: Self = super::body::parse(body)?;
        if command.key() != key {
            return Err(Rejected::malformed(format!("the body is not that of `{key}`")));
        }
        Ok(command)
    }

    fn subject(&self) -> Subject {
        match self {
            Self::SendSms { challenge, .. }
            | Self::SendEmail { challenge, .. }
            | Self::Expire { challenge }
            | Self::Abandon { challenge } => Subject::of(challenge.0),
            Self::CheckContacts { review, .. } => Subject::of(review),
            Self::ApplyMandate { mandate, .. } => Subject::of(mandate),
            Self::CarryOutReset { reset } => Subject::of(reset),
            Self::SendNotice { notice, .. } => Subject::of(notice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_refuses_a_command_that_is_not_its_own() {
        let read = |command: Command| {
            let body = serde_json::to_value(&command).unwrap();
            Command::read_as(command.key(), body, |command| match *command {
                Command::CarryOutReset { reset } => Some(reset),
                _ => None,
            })
        };
        let reset = Uuid::from_u128(9);
        assert_eq!(read(Command::CarryOutReset { reset }), Ok(reset));
        let refused = read(Command::SendNotice { notice: reset, tries: 0 }).unwrap_err();
        assert_eq!(refused.detail, "this queue does not take that command");
    }

    #[test]
    fn every_command_reads_back_as_itself() {
        let challenge = ChallengeId(Uuid::from_u128(7));
        for command in [
            Command::sms(challenge, 1),
            Command::SendSms {
                challenge,
                send: 1,
                tries: 1,
                not_before: Some(Timestamp::UNIX_EPOCH),
            },
            Command::SendEmail { challenge, send: 0, tries: 2, cause: EmailCause::Fallback },
            Command::Expire { challenge },
            Command::Abandon { challenge },
            Command::SendNotice { notice: Uuid::from_u128(9), tries: 0 },
            Command::CheckContacts { review: Uuid::from_u128(9), batch: 3 },
            Command::ApplyMandate { mandate: Uuid::from_u128(9), batch: 0 },
            Command::CarryOutReset { reset: Uuid::from_u128(9) },
        ] {
            let sent = command.outgoing(Uuid::nil());
            assert!(COMMANDS.iter().any(|(key, _)| *key == sent.key), "no queue for {}", sent.key);
            let body = serde_json::from_str(&sent.body).unwrap();
            assert_eq!(Command::read(&sent.key, None, body), Ok(command));
        }
    }

    #[test]
    fn a_body_under_a_foreign_key_is_malformed() {
        let body = serde_json::json!({ "type": "notice.send", "notice": Uuid::nil() });
        assert!(Command::read("sms.send", None, body).is_err());
    }
}
