use proptest::prelude::*;
use time::Duration;

use super::*;
use crate::domain::account::{Account, EmailFallback};
use crate::domain::challenge::{AttemptState, Channel, State};
use crate::domain::id::ChallengeId;
use crate::domain::member::Member;
use crate::domain::policy::Policy;
use crate::message::{Command, Effect, EmailCause, EventKind, RetryDelay};
use crate::rules::claimed::{Claimed, Decision};
use crate::rules::tests_support::{CODE, NOW, account, challenge, member, rules};
use crate::rules::verdict::Verdict;

const SMS: SendRequest = SendRequest {
    challenge: ChallengeId(uuid::Uuid::from_u128(1)),
    channel: Channel::Sms,
    send: 1,
    tries: 0,
    cause: None,
    not_before: None,
};
const EMAIL: SendRequest = SendRequest {
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

type Decided = Decision<DeliveryCall, DeliverySettlement>;

fn at(request: &SendRequest, facts: Facts, seconds: i64) -> Decided {
    decide(request, Some(facts), &rules(), NOW + Duration::seconds(seconds))
}

/// The call that was decided, once it is claimed.
fn claimed(decided: Decided) -> Claimed<DeliveryCall> {
    let Decision::Call(call) = decided else { panic!("no call") };
    Claimed::after_commit(call)
}

fn settled(decided: Decided) -> DeliverySettlement {
    let Decision::Settle(settlement) = decided else { panic!("not settled") };
    settlement
}

fn skipped(decided: Decided) -> &'static str {
    let Settled::Skipped(why) = settled(decided).settled else { panic!("not skipped") };
    why
}

fn is_done(decided: Decided) -> bool {
    matches!(settled(decided).settled, Settled::Done)
}

fn commands(settlement: &DeliverySettlement) -> Vec<(Command, Option<RetryDelay>)> {
    let command = |effect| match effect {
        Effect::Command(command, delay) => Some((command, delay)),
        Effect::RetrySms { .. } | Effect::Event(_) => None,
    };
    settlement.effects().into_iter().filter_map(command).collect()
}

#[test]
fn r27_the_first_send_is_an_sms_with_the_code_to_the_number() {
    let call = claimed(at(&SMS, queued(), 1));
    let message = call.message();
    assert_eq!(*message.to, "+12025550123");
    assert!(message.text.starts_with(CODE));
    assert_eq!(message.attempt, SMS.attempt_id());
}

#[test]
fn r25_a_send_that_was_settled_is_not_sent_again() {
    use AttemptState::{Accepted, Failed, Skipped, Unknown};
    for state in [Accepted, Failed, Skipped, Unknown] {
        assert!(is_done(at(&SMS, facts(vec![attempt(Channel::Sms, 1, state)]), 1)));
    }
}

#[test]
fn a_claimed_send_is_left_alone_while_its_lease_runs_and_is_unknown_after() {
    let calling = Attempt {
        lease_until: Some(NOW + Duration::seconds(10)),
        ..attempt(Channel::Sms, 1, AttemptState::Calling)
    };
    assert!(matches!(at(&SMS, facts(vec![calling.clone()]), 9), Decision::Wait { .. }));
    let lost = settled(at(&SMS, facts(vec![calling]), 10));
    assert_eq!(lost.label(), "unknown");
    assert!(commands(&lost).is_empty(), "not resent by itself");
}

#[test]
fn r26_with_too_little_life_left_it_is_not_sent_and_says_so() {
    claimed(at(&SMS, queued(), 540));
    assert_eq!(skipped(at(&SMS, queued(), 541)), "delivery_too_late");
    let late = settled(at(&SMS, queued(), 541));
    assert!(matches!(&late.effects()[..], [Effect::Event(event)]
        if event.kind == EventKind::DeliverySkipped
            && event.reason.as_deref() == Some("delivery_too_late")));
}

#[test]
fn r43_r44_r52_today_s_facts_can_stop_an_sms() {
    let mut ended = queued();
    ended.challenge.state = State::Cancelled;
    assert_eq!(skipped(at(&SMS, ended, 1)), "challenge_ended");
    for (change, why) in [
        (Member { active: false, ..member() }, "member_changed"),
        (Member { two_factor: false, ..member() }, "member_changed"),
        (Member { phone: None, ..member() }, "target_changed"),
    ] {
        let facts = Facts { member: change, ..queued() };
        assert_eq!(skipped(at(&SMS, facts, 1)), why);
    }
}

#[test]
fn r28_the_email_goes_when_due_and_not_before() {
    assert_eq!(skipped(at(&EMAIL, due(), 59)), "not_due");
    let call = claimed(at(&EMAIL, due(), 60));
    assert_eq!(*call.message().to, "ada@acme.example");
    let mut never = due();
    never.challenge.fallback_at = None;
    assert_eq!(skipped(at(&EMAIL, never, 60)), "not_due", "no SMS was claimed");
}

