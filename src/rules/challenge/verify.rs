//! Whether a guess is right, and what a wrong one costs.
//!
//! Counted before compared: the write that counts a wrong guess, or ends the challenge on a right
//! one, is committed before the answer leaves. What cannot be the code, since it has not as many
//! digits, is neither compared nor counted. That is decided last: a challenge that has ended, or a
//! member who has to wait, gets the same answer whatever was typed.

use crate::domain::Timestamp;
use crate::domain::approval::Approval;
use crate::domain::challenge::{CancelReason, Challenge, Channel, Purpose, State};
use crate::domain::code::Code;
use crate::message::{Effect, Event, EventKind, Outcome, OutcomeKind, Request, VerifyChallenge};
use crate::rules::challenge::events::{
    Ending, about, cancelled_as, ended, ending_event, invalid_guess, outcome,
};
use crate::rules::challenge::facts::VerificationFacts;
use crate::rules::challenge::verified::{self, Applied};
use crate::rules::challenge::void::voided;
use crate::rules::factor::change::Change;
use crate::rules::inputs::RuleInputs;
use crate::rules::limits::inside;
use crate::rules::verdict::{Decided, DecisionContext, seconds_until};

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The challenge and its count of wrong codes as judged: the guard of the write.
    pub challenge: Challenge,
    /// Whether the guess was wrong, and so counts.
    pub wrong: bool,
    /// The challenge's end, if it ends.
    pub ending: Option<Ending>,
    /// The member's wrong codes in a row, as judged and from now on.
    pub in_a_row: (i32, i32),
    /// No further guess is compared before.
    pub guess_after: Option<Timestamp>,
    /// The factor is suspended from now on.
    pub suspend: bool,
    /// The number has proved itself for the first time: the code went by SMS alone.
    pub phone_verified: bool,
    /// What the verification changes of the member.
    pub change: Option<Change>,
    /// The change of a setting that it approves.
    pub approval: Option<Approval>,
    /// When it was judged.
    pub now: Timestamp,
}

impl Write {
    /// Whether the member's row is other than it was judged.
    pub const fn changes_member(&self) -> bool {
        self.in_a_row.0 != self.in_a_row.1 || self.suspend || self.phone_verified
    }
}

/// The rule. Without facts the challenge is not the app's, or nobody's.
pub fn decide(
    request: &Request<VerifyChallenge>,
    facts: Option<VerificationFacts>,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    let now = ctx.now;
    let Some(facts) = facts else {
        return Decided::answer(Outcome::new(OutcomeKind::NotFound));
    };
    let (challenge, policy) = (&facts.challenge, &rules.policy);
    if facts.replaced || !challenge.live(now) {
        return Decided::answer(ended(challenge, facts.replaced));
    }
    if let Some(reason) = void(&facts) {
        return cancelled(facts, reason, now);
    }
    let spent = inside(policy.wrong_per_month, &facts.wrong, now) >= policy.wrong_per_month.count;
    if facts.member.suspended_at.is_some() || spent {
        return Decided::answer(outcome(challenge, OutcomeKind::Suspended));
    }
    if let Some(then) = facts.member.guess_after.filter(|then| *then > now) {
        let retry_after = Some(seconds_until(then, now));
        return Decided::answer(Outcome { retry_after, ..outcome(challenge, OutcomeKind::Wait) });
    }
    let digits = challenge.code_digits().unwrap_or(usize::from(policy.code_digits));
    let Some(guess) = Code::typed(request.body.guess.expose(), digits) else {
        let left = policy.wrong_per_challenge - challenge.wrong;
        let reply = outcome(challenge, OutcomeKind::InvalidGuess);
        return Decided::answer(invalid_guess(reply, left));
    };
    if guess.matches(&challenge.digest, &rules.keys, &challenge.binding()) {
        right(request, facts, rules, ctx)
    } else {
        wrong(facts, rules, now)
    }
}

/// How it was proved, in words of RFC 8176. Both channels carry the same code, so the weakest one
/// claimed before counts. There is no registered word for email, and it is no factor: ours says so.
fn amr(claimed: &[Channel]) -> Vec<&'static str> {
    if claimed.contains(&Channel::Email) { vec!["otp", "stepup:email"] } else { vec!["otp", "sms"] }
}

/// Why not even the right code would do any more.
fn void(facts: &VerificationFacts) -> Option<CancelReason> {
    let purpose = facts.challenge.purpose;
    if facts.owned {
        Some(CancelReason::CompanyOwnedNumber)
    } else if purpose == Purpose::Disable && facts.account.mandatory {
        Some(CancelReason::MandatoryByAccount)
    } else {
        voided(&facts.challenge, &facts.member, facts.account.mandatory)
    }
}

