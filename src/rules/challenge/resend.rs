//! Whether the same code goes out once more, and in time.

use crate::domain::Timestamp;
use crate::domain::challenge::{AttemptState, Channel};
use crate::domain::id::ChallengeId;
use crate::domain::policy::Policy;
use crate::message::{
    Command, EmailCause, Event, EventKind, Outcome, OutcomeKind, ResendChallenge,
};
use crate::rules::challenge::events::{about, ended, outcome};
use crate::rules::challenge::facts::ChallengeFacts;
use crate::rules::delivery::too_late;
use crate::rules::limits::all_full_until;
use crate::rules::verdict::{Decided, seconds_until};

/// A further send, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Of which challenge.
    pub challenge: ChallengeId,
    /// By which way.
    pub channel: Channel,
    /// Which send; the row must still count one less.
    pub send: i16,
    /// From when on the next one is granted.
    pub resend_at: Timestamp,
    /// Blind index of the number or address it goes to.
    pub destination_index: Vec<u8>,
    /// When it was granted.
    pub now: Timestamp,
}

/// The rule.
pub fn decide(
    ask: &ResendChallenge,
    facts: &ChallengeFacts,
    policy: &Policy,
    now: Timestamp,
) -> Decided<Grant> {
    let challenge = &facts.challenge;
    let answer = |kind| Decided::answer(outcome(challenge, kind));
    if facts.replaced || !challenge.live(now) {
        return Decided::answer(ended(challenge, facts.replaced));
    }
    if challenge.sends >= policy.sends_per_challenge {
        return answer(OutcomeKind::SendsUsedUp);
    }
    // The timer of the number binds SMS only; that of the challenge binds both.
    let timer = match ask.channel {
        Channel::Sms => facts
            .number
            .next_send_at
            .map_or(challenge.resend_at, |next| next.max(challenge.resend_at)),
        Channel::Email => challenge.resend_at,
    };
    if ask.channel == Channel::Email && !may_use_email(facts) {
        return answer(OutcomeKind::EmailNotEligible);
    }
    // Said now rather than by a send that is dropped, and rather than after a wait in vain:
    // the sender judges a little later than this, so as much later as a pass may take.
    if too_late(challenge, policy, now.max(timer) + policy.transaction_max) {
        return answer(OutcomeKind::DeliveryTooLate);
    }
    if now < timer {
        return Decided::answer(Outcome {
            resend_available_at: Some(timer),
            retry_after: Some(seconds_until(timer, now)),
            ..outcome(challenge, OutcomeKind::Cooldown)
        });
    }
    if ask.channel == Channel::Email && !email_is_due(facts, now) {
        let then = challenge.fallback_at;
        return Decided::answer(Outcome {
            retry_after: then.map(|then| seconds_until(then, now)),
            ..outcome(challenge, OutcomeKind::EmailNotEligible)
        });
    }
    if ask.channel == Channel::Sms {
        let full = all_full_until(&policy.sends_per_number, &facts.number.sends, now);
        if let Some(then) = full {
            return Decided::answer(Outcome {
                retry_after: Some(seconds_until(then, now)),
                ..outcome(challenge, OutcomeKind::TooManySends)
            });
        }
    }
    grant(ask.channel, facts, policy, now)
}

/// Email was a backup on the day of issue and still is, with the same address.
fn may_use_email(facts: &ChallengeFacts) -> bool {
    let snapshot = facts.challenge.email_index.as_deref();
    let today = facts.member.backup_email().map(|contact| contact.index.as_slice());
    snapshot.is_some() && snapshot == today
}

/// Email is eligible 60 s after the first SMS, or once SMS has failed for good.
fn email_is_due(facts: &ChallengeFacts, now: Timestamp) -> bool {
    let timer = facts.challenge.fallback_at.is_some_and(|then| then <= now);
    let mut sms = facts.attempts.iter().filter(|(channel, _)| *channel == Channel::Sms).peekable();
    let failed = sms.peek().is_some() && sms.all(|(_, state)| *state == AttemptState::Failed);
    timer || failed
}

