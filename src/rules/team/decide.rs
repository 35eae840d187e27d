//! What an admin asks for a team: a review of contacts, a mandate and its end, and 2FA of one member
//! . What touches others is proved by the admin's own code first, bound to exactly
//! this: without a proof the answer is a challenge, which then is the proof.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::activity::{Action, Client, Origin};
use crate::domain::challenge::{Challenge, Purpose};
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::message::{
    Command, DisableMandate, DisableMember, EnableMandate, EnableMember, Event, EventKind, Outcome,
    OutcomeKind, ReviewContacts, requests_of_a_worker,
};
use crate::rules::activity::Activity;
use crate::rules::challenge::facts::IssueFacts;
use crate::rules::challenge::issue;
use crate::rules::challenge::spec::{ChallengeSpec, Issued};
use crate::rules::factor::change::{self, Change, ChangeAuthor};
use crate::rules::factor::enrolment;
use crate::rules::factor::facts::{Found, Wanted};
use crate::rules::inputs::RuleInputs;
use crate::rules::team::review::{NewReview, Review};
use crate::rules::team::role::{Operation, may};
use crate::rules::verdict::{Decided, DecisionContext};

/// Members that a mandate may acknowledge by name: what fits into one message.
pub const ACKNOWLEDGED_MAX: usize = 1000;

requests_of_a_worker! {
    /// What the worker `team` takes.
    TeamMessage {
        /// Look at everybody's contacts.
        Review(ReviewContacts),
        /// 2FA becomes mandatory.
        EnableMandate(EnableMandate),
        /// It is each member's choice again.
        DisableMandate(DisableMandate),
        /// 2FA on for one member.
        EnableMember(EnableMember),
        /// 2FA off for one member.
        DisableMember(DisableMember),
    }
}

impl TeamMessage {
    /// Who asks.
    pub fn actor(&self) -> &MemberId {
        match self {
            Self::Review(request) => &request.body.actor,
            Self::EnableMandate(request) => &request.body.actor,
            Self::DisableMandate(request) => &request.body.actor,
            Self::EnableMember(request) => &request.body.actor,
            Self::DisableMember(request) => &request.body.actor,
        }
    }

    /// The member it is about, if it is about one.
    pub fn member(&self) -> Option<&MemberId> {
        match self {
            Self::EnableMember(request) => Some(&request.body.member),
            Self::DisableMember(request) => Some(&request.body.member),
            Self::Review(_) | Self::EnableMandate(_) | Self::DisableMandate(_) => None,
        }
    }

    /// The review that it rests on.
    pub fn review(&self) -> Option<Uuid> {
        match self {
            Self::EnableMandate(request) => Some(request.body.review),
            _ => None,
        }
    }

    const fn operation(&self) -> Operation {
        match self {
            Self::Review(_) => Operation::Review,
            Self::EnableMandate(_) => Operation::EnableMandate,
            Self::DisableMandate(_) => Operation::DisableMandate,
            Self::EnableMember(_) => Operation::EnableMember,
            Self::DisableMember(_) => Operation::DisableMember,
        }
    }

    const fn proof(&self) -> Option<ChallengeId> {
        match self {
            Self::EnableMandate(request) => request.body.proof,
            Self::DisableMandate(request) => request.body.proof,
            Self::DisableMember(request) => request.body.proof,
            Self::Review(_) | Self::EnableMember(_) => None,
        }
    }

    /// From where the admin acts; a review writes no row.
    fn client(&self) -> Client {
        match self {
            Self::Review(_) => Client::default(),
            Self::EnableMandate(request) => request.body.client.clone(),
            Self::DisableMandate(request) => request.body.client.clone(),
            Self::EnableMember(request) => request.body.client.clone(),
            Self::DisableMember(request) => request.body.client.clone(),
        }
    }

