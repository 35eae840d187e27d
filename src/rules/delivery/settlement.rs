//! What an answer means: the events it is told by, the next try, and what follows a failure.

use crate::domain::challenge::Channel;
use crate::domain::policy::Policy;
use crate::domain::provider::RenderedMessage;
use crate::message::{Command, Effect, EmailCause, Event, EventKind, RetryDelay};
use crate::rules::challenge::events::about;
use crate::rules::claimed::Claimed;
use crate::rules::delivery::send::{
    Answer, DeliveryCall, DeliverySend, DeliverySettlement, FALLBACK_SEND, SendRequest, Settled,
};
use crate::rules::verdict::Verdict;

impl Claimed<DeliveryCall> {
    /// What the provider gets.
    pub fn message(&self) -> &RenderedMessage {
        &self.message
    }

    /// What the provider's answer means.
    pub fn answered(self, answer: Answer, policy: &Policy) -> DeliverySettlement {
        let send = self.into_call().send;
        let answer = match answer {
            Answer::NotNow { code, .. } | Answer::Closed { code }
                if send.next_try(&answer, policy).is_none() =>
            {
                Answer::Refused { code: format!("gave_up_{code}") }
            }
            other => other,
        };
        DeliverySettlement { send, settled: Settled::Answered(answer) }
    }
}

impl DeliverySend {
    /// When the next try is made; `None` where there is to be none, or too little life would be left.
    fn next_try(&self, answer: &Answer, policy: &Policy) -> Option<Retry> {
        let retry = self.request.retry(answer)?;
        let life_left = self.challenge.as_ref()?.expires_at - self.now;
        (life_left - retry.wait() >= policy.life_left_min).then_some(retry)
    }

    fn event(&self, kind: EventKind, reason: Option<&str>) -> Option<Effect> {
        let challenge = self.challenge.as_ref()?;
        Some(Effect::from(Event {
            channel: Some(self.request.channel),
            send: Some(self.request.send),
            reason: reason.map(str::to_owned),
            ..about(challenge, kind)
        }))
    }

    /// A failure for good: the email goes at once if it may, else the challenge may be lost.
    fn after_failure(&self) -> Command {
        let challenge = self.request.challenge;
        if self.request.channel == Channel::Sms && self.email_left {
            let cause = EmailCause::SmsFailed;
            Command::SendEmail { challenge, send: FALLBACK_SEND, tries: 0, cause }
        } else {
            Command::Abandon { challenge }
        }
    }
}

/// The most calls for one send to a provider that says each time when to call again.
pub const ASKED_CALLS_MAX: i16 = 30;

/// The delay before the try after `tries` calls, where the provider does not ask for one: 1, 5, 30 s,
/// and no more.
pub fn retry_delay(tries: i16) -> Option<RetryDelay> {
    const SCHEDULE: [RetryDelay; 3] =
        [RetryDelay::Second1, RetryDelay::Second5, RetryDelay::Second30];
    SCHEDULE.get(usize::try_from(tries).ok()?).copied()
}

/// When a send is tried again.
enum Retry {
    After(RetryDelay),
    /// As the provider asks, in seconds.
    Asked(u32),
}

impl Retry {
    fn wait(&self) -> time::Duration {
        time::Duration::seconds(i64::from(match self {
            Self::After(delay) => delay.seconds(),
            Self::Asked(seconds) => *seconds,
        }))
    }
}

/// The delay before the try after `tries` calls to a provider that takes nothing at present, for as
/// long as the message is of use; `longest` is the delay from the fourth on.
pub fn delay_while_closed(tries: i16, longest: RetryDelay) -> RetryDelay {
    retry_delay(tries).unwrap_or(longest)
}

impl Verdict for DeliverySettlement {
    fn label(&self) -> &'static str {
        match &self.settled {
            Settled::Answered(Answer::Accepted { .. }) => "accepted",
            Settled::Answered(Answer::NotNow { .. } | Answer::Closed { .. }) => "retried",
            Settled::Answered(Answer::Refused { .. }) => "failed",
            Settled::Answered(Answer::Unknown { .. }) | Settled::Lost => "unknown",
            Settled::Skipped(_) => "skipped",
            Settled::Offered => "offered",
            Settled::Done => "done",
        }
    }

    fn effects(&self) -> Vec<Effect> {
        let (send, request) = (&self.send, &self.send.request);
        let event = |kind, reason| send.event(kind, reason).into_iter();
        match &self.settled {
            Settled::Answered(Answer::Accepted { .. }) => {
                event(EventKind::DeliveryAccepted, None).collect()
            }
            Settled::Answered(answer @ (Answer::NotNow { .. } | Answer::Closed { .. })) => {
                request.retry(answer).map(|retry| request.again(&retry)).into_iter().collect()
            }
            Settled::Answered(Answer::Refused { code }) => {
                let after = Effect::from(send.after_failure());
                event(EventKind::DeliveryFailed, Some(code)).chain([after]).collect()
            }
            Settled::Answered(Answer::Unknown { code }) => {
                event(EventKind::DeliveryUnknown, Some(code)).collect()
            }
            Settled::Lost => event(EventKind::DeliveryUnknown, Some("process_died")).collect(),
            Settled::Skipped(why) => {
                // A fallback that was never wanted is no news.
                let silent = request.is_fallback()
                    && matches!(*why, "no_email_backup" | "email_forbidden" | "challenge_ended");
                let skipped = event(EventKind::DeliverySkipped, Some(why)).filter(|_| !silent);
                // It was to stand in for an SMS that cannot be sent.
                let stands_in = request.cause == Some(EmailCause::SmsFailed);
                let abandon = (stands_in && *why != "challenge_ended")
                    .then(|| Command::Abandon { challenge: request.challenge }.into());
                skipped.chain(abandon).collect()
            }
            Settled::Offered => event(EventKind::EmailEligible, None).collect(),
            Settled::Done => Vec::new(),
        }
    }
}

impl SendRequest {
    /// When it is tried again, if it is: as the provider of SMS asks, but no more often than once a
    /// second. A mail server names no time.
    fn retry(&self, answer: &Answer) -> Option<Retry> {
        let asked_seconds = match answer {
            Answer::NotNow { retry_after_seconds, .. } => *retry_after_seconds,
            Answer::Closed { .. } => {
                return Some(Retry::After(delay_while_closed(self.tries, RetryDelay::Second30)));
            }
            _ => return None,
        };
        match asked_seconds.filter(|_| self.channel == Channel::Sms) {
            None => retry_delay(self.tries).map(Retry::After),
            Some(seconds) if self.tries + 1 < ASKED_CALLS_MAX => {
                Some(Retry::Asked(u32::try_from(seconds).unwrap_or(u32::MAX).max(1)))
            }
            Some(_) => None,
        }
    }

    /// The command for the next try.
    fn again(&self, retry: &Retry) -> Effect {
        let Self { challenge, send, .. } = *self;
        let tries = self.tries.saturating_add(1);
        match (self.channel, retry) {
            (Channel::Sms, Retry::Asked(seconds)) => {
                Effect::RetrySms { challenge, send, tries, seconds: *seconds }
            }
            (Channel::Sms, Retry::After(delay)) => Effect::Command(
                Command::SendSms { challenge, send, tries, not_before: None },
                Some(*delay),
            ),
            (Channel::Email, retry) => {
                let cause = self.cause.unwrap_or(EmailCause::Fallback);
                let command = Command::SendEmail { challenge, send, tries, cause };
                Effect::Command(command, Some(RetryDelay::within(retry.wait())))
            }
        }
    }
}
