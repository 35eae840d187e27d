use super::*;
use crate::domain::account::{Account, EmailFallback};
use crate::domain::challenge::Purpose;
use crate::domain::id::ChallengeId;
use crate::domain::policy::Policy;
use crate::rules::limits::NumberFacts;
use crate::rules::tests_support::{NOW, account, ctx, issue_facts, issue_request, member, rules};

fn facts() -> IssueFacts {
    issue_facts(1)
}

fn decided(facts: &IssueFacts) -> Decided<Issued> {
    decide(&issue_request(), facts, &rules(), &mut ctx(NOW))
}

fn outcome_of(facts: &IssueFacts) -> Outcome {
    decided(facts).reply.unwrap()
}

fn new_challenge(facts: &IssueFacts) -> Box<NewChallenge> {
    decided(facts).write.unwrap().new
}

fn ago(seconds: i64) -> Timestamp {
    NOW - Duration::seconds(seconds)
}

#[test]
fn r38_the_code_is_sent_without_a_further_click() {
    let decided = decided(&facts());
    assert_eq!(decided.label, "issued");
    let sms = Command::sms(facts().id, 1);
    assert!(decided.effects.contains(&Effect::Command(sms, None)));
    let reply = decided.reply.unwrap();
    assert_eq!(reply.destination.as_deref(), Some("•••23"));
    assert_eq!(reply.retry_after, Some(60));
}

#[test]
fn r41_with_2fa_off_no_code_is_required() {
    let off = IssueFacts { member: Member { two_factor: false, ..member() }, ..facts() };
    assert_eq!(outcome_of(&off).outcome, OutcomeKind::NotRequired);
    assert!(decided(&off).effects.is_empty());
}

fn bound() -> Member {
    Member { factor_by_mandate: true, ..member() }
}

#[test]
fn r64_a_mandate_holds_before_it_has_come_to_the_member() {
    let mandatory = Account { mandatory: true, ..account() };
    let off = Member { two_factor: false, ..member() };
    let facts = IssueFacts { account: mandatory, member: off, ..facts() };
    assert_eq!(outcome_of(&facts).outcome, OutcomeKind::Open);
}

#[test]
fn r75_r77_without_a_usable_number_the_member_enrols_by_the_address_or_asks_an_admin() {
    let known = |member| outcome_of(&IssueFacts { member, ..facts() }).outcome;
    for member in [
        Member { phone: None, ..bound() },
        Member { phone_textable: false, ..bound() },
        Member { phone_owned_at: Some(NOW), ..bound() },
        Member { phone: None, reset_at: Some(NOW), ..member() },
    ] {
        assert_eq!(known(member.clone()), OutcomeKind::EnrolmentRequired);
        assert_eq!(known(Member { email: None, ..member.clone() }), OutcomeKind::ContactAdmin);
        let suspended = Member { suspended_at: Some(NOW), ..member };
        assert_eq!(known(suspended), OutcomeKind::Suspended);
    }
    assert_eq!(known(Member { phone: None, ..member() }), OutcomeKind::NoPhone, "R-36");
}

#[test]
fn r78_the_later_of_both_grace_dates_counts_and_only_for_whom_the_mandate_binds() {
    let later = Some(NOW + Duration::DAY);
    let spared = IssueFacts { member: Member { grace_until: later, ..bound() }, ..facts() };
    let outcome = outcome_of(&spared);
    assert_eq!((outcome.outcome, outcome.enrol_by), (OutcomeKind::NotRequired, later));
    let account = Account { grace_until: later, ..account() };
    let spared = IssueFacts { account: account.clone(), member: bound(), ..facts() };
    assert_eq!(outcome_of(&spared).outcome, OutcomeKind::NotRequired);
    let own = IssueFacts { account, ..facts() };
    assert_eq!(outcome_of(&own).outcome, OutcomeKind::Open);
    let over = IssueFacts { member: Member { grace_until: Some(NOW), ..bound() }, ..facts() };
    assert_eq!(outcome_of(&over).outcome, OutcomeKind::Open);
}

#[test]
fn r45_the_same_pending_login_returns_its_open_challenge() {
    let open = new_challenge(&facts()).challenge;
    let again = IssueFacts { current: Some(open.clone()), ..facts() };
    let decided = decided(&again);
    assert!(decided.write.is_none() && decided.effects.is_empty());
    assert_eq!(decided.reply.unwrap().challenge, Some(open.id));
}