    /// What the admin's code is bound to; empty where it takes none. `mandate` is the id of the
    /// account's last one, so that a proof is good for the end of this one and of none that follows.
    fn digest(&self, mandate: Option<Uuid>, keys: &Keyring) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = vec![
            self.operation().label().into(),
            self.account().as_str().into(),
            mandate.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        ];
        match self {
            Self::EnableMandate(request) => {
                let ask = &request.body;
                parts.push(ask.review.as_bytes().to_vec());
                let until = ask.grace_until.map(Timestamp::unix_timestamp_nanos);
                parts.push(until.unwrap_or_default().to_be_bytes().to_vec());
                let mut names: Vec<&str> = ask.acknowledged.iter().map(MemberId::as_str).collect();
                names.sort_unstable();
                parts.extend(names.into_iter().map(|name| name.as_bytes().to_vec()));
            }
            Self::DisableMember(request) => parts.push(request.body.member.as_str().into()),
            Self::DisableMandate(_) => {}
            Self::Review(_) | Self::EnableMember(_) => return Vec::new(),
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        keys.fingerprint("stepup/team/v1", &parts).to_vec()
    }

    /// What is to be looked up of the actor.
    pub fn wanted(&self, actor: &Member, mandate: Option<Uuid>, keys: &Keyring) -> Wanted {
        let digest = self.digest(mandate, keys);
        if digest.is_empty() {
            return Wanted::default();
        }
        Wanted {
            pending: pending(&digest).map(|login| (Purpose::Team, login)),
            to: actor.phone.as_ref().map(|phone| phone.index.clone()),
            bind: None,
            proof: self.proof(),
            email_proof: false,
        }
    }
}

/// What the admin's challenge completes: there is one for each thing that is to be done.
fn pending(digest: &[u8]) -> Option<LoginId> {
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    LoginId::parse(&name).ok()
}

/// What is known when a [`TeamMessage`] is decided.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The id of the request.
    pub id: Uuid,
    /// The account, locked; it is the app's.
    pub account: Account,
    /// The actor, as a member of this account, locked.
    pub actor: Option<Member>,
    /// The member it is about, locked.
    pub subject: Option<Member>,
    /// The subject's open challenges, locked.
    pub open: Vec<Challenge>,
    /// Of the actor's challenge.
    pub found: Found,
    /// The review that is named, if it is one of this account.
    pub review: Option<Review>,
    /// The account's last mandate.
    pub mandate: Option<Uuid>,
    /// Whether a primary admin has a usable number.
    pub admin_has_phone: bool,
}

/// A decision about the whole account.
#[derive(Debug)]
pub struct Mandated {
    /// The account.
    pub account: AccountId,
    /// The mandate: the request's id.
    pub mandate: Uuid,
    /// Whether 2FA is mandatory from now on.
    pub mandatory: bool,
    /// Until when it is not enforced.
    pub grace_until: Option<Timestamp>,
    /// The account's row of the Activity report.
    pub activity: Activity,
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A challenge for the admin.
    Challenge(Issued),
    /// A review begins.
    Review(NewReview),
    /// A mandate, or its end.
    Mandated(Box<Mandated>),
    /// A member's switch, and the challenge that was good for it and is so no more.
    Switch {
        /// The change.
        change: Change,
        /// The challenge.
        spent: Option<ChallengeId>,
    },
}

fn answer(kind: OutcomeKind) -> Decided<Write> {
    Decided::answer(Outcome::new(kind))
}