/// The challenge ends, and no guess is counted.
fn cancelled(facts: VerificationFacts, reason: CancelReason, now: Timestamp) -> Decided<Write> {
    let (challenge, member) = (facts.challenge, facts.member);
    let event = ending_event(&challenge, State::Cancelled, Some(reason));
    let reply = outcome(&challenge, cancelled_as(Some(reason)));
    let write = Write {
        ending: Some(Ending::cancelled(challenge.id, reason, now)),
        challenge,
        wrong: false,
        in_a_row: (member.wrong_in_a_row, member.wrong_in_a_row),
        guess_after: member.guess_after,
        suspend: false,
        phone_verified: false,
        change: None,
        approval: None,
        now,
    };
    let effects = vec![event.into()];
    Decided { label: "cancelled", write: Some(write), effects, reply: Some(reply) }
}

fn right(
    request: &Request<VerifyChallenge>,
    facts: VerificationFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    let now = ctx.now;
    let amr = amr(&facts.claimed);
    let Applied { change, approval, effects: followed } =
        match verified::apply(request, &facts, &amr, rules, ctx) {
            Ok(applied) => applied,
            Err(reason) => return cancelled(facts, reason, now),
        };
    let (challenge, member) = (facts.challenge, facts.member);
    let by_email = facts.claimed.contains(&Channel::Email);
    let event = Event {
        app: Some(request.app.clone()),
        amr: Some(amr.clone()),
        channel: Some(if by_email { Channel::Email } else { Channel::Sms }),
        ..ending_event(&challenge, State::Verified, None)
    };
    let reply = Outcome {
        amr: Some(amr),
        approval: approval.as_ref().map(|approval| approval.signed(&rules.keys)),
        state: Some(State::Verified),
        ..outcome(&challenge, OutcomeKind::Verified)
    };
    let ending = Ending { challenge: challenge.id, state: State::Verified, reason: None, at: now };
    let same_number =
        member.phone.as_ref().is_some_and(|phone| phone.index == challenge.phone_index);
    let write = Write {
        challenge,
        wrong: false,
        ending: Some(ending),
        in_a_row: (member.wrong_in_a_row, 0),
        guess_after: None,
        suspend: false,
        phone_verified: !by_email
            && same_number
            && facts.claimed.contains(&Channel::Sms)
            && member.phone_verified_at.is_none(),
        change,
        approval,
        now,
    };
    let mut effects = vec![event.into()];
    effects.extend(followed);
    Decided { label: "verified", write: Some(write), effects, reply: Some(reply) }
}

