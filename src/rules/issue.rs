//! Whether a challenge is issued: for a login, and for every other purpose once its
//! own rule has said what is wanted.

use time::Duration;
use zeroize::Zeroizing;

use super::code_generation::{NumberFacts, Rules, Write, about, ending_event, outcome};
use super::delivery::too_late;
use super::limits::{all_full_until, full_until};
use super::{Ctx, Decided, Ending, seconds_until};
use crate::domain::Timestamp;
use crate::domain::account::{Account, EmailFallback};
use crate::domain::approval::Operation;
use crate::domain::challenge::{Challenge, Channel, Purpose, State};
use crate::domain::code::{Binding, Code};
use crate::domain::id::{AccountId, AppName, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::keys::{Keyring, Place};
use crate::domain::member::Member;
use crate::domain::phone::{Country, PhoneNumber, mask};
use crate::message::{
    Command, Effect, Event, EventKind, IssueChallenge, Outcome, OutcomeKind, Request,
};

/// What is known when a challenge is asked for.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The id the challenge would have: that of the request.
    pub id: ChallengeId,
    /// The account; it is the app's.
    pub account: Account,
    /// The member.
    pub member: Member,
    /// The last challenge for the same.
    pub current: Option<Challenge>,
    /// The member's wrong codes in the longest window.
    pub wrong: Vec<Timestamp>,
    /// What was sent to the number that the code would go to.
    pub number: NumberFacts,
    /// Whether that number belongs to a company.
    pub owned: bool,
}

/// Who wants a challenge, for what, and what exactly it approves.
pub struct Demand<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The account.
    pub account: &'a AccountId,
    /// The member.
    pub member: &'a MemberId,
    /// What the challenge completes. One is open for each at most.
    pub login: LoginId,
    /// What it proves.
    pub purpose: Purpose,
    /// Which setting is changed.
    pub setting: Option<&'a SettingName>,
    /// Digest of what is approved: an open challenge for another one is superseded.
    pub operation: Vec<u8>,
    /// The summary of what is approved; for a number to bind it is the number.
    pub summary: Option<&'a str>,
    /// Where the code goes, if not to the member's number.
    pub number: Option<&'a PhoneNumber>,
}

/// A challenge to write, with the first send granted.
#[derive(Debug)]
pub struct NewChallenge {
    /// The row.
    pub challenge: Challenge,
    /// When the first SMS may go: later than now if the number's timer still runs.
    pub send_at: Timestamp,
    /// When it was decided.
    pub now: Timestamp,
}

impl<'a> Demand<'a> {
    /// The demand of a login.
    pub fn login(request: &'a Request<IssueChallenge>) -> Self {
        let IssueChallenge { account, member, login, .. } = &request.ask;
        Self {
            app: &request.app,
            account,
            member,
            login: login.clone(),
            purpose: Purpose::Login,
            setting: None,
            operation: Vec::new(),
            summary: None,
            number: None,
        }
    }
}

/// The rule of a login.
pub fn decide(
    request: &Request<IssueChallenge>,
    facts: &Facts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let demand = Demand::login(request);
    if !facts.member.active {
        return refuse(&demand, true, Outcome::new(OutcomeKind::NotFound));
    }
    let (account, member) = (&facts.account, &facts.member);
    if !member.two_factor && !account.mandatory {
        return Decided::answer(Outcome::new(OutcomeKind::NotRequired));
    }
    // A mandate that has not come to the member yet holds all the same.
    let by_mandate = member.factor_by_mandate || !member.two_factor;
    let enrol_by = account.grace_until.max(member.grace_until).filter(|until| ctx.now < *until);
    if by_mandate && enrol_by.is_some() {
        return Decided::answer(Outcome { enrol_by, ..Outcome::new(OutcomeKind::NotRequired) });
    }
    if member.must_enrol(account.mandatory) {
        return refuse(&demand, true, Outcome::new(to_enrol(member)));
    }
    open(&demand, facts, rules, ctx)
}