#[test]
fn r45_after_its_end_a_new_one_starts_and_one_past_its_time_is_ended_first() {
    let mut old = new_challenge(&facts()).challenge;
    old.id = ChallengeId(uuid::Uuid::from_u128(2));
    old.expires_at = NOW;
    let decided = decided(&IssueFacts { current: Some(old.clone()), ..facts() });
    let ended = decided.write.unwrap().ended.unwrap();
    assert_eq!((ended.challenge, ended.state), (old.id, State::Expired));
    old.state = State::Locked;
    let fresh = new_challenge(&IssueFacts { current: Some(old), ..facts() });
    assert_eq!(fresh.challenge.id, facts().id);
}

#[test]
fn r17_r26_whose_number_would_wait_too_long_is_told_when_to_come_back() {
    let life = rules().policy.life(Purpose::Login);
    let next = NOW + life;
    let number = NumberFacts { next_send_at: Some(next), sends: vec![ago(20)] };
    let decided = decided(&IssueFacts { number, ..facts() });
    assert!(decided.write.is_none());
    let reply = decided.reply.unwrap();
    assert_eq!(reply.outcome, OutcomeKind::DeliveryTooLate);
    assert_eq!(reply.retry_after, Some(seconds_until(next, NOW)));
}

#[test]
fn r17_a_second_browser_waits_for_the_timer_of_the_number() {
    let next = NOW + Duration::seconds(40);
    let number = NumberFacts { next_send_at: Some(next), sends: vec![ago(20)] };
    let second = IssueFacts { number, ..facts() };
    let new = new_challenge(&second);
    assert_eq!(new.send_at, next);
    assert_eq!(new.challenge.resend_at, next + Duration::seconds(60));
    let sends_now =
        decided(&second).effects.iter().any(|effect| matches!(effect, Effect::Command(..)));
    assert!(!sends_now);
}

#[test]
fn a_wait_is_never_shorter_than_the_transaction_that_begins_it() {
    let next_send_at = Some(NOW + Duration::milliseconds(1));
    let number = NumberFacts { next_send_at, sends: vec![] };
    let new = new_challenge(&IssueFacts { number, ..facts() });
    assert_eq!(new.send_at, NOW + Policy::default().transaction_max * 2);
}

#[test]
fn limits_refuse_and_say_when_to_come_again() {
    let sends = [10, 20, 30, 40, 50].map(ago).to_vec();
    let number = NumberFacts { next_send_at: None, sends };
    let outcome = outcome_of(&IssueFacts { number, ..facts() });
    assert_eq!(outcome.outcome, OutcomeKind::TooManySends);
    assert_eq!(outcome.retry_after, Some(600 - 50));
    let wrong = (1..=15).map(|n| ago(n * 60)).collect();
    let outcome = outcome_of(&IssueFacts { wrong, ..facts() });
    assert_eq!(outcome.outcome, OutcomeKind::TooManyWrongCodes);
    assert_eq!(outcome.retry_after, Some(24 * 3600 - 15 * 60));
}

#[test]
fn each_reason_not_to_send_has_its_outcome_and_no_challenge() {
    let cases = [
        (Member { active: false, ..member() }, OutcomeKind::NotFound),
        (Member { suspended_at: Some(NOW), ..member() }, OutcomeKind::Suspended),
        (Member { phone: None, ..member() }, OutcomeKind::NoPhone),
        (Member { phone_textable: false, ..member() }, OutcomeKind::PhoneUnsupported),
        (Member { phone_country: None, ..member() }, OutcomeKind::CountryNotAllowed),
    ];
    for (member, kind) in cases {
        let decided = decided(&IssueFacts { member, ..facts() });
        assert_eq!(decided.reply.unwrap().outcome, kind);
        assert!(decided.write.is_none());
        assert!(matches!(&decided.effects[..], [Effect::Event(event)]
            if event.kind == EventKind::ChallengeRefused));
    }
    let owned = IssueFacts { owned: true, ..facts() };
    assert_eq!(outcome_of(&owned).outcome, OutcomeKind::CompanyOwnedNumber);
}

#[test]
fn r34_r35_the_facts_of_the_day_of_issue_are_kept() {
    assert!(new_challenge(&facts()).challenge.email_index.is_some());
    for member in [
        Member { email_backup: false, ..member() },
        Member { email_verified: false, ..member() },
        Member { email: None, ..member() },
    ] {
        let new = new_challenge(&IssueFacts { member, ..facts() });
        assert_eq!(new.challenge.email_index, None);
    }
    let forbidden = Account { email_fallback: EmailFallback::Forbidden, ..account() };
    let new = new_challenge(&IssueFacts { account: forbidden, ..facts() });
    assert_eq!(new.challenge.email_index, None);
}

#[test]
fn a_life_is_as_long_as_the_policy_says() {
    let new = new_challenge(&facts());
    assert_eq!(new.challenge.expires_at - NOW, Policy::default().challenge_life);
}
