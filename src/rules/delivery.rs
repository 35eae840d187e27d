//! Whether a code is handed to a provider, and what its answer means.
//!
//! The claim is decided on facts that are locked; then the provider is called with no transaction
//! open; then the answer is settled. What was claimed and never settled is `unknown`: it is not
//! sent again by itself.

use zeroize::Zeroizing;

use super::Verdict;
use super::change::voided;
use super::code_generation::{Rules, about};
use crate::domain::Timestamp;
use crate::domain::account::{Account, EmailFallback};
use crate::domain::challenge::{AttemptState, CancelReason, Challenge, Channel};
use crate::domain::code::Code;
use crate::domain::id::{ChallengeId, derived};
use crate::domain::keys::Place;
use crate::domain::member::Member;
use crate::domain::policy::Policy;
use crate::message::{Command, Effect, EmailCause, Event, EventKind, Rung};

/// The send number of the automatic email: there is one at most.
pub const FALLBACK_SEND: i16 = 0;
/// Why nothing is sent: what was sealed does not open any more.
const KEY_LOST: &str = "key_lost";
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
}

impl Ask {
    /// The ask of a command, if it is one to send a code.
    pub const fn of(command: &Command) -> Option<Self> {
        match *command {
            Command::SendSms { challenge, send, tries } => {
                Some(Self { challenge, channel: Channel::Sms, send, tries, cause: None })
            }
            Command::SendEmail { challenge, send, tries, cause } => {
                let cause = Some(cause);
                Some(Self { challenge, channel: Channel::Email, send, tries, cause })
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
pub struct Letter {
    /// The provider's idempotency key.
    pub attempt: uuid::Uuid,
    /// The number or address.
    pub to: Zeroizing<String>,
    /// The subject of a mail.
    pub subject: String,
    /// The text.
    pub text: Zeroizing<String>,
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
    Call(Box<Letter>),
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
pub fn decide(ask: &Ask, facts: Option<Facts>, rules: &Rules, now: Timestamp) -> Dispatch {
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
    let step = step(ask, &facts, rules, now);
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

fn step(ask: &Ask, facts: &Facts, rules: &Rules, now: Timestamp) -> Step {
    let fallback = ask.channel == Channel::Email && ask.send == FALLBACK_SEND;
    match facts.attempt(ask) {
        Some(attempt) => match attempt.state {
            AttemptState::Calling if attempt.lease_until.is_some_and(|until| now < until) => {
                return Step::Leased;
            }
            AttemptState::Calling => return Step::Lost,
            // A message of an earlier try of the same send.
            AttemptState::Queued if attempt.tries != ask.tries => return Step::Done,
            AttemptState::Queued => {}
            AttemptState::Accepted
            | AttemptState::Failed
            | AttemptState::Unknown
            | AttemptState::Skipped => return Step::Done,
        },
        // Only the automatic email has no row before it is claimed.
        None if fallback && ask.tries == 0 => {
            if facts.attempts.iter().any(|attempt| attempt.channel == Channel::Email) {
                return Step::Done;
            }
        }
        None => return Step::Skip("send_unknown"),
    }
    if let Some(why) = obstacle(ask, facts, &rules.policy, now) {
        // A fallback that never had a row leaves none: it was not a send.
        return Step::Skip(why);
    }
    if fallback && facts.challenge.email_fallback == EmailFallback::OnRequest {
        return Step::Offer;
    }
    // The automatic email is a send of the challenge like the others, counted once it is claimed.
    let counted = facts.attempt(ask).is_some();
    if !counted && facts.challenge.sends >= rules.policy.sends_per_challenge {
        return Step::Skip("sends_used_up");
    }
    match letter(ask, facts, rules, now) {
        Ok(letter) => Step::Call(Box::new(letter)),
        Err(why) => Step::Skip(why),
    }
}

/// Whether a send that is taken up then leaves too little of the challenge's life to type the code in
///
pub(super) fn too_late(challenge: &Challenge, policy: &Policy, then: Timestamp) -> bool {
    challenge.expires_at - then < policy.life_left_min
}

/// What stands in the way of a send, by today's facts.
fn obstacle(ask: &Ask, facts: &Facts, policy: &Policy, now: Timestamp) -> Option<&'static str> {
    let (challenge, member) = (&facts.challenge, &facts.member);
    if !challenge.live(now) {
        return Some("challenge_ended");
    }
    if too_late(challenge, policy, now) {
        return Some("delivery_too_late");
    }
    // Whatever voids a challenge ends it in the transaction of the change; this is for what was
    // claimed before that.
    match voided(challenge, member, facts.account.mandatory) {
        None => {}
        Some(CancelReason::TargetChanged) => return Some("target_changed"),
        Some(CancelReason::CompanyOwnedNumber) => return Some("company_owned_number"),
        Some(_) => return Some("member_changed"),
    }
    match ask.channel {
        Channel::Sms => None,
        Channel::Email => {
            let Some(snapshot) = &challenge.email_index else { return Some("no_email_backup") };
            if facts.account.email_fallback == EmailFallback::Forbidden {
                return Some("email_forbidden");
            }
            let Some(today) = member.backup_email() else { return Some("no_email_backup") };
            if today.index != *snapshot {
                return Some("target_changed");
            }
            let early = ask.cause == Some(EmailCause::Fallback)
                && challenge.fallback_at.is_none_or(|due| now < due);
            early.then_some("not_due")
        }
    }
}

/// The message in the member's language, or why there can be none.
fn letter(ask: &Ask, facts: &Facts, rules: &Rules, now: Timestamp) -> Result<Letter, &'static str> {
    let (challenge, keys) = (&facts.challenge, &rules.keys);
    let place = Place::Code(challenge.id.0.as_bytes(), challenge.expires_at.unix_timestamp());
    let sealed = challenge.code_sealed.as_deref().ok_or(KEY_LOST)?;
    let clear = keys.open(&place, sealed).map_err(|_| KEY_LOST)?;
    let code = Code::typed(std::str::from_utf8(&clear).map_err(|_| KEY_LOST)?);
    let detail = match challenge.detail_sealed {
        Some(_) => challenge.detail_in_clear(keys).ok_or(KEY_LOST)?,
        None => Zeroizing::default(),
    };
    let (attempt, account, purpose) = (ask.attempt_id(), &facts.account, challenge.purpose);
    let to_bind = purpose.binds_number();
    let summary = if to_bind { "" } else { detail.as_str() };
    let (texts, locale) = (&rules.texts, facts.member.locale.as_str());
    Ok(match ask.channel {
        Channel::Sms => Letter {
            attempt,
            subject: String::new(),
            text: texts.sms(locale, account, purpose, summary, &code).ok_or(TEXT_FAULTY)?,
            to: if to_bind { detail } else { facts.member.phone_in_clear(keys).ok_or(KEY_LOST)? },
        },
        Channel::Email => {
            let minutes = (challenge.expires_at - now).whole_minutes();
            let mail = texts.code_mail(locale, account, purpose, summary, &code, minutes);
            let mail = mail.ok_or(TEXT_FAULTY)?;
            let to = facts.member.email_in_clear(keys).ok_or(KEY_LOST)?;
            Letter { attempt, to, subject: mail.subject, text: mail.text }
        }
    })
}

impl Dispatch {
    /// The same send with the provider's answer.
    pub fn answered(self, answer: Answer, policy: &Policy) -> Self {
        let answer = match answer {
            Answer::NotNow { code, .. } if self.next_try(&answer, policy).is_none() => {
                Answer::Refused { code: format!("gave_up_{code}") }
            }
            other => other,
        };
        Self { step: Step::Answered(answer), ..self }
    }

    /// The delay before the next try, if there is to be one: the ladder 1, 5, 30 s, none with too
    /// little life left.
    fn next_try(&self, answer: &Answer, policy: &Policy) -> Option<Rung> {
        let Answer::NotNow { retry_after_seconds, .. } = answer else { return None };
        let rung = retry_rung(self.ask.tries, *retry_after_seconds)?;
        let challenge = self.challenge.as_ref()?;
        let then = self.now + time::Duration::seconds(i64::from(rung.seconds()));
        (challenge.expires_at - then >= policy.life_left_min).then_some(rung)
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

impl Verdict for Dispatch {
    fn label(&self) -> &'static str {
        match &self.step {
            Step::Call(_) => "called",
            Step::Answered(Answer::Accepted { .. }) => "accepted",
            Step::Answered(Answer::NotNow { .. }) => "retried",
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
            Step::Answered(Answer::NotNow { retry_after_seconds, .. }) => {
                let rung = retry_rung(self.ask.tries, *retry_after_seconds);
                effects.push(Effect::Command(self.ask.again(), rung));
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
            // A fallback that was never wanted is no news.
            Step::Skip(why) if self.silent(why) => {}
            Step::Skip(why) => effects.extend(self.event(EventKind::DeliverySkipped, Some(why))),
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
        let tries = self.tries + 1;
        match self.channel {
            Channel::Sms => Command::SendSms { challenge, send, tries },
            Channel::Email => {
                let cause = self.cause.unwrap_or(EmailCause::Fallback);
                Command::SendEmail { challenge, send, tries, cause }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{CODE, NOW, account, challenge, member, rules};
    use super::*;
    use crate::domain::challenge::State;
    use proptest::prelude::*;
    use time::Duration;

    const SMS: Ask = Ask {
        challenge: ChallengeId(uuid::Uuid::from_u128(1)),
        channel: Channel::Sms,
        send: 1,
        tries: 0,
        cause: None,
    };
    const EMAIL: Ask = Ask {
        channel: Channel::Email,
        send: FALLBACK_SEND,
        cause: Some(EmailCause::Fallback),
        ..SMS
    };

    fn attempt(channel: Channel, send: i16, state: AttemptState) -> Attempt {
        Attempt { channel, send, state, tries: 0, lease_until: None }
    }

    fn facts(attempts: Vec<Attempt>) -> Facts {
        Facts { challenge: challenge(), account: account(), member: member(), attempts }
    }

    fn queued() -> Facts {
        facts(vec![attempt(Channel::Sms, 1, AttemptState::Queued)])
    }

    fn due() -> Facts {
        let mut facts = facts(vec![attempt(Channel::Sms, 1, AttemptState::Accepted)]);
        facts.challenge.fallback_at = Some(NOW + Duration::seconds(60));
        facts
    }

    fn at(ask: &Ask, facts: Facts, seconds: i64) -> Dispatch {
        decide(ask, Some(facts), &rules(), NOW + Duration::seconds(seconds))
    }

    fn skipped(dispatch: &Dispatch) -> Option<&'static str> {
        if let Step::Skip(why) = dispatch.step { Some(why) } else { None }
    }

    fn commands(dispatch: &Dispatch) -> Vec<(Command, Option<Rung>)> {
        let command = |effect| match effect {
            Effect::Command(command, rung) => Some((command, rung)),
            Effect::Event(_) => None,
        };
        dispatch.effects().into_iter().filter_map(command).collect()
    }

    #[test]
    fn r27_the_first_send_is_an_sms_with_the_code_to_the_number() {
        let Step::Call(letter) = at(&SMS, queued(), 1).step else { panic!() };
        assert_eq!(*letter.to, "+12025550123");
        assert!(letter.text.starts_with(CODE));
        assert_eq!(letter.attempt, SMS.attempt_id());
    }

    #[test]
    fn r25_a_send_that_was_settled_is_not_sent_again() {
        use AttemptState::{Accepted, Failed, Skipped, Unknown};
        for state in [Accepted, Failed, Skipped, Unknown] {
            let dispatch = at(&SMS, facts(vec![attempt(Channel::Sms, 1, state)]), 1);
            assert!(matches!(dispatch.step, Step::Done));
        }
    }

    #[test]
    fn a_claimed_send_is_left_alone_while_its_lease_runs_and_is_unknown_after() {
        let calling = Attempt {
            lease_until: Some(NOW + Duration::seconds(10)),
            ..attempt(Channel::Sms, 1, AttemptState::Calling)
        };
        let leased = at(&SMS, facts(vec![calling.clone()]), 9);
        assert!(leased.wait().is_some());
        let lost = at(&SMS, facts(vec![calling]), 10);
        assert_eq!(lost.label(), "unknown");
        assert!(lost.wait().is_none() && commands(&lost).is_empty(), "not resent by itself");
    }

    #[test]
    fn r26_with_too_little_life_left_it_is_not_sent_and_says_so() {
        assert!(matches!(at(&SMS, queued(), 540).step, Step::Call(_)));
        let late = at(&SMS, queued(), 541);
        assert_eq!(skipped(&late), Some("delivery_too_late"));
        assert!(matches!(&late.effects()[..], [Effect::Event(event)]
            if event.kind == EventKind::DeliverySkipped
                && event.reason.as_deref() == Some("delivery_too_late")));
    }

    #[test]
    fn r43_r44_r52_today_s_facts_can_stop_an_sms() {
        let mut ended = queued();
        ended.challenge.state = State::Cancelled;
        assert_eq!(skipped(&at(&SMS, ended, 1)), Some("challenge_ended"));
        for (change, why) in [
            (Member { active: false, ..member() }, "member_changed"),
            (Member { two_factor: false, ..member() }, "member_changed"),
            (Member { phone: None, ..member() }, "target_changed"),
        ] {
            let facts = Facts { member: change, ..queued() };
            assert_eq!(skipped(&at(&SMS, facts, 1)), Some(why));
        }
    }

    #[test]
    fn r28_the_email_goes_when_due_and_not_before() {
        assert_eq!(skipped(&at(&EMAIL, due(), 59)), Some("not_due"));
        let Step::Call(letter) = at(&EMAIL, due(), 60).step else { panic!() };
        assert_eq!(*letter.to, "ada@acme.example");
        let mut never = due();
        never.challenge.fallback_at = None;
        assert_eq!(skipped(&at(&EMAIL, never, 60)), Some("not_due"), "no SMS was claimed");
    }

    #[test]
    fn r28_after_a_definitive_sms_failure_the_email_does_not_wait() {
        let dispatch = at(&SMS, queued(), 1);
        let refused = Answer::Refused { code: "http_422".into() };
        let failed = dispatch.answered(refused, &Policy::default());
        let [(command, None)] = &commands(&failed)[..] else { panic!() };
        let ask = Ask::of(command).unwrap();
        let mut facts = facts(vec![attempt(Channel::Sms, 1, AttemptState::Failed)]);
        facts.challenge.fallback_at = Some(NOW + Duration::seconds(60));
        assert!(matches!(at(&ask, facts, 1).step, Step::Call(_)));
    }

    #[test]
    fn r30_r34_r35_an_email_needs_a_backup_then_and_now_to_the_same_address() {
        let mut off_then = due();
        off_then.challenge.email_index = None;
        let off_now = Facts { member: Member { email_backup: false, ..member() }, ..due() };
        let mut moved = due();
        moved.member.email.as_mut().unwrap().index = vec![1];
        let forbidden = Account { email_fallback: EmailFallback::Forbidden, ..account() };
        for (facts, why) in [
            (off_then, "no_email_backup"),
            (off_now, "no_email_backup"),
            (moved, "target_changed"),
            (Facts { account: forbidden, ..due() }, "email_forbidden"),
        ] {
            assert_eq!(skipped(&at(&EMAIL, facts, 61)), Some(why));
        }
    }

    #[test]
    fn d1_the_automatic_email_is_a_send_of_the_challenge_and_obeys_its_limit() {
        let limit = rules().policy.sends_per_challenge;
        let mut full = due();
        full.challenge.sends = limit;
        let dispatch = at(&EMAIL, full.clone(), 61);
        assert_eq!(skipped(&dispatch), Some("sends_used_up"));
        assert!(!dispatch.effects().is_empty(), "it is told");
        // Once it is claimed it is one of them: its next try is no further send.
        full.attempts
            .push(Attempt { tries: 1, ..attempt(Channel::Email, 0, AttemptState::Queued) });
        assert!(matches!(at(&Ask { tries: 1, ..EMAIL }, full, 61).step, Step::Call(_)));
        let mut last = due();
        last.challenge.sends = limit - 1;
        assert!(matches!(at(&EMAIL, last, 61).step, Step::Call(_)));
        // Where no email can come any more, a failed SMS leaves the challenge to be judged.
        let mut failed = queued();
        failed.challenge.sends = limit;
        let refused = Answer::Refused { code: "recipient_http_422".into() };
        let lost = at(&SMS, failed, 0).answered(refused, &rules().policy);
        assert!(matches!(commands(&lost)[..], [(Command::Abandon { .. }, None)]));
    }

    #[test]
    fn r33_there_is_one_automatic_email_at_most() {
        let mut facts = due();
        facts.attempts.push(attempt(Channel::Email, 2, AttemptState::Accepted));
        assert!(matches!(at(&EMAIL, facts, 61).step, Step::Done));
    }

    #[test]
    fn d1_on_request_only_offers_the_email() {
        let mut facts = due();
        facts.challenge.email_fallback = EmailFallback::OnRequest;
        let offered = at(&EMAIL, facts, 61);
        assert!(matches!(&offered.effects()[..], [Effect::Event(event)]
            if event.kind == EventKind::EmailEligible));
    }

    #[test]
    fn a_refusal_without_an_email_leaves_the_challenge_to_be_judged() {
        let mut facts = queued();
        facts.challenge.email_index = None;
        let refused = Answer::Refused { code: "http_422".into() };
        let failed = at(&SMS, facts, 1).answered(refused, &Policy::default());
        assert_eq!(commands(&failed), [(Command::Abandon { challenge: SMS.challenge }, None)]);
    }

    #[test]
    fn a_provider_that_is_away_is_tried_again_after_1_5_and_30_s_and_then_given_up() {
        let policy = Policy::default();
        let not_now = || Answer::NotNow { retry_after_seconds: None, code: "connect".into() };
        for (tries, seconds) in [(0, 1), (1, 5), (2, 30)] {
            let mut facts = queued();
            facts.attempts[0].tries = tries;
            let dispatch = at(&Ask { tries, ..SMS }, facts, 1).answered(not_now(), &policy);
            let [(command, Some(rung))] = &commands(&dispatch)[..] else { panic!() };
            assert_eq!((rung.seconds(), Ask::of(command).unwrap().tries), (seconds, tries + 1));
        }
        let mut facts = queued();
        facts.attempts[0].tries = 3;
        let dispatch = at(&Ask { tries: 3, ..SMS }, facts, 1).answered(not_now(), &policy);
        assert_eq!(dispatch.label(), "failed");
        let late = at(&SMS, queued(), 540).answered(not_now(), &policy);
        assert_eq!(late.label(), "failed", "no try with under 60 s of life left");
    }

    #[test]
    fn an_unknown_answer_causes_no_send() {
        let unknown = Answer::Unknown { code: "timeout".into() };
        let dispatch = at(&SMS, queued(), 1).answered(unknown, &Policy::default());
        assert!(commands(&dispatch).is_empty());
    }

    proptest! {
        #[test]
        fn the_ladder_only_climbs_and_ends(tries in 0_i16..10, wanted in proptest::option::of(0_u64..500)) {
            match retry_rung(tries, wanted) {
                Some(rung) => {
                    prop_assert!(tries < 3);
                    prop_assert!(u64::from(rung.seconds()) >= wanted.unwrap_or(0));
                    if let Some(next) = retry_rung(tries + 1, wanted) {
                        prop_assert!(next >= rung);
                    }
                }
                None => prop_assert!(tries >= 3 || wanted.unwrap_or(0) > 120),
            }
        }
    }
}