fn wrong(facts: VerificationFacts, rules: &RuleInputs, now: Timestamp) -> Decided<Write> {
    let (challenge, member, policy) = (facts.challenge, facts.member, &rules.policy);
    let left = (policy.wrong_per_challenge - challenge.wrong - 1).max(0);
    let in_a_row = member.wrong_in_a_row + 1;
    // This one counts too.
    let reached = |window| inside(window, &facts.wrong, now) + 1 == window.count;
    let suspend = reached(policy.wrong_per_month);
    let locked = left == 0;
    let mut effects: Vec<Effect> = Vec::new();
    effects.push(Effect::from(if locked {
        Event { attempts_left: Some(0), ..ending_event(&challenge, State::Locked, None) }
    } else {
        Event { attempts_left: Some(left), ..about(&challenge, EventKind::GuessFailed) }
    }));
    if reached(policy.wrong_per_day) {
        effects.push(about(&challenge, EventKind::GuessLimitReached).into());
    }
    if suspend {
        effects.push(about(&challenge, EventKind::FactorSuspended).into());
    }
    let kind = if locked { OutcomeKind::Locked } else { OutcomeKind::WrongCode };
    let reply = Outcome { attempts_left: Some(left), ..outcome(&challenge, kind) };
    let ending = locked.then_some(Ending {
        challenge: challenge.id,
        state: State::Locked,
        reason: None,
        at: now,
    });
    let write = Write {
        challenge,
        wrong: true,
        ending,
        in_a_row: (member.wrong_in_a_row, in_a_row),
        guess_after: policy.guess_wait_after(in_a_row).map(|wait| now + wait),
        suspend,
        phone_verified: false,
        change: None,
        approval: None,
        now,
    };
    Decided { label: kind.label(), write: Some(write), effects, reply: Some(reply) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::Place;
    use crate::domain::member::Member;
    use crate::message::Sealed;
    use crate::rules::tests_support::{CODE, NOW, account, challenge, ctx, member, rules};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use time::Duration;

    fn facts() -> VerificationFacts {
        VerificationFacts {
            challenge: challenge(),
            account: account(),
            member: member(),
            open: Vec::new(),
            owned: false,
            replaced: false,
            claimed: vec![Channel::Sms],
            wrong: Vec::new(),
        }
    }

    fn guess(text: &str, facts: VerificationFacts, seconds: i64) -> Decided<Write> {
        let ask = VerifyChallenge {
            account: account().id,
            challenge: challenge().id,
            guess: Sealed::new(text),
            client: Default::default(),
        };
        let now = NOW + Duration::seconds(seconds);
        decide(&Request { app: account().app, body: ask }, Some(facts), &rules(), &mut ctx(now))
    }

    fn kind(decided: &Decided<Write>) -> OutcomeKind {
        decided.reply.as_ref().unwrap().outcome
    }

    #[test]
    fn r21_the_right_code_ends_the_challenge_and_clears_the_row_of_wrong_ones() {
        let facts =
            VerificationFacts { member: Member { wrong_in_a_row: 3, ..member() }, ..facts() };
        let decided = guess(CODE, facts, 1);
        assert_eq!(kind(&decided), OutcomeKind::Verified);
        let write = decided.write.unwrap();
        assert_eq!(write.ending.unwrap().state, State::Verified);
        assert_eq!(write.in_a_row, (3, 0));
        assert!(write.phone_verified && !write.wrong);
        assert_eq!(decided.reply.unwrap().amr.unwrap(), ["otp", "sms"]);
    }

    #[test]
    fn amr_is_the_weakest_channel_claimed_before() {
        let both = VerificationFacts { claimed: vec![Channel::Sms, Channel::Email], ..facts() };
        let decided = guess(CODE, both, 61);
        assert_eq!(decided.reply.unwrap().amr.unwrap(), ["otp", "stepup:email"]);
        assert!(!decided.write.unwrap().phone_verified, "an email proves no number");
    }

    #[test]
    fn r22_a_wrong_code_costs_one_attempt_and_the_fifth_locks() {
        for before in 0..5 {
            let mut facts = facts();
            facts.challenge.wrong = before;
            let decided = guess("999999", facts, 1);
            let left = 4 - before;
            assert_eq!(decided.reply.as_ref().unwrap().attempts_left, Some(left));
            let locks = left == 0;
            let expected = if locks { OutcomeKind::Locked } else { OutcomeKind::WrongCode };
            assert_eq!(kind(&decided), expected);
            let write = decided.write.unwrap();
            assert!(write.wrong);
            assert_eq!(write.ending.map(|e| e.state), locks.then_some(State::Locked));
        }
    }

    #[test]
    fn r22_a_guess_that_cannot_be_the_code_is_neither_compared_nor_counted() {
        for text in ["", "12345", "1234567", "31415O", "abc"] {
            let decided = guess(text, facts(), 1);
            assert_eq!(kind(&decided), OutcomeKind::InvalidGuess, "{text}");
            let reply = decided.reply.unwrap();
            assert_eq!((reply.attempts_left, reply.field), (Some(5), Some("guess")));
            assert!(decided.write.is_none() && decided.effects.is_empty());
        }
    }

    #[test]
    fn r22_a_malformed_guess_tells_nothing_new_of_a_challenge_that_takes_no_guess() {
        let mut ended = facts();
        ended.challenge.state = State::Locked;
        let suspended =
            VerificationFacts { member: Member { suspended_at: Some(NOW), ..member() }, ..facts() };
        let guess_after = Some(NOW + Duration::seconds(30));
        let waiting = VerificationFacts { member: Member { guess_after, ..member() }, ..facts() };
        for facts in [ended, suspended, waiting, VerificationFacts { replaced: true, ..facts() }] {
            let (malformed, right) = (guess("x", facts.clone(), 1), guess(CODE, facts, 1));
            assert_eq!(malformed.reply, right.reply);
            assert_eq!(malformed.write, right.write);
        }
    }

    #[test]
    fn r22_the_digits_are_those_of_the_code_not_of_today_s_setting() {
        let mut facts = facts();
        let (keys, mut chance) = (rules().keys, StdRng::seed_from_u64(1));
        let code = Code::draw(8, &mut chance);
        let place = Place::Code(facts.challenge.id.0.as_bytes(), 0);
        let sealed = keys.seal(&place, code.digits().as_bytes(), &mut chance);
        facts.challenge.digest = code.digest(&keys, &facts.challenge.binding());
        facts.challenge.code_sealed = Some(sealed);
        assert_eq!(kind(&guess("123456", facts.clone(), 1)), OutcomeKind::InvalidGuess);
        assert_eq!(kind(&guess(code.digits(), facts, 1)), OutcomeKind::Verified);
    }

    #[test]
    fn r40_the_right_code_is_wrong_at_the_instant_of_expiry() {
        assert_eq!(kind(&guess(CODE, facts(), 599)), OutcomeKind::Verified);
        let late = guess(CODE, facts(), 600);
        assert_eq!(kind(&late), OutcomeKind::Expired);
        assert!(late.write.is_none());
    }

    #[test]
    fn r20_a_guess_for_a_replaced_challenge_costs_nothing() {
        let mut facts = VerificationFacts { replaced: true, ..facts() };
        facts.challenge.state = State::Expired;
        let decided = guess(CODE, facts.clone(), 1);
        assert_eq!(kind(&decided), OutcomeKind::Superseded);
        assert!(decided.write.is_none());
        facts.challenge.state = State::Verified;
        assert_eq!(kind(&guess(CODE, facts, 1)), OutcomeKind::AlreadyUsed);
    }

    #[test]
    fn r22_five_in_a_row_must_wait_and_a_guess_meanwhile_is_not_compared() {
        let facts =
            VerificationFacts { member: Member { wrong_in_a_row: 4, ..member() }, ..facts() };
        let write = guess("999999", facts.clone(), 0).write.unwrap();
        assert_eq!(write.guess_after, Some(NOW + Duration::seconds(30)));
        let waiting = VerificationFacts {
            member: Member { wrong_in_a_row: 5, guess_after: write.guess_after, ..member() },
            ..facts
        };
        let early = guess(CODE, waiting.clone(), 29);
        assert_eq!(kind(&early), OutcomeKind::Wait);
        assert_eq!(early.reply.unwrap().retry_after, Some(1));
        assert!(early.write.is_none());
        assert_eq!(kind(&guess(CODE, waiting, 30)), OutcomeKind::Verified);
    }

    #[test]
    fn r22_the_hundredth_wrong_code_in_thirty_days_suspends_and_no_further_one_is_compared() {
        let past = |count: i64| (0..count).map(|n| NOW - Duration::hours(n * 7 + 25)).collect();
        let last = guess("999999", VerificationFacts { wrong: past(99), ..facts() }, 0);
        assert!(last.write.unwrap().suspend);
        let suspended = VerificationFacts { wrong: past(100), ..facts() };
        assert_eq!(kind(&guess(CODE, suspended, 0)), OutcomeKind::Suspended);
        let marked =
            VerificationFacts { member: Member { suspended_at: Some(NOW), ..member() }, ..facts() };
        assert_eq!(kind(&guess(CODE, marked, 0)), OutcomeKind::Suspended);
    }

    #[test]
    fn r22_the_fifteenth_of_a_day_is_told() {
        let wrong = (0..14).map(|n| NOW - Duration::minutes(n)).collect();
        let decided = guess("999999", VerificationFacts { wrong, ..facts() }, 0);
        let told = decided.effects.iter().any(|effect| {
            matches!(effect, Effect::Event(event) if event.kind == EventKind::GuessLimitReached)
        });
        assert!(told);
    }

    proptest! {
        /// The state machine: whatever is guessed and whenever, a challenge ends at most once, and
        /// never more than five guesses are compared.
        #[test]
        fn r22_a_challenge_ends_once_and_compares_no_more_than_its_limit(
            steps in proptest::collection::vec((any::<bool>(), 0_i64..120), 0..40),
        ) {
            let (mut facts, mut seconds, mut compared, mut endings) = (facts(), 0, 0, 0);
            for (is_right, pause) in steps {
                seconds += pause;
                let text = if is_right { CODE } else { "999999" };
                let decided = guess(text, facts.clone(), seconds);
                let Some(write) = decided.write else { continue };
                prop_assert_eq!(facts.challenge.state, State::Open);
                compared += 1;
                facts.challenge.wrong += i16::from(write.wrong);
                facts.member.wrong_in_a_row = write.in_a_row.1;
                facts.member.guess_after = write.guess_after;
                if write.wrong {
                    facts.wrong.push(write.now);
                }
                if let Some(ending) = write.ending {
                    endings += 1;
                    facts.challenge.state = ending.state;
                    let terminal = decided.effects.iter().filter(|effect| {
                        matches!(effect, Effect::Event(event) if event.kind.terminal())
                    });
                    prop_assert_eq!(terminal.count(), 1);
                }
            }
            prop_assert!(endings <= 1 && compared <= 5);
        }
    }
}