/// The rule. Without facts the account is not the app's.
pub fn decide(
    ask: &TeamMessage,
    facts: Option<Facts>,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    let Some(facts) = facts else { return answer(OutcomeKind::NotFound) };
    let subject = facts.subject.as_ref();
    let allowed = facts.actor.clone().filter(|a| may(ask.operation(), Some(a), subject));
    let Some(actor) = allowed else { return answer(OutcomeKind::Forbidden) };
    if ask.member().is_some() && !subject.is_some_and(|subject| subject.active) {
        return answer(OutcomeKind::NotFound);
    }
    match ask {
        TeamMessage::Review(_) => review(ask, &facts, rules, ctx.now),
        TeamMessage::EnableMandate(request) => match obstacle(&request.body, &facts, ctx.now) {
            Some(outcome) => Decided::answer(outcome),
            None => proved(ask, &facts, actor, rules, ctx, |facts, now| {
                mandated(ask, facts, true, request.body.grace_until, now)
            }),
        },
        TeamMessage::DisableMandate(_) if !facts.account.mandatory => {
            answer(OutcomeKind::NotEnabled)
        }
        TeamMessage::DisableMandate(_) => proved(ask, &facts, actor, rules, ctx, |facts, now| {
            mandated(ask, facts, false, None, now)
        }),
        TeamMessage::EnableMember(request) => {
            enable_member(ask, &request.body, &facts, rules, ctx.now)
        }
        TeamMessage::DisableMember(_) if facts.account.mandatory => {
            answer(OutcomeKind::MandatoryByAccount)
        }
        TeamMessage::DisableMember(_) if subject.is_some_and(|subject| !subject.two_factor) => {
            answer(OutcomeKind::NotEnabled)
        }
        // Off, the password alone would do again: only a reset ends it.
        TeamMessage::DisableMember(_)
            if subject.is_some_and(|subject| subject.suspended_at.is_some()) =>
        {
            answer(OutcomeKind::Suspended)
        }
        TeamMessage::DisableMember(_) => proved(ask, &facts, actor, rules, ctx, |facts, now| {
            let off = |member: &Member| Member { two_factor: false, ..member.clone() };
            // The code was for this once: whoever turns it on again needs another to turn it off.
            let spent = facts.found.proof.as_ref().map(|proof| proof.id);
            if facts.found.current.as_ref().map(|current| current.id) != spent {
                return Decided::answer(Outcome::invalid(
                    "proof",
                    "proof was used already, or a later one was asked for",
                ));
            }
            switch(ask, facts, off, spent, rules, now)
        }),
    }
}

fn review(ask: &TeamMessage, facts: &Facts, rules: &RuleInputs, now: Timestamp) -> Decided<Write> {
    let review = NewReview {
        id: facts.id,
        account: facts.account.id.clone(),
        actor: ask.actor().clone(),
        created_at: now,
        expires_at: now + rules.policy.review_life,
    };
    let outcome = Outcome { review: Some(facts.id), ..Outcome::new(OutcomeKind::Reviewing) };
    Decided {
        label: "reviewing",
        write: Some(Write::Review(review)),
        effects: vec![Command::CheckContacts { review: facts.id, batch: 0 }.into()],
        reply: Some(outcome),
    }
}

/// Why 2FA cannot become mandatory, whoever proves to ask.
fn obstacle(ask: &EnableMandate, facts: &Facts, now: Timestamp) -> Option<Outcome> {
    if facts.account.mandatory {
        return Some(Outcome::new(OutcomeKind::AlreadyEnabled));
    }
    if !ask.confirmed {
        return Some(Outcome::invalid("confirmed", "confirmed is not true: let the admin confirm"));
    }
    if ask.acknowledged.len() > ACKNOWLEDGED_MAX {
        return Some(Outcome::invalid("acknowledged", "acknowledged has more than 1000 names"));
    }
    let Some(review) = &facts.review else {
        return Some(Outcome::invalid("review", "review is none of this account: begin one"));
    };
    if !review.done {
        return Some(Outcome::invalid(
            "review",
            "review is not done yet: wait for review.finished",
        ));
    }
    if review.outdated || now >= review.expires_at {
        return Some(Outcome { review: Some(review.id), ..Outcome::new(OutcomeKind::Stale) });
    }
    if !facts.admin_has_phone {
        return Some(Outcome::new(OutcomeKind::NoAdminPhone));
    }
    let missing = review.blocked.iter().filter(|member| !ask.acknowledged.contains(member)).count();
    (missing > 0).then(|| Outcome {
        review: Some(review.id),
        detail: Some(format!("{missing} members without a usable number are not acknowledged")),
        ..Outcome::new(OutcomeKind::NotAcknowledged)
    })
}