/// A member who has to bind a number before logging in begins with the address.
pub(super) fn to_enrol(member: &Member) -> OutcomeKind {
    match (member.suspended_at, &member.email) {
        (Some(_), _) => OutcomeKind::Suspended,
        (None, Some(_)) => OutcomeKind::EnrolmentRequired,
        (None, None) => OutcomeKind::ContactAdmin,
    }
}

/// The number a code would go to.
struct Target {
    index: Vec<u8>,
    country: Option<Country>,
    textable: bool,
    masked: Option<String>,
}

fn target(demand: &Demand<'_>, member: &Member, keys: &Keyring) -> Option<Target> {
    if let Some(number) = demand.number {
        return Some(Target {
            index: keys.blind("phone", number.e164()).to_vec(),
            country: Some(number.country()),
            textable: number.textable(),
            masked: Some(number.mask()),
        });
    }
    member.phone.as_ref().map(|phone| Target {
        index: phone.index.clone(),
        country: member.phone_country,
        textable: member.phone_textable,
        masked: member.phone_in_clear(keys).map(|e164| mask(&e164)),
    })
}

/// The rule of every purpose: the open challenge for the same, a refusal, or a new challenge.
pub fn open(
    demand: &Demand<'_>,
    facts: &Facts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let (policy, now) = (&rules.policy, ctx.now);
    let refused = |kind| refuse(demand, true, Outcome::new(kind));
    let later = |kind, then| {
        let retry_after = Some(seconds_until(then, now));
        refuse(demand, true, Outcome { retry_after, ..Outcome::new(kind) })
    };
    if facts.member.suspended_at.is_some() {
        return refused(OutcomeKind::Suspended);
    }
    let target = target(demand, &facts.member, &rules.keys);
    let same = |current: &&Challenge| {
        current.live(now)
            && current.operation == demand.operation
            && target.as_ref().is_some_and(|target| target.index == current.phone_index)
    };
    if let Some(open) = facts.current.as_ref().filter(same) {
        let masked = target.and_then(|target| target.masked);
        return Decided::answer(opened(open, masked, now));
    }
    if let Some(then) = full_until(policy.wrong_per_day, &facts.wrong, now) {
        return later(OutcomeKind::TooManyWrongCodes, then);
    }
    let target = match usable(target, facts) {
        Ok(target) => target,
        Err(kind) => return refused(kind),
    };
    if let Some(then) = all_full_until(&policy.sends_per_number, &facts.number.sends, now) {
        return later(OutcomeKind::TooManySends, then);
    }
    issue(demand, target, facts, rules, ctx)
}

/// Why no code can go to a member's number, or to the one that is wanted.
pub fn obstacle(demand: &Demand<'_>, facts: &Facts, keys: &Keyring) -> Option<OutcomeKind> {
    usable(target(demand, &facts.member, keys), facts).err()
}

fn usable(target: Option<Target>, facts: &Facts) -> Result<Target, OutcomeKind> {
    let Some(target) = target else { return Err(OutcomeKind::NoPhone) };
    let allowed = |country| facts.account.countries.contains(&country);
    if !target.textable {
        Err(OutcomeKind::PhoneUnsupported)
    } else if !target.country.is_some_and(allowed) {
        Err(OutcomeKind::CountryNotAllowed)
    } else if facts.owned {
        Err(OutcomeKind::CompanyOwnedNumber)
    } else {
        Ok(target)
    }
}

