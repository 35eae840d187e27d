//! A member's own factor: turning it on, another number, turning it
//! off, and email as a backup. Nothing changes before the code is verified; what
//! changes then is decided in [`super::apply`].

use super::change::{self, By, Change};
use super::code_generation::{Rules, Write, ended};
use super::issue::{self, Demand};
use super::settings::{Ask, MemberFacts, demand, operation};
use super::{Ctx, Decided};
use crate::domain::Timestamp;
use crate::domain::challenge::{Challenge, Purpose, State};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::{PhoneNumber, mask};
use crate::message::{Outcome, OutcomeKind, Request, SetEmailBackup};

/// The rule of everything that takes a challenge.
pub fn challenge(
    ask: &Ask,
    facts: &MemberFacts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let member = &facts.issue.member;
    let Ok(number) = ask.number(&facts.issue.account) else {
        return Decided::answer(invalid("phone", "phone is no phone number"));
    };
    let demand = ask.purpose(member).and_then(|purpose| demand(ask, purpose));
    let Some(demand) = demand else {
        return Decided::answer(Outcome::new(OutcomeKind::NotFound));
    };
    match demand.purpose {
        Purpose::Enrolment => {
            let operation = operation(member, number.as_ref(), &rules.keys);
            let demand = Demand { operation, number: number.as_ref(), ..demand };
            enrolment(ask, &demand, facts, rules, ctx)
        }
        Purpose::NumberChangeCurrent | Purpose::NumberChangeNew => {
            change_number(demand, number.as_ref(), facts, rules, ctx)
        }
        Purpose::Disable => disable(&demand, facts, rules, ctx),
        // Asked for elsewhere.
        Purpose::Login | Purpose::Setting | Purpose::Team => {
            Decided::answer(Outcome::new(OutcomeKind::NotFound))
        }
    }
}

fn enrolment(
    ask: &Ask,
    demand: &Demand<'_>,
    facts: &MemberFacts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let member = &facts.issue.member;
    if member.two_factor {
        return Decided::answer(Outcome::new(OutcomeKind::AlreadyEnabled));
    }
    if !matches!(ask, Ask::StartEnrolment(_)) {
        return issue::open(demand, &facts.issue, rules, ctx);
    }
    // shown first, and nothing is sent until it is asked for.
    if let Some(kind) = issue::obstacle(demand, &facts.issue, &rules.keys) {
        return Decided::answer(Outcome::new(kind));
    }
    let destination = demand
        .number
        .map(PhoneNumber::mask)
        .or_else(|| member.phone_in_clear(&rules.keys).map(|e164| mask(&e164)));
    Decided::answer(Outcome { destination, ..Outcome::new(OutcomeKind::Ready) })
}

fn change_number(
    demand: Demand<'_>,
    number: Option<&PhoneNumber>,
    facts: &MemberFacts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let member = &facts.issue.member;
    let Some(number) = number else {
        return Decided::answer(invalid("phone", "phone is missing"));
    };
    let index = rules.keys.blind("phone", number.e164());
    let same = member.phone.as_ref().is_some_and(|phone| phone.index == index);
    if same && member.phone_verified_at.is_some() {
        return Decided::answer(invalid("phone", "phone is the number already"));
    }
    let operation = operation(member, Some(number), &rules.keys);
    let to_new = Demand { operation, number: Some(number), ..demand };
    // The new number is looked at first, so that nobody proves the current one in vain.
    if let Some(kind) = issue::obstacle(&to_new, &facts.issue, &rules.keys) {
        return issue::refuse(&to_new, true, Outcome::new(kind));
    }
    if to_new.purpose == Purpose::NumberChangeCurrent {
        if member.phone_owned_at.is_some() {
            let outcome = Outcome::new(OutcomeKind::CompanyOwnedNumber);
            return issue::refuse(&to_new, true, outcome);
        }
        let to_current = Demand { number: None, ..to_new };
        return issue::open(&to_current, &facts.issue, rules, ctx);
    }
    if member.two_factor
        && let Some(refusal) =
            unproved(facts.proof.as_ref(), Purpose::NumberChangeCurrent, &to_new.operation, ctx.now)
    {
        return Decided::answer(refusal);
    }
    issue::open(&to_new, &facts.issue, rules, ctx)
}

/// Why `proof` does not show that it is the member who asks, for exactly this and not long ago.
pub(super) fn unproved(
    proof: Option<&Challenge>,
    by: Purpose,
    operation: &[u8],
    now: Timestamp,
) -> Option<Outcome> {
    let of_this = |proof: &&Challenge| {
        proof.purpose == by && proof.state != State::Open && proof.operation == operation
    };
    match proof.filter(of_this) {
        Some(proof) if proof.state == State::Verified && now < proof.expires_at => None,
        Some(proof) if proof.state == State::Verified => {
            Some(Outcome { challenge: Some(proof.id), ..Outcome::new(OutcomeKind::Expired) })
        }
        Some(proof) => Some(ended(proof, false)),
        None => Some(invalid("proof", "proof is no verified challenge for exactly this")),
    }
}

fn disable(
    demand: &Demand<'_>,
    facts: &MemberFacts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    if !facts.issue.member.two_factor {
        return Decided::answer(Outcome::new(OutcomeKind::NotEnabled));
    }
    if facts.issue.account.mandatory {
        return issue::refuse(demand, true, Outcome::new(OutcomeKind::MandatoryByAccount));
    }
    issue::open(demand, &facts.issue, rules, ctx)
}

/// The rule of the backup: a confirmed address, and 2FA on.
pub fn set_email_backup(
    request: &Request<SetEmailBackup>,
    member: &Member,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Change> {
    let on = request.ask.on;
    if on && !member.two_factor {
        return Decided::answer(Outcome::new(OutcomeKind::NotEnabled));
    }
    if on && !(member.email.is_some() && member.email_verified) {
        return Decided::answer(Outcome::new(OutcomeKind::EmailUnverified));
    }
    let stored = Outcome::new(OutcomeKind::Stored);
    if member.email_backup == on {
        return Decided::answer(stored);
    }
    let by = By { app: &request.app, actor: None, origin: None, challenge: None };
    let after = Member { email_backup: on, ..member.clone() };
    // A challenge keeps what was so on its day: none ends with this.
    let (change, effects) = change::change(Some(member), after, &[], &by, keys, now);
    Decided { label: "stored", write: Some(change), effects, reply: Some(stored) }
}

pub(super) fn invalid(field: &'static str, why: &str) -> Outcome {
    let detail = Some(why.to_owned());
    Outcome { field: Some(field), detail, ..Outcome::new(OutcomeKind::Invalid) }
}