/// Does `then` if the admin has shown a fresh code for exactly this; else asks for one (R-72, R-73,
///
fn proved(
    ask: &TeamMessage,
    facts: &Facts,
    actor: Member,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
    then: impl FnOnce(&Facts, Timestamp) -> Decided<Write>,
) -> Decided<Write> {
    let operation = ask.digest(facts.mandate, &rules.keys);
    if ask.proof().is_some() {
        let proof = facts.found.proof.as_ref();
        return match enrolment::unproved(proof, Purpose::Team, &operation, ctx.now) {
            Some(refusal) => Decided::answer(refusal),
            None => then(facts, ctx.now),
        };
    }
    if !actor.two_factor {
        return answer(OutcomeKind::FactorRequired);
    }
    let Some(login) = pending(&operation) else { return answer(OutcomeKind::NotFound) };
    let Found { current, wrong, number, .. } = facts.found.clone();
    let (id, account) = (ChallengeId(facts.id), facts.account.clone());
    let owned = actor.phone_owned_at.is_some();
    let of_actor = IssueFacts { id, account, member: actor, current, wrong, number, owned };
    let demand = ChallengeSpec {
        app: ask.app(),
        account: ask.account(),
        member: ask.actor(),
        login,
        purpose: Purpose::Team,
        setting: None,
        operation,
        summary: None,
        number: None,
    };
    issue::open(&demand, &of_actor, rules, ctx).map(Write::Challenge)
}

fn mandated(
    ask: &TeamMessage,
    facts: &Facts,
    mandatory: bool,
    grace_until: Option<Timestamp>,
    now: Timestamp,
) -> Decided<Write> {
    let (kind, action) = if mandatory {
        (EventKind::MandateEnabled, Action::MandateEnabled)
    } else {
        (EventKind::MandateDisabled, Action::MandateDisabled)
    };
    let account = &facts.account.id;
    let activity = Activity {
        account: account.clone(),
        member: None,
        actor: ask.actor().clone(),
        action,
        origin: Origin::Admin,
        old_number: None,
        new_number: None,
        challenge: ask.proof(),
        client: ask.client(),
        at: now,
    };
    let event = Event {
        app: Some(ask.app().clone()),
        actor: Some(ask.actor().clone()),
        challenge: ask.proof(),
        review: ask.review(),
        ..Event::new(kind, Some(account.clone()))
    };
    let mandate = facts.id;
    let write = Mandated { account: account.clone(), mandate, mandatory, grace_until, activity };
    Decided {
        label: action.label(),
        write: Some(Write::Mandated(Box::new(write))),
        effects: vec![event.into(), Command::ApplyMandate { mandate, batch: 0 }.into()],
        reply: Some(Outcome::new(OutcomeKind::Stored)),
    }
}

/// 2FA on for one member, who proves the number at the next login.
fn enable_member(
    ask: &TeamMessage,
    wanted: &EnableMember,
    facts: &Facts,
    rules: &RuleInputs,
    now: Timestamp,
) -> Decided<Write> {
    let Some(subject) = &facts.subject else { return answer(OutcomeKind::NotFound) };
    let grace_until = wanted.grace_until.or(subject.grace_until);
    if subject.two_factor && grace_until == subject.grace_until {
        return answer(OutcomeKind::AlreadyEnabled);
    }
    // Where there is no number, the next login could not be completed: nobody is locked out so.
    if !subject.two_factor && !subject.has_usable_phone() {
        return answer(OutcomeKind::NoPhone);
    }
    switch(
        ask,
        facts,
        |member| Member { two_factor: true, grace_until, ..member.clone() },
        None,
        rules,
        now,
    )
}

fn switch(
    ask: &TeamMessage,
    facts: &Facts,
    turn: impl FnOnce(&Member) -> Member,
    spent: Option<ChallengeId>,
    rules: &RuleInputs,
    now: Timestamp,
) -> Decided<Write> {
    let Some(subject) = &facts.subject else { return answer(OutcomeKind::NotFound) };
    let by = ChangeAuthor {
        app: ask.app(),
        actor: Some(ask.actor()),
        origin: None,
        challenge: ask.proof(),
        client: ask.client(),
    };
    let after = turn(subject);
    let (change, effects) =
        change::change(Some(subject), after, &facts.open, &by, &rules.keys, now);
    let reply = Some(Outcome::new(OutcomeKind::Stored));
    Decided { label: "stored", write: Some(Write::Switch { change, spent }), effects, reply }
}
