//! What is published for a batch before it is acked, and what becomes of a message that failed.

use std::time::Duration;

use crate::broker::{Publication, Reply};
use crate::domain::keys::PublicKey;
use crate::fault::Fault;
use crate::message::{
    DeadLetter, DeadReason, Flaw, Incoming, Outcome, OutcomeKind, Outgoing, Rejected, RetryDelay,
};

/// A message to come again later.
pub(super) struct Again {
    message: Incoming,
    delay: RetryDelay,
    attempt: u32,
}

/// Everything a batch causes outside the database.
#[derive(Default)]
pub(super) struct Output {
    pub(super) messages: Vec<Outgoing>,
    replies: Vec<Reply>,
    again: Vec<Again>,
    redirected: Vec<(Incoming, &'static str)>,
    dead: Vec<DeadLetter>,
}

/// So many bytes of a dead letter are kept; 64 KiB are more than any that could be read.
/// Sealed it is a third larger, and a broker that has taken it must take it again: RabbitMQ 4 refuses
/// what is over 16 MiB, and for as long as it refuses, a worker waits.
const KEPT_MAX: usize = 1024 * 1024;

/// Who gives up on a message, and how its letter is sealed.
#[derive(Clone)]
pub(super) struct DeadLetterSource {
    pub(super) worker: &'static str,
    pub(super) queue: &'static str,
    pub(super) seal_to: PublicKey,
}

/// The retry delay for a message that has failed `attempt` times before; `None` when all were used.
pub(super) fn delay_after(attempt: u32) -> Option<RetryDelay> {
    RetryDelay::ALL.get(usize::try_from(attempt).ok()?).copied()
}

/// The delay for a message that waits for what another session holds and has waited so long: longer,
/// the longer it has waited, so that what waits for hours costs little, and what waits for a moment
/// loses a moment.
fn delay_while_held(waited: Duration) -> RetryDelay {
    let fits = |delay: &RetryDelay| u64::from(delay.seconds()) * 4 <= waited.as_secs();
    RetryDelay::ALL.into_iter().rev().find(fits).unwrap_or(RetryDelay::Second1)
}

impl Output {
    /// An answer to the one who sent `message`, if there is somebody waiting.
    pub(super) fn reply(&mut self, message: &Incoming, body: String) {
        if let Some(to) = message.reply_to.clone() {
            self.replies.push(Reply { to, correlation_id: message.correlation_id.clone(), body });
        }
    }

    /// The message comes again; it has not failed.
    pub(super) fn postpone(&mut self, message: &Incoming, delay: RetryDelay) {
        self.again.push(Again { message: message.clone(), delay, attempt: message.attempt });
    }

    /// A binding is missing: the message goes to its own queue, and has not failed.
    pub(super) fn redirect(&mut self, message: Incoming, queue: &'static str) {
        self.redirected.push((message, queue));
    }

    /// The message waits for what another session holds: it comes again, as often as it takes, and no
    /// attempt is counted.
    pub(super) fn held(&mut self, message: &Incoming, fault: &Fault, worker: &'static str) {
        let waited = message.first_seen.map(super::age_of).unwrap_or_default();
        let delay = delay_while_held(waited);
        crate::observe::held(worker, waited, fault);
        self.postpone(message, delay);
    }

    /// The message failed: to the next retry delay, or to the dead letters.
    pub(super) fn failed(&mut self, message: &Incoming, fault: &Fault, source: &DeadLetterSource) {
        match (fault, delay_after(message.attempt)) {
            (Fault::Permanent(why), _) => {
                self.dead_letter(message, DeadReason::Permanent, why.clone(), source);
            }
            (_, Some(delay)) => {
                let attempt = message.attempt + 1;
                crate::observe::retried(source.worker, attempt, fault);
                self.again.push(Again { message: message.clone(), delay, attempt });
            }
            (_, None) => {
                self.dead_letter(message, DeadReason::Exhausted, fault.to_string(), source)
            }
        }
    }

    /// The message was not read.
    pub(super) fn rejected(
        &mut self,
        message: &Incoming,
        why: Rejected,
        source: &DeadLetterSource,
    ) {
        self.dead_letter_for(message, &why.flaw, why.reason, why.detail, source);
    }

    /// Dead-letters a message, sealed, and answers the one who waits for its outcome.
    pub(super) fn dead_letter(
        &mut self,
        message: &Incoming,
        reason: DeadReason,
        detail: String,
        source: &DeadLetterSource,
    ) {
        self.dead_letter_for(message, &Flaw::Message, reason, detail, source);
    }