#[test]
fn r28_after_a_definitive_sms_failure_the_email_does_not_wait() {
    let refused = Answer::Refused { code: "http_422".into() };
    let failed = claimed(at(&SMS, queued(), 1)).answered(refused, &Policy::default());
    let [(command, None)] = &commands(&failed)[..] else { panic!() };
    let request = SendRequest::of(command).unwrap();
    let mut facts = facts(vec![attempt(Channel::Sms, 1, AttemptState::Failed)]);
    facts.challenge.fallback_at = Some(NOW + Duration::seconds(60));
    claimed(at(&request, facts.clone(), 1));
    // Where there can be none today, nobody can answer any more.
    facts.member.email_backup = false;
    let skipped = settled(at(&request, facts, 1));
    let abandon = Command::Abandon { challenge: SMS.challenge };
    assert_eq!(commands(&skipped), [(abandon, None)]);
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
        assert_eq!(skipped(at(&EMAIL, facts, 61)), why);
    }
}

#[test]
fn d1_the_automatic_email_is_a_send_of_the_challenge_and_obeys_its_limit() {
    let limit = rules().policy.sends_per_challenge;
    let mut full = due();
    full.challenge.sends = limit;
    assert_eq!(skipped(at(&EMAIL, full.clone(), 61)), "sends_used_up");
    assert!(!settled(at(&EMAIL, full.clone(), 61)).effects().is_empty(), "an event says so");
    // Once it is claimed it is one of them: its next try is no further send.
    full.attempts.push(Attempt { tries: 1, ..attempt(Channel::Email, 0, AttemptState::Queued) });
    claimed(at(&SendRequest { tries: 1, ..EMAIL }, full, 61));
    let mut last = due();
    last.challenge.sends = limit - 1;
    claimed(at(&EMAIL, last, 61));
    // Where no email can come any more, a failed SMS leaves the challenge to be judged.
    let mut failed = queued();
    failed.challenge.sends = limit;
    let refused = Answer::Refused { code: "recipient_http_422".into() };
    let lost = claimed(at(&SMS, failed, 0)).answered(refused, &rules().policy);
    assert!(matches!(commands(&lost)[..], [(Command::Abandon { .. }, None)]));
}

#[test]
fn r33_there_is_one_automatic_email_at_most() {
    let mut facts = due();
    facts.attempts.push(attempt(Channel::Email, 2, AttemptState::Accepted));
    assert!(is_done(at(&EMAIL, facts, 61)));
}

#[test]
fn d1_on_request_only_offers_the_email() {
    let mut facts = due();
    facts.challenge.email_fallback = EmailFallback::OnRequest;
    let offered = settled(at(&EMAIL, facts, 61));
    assert!(matches!(&offered.effects()[..], [Effect::Event(event)]
        if event.kind == EventKind::EmailEligible));
}

#[test]
fn a_refusal_without_an_email_leaves_the_challenge_to_be_judged() {
    let mut facts = queued();
    facts.challenge.email_index = None;
    let refused = Answer::Refused { code: "http_422".into() };
    let failed = claimed(at(&SMS, facts, 1)).answered(refused, &Policy::default());
    assert_eq!(commands(&failed), [(Command::Abandon { challenge: SMS.challenge }, None)]);
}

#[test]
fn a_provider_that_is_away_is_tried_again_after_1_5_and_30_s_and_then_given_up() {
    let policy = Policy::default();
    let not_now = || Answer::NotNow { retry_after_seconds: None, code: "connect".into() };
    for (tries, seconds) in [(0, 1), (1, 5), (2, 30)] {
        let mut facts = queued();
        facts.attempts[0].tries = tries;
        let settlement =
            claimed(at(&SendRequest { tries, ..SMS }, facts, 1)).answered(not_now(), &policy);
        let [(command, Some(delay))] = &commands(&settlement)[..] else { panic!() };
        assert_eq!(
            (delay.seconds(), SendRequest::of(command).unwrap().tries),
            (seconds, tries + 1)
        );
    }
    let mut facts = queued();
    facts.attempts[0].tries = 3;
    let settlement =
        claimed(at(&SendRequest { tries: 3, ..SMS }, facts, 1)).answered(not_now(), &policy);
    assert_eq!(settlement.label(), "failed");
    let late = claimed(at(&SMS, queued(), 540)).answered(not_now(), &policy);
    assert_eq!(late.label(), "failed", "no try with under 60 s of life left");
}