fn grant(
    channel: Channel,
    facts: &ChallengeFacts,
    policy: &Policy,
    now: Timestamp,
) -> Decided<Grant> {
    let challenge = &facts.challenge;
    let send = challenge.sends + 1;
    let resend_at = now + policy.resend_wait(send);
    let (command, destination_index) = match channel {
        Channel::Sms => (Command::sms(challenge.id, send), challenge.phone_index.clone()),
        Channel::Email => (
            Command::SendEmail {
                challenge: challenge.id,
                send,
                tries: 0,
                cause: EmailCause::Resend,
            },
            challenge.email_index.clone().unwrap_or_default(),
        ),
    };
    let event = Event {
        channel: Some(channel),
        send: Some(send),
        resend_available_at: Some(resend_at),
        ..about(challenge, EventKind::ChallengeResent)
    };
    let reply = Outcome {
        channel: Some(channel),
        expires_at: Some(challenge.expires_at),
        resend_available_at: Some(resend_at),
        retry_after: Some(seconds_until(resend_at, now)),
        ..outcome(challenge, OutcomeKind::Resent)
    };
    let id = challenge.id;
    let write = Grant { challenge: id, channel, send, resend_at, destination_index, now };
    Decided {
        label: "resent",
        write: Some(write),
        effects: vec![event.into(), command.into()],
        reply: Some(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::challenge::{CancelReason, State};
    use crate::domain::member::Member;
    use crate::rules::limits::NumberFacts;
    use crate::rules::tests_support::{NOW, challenge_facts};
    use time::Duration;

    fn ask(channel: Channel) -> ResendChallenge {
        let facts = challenge_facts();
        ResendChallenge {
            account: facts.challenge.account.clone(),
            challenge: facts.challenge.id,
            channel,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        NOW + Duration::seconds(seconds)
    }

    fn resend(channel: Channel, facts: &ChallengeFacts, seconds: i64) -> Outcome {
        decide(&ask(channel), facts, &Policy::default(), at(seconds)).reply.unwrap()
    }

    fn kind(channel: Channel, facts: &ChallengeFacts, seconds: i64) -> OutcomeKind {
        resend(channel, facts, seconds).outcome
    }

    #[test]
    fn r16_a_resend_is_refused_until_the_timer_has_run_out() {
        let early = resend(Channel::Sms, &challenge_facts(), 59);
        assert_eq!(early.outcome, OutcomeKind::Cooldown);
        assert_eq!((early.retry_after, early.resend_available_at), (Some(1), Some(at(60))));
        assert_eq!(kind(Channel::Sms, &challenge_facts(), 60), OutcomeKind::Resent);
    }

    #[test]
    fn r16_r19_the_timer_grows_and_the_fifth_send_is_the_last() {
        let mut facts = challenge_facts();
        let mut now = 60;
        for (sends, wait) in [(1, 60), (2, 120), (3, 300), (4, 300)] {
            facts.challenge.sends = sends;
            let outcome = resend(Channel::Sms, &facts, now);
            assert_eq!(outcome.retry_after, Some(wait), "after {sends} sends");
            // the life stays what it was.
            assert_eq!(outcome.expires_at, Some(facts.challenge.expires_at));
            now = 300;
        }
        facts.challenge.sends = 5;
        assert_eq!(kind(Channel::Sms, &facts, 300), OutcomeKind::SendsUsedUp);
    }

    #[test]
    fn r26_what_could_not_be_delivered_in_time_is_refused_at_once() {
        let mut facts = challenge_facts();
        facts.challenge.sends = 4;
        facts.challenge.resend_at = at(540);
        // Sixty seconds must be left when the sender takes it up, up to five seconds later.
        assert_eq!(kind(Channel::Sms, &facts, 540), OutcomeKind::DeliveryTooLate);
        assert_eq!(
            kind(Channel::Sms, &facts, 300),
            OutcomeKind::DeliveryTooLate,
            "no wait in vain"
        );
        facts.challenge.resend_at = at(535);
        assert_eq!(kind(Channel::Sms, &facts, 300), OutcomeKind::Cooldown);
        assert_eq!(kind(Channel::Sms, &facts, 535), OutcomeKind::Resent);
        assert_eq!(kind(Channel::Sms, &facts, 536), OutcomeKind::DeliveryTooLate);
        facts.challenge.fallback_at = Some(at(60));
        assert_eq!(kind(Channel::Email, &facts, 536), OutcomeKind::DeliveryTooLate);
    }

    #[test]
    fn r17_the_timer_of_the_number_binds_every_challenge_to_it() {
        let number = NumberFacts { next_send_at: Some(at(100)), sends: vec![] };
        let facts = ChallengeFacts { number, ..challenge_facts() };
        assert_eq!(kind(Channel::Sms, &facts, 99), OutcomeKind::Cooldown);
        assert_eq!(kind(Channel::Sms, &facts, 100), OutcomeKind::Resent);
    }

    #[test]
    fn r18_r28_email_only_once_it_is_eligible_and_chosen() {
        let mut facts = challenge_facts();
        assert_eq!(kind(Channel::Email, &facts, 60), OutcomeKind::EmailNotEligible);
        facts.challenge.fallback_at = Some(at(61));
        let early = resend(Channel::Email, &facts, 60);
        assert_eq!((early.outcome, early.retry_after), (OutcomeKind::EmailNotEligible, Some(1)));
        let granted = decide(&ask(Channel::Email), &facts, &Policy::default(), at(61));
        assert_eq!(granted.reply.unwrap().channel, Some(Channel::Email));
        facts.challenge.fallback_at = None;
        facts.attempts = vec![(Channel::Sms, AttemptState::Failed)];
        assert_eq!(kind(Channel::Email, &facts, 60), OutcomeKind::Resent);
    }

    #[test]
    fn r30_r34_r35_email_needs_to_be_a_backup_then_and_now_with_the_same_address() {
        let mut due = challenge_facts();
        due.challenge.fallback_at = Some(at(60));
        let off = Member { email_backup: false, ..due.member.clone() };
        let mut changed = due.member.clone();
        changed.email.as_mut().unwrap().index = vec![9];
        for member in [off, changed] {
            let facts = ChallengeFacts { member, ..due.clone() };
            assert_eq!(kind(Channel::Email, &facts, 61), OutcomeKind::EmailNotEligible);
        }
        due.challenge.email_index = None;
        assert_eq!(kind(Channel::Email, &due, 61), OutcomeKind::EmailNotEligible);
    }

    #[test]
    fn what_has_ended_is_not_sent_again() {
        let mut facts = challenge_facts();
        assert_eq!(kind(Channel::Sms, &facts, 600), OutcomeKind::Expired);
        facts.replaced = true;
        assert_eq!(kind(Channel::Sms, &facts, 600), OutcomeKind::Superseded);
        facts.challenge.state = State::Verified;
        assert_eq!(kind(Channel::Sms, &facts, 60), OutcomeKind::AlreadyUsed);
        facts.replaced = false;
        facts.challenge.state = State::Cancelled;
        facts.challenge.reason = Some(CancelReason::Requested);
        assert_eq!(kind(Channel::Sms, &facts, 60), OutcomeKind::Cancelled);
        facts.challenge.reason = Some(CancelReason::TargetChanged);
        assert_eq!(kind(Channel::Sms, &facts, 60), OutcomeKind::TargetChanged);
    }
}
