//! Whether a challenge is issued: for a login, and for every other purpose once its
//! own rule has said what is wanted.

use time::Duration;

use crate::domain::Timestamp;
use crate::domain::approval::Operation;
use crate::domain::challenge::{Challenge, Channel, State};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::mask;
use crate::message::{
    Command, Effect, Event, EventKind, IssueChallenge, Outcome, OutcomeKind, Request,
};
use crate::rules::challenge::draw::draw;
use crate::rules::challenge::events::{Ending, about, ending_event, outcome};
use crate::rules::challenge::facts::IssueFacts;
use crate::rules::challenge::spec::{ChallengeSpec, Issued, NewChallenge, Target};
use crate::rules::delivery::too_late;
use crate::rules::inputs::RuleInputs;
use crate::rules::limits::{all_full_until, full_until};
use crate::rules::verdict::{Decided, DecisionContext, seconds_until};

/// The rule of a login.
pub fn decide(
    request: &Request<IssueChallenge>,
    facts: &IssueFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
    let demand = ChallengeSpec::login(request);
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
pub(in crate::rules) fn to_enrol(member: &Member) -> OutcomeKind {
    match (member.suspended_at, &member.email) {
        (Some(_), _) => OutcomeKind::Suspended,
        (None, Some(_)) => OutcomeKind::EnrolmentRequired,
        (None, None) => OutcomeKind::ContactAdmin,
    }
}

fn target(demand: &ChallengeSpec<'_>, member: &Member, keys: &Keyring) -> Option<Target> {
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
    demand: &ChallengeSpec<'_>,
    facts: &IssueFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
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
pub fn obstacle(
    demand: &ChallengeSpec<'_>,
    facts: &IssueFacts,
    keys: &Keyring,
) -> Option<OutcomeKind> {
    usable(target(demand, &facts.member, keys), facts).err()
}

fn usable(target: Option<Target>, facts: &IssueFacts) -> Result<Target, OutcomeKind> {
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
    demand: &ChallengeSpec<'_>,
    target: Target,
    facts: &IssueFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
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
        effects.push(Command::sms(challenge.id, 1).into());
    }
    let reply = opened(&challenge, masked, now);
    let new = Box::new(NewChallenge { challenge, send_at, now });
    Decided { label: "issued", write: Some(Issued { new, ended }), effects, reply: Some(reply) }
}

/// The refusal of a challenge. Where not even the account is the app's, the event names none.
pub fn refuse<W>(demand: &ChallengeSpec<'_>, own_account: bool, outcome: Outcome) -> Decided<W> {
    let told = refused(demand, outcome.outcome.label());
    let event = if own_account {
        told
    } else {
        Event { account: None, member: None, login: None, setting: None, operation: None, ..told }
    };
    Decided { effects: vec![event.into()], ..Decided::answer(outcome) }
}

/// The event of a demand that got no challenge.
pub(in crate::rules) fn refused(demand: &ChallengeSpec<'_>, reason: &str) -> Event {
    let operation = demand.setting.and_then(|_| Operation::parse(&demand.operation));
    Event {
        app: Some(demand.app.clone()),
        member: Some(demand.member.clone()),
        login: Some(demand.login.clone()),
        purpose: Some(demand.purpose),
        setting: demand.setting.cloned(),
        operation: operation.map(|operation| operation.label()),
        reason: Some(reason.to_owned()),
        ..Event::new(EventKind::ChallengeRefused, Some(demand.account.clone()))
    }
}

/// The answer about an open challenge; the same for a new one and for one returned.
fn opened(challenge: &Challenge, destination: Option<String>, now: Timestamp) -> Outcome {
    let wait = challenge.resend_at - now;
    Outcome {
        operation: Operation::of_challenge(challenge).map(|operation| operation.label()),
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
mod tests;