#[test]
fn a_mail_server_that_takes_nothing_is_tried_again_as_long_as_the_code_is_of_use() {
    let policy = Policy::default();
    let closed = || Answer::Closed { code: "account_smtp_535".into() };
    let answered = |tries, at_seconds| {
        let mut facts = due();
        let queued = attempt(Channel::Email, FALLBACK_SEND, AttemptState::Queued);
        facts.attempts.extend((tries > 0).then_some(Attempt { tries, ..queued }));
        let call = claimed(at(&SendRequest { tries, ..EMAIL }, facts, at_seconds));
        call.answered(closed(), &policy)
    };
    for (tries, seconds) in [(0, 1), (1, 5), (2, 30), (3, 30), (15, 30)] {
        let settlement = answered(tries, 61);
        assert_eq!(settlement.label(), "retried");
        let [(command, Some(delay))] = &commands(&settlement)[..] else { panic!() };
        assert_eq!(
            (delay.seconds(), SendRequest::of(command).unwrap().tries),
            (seconds, tries + 1)
        );
    }
    let late = answered(15, 511);
    assert_eq!(late.label(), "failed");
    let Settled::Answered(Answer::Refused { code }) = &late.settled else { panic!() };
    assert_eq!(code, "gave_up_account_smtp_535");
}

#[test]
fn an_unknown_answer_causes_no_send() {
    let unknown = Answer::Unknown { code: "timeout".into() };
    let settlement = claimed(at(&SMS, queued(), 1)).answered(unknown, &Policy::default());
    assert!(commands(&settlement).is_empty());
}

/// A call that was answered "not now", `tries` calls after the first and `at` seconds after the
/// challenge's begin.
fn asked(tries: i16, at_seconds: i64, retry_after_seconds: u64) -> DeliverySettlement {
    let mut facts = queued();
    facts.attempts[0].tries = tries;
    let answer =
        Answer::NotNow { retry_after_seconds: Some(retry_after_seconds), code: "throttled".into() };
    claimed(at(&SendRequest { tries, ..SMS }, facts, at_seconds))
        .answered(answer, &Policy::default())
}

fn waits(settlement: &DeliverySettlement) -> Option<u32> {
    match settlement.effects()[..] {
        [Effect::RetrySms { challenge, send: 1, tries, seconds }]
            if challenge == SMS.challenge && tries == settlement.send.request.tries + 1 =>
        {
            Some(seconds)
        }
        _ => None,
    }
}

#[test]
fn a_provider_that_says_when_is_called_then_however_often_it_was_called_before() {
    for (asked_seconds, wait) in [(0, 1), (1, 1), (2, 2), (6, 6), (31, 31), (300, 300)] {
        for tries in [0, 1, 2, 3, ASKED_CALLS_MAX - 2] {
            assert_eq!(waits(&asked(tries, 0, asked_seconds)), Some(wait), "{asked_seconds}");
        }
    }
    assert_eq!(asked(ASKED_CALLS_MAX - 1, 0, 1).label(), "failed");
}

#[test]
fn a_wait_that_leaves_too_little_life_is_given_up_at_once() {
    let life_left = 600 - 60;
    assert_eq!(waits(&asked(0, 0, life_left)), Some(540));
    assert_eq!(asked(0, 1, life_left).label(), "failed");
    for seconds in [3600, u64::from(u32::MAX), u64::MAX] {
        let given_up = asked(0, 0, seconds);
        assert_eq!(given_up.label(), "failed");
        let email = Command::SendEmail {
            challenge: SMS.challenge,
            send: FALLBACK_SEND,
            tries: 0,
            cause: EmailCause::SmsFailed,
        };
        assert_eq!(commands(&given_up), [(email, None)]);
    }
}

#[test]
fn a_send_that_comes_earlier_than_its_provider_asked_waits_for_the_rest() {
    let request = SendRequest { not_before: Some(NOW + Duration::seconds(31)), ..SMS };
    for (at_seconds, delay) in [
        (0, Some(RetryDelay::Second30)),
        (1, Some(RetryDelay::Second30)),
        (2, Some(RetryDelay::Second5)),
        (29, Some(RetryDelay::Second1)),
        (30, Some(RetryDelay::Second1)),
        (31, None),
    ] {
        let waits = match at(&request, queued(), at_seconds) {
            Decision::Wait { delay, .. } => Some(delay),
            Decision::Call(_) => None,
            Decision::Settle(_) => panic!("{at_seconds}"),
        };
        assert_eq!(waits, delay, "{at_seconds}");
    }
    let mut ended = queued();
    ended.challenge.state = State::Cancelled;
    assert_eq!(skipped(at(&request, ended, 0)), "challenge_ended", "it is not waited for");
}

proptest! {
    /// A wait is made of delay queues, and each hop takes a little longer than its delay.
    #[test]
    fn hops_end_soon_after_what_was_asked_and_never_before(
        asked_seconds in 1_u32..540,
        late_milliseconds in 1_i64..60,
    ) {
        let asked = Duration::seconds(i64::from(asked_seconds));
        let late = Duration::milliseconds(late_milliseconds);
        let (mut waited, mut hops) = (Duration::ZERO, 0);
        while waited < asked {
            let delay = RetryDelay::within(asked - waited);
            waited += Duration::seconds(i64::from(delay.seconds())) + late;
            hops += 1;
        }
        prop_assert!(waited < asked + Duration::seconds(1) + late);
        prop_assert!(hops <= 20, "{hops}");
    }
}