fn issue(
    demand: &Demand<'_>,
    target: Target,
    facts: &Facts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let now = ctx.now;
    let masked = target.masked.clone();
    let challenge = draw(demand, target, facts, rules, ctx);
    let send_at = challenge.resend_at - rules.policy.resend_wait(1);
    // As a resend: said now, rather than after a wait for an SMS that would be dropped.
    if send_at > now && too_late(&challenge, &rules.policy, send_at + rules.policy.transaction_max)
    {
        let retry_after = Some(seconds_until(send_at, now));
        let outcome = Outcome { retry_after, ..Outcome::new(OutcomeKind::DeliveryTooLate) };
        return refuse(demand, true, outcome);
    }
    let mut effects = Vec::new();
    let mut ended = None;
    if let Some(old) = facts.current.as_ref().filter(|current| current.state == State::Open) {
        // Still alive, it was for something else; else the timer has not come round yet.
        let state = if old.live(now) { State::Superseded } else { State::Expired };
        effects.push(ending_event(old, state, None).into());
        ended = Some(Ending { challenge: old.id, state, reason: None, at: now });
    }
    effects.push(Effect::from(Event {
        app: Some(demand.app.clone()),
        expires_at: Some(challenge.expires_at),
        resend_available_at: Some(challenge.resend_at),
        ..about(&challenge, EventKind::ChallengeIssued)
    }));
    if send_at <= now {
        effects.push(Command::SendSms { challenge: challenge.id, send: 1, tries: 0 }.into());
    }
    let reply = opened(&challenge, masked, now);
    let new = Box::new(NewChallenge { challenge, send_at, now });
    Decided {
        label: "issued",
        write: Some(Write::Issue { new, ended }),
        effects,
        reply: Some(reply),
    }
}

