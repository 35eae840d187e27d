//! What an answer means: the events it is told by, the next try, and what follows a failure.

use super::{Answer, Ask, Dispatch, FALLBACK_SEND, Step};
use crate::domain::challenge::Channel;
use crate::domain::policy::Policy;
use crate::message::{Command, Effect, EmailCause, Event, EventKind, Rung};
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

    /// The delay before the next try, if there is to be one: none with too little life left.
    fn next_try(&self, answer: &Answer, policy: &Policy) -> Option<Rung> {
        let rung = self.delay(answer)?;
        let challenge = self.challenge.as_ref()?;
        let then = self.now + time::Duration::seconds(i64::from(rung.seconds()));
        (challenge.expires_at - then >= policy.life_left_min).then_some(rung)
    }

    /// The delay that an answer asks for, whatever life is left.
    fn delay(&self, answer: &Answer) -> Option<Rung> {
        match answer {
            Answer::NotNow { retry_after_seconds, .. } => {
                retry_rung(self.ask.tries, *retry_after_seconds)
            }
            Answer::Closed { .. } => Some(closed_rung(self.ask.tries, Rung::Second30)),
            _ => None,
        }
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

/// The rung before the try after `tries` calls; `None` after the third retry. A provider's
/// `Retry-After` lengthens the wait as far as the ladder goes.
pub fn retry_rung(tries: i16, retry_after_seconds: Option<u64>) -> Option<Rung> {
    const LADDER: [Rung; 3] = [Rung::Second1, Rung::Second5, Rung::Second30];
    let rung = *LADDER.get(usize::try_from(tries).ok()?)?;
    let wanted = retry_after_seconds.unwrap_or(0);
    if wanted > u64::from(Rung::Second120.seconds()) {
        return None;
    }
    Rung::ALL.into_iter().find(|r| *r >= rung && u64::from(r.seconds()) >= wanted)
}

/// The delay before the try after `tries` calls to a provider that takes nothing at present, for as
/// long as the message is of use; `longest` is the delay from the fourth on.
pub fn closed_rung(tries: i16, longest: Rung) -> Rung {
    retry_rung(tries, None).unwrap_or(longest)
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
        }
    }

    fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match &self.step {
            Step::Answered(Answer::Accepted { .. }) => {
                effects.extend(self.event(EventKind::DeliveryAccepted, None));
            }
            Step::Answered(answer @ (Answer::NotNow { .. } | Answer::Closed { .. })) => {
                effects.push(Effect::Command(self.ask.again(), self.delay(answer)));
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
            Step::Call(_) | Step::Done | Step::Leased => {}
        }
        effects
    }

    fn wait(&self) -> Option<Rung> {
        matches!(self.step, Step::Leased).then_some(Rung::Second5)
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
    /// The command for the next try.
    fn again(&self) -> Command {
        let Self { challenge, send, .. } = *self;
        let tries = self.tries.saturating_add(1);
        match self.channel {
            Channel::Sms => Command::SendSms { challenge, send, tries },
            Channel::Email => {
                let cause = self.cause.unwrap_or(EmailCause::Fallback);
                Command::SendEmail { challenge, send, tries, cause }
            }
        }
    }
}