    fn dead_letter_for(
        &mut self,
        message: &Incoming,
        flaw: &Flaw,
        reason: DeadReason,
        mut detail: String,
        source: &DeadLetterSource,
    ) {
        let kept = &message.body[..message.body.len().min(KEPT_MAX)];
        if kept.len() < message.body.len() {
            detail = format!(
                "{detail}; of its {} bytes the first {KEPT_MAX} are kept",
                message.body.len()
            );
        }
        let id = message.message_id.as_deref().and_then(|id| uuid::Uuid::parse_str(id).ok());
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        crate::observe::dead_letter(source.worker, reason.label(), &id, &detail);
        let told = match reason {
            // What the database says of it is for the operator.
            DeadReason::Exhausted | DeadReason::Permanent | DeadReason::Panicked => {
                "a fault of stepup: the operator has the request, and can have it handled again"
                    .into()
            }
            _ => detail.clone(),
        };
        self.reply(
            message,
            match flaw {
                Flaw::Message => {
                    Outcome { detail: Some(told), ..Outcome::new(OutcomeKind::Refused) }.body()
                }
                Flaw::Field(name) => Outcome::body_of_invalid(name.as_deref(), &told),
            },
        );
        let body = source.seal_to.seal(kept).into_bytes();
        self.dead.push(DeadLetter {
            message: Incoming { body, ..message.clone() },
            reason,
            detail,
            worker: source.worker.to_owned(),
            queue: source.queue.to_owned(),
        });
    }

    /// Whether a message was dead-lettered.
    pub(super) fn dead_lettered(&self) -> bool {
        !self.dead.is_empty()
    }

    /// In the order in which they are published: what is caused, then who is told.
    pub(super) fn publications<'a>(&'a self, queue: &'a str) -> Vec<Publication<'a>> {
        let again = self.again.iter().map(|again| Publication::Again {
            message: &again.message,
            queue,
            delay: again.delay,
            attempt: again.attempt,
        });
        let redirected = self
            .redirected
            .iter()
            .map(|(message, queue)| Publication::ToOwnQueue { message, queue });
        let messages = self.messages.iter().map(Publication::Message);
        let dead = self.dead.iter().map(Publication::Dead);
        messages
            .chain(again)
            .chain(redirected)
            .chain(dead)
            .chain(self.replies.iter().map(Publication::Reply))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_retry_schedule_grows_and_ends(attempt in 0_u32..100) {
            let (this, next) = (delay_after(attempt), delay_after(attempt + 1));
            prop_assert_eq!(this.is_some(), attempt < 4);
            if let (Some(this), Some(next)) = (this, next) {
                prop_assert!(next > this);
            }
        }
    }

    #[test]
    fn whose_field_cannot_be_used_is_told_which() {
        let keys = crate::domain::keys::Keyring::for_tests();
        let source = DeadLetterSource { worker: "w", queue: "w.login", seal_to: keys.public() };
        let message = Incoming { reply_to: Some("to".into()), ..Incoming::default() };
        let told = |flaw| {
            let mut output = Output::default();
            let why = Rejected { flaw, ..Rejected::malformed("why") };
            output.rejected(&message, why, &source);
            assert_eq!(output.dead[0].reason, DeadReason::Malformed);
            serde_json::from_str::<serde_json::Value>(&output.replies[0].body).unwrap()
        };
        let invalid = told(Flaw::Field(Some("locate".into())));
        let wanted =
            serde_json::json!({ "outcome": "invalid", "field": "locate", "detail": "why" });
        assert_eq!(invalid, wanted);
        assert_eq!(told(Flaw::Field(None))["outcome"], "invalid");
        assert_eq!(told(Flaw::Message)["outcome"], "refused");
    }

    #[test]
    fn a_message_that_is_held_waits_a_quarter_longer_at_most_and_two_minutes_in_the_end() {
        for (waited, delay) in [
            (0, RetryDelay::Second1),
            (19, RetryDelay::Second1),
            (20, RetryDelay::Second5),
            (119, RetryDelay::Second5),
            (120, RetryDelay::Second30),
            (480, RetryDelay::Second120),
            (100_000, RetryDelay::Second120),
        ] {
            assert_eq!(delay_while_held(Duration::from_secs(waited)), delay, "{waited}");
        }
    }

    #[test]
    fn a_message_that_is_held_for_hours_counts_no_attempt_and_is_never_a_dead_letter() {
        let message = Incoming {
            first_seen: Some(crate::runtime::host_now() - time::Duration::hours(30)),
            attempt: 4,
            ..Incoming::default()
        };
        let mut output = Output::default();
        output.held(&message, &Fault::Held("locked".into()), "w");
        let [Publication::Again { delay, attempt, .. }] = output.publications("w.login")[..] else {
            panic!()
        };
        assert_eq!((delay, attempt), (RetryDelay::Second120, 4));
    }

    #[test]
    fn a_dead_letter_is_sealed_and_its_sender_is_answered() {
        let keys = crate::domain::keys::Keyring::for_tests();
        let source = DeadLetterSource { worker: "w", queue: "w.login", seal_to: keys.public() };
        let message = Incoming {
            reply_to: Some("amq.rabbitmq.reply-to.x".into()),
            body: b"+12025550123".to_vec(),
            attempt: 4,
            ..Incoming::default()
        };
        let mut output = Output::default();
        output.failed(&message, &Fault::Transient("locked".into()), &source);
        let letter = &output.dead[0];
        assert_eq!(letter.reason, DeadReason::Exhausted);
        let sealed = std::str::from_utf8(&letter.message.body).unwrap();
        assert_eq!(keys.open_request(sealed).unwrap().as_slice(), b"+12025550123");
        assert_eq!(output.publications("w.login").len(), 2);
    }
}