/// Draws the code and makes the challenge's row: digest, deliverable copy, and the facts of the day.
fn draw(
    demand: &Demand<'_>,
    target: Target,
    facts: &Facts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Challenge {
    let (policy, keys, purpose) = (&rules.policy, &rules.keys, demand.purpose);
    let expires_at = ctx.now + policy.life(purpose);
    let code = Code::draw(policy.code_digits, ctx.rng);
    let binding = Binding {
        account: demand.account,
        member: demand.member,
        challenge: facts.id,
        purpose: purpose.label(),
        operation: &demand.operation,
    };
    let place = Place::Code(facts.id.0.as_bytes(), expires_at.unix_timestamp());
    let digest = code.digest(keys, &binding);
    let code_sealed = Some(keys.seal(&place, code.digits().as_bytes(), ctx.rng));
    let detail_place = Place::Detail(facts.id.0.as_bytes());
    let detail = if purpose.binds_number() {
        number_to_bind(demand, &facts.member, keys)
    } else {
        demand.summary.map(|summary| Zeroizing::new(summary.to_owned()))
    };
    let detail_sealed = detail.map(|detail| keys.seal(&detail_place, detail.as_bytes(), ctx.rng));
    let backed_up =
        purpose.email_may_back_up() && facts.account.email_fallback != EmailFallback::Forbidden;
    // Another browser does not get round the number's timer: its first SMS waits for it.
    // A due time must lie behind the commit that sets it, or the timer's sweep passes it unseen.
    let soonest = ctx.now + policy.transaction_max * 2;
    let waits = facts.number.next_send_at.filter(|next| *next > ctx.now);
    let send_at = waits.map_or(ctx.now, |next| next.max(soonest));
    Challenge {
        id: facts.id,
        account: demand.account.clone(),
        member: demand.member.clone(),
        login: demand.login.clone(),
        purpose,
        operation: demand.operation.clone(),
        setting: demand.setting.cloned(),
        detail_sealed,
        state: State::Open,
        reason: None,
        created_at: ctx.now,
        expires_at,
        digest,
        code_sealed,
        phone_index: target.index,
        email_index: facts
            .member
            .backup_email()
            .filter(|_| backed_up)
            .map(|contact| contact.index.clone()),
        email_fallback: facts.account.email_fallback,
        sends: 1,
        wrong: 0,
        resend_at: send_at + policy.resend_wait(1),
        fallback_at: None,
    }
}

fn number_to_bind(
    demand: &Demand<'_>,
    member: &Member,
    keys: &Keyring,
) -> Option<Zeroizing<String>> {
    match demand.number {
        Some(number) => Some(Zeroizing::new(number.e164().to_owned())),
        None => member.phone_in_clear(keys),
    }
}

/// The refusal of a challenge. Where not even the account is the app's, the event names none.
pub fn refuse<W>(demand: &Demand<'_>, own_account: bool, outcome: Outcome) -> Decided<W> {
    let told = refused(demand, outcome.outcome.label());
    let event = if own_account {
        told
    } else {
        Event { account: None, member: None, login: None, setting: None, ..told }
    };
    Decided { effects: vec![event.into()], ..Decided::answer(outcome) }
}

/// The event of a demand that got no challenge.
pub(super) fn refused(demand: &Demand<'_>, reason: &str) -> Event {
    Event {
        app: Some(demand.app.clone()),
        member: Some(demand.member.clone()),
        login: Some(demand.login.clone()),
        purpose: Some(demand.purpose),
        setting: demand.setting.cloned(),
        reason: Some(reason.to_owned()),
        ..Event::new(EventKind::ChallengeRefused, Some(demand.account.clone()))
    }
}

/// The answer about an open challenge; the same for a new one and for one returned.
fn opened(challenge: &Challenge, destination: Option<String>, now: Timestamp) -> Outcome {
    let wait = challenge.resend_at - now;
    let operation =
        Operation::parse(&challenge.operation).filter(|_| challenge.purpose == Purpose::Setting);
    Outcome {
        operation: operation.map(|operation| operation.label()),
        state: Some(State::Open),
        channel: Some(Channel::Sms),
        destination,
        expires_at: Some(challenge.expires_at),
        resend_available_at: Some(challenge.resend_at),
        retry_after: (wait > Duration::ZERO).then(|| seconds_until(challenge.resend_at, now)),
        ..outcome(challenge, OutcomeKind::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{NOW, account, ctx, issue_request, member, rules};
    use super::*;
    use crate::domain::policy::Policy;

    fn facts() -> Facts {
        Facts {
            id: ChallengeId(uuid::Uuid::from_u128(1)),
            account: account(),
            member: member(),
            current: None,
            wrong: Vec::new(),
            number: NumberFacts::default(),
            owned: false,
        }
    }

    fn decided(facts: &Facts) -> Decided<Write> {
        decide(&issue_request(), facts, &rules(), &mut ctx(NOW))
    }

    fn outcome_of(facts: &Facts) -> Outcome {
        decided(facts).reply.unwrap()
    }

    fn new_challenge(facts: &Facts) -> Box<NewChallenge> {
        match decided(facts).write {
            Some(Write::Issue { new, .. }) => new,
            other => panic!("{other:?}"),
        }
    }

    fn ago(seconds: i64) -> Timestamp {
        NOW - Duration::seconds(seconds)
    }

    #[test]
    fn r38_the_code_is_sent_without_a_further_click() {
        let decided = decided(&facts());
        assert_eq!(decided.label, "issued");
        let sms = Command::SendSms { challenge: facts().id, send: 1, tries: 0 };
        assert!(decided.effects.contains(&Effect::Command(sms, None)));
        let reply = decided.reply.unwrap();
        assert_eq!(reply.destination.as_deref(), Some("•••23"));
        assert_eq!(reply.retry_after, Some(60));
    }

    #[test]
    fn r41_with_2fa_off_no_code_is_required() {
        let off = Facts { member: Member { two_factor: false, ..member() }, ..facts() };
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
        let facts = Facts { account: mandatory, member: off, ..facts() };
        assert_eq!(outcome_of(&facts).outcome, OutcomeKind::Open);
    }

    #[test]
    fn r75_r77_without_a_usable_number_the_member_enrols_by_the_address_or_asks_an_admin() {
        let known = |member| outcome_of(&Facts { member, ..facts() }).outcome;
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
        let spared = Facts { member: Member { grace_until: later, ..bound() }, ..facts() };
        let outcome = outcome_of(&spared);
        assert_eq!((outcome.outcome, outcome.enrol_by), (OutcomeKind::NotRequired, later));
        let account = Account { grace_until: later, ..account() };
        let spared = Facts { account: account.clone(), member: bound(), ..facts() };
        assert_eq!(outcome_of(&spared).outcome, OutcomeKind::NotRequired);
        let own = Facts { account, ..facts() };
        assert_eq!(outcome_of(&own).outcome, OutcomeKind::Open);
        let over = Facts { member: Member { grace_until: Some(NOW), ..bound() }, ..facts() };
        assert_eq!(outcome_of(&over).outcome, OutcomeKind::Open);
    }

    #[test]
    fn r45_the_same_pending_login_returns_its_open_challenge() {
        let open = new_challenge(&facts()).challenge;
        let again = Facts { current: Some(open.clone()), ..facts() };
        let decided = decided(&again);
        assert!(decided.write.is_none() && decided.effects.is_empty());
        assert_eq!(decided.reply.unwrap().challenge, Some(open.id));
    }

    #[test]
    fn r45_after_its_end_a_new_one_starts_and_one_past_its_time_is_ended_first() {
        let mut old = new_challenge(&facts()).challenge;
        old.id = ChallengeId(uuid::Uuid::from_u128(2));
        old.expires_at = NOW;
        let decided = decided(&Facts { current: Some(old.clone()), ..facts() });
        let Some(Write::Issue { ended: Some(ended), .. }) = decided.write else { panic!() };
        assert_eq!((ended.challenge, ended.state), (old.id, State::Expired));
        old.state = State::Locked;
        let fresh = new_challenge(&Facts { current: Some(old), ..facts() });
        assert_eq!(fresh.challenge.id, facts().id);
    }

    #[test]
    fn r17_r26_whose_number_would_wait_too_long_is_told_when_to_come_back() {
        let life = rules().policy.life(Purpose::Login);
        let next = NOW + life;
        let number = NumberFacts { next_send_at: Some(next), sends: vec![ago(20)] };
        let decided = decided(&Facts { number, ..facts() });
        assert!(decided.write.is_none());
        let reply = decided.reply.unwrap();
        assert_eq!(reply.outcome, OutcomeKind::DeliveryTooLate);
        assert_eq!(reply.retry_after, Some(seconds_until(next, NOW)));
    }

    #[test]
    fn r17_a_second_browser_waits_for_the_timer_of_the_number() {
        let next = NOW + Duration::seconds(40);
        let number = NumberFacts { next_send_at: Some(next), sends: vec![ago(20)] };
        let second = Facts { number, ..facts() };
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
        let new = new_challenge(&Facts { number, ..facts() });
        assert_eq!(new.send_at, NOW + Policy::default().transaction_max * 2);
    }

    #[test]
    fn limits_refuse_and_say_when_to_come_again() {
        let sends = [10, 20, 30, 40, 50].map(ago).to_vec();
        let number = NumberFacts { next_send_at: None, sends };
        let outcome = outcome_of(&Facts { number, ..facts() });
        assert_eq!(outcome.outcome, OutcomeKind::TooManySends);
        assert_eq!(outcome.retry_after, Some(600 - 50));
        let wrong = (1..=15).map(|n| ago(n * 60)).collect();
        let outcome = outcome_of(&Facts { wrong, ..facts() });
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
            let decided = decided(&Facts { member, ..facts() });
            assert_eq!(decided.reply.unwrap().outcome, kind);
            assert!(decided.write.is_none());
            assert!(matches!(&decided.effects[..], [Effect::Event(event)]
                if event.kind == EventKind::ChallengeRefused));
        }
        let owned = Facts { owned: true, ..facts() };
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
            let new = new_challenge(&Facts { member, ..facts() });
            assert_eq!(new.challenge.email_index, None);
        }
        let forbidden = Account { email_fallback: EmailFallback::Forbidden, ..account() };
        let new = new_challenge(&Facts { account: forbidden, ..facts() });
        assert_eq!(new.challenge.email_index, None);
    }

    #[test]
    fn a_life_is_as_long_as_the_policy_says() {
        let new = new_challenge(&facts());
        assert_eq!(new.challenge.expires_at - NOW, Policy::default().challenge_life);
    }
}
