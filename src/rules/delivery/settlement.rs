//! What an answer means: the events it is told by, the next try, and what follows a failure.

use super::{Answer, Ask, Dispatch, FALLBACK_SEND, Step};
use crate::domain::challenge::Channel;
use crate::domain::policy::Policy;
use crate::message::{Command, Effect, EmailCause, Event, EventKind, RetryDelay};
use crate::rules::Verdict;
use crate::rules::told::about;

impl Dispatch {
    /// The same send with the provider's answer.
    pub fn answered(self, answer: Answer, policy: &Policy) -> Self {
        let answer = match answer {
            Answer::NotNow { code, .. } | Answer::Closed { code }
                if self.next_try(&answer, policy).is_none() =>
            {
                Answer::Refused { code: format!("gave_up_{code}") }
            }
            other => other,
        };
        Self { step: Step::Answered(answer), ..self }
    }

    /// When the next try is made; `None` where there is to be none, or too little life would be left.
    fn next_try(&self, answer: &Answer, policy: &Policy) -> Option<Retry> {
        let retry = self.ask.retry(answer)?;
        let life_left = self.challenge.as_ref()?.expires_at - self.now;
        (life_left - retry.wait() >= policy.life_left_min).then_some(retry)
    }

    fn event(&self, kind: EventKind, reason: Option<&str>) -> Option<Effect> {
        let challenge = self.challenge.as_ref()?;
        Some(Effect::from(Event {
            channel: Some(self.ask.channel),
            send: Some(self.ask.send),
            reason: reason.map(str::to_owned),
            ..about(challenge, kind)
        }))
    }

    /// A failure for good: the email goes at once if it may, else the challenge may be lost.
    fn after_failure(&self) -> Command {
        let challenge = self.ask.challenge;
        if self.ask.channel == Channel::Sms && self.email_left {
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

impl Verdict for Dispatch {
    fn label(&self) -> &'static str {
        match &self.step {
            Step::Call(_) => "called",
            Step::Answered(Answer::Accepted { .. }) => "accepted",
            Step::Answered(Answer::NotNow { .. } | Answer::Closed { .. }) => "retried",
            Step::Answered(Answer::Refused { .. }) => "failed",
            Step::Answered(Answer::Unknown { .. }) | Step::Lost => "unknown",
            Step::Skip(_) => "skipped",
            Step::Offer => "offered",
            Step::Done => "done",
            Step::Leased => "leased",
            Step::Early(_) => "early",
        }
    }

    fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match &self.step {
            Step::Answered(Answer::Accepted { .. }) => {
                effects.extend(self.event(EventKind::DeliveryAccepted, None));
            }
            Step::Answered(answer @ (Answer::NotNow { .. } | Answer::Closed { .. })) => {
                effects.extend(self.ask.retry(answer).map(|retry| self.ask.again(&retry)));
            }
            Step::Answered(Answer::Refused { code }) => {
                effects.extend(self.event(EventKind::DeliveryFailed, Some(code)));
                effects.push(self.after_failure().into());
            }
            Step::Answered(Answer::Unknown { code }) => {
                effects.extend(self.event(EventKind::DeliveryUnknown, Some(code)));
            }
            Step::Lost => {
                effects.extend(self.event(EventKind::DeliveryUnknown, Some("process_died")));
            }
            Step::Skip(why) => {
                // A fallback that was never wanted is no news.
                if !self.silent(why) {
                    effects.extend(self.event(EventKind::DeliverySkipped, Some(why)));
                }
                // It was to stand in for an SMS that cannot be sent.
                if self.ask.cause == Some(EmailCause::SmsFailed) && *why != "challenge_ended" {
                    effects.push(Command::Abandon { challenge: self.ask.challenge }.into());
                }
            }
            Step::Offer => effects.extend(self.event(EventKind::EmailEligible, None)),
            Step::Call(_) | Step::Done | Step::Leased | Step::Early(_) => {}
        }
        effects
    }

    fn wait(&self) -> Option<RetryDelay> {
        match self.step {
            Step::Leased => Some(RetryDelay::Second5),
            Step::Early(delay) => Some(delay),
            _ => None,
        }
    }
}

impl Dispatch {
    fn silent(&self, why: &str) -> bool {
        self.ask.channel == Channel::Email
            && self.ask.send == FALLBACK_SEND
            && matches!(why, "no_email_backup" | "email_forbidden" | "challenge_ended")
    }
}

impl Ask {
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
