//! A number that is lost: support resets the factor. One person asks, with a reason;
//! another approves; then it waits, so that whoever did not want it can stop it; then the number
//! goes, and the member enrols again. Whether the two are who the app says is the app's matter.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::activity::{Action, Client, Origin};
use crate::domain::challenge::Challenge;
use crate::domain::id::{AppName, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::policy::Policy;
use crate::domain::reset::{Reset, ResetState};
use crate::message::{
    ApproveReset, CancelReset, Command, Effect, Event, EventKind, Message, Outcome, OutcomeKind,
    Rejected, Request, RequestBody, RequestReset, RetryDelay, Subject,
};
use crate::rules::activity::Activity;
use crate::rules::factor::change::{self, Change, ChangeAuthor};
use crate::rules::team::role::{Operation, may};
use crate::rules::verdict::{Decided, seconds_until};

/// The longest reason, in characters.
pub const REASON_MAX: usize = 500;

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupportMessage {
    /// A member has lost the number.
    Request(Request<RequestReset>),
    /// A second person agrees.
    Approve(Request<ApproveReset>),
    /// The member or an admin stops it.
    Cancel(Request<CancelReset>),
    /// The hold is over.
    CarryOut(Uuid),
}

impl Message for SupportMessage {
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        match key {
            RequestReset::KEY => Request::read(key, app, body).map(Self::Request),
            ApproveReset::KEY => Request::read(key, app, body).map(Self::Approve),
            CancelReset::KEY => Request::read(key, app, body).map(Self::Cancel),
            _ => Command::read_as(key, body, |command| match *command {
                Command::CarryOutReset { reset } => Some(Self::CarryOut(reset)),
                _ => None,
            }),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Request(request) => request.subject(),
            Self::Approve(request) => request.subject(),
            Self::Cancel(request) => request.subject(),
            Self::CarryOut(reset) => Subject::of(reset),
        }
    }
}

/// What is known when a [`SupportMessage`] is decided.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The id of the request.
    pub id: Uuid,
    /// The account.
    pub account: Account,
    /// The member, locked.
    pub member: Member,
    /// The member's open challenges, locked.
    pub open: Vec<Challenge>,
    /// The reset that is named, or the one that is under way for the member.
    pub reset: Option<Reset>,
    /// Who cancels, as a member of the account.
    pub actor: Option<Member>,
}

/// A reset that is carried out.
#[derive(Debug)]
pub struct CarriedOut {
    /// Which.
    pub reset: Uuid,
    /// The member from now on, and what goes with it.
    pub change: Change,
    /// When.
    pub at: Timestamp,
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// Somebody asks.
    Requested(Box<Reset>, Box<Activity>),
    /// Another approves; until when it waits.
    Approved(Uuid, Timestamp, Box<Activity>),
    /// It is stopped.
    Cancelled(Uuid, Box<Activity>),
    /// It is done.
    Done(Box<CarriedOut>),
}

fn answer(kind: OutcomeKind) -> Decided<Write> {
    Decided::answer(Outcome::new(kind))
}

/// The rule. Without facts the account is not the app's, or the member or the reset does not exist.
pub fn decide(
    ask: &SupportMessage,
    facts: Option<Facts>,
    policy: &Policy,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Write> {
    let Some(facts) = facts else { return answer(OutcomeKind::NotFound) };
    match (ask, &facts.reset) {
        (SupportMessage::Request(request), _) => requested(&request.body, &facts, now),
        (_, None) => answer(OutcomeKind::NotFound),
        (SupportMessage::Approve(request), Some(reset)) => {
            approved(&request.body, reset, &facts, policy, now)
        }
        (SupportMessage::Cancel(request), Some(reset)) => {
            cancelled(&request.body, reset, &facts, now)
        }
        (SupportMessage::CarryOut(_), Some(reset)) => carried_out(reset, &facts, keys, now),
    }
}

fn about(reset: &Reset, kind: EventKind, app: &AppName) -> Event {
    Event {
        app: Some(app.clone()),
        member: Some(reset.member.clone()),
        reset: Some(reset.id),
        ..Event::new(kind, Some(reset.account.clone()))
    }
}

/// A row of the report: whoever does something about a reset stands in it.
fn row(reset: &Reset, actor: &MemberId, action: Action, now: Timestamp) -> Activity {
    Activity {
        account: reset.account.clone(),
        member: Some(reset.member.clone()),
        actor: actor.clone(),
        action,
        origin: Origin::Support,
        old_number: None,
        new_number: None,
        challenge: None,
        client: Client::default(),
        at: now,
    }
}

fn recorded(reset: Uuid, due_at: Option<Timestamp>, write: Write, event: Event) -> Decided<Write> {
    let reply = Outcome { reset: Some(reset), due_at, ..Outcome::new(OutcomeKind::Recorded) };
    Decided {
        label: event.kind.label(),
        write: Some(write),
        effects: vec![event.into()],
        reply: Some(reply),
    }
}

fn requested(ask: &RequestReset, facts: &Facts, now: Timestamp) -> Decided<Write> {
    let reason = ask.reason.trim();
    let control = |c: char| c.is_control() && c != '\n';
    if !(1..=REASON_MAX).contains(&reason.chars().count()) || reason.contains(control) {
        let why = "reason is not of 1 to 500 characters, or has control characters in it";
        return Decided::answer(Outcome::invalid("reason", why));
    }
    if !facts.member.two_factor {
        return answer(OutcomeKind::NotEnabled);
    }
    // One is under way already: that one.
    if let Some(open) = &facts.reset {
        let (reset, due_at) = (Some(open.id), open.due_at);
        return Decided::answer(Outcome { reset, due_at, ..Outcome::new(OutcomeKind::Recorded) });
    }
    let reset = Reset {
        id: facts.id,
        account: ask.account.clone(),
        member: ask.member.clone(),
        reason: reason.to_owned(),
        requested_by: ask.requested_by.clone(),
        approved_by: None,
        due_at: None,
        state: ResetState::Requested,
    };
    let event = Event {
        actor: Some(ask.requested_by.clone()),
        ..about(&reset, EventKind::ResetRequested, &facts.account.app)
    };
    let row = row(&reset, &ask.requested_by, Action::ResetRequested, now);
    recorded(facts.id, None, Write::Requested(Box::new(reset), Box::new(row)), event)
}

fn approved(
    ask: &ApproveReset,
    reset: &Reset,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Decided<Write> {
    if ask.approved_by == reset.requested_by {
        return answer(OutcomeKind::Forbidden);
    }
    if reset.state != ResetState::Requested {
        return ended(reset);
    }
    let due_at = now + policy.reset_hold;
    let event = Event {
        actor: Some(ask.approved_by.clone()),
        due_at: Some(due_at),
        ..about(reset, EventKind::ResetApproved, &facts.account.app)
    };
    let row = row(reset, &ask.approved_by, Action::ResetApproved, now);
    let write = Write::Approved(reset.id, due_at, Box::new(row));
    recorded(reset.id, Some(due_at), write, event)
}

/// A reset that takes this step no longer.
fn ended(reset: &Reset) -> Decided<Write> {
    let kind = match reset.state {
        ResetState::Requested | ResetState::Approved => OutcomeKind::Recorded,
        ResetState::Done => OutcomeKind::AlreadyUsed,
        ResetState::Cancelled => OutcomeKind::Cancelled,
    };
    let (id, due_at) = (Some(reset.id), reset.due_at);
    Decided::answer(Outcome { reset: id, due_at, ..Outcome::new(kind) })
}

fn cancelled(ask: &CancelReset, reset: &Reset, facts: &Facts, now: Timestamp) -> Decided<Write> {
    if !may(Operation::CancelReset, facts.actor.as_ref(), Some(&facts.member)) {
        return answer(OutcomeKind::Forbidden);
    }
    if matches!(reset.state, ResetState::Done | ResetState::Cancelled) {
        return ended(reset);
    }
    let event = Event {
        actor: Some(ask.actor.clone()),
        ..about(reset, EventKind::ResetCancelled, &facts.account.app)
    };
    let own = ask.actor == reset.member;
    let row = Activity {
        origin: if own { Origin::Own } else { Origin::Admin },
        ..row(reset, &ask.actor, Action::ResetCancelled, now)
    };
    recorded(reset.id, None, Write::Cancelled(reset.id, Box::new(row)), event)
}

/// The number goes, 2FA stays on: the next login leads to an enrolment. Wrong codes no longer count,
/// so that a suspended factor is free again.
fn carried_out(reset: &Reset, facts: &Facts, keys: &Keyring, now: Timestamp) -> Decided<Write> {
    let Some(due) = reset.due_at.filter(|_| reset.state == ResetState::Approved) else {
        return Decided::nothing("not_approved");
    };
    if now < due {
        // By a clock that was set back since: the timer does not send it twice, so it comes again.
        let left = seconds_until(due, now);
        let long_enough = |delay: &RetryDelay| i64::from(delay.seconds()) >= left;
        let delay = RetryDelay::ALL.into_iter().find(long_enough).unwrap_or(RetryDelay::Second120);
        let again = Effect::Command(Command::CarryOutReset { reset: reset.id }, Some(delay));
        return Decided { effects: vec![again], ..Decided::nothing("not_due") };
    }
    let approver = reset.approved_by.as_ref().unwrap_or(&reset.requested_by);
    let after = Member {
        phone: None,
        phone_prefix_index: None,
        phone_country: None,
        phone_textable: false,
        phone_verified_at: None,
        phone_owned_at: None,
        factor_changed_at: Some(now),
        reset_at: Some(now),
        suspended_at: None,
        wrong_in_a_row: 0,
        guess_after: None,
        ..facts.member.clone()
    };
    let by = ChangeAuthor {
        app: &facts.account.app,
        actor: Some(approver),
        origin: Some(Origin::Support),
        challenge: None,
        client: Client::default(),
    };
    let (mut change, mut effects) =
        change::change(Some(&facts.member), after, &facts.open, &by, keys, now);
    change.activity.push(row(reset, approver, Action::FactorReset, now));
    let event = Event {
        actor: Some(approver.clone()),
        ..about(reset, EventKind::FactorReset, &facts.account.app)
    };
    effects.push(event.into());
    let write = Write::Done(Box::new(CarriedOut { reset: reset.id, change, at: now }));
    Decided { label: "factor.reset", write: Some(write), effects, reply: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::challenge::CancelReason;
    use crate::domain::member::Role;
    use crate::rules::tests_support::{NOW, account, challenge, member, rules};

    fn id(name: &str) -> MemberId {
        MemberId::parse(name).unwrap()
    }

    fn facts(reset: Option<Reset>) -> Facts {
        let (account, member) = (account(), member());
        Facts {
            id: Uuid::from_u128(1),
            account,
            member,
            open: vec![challenge()],
            reset,
            actor: None,
        }
    }

    fn decided(ask: &SupportMessage, facts: Facts, now: Timestamp) -> Decided<Write> {
        decide(ask, Some(facts), &rules().policy, &rules().keys, now)
    }

    fn reset(state: ResetState) -> Reset {
        Reset {
            id: Uuid::from_u128(1),
            account: account().id,
            member: member().id,
            reason: "phone stolen".into(),
            requested_by: id("sue"),
            approved_by: (state != ResetState::Requested).then(|| id("tom")),
            due_at: (state != ResetState::Requested).then(|| NOW + rules().policy.reset_hold),
            state,
        }
    }

    fn approve(by: &str) -> SupportMessage {
        let ask =
            ApproveReset { account: account().id, reset: Uuid::from_u128(1), approved_by: id(by) };
        SupportMessage::Approve(Request { app: account().app, body: ask })
    }

    fn kind(decided: &Decided<Write>) -> OutcomeKind {
        decided.reply.as_ref().unwrap().outcome
    }

    #[test]
    fn r104_it_takes_a_reason_and_two_people() {
        let request = |reason: &str| {
            let ask = RequestReset {
                account: account().id,
                member: member().id,
                requested_by: id("sue"),
                reason: reason.into(),
            };
            decided(
                &SupportMessage::Request(Request { app: account().app, body: ask }),
                facts(None),
                NOW,
            )
        };
        assert_eq!(kind(&request("  ")), OutcomeKind::Invalid);
        let Some(Write::Requested(_, row)) = request("phone stolen").write else { panic!() };
        assert_eq!((row.action, row.actor.as_str()), (Action::ResetRequested, "sue"), "R-95");
        let alone = decided(&approve("sue"), facts(Some(reset(ResetState::Requested))), NOW);
        assert_eq!(kind(&alone), OutcomeKind::Forbidden);
        let both = decided(&approve("tom"), facts(Some(reset(ResetState::Requested))), NOW);
        let due = NOW + rules().policy.reset_hold;
        let Some(Write::Approved(_, at, row)) = both.write else { panic!() };
        assert_eq!(
            (at, row.action, row.actor.as_str()),
            (due, Action::ResetApproved, "tom"),
            "R-95"
        );
        let again = decided(&approve("tom"), facts(Some(reset(ResetState::Approved))), NOW);
        assert!(again.write.is_none());
    }

    #[test]
    fn r105_it_waits_and_then_ends_what_is_open_and_lifts_a_suspension() {
        let carry = SupportMessage::CarryOut(Uuid::from_u128(1));
        let mut known = facts(Some(reset(ResetState::Approved)));
        known.member.suspended_at = Some(NOW);
        known.open[0].expires_at = NOW + rules().policy.reset_hold * 2;
        let due = NOW + rules().policy.reset_hold;
        let early = decided(&carry, known.clone(), due - time::Duration::SECOND);
        assert!(early.write.is_none());
        let command = Command::CarryOutReset { reset: Uuid::from_u128(1) };
        assert_eq!(early.effects, [Effect::Command(command, Some(RetryDelay::Second1))]);
        let Some(Write::Done(done)) = decided(&carry, known, due).write else { panic!() };
        let after = &done.change.member;
        assert!(after.phone.is_none() && after.suspended_at.is_none() && after.two_factor);
        assert_eq!(after.reset_at, Some(due));
        assert_eq!(done.change.endings[0].reason, Some(CancelReason::TargetChanged));
    }

    #[test]
    fn r95_a_reset_is_a_row_of_its_own_that_names_who_approved() {
        let known = facts(Some(reset(ResetState::Approved)));
        let due = NOW + rules().policy.reset_hold;
        let carried = decided(&SupportMessage::CarryOut(Uuid::from_u128(1)), known, due);
        let Some(Write::Done(done)) = carried.write else { panic!() };
        let rows: Vec<_> = done
            .change
            .activity
            .iter()
            .map(|row| (row.action, row.origin, row.actor.as_str()))
            .collect();
        let by = reset(ResetState::Approved).approved_by.unwrap();
        let by = by.as_str();
        assert_eq!(
            rows,
            [
                (Action::NumberChanged, Origin::Support, by),
                (Action::FactorReset, Origin::Support, by)
            ]
        );
    }

    #[test]
    fn r105_the_member_or_an_admin_stops_it_and_nobody_else() {
        let cancel = |actor: Option<Member>| {
            let name = actor.as_ref().map_or_else(|| id("eve"), |actor| actor.id.clone());
            let ask = CancelReset { account: account().id, reset: Uuid::from_u128(1), actor: name };
            let known = Facts { actor, ..facts(Some(reset(ResetState::Approved))) };
            decided(&SupportMessage::Cancel(Request { app: account().app, body: ask }), known, NOW)
        };
        let other = Member { id: id("eve"), ..member() };
        for (allowed, origin) in [
            (member(), Origin::Own),
            (Member { role: Role::Admin, ..other.clone() }, Origin::Admin),
        ] {
            let Some(Write::Cancelled(_, row)) = cancel(Some(allowed)).write else { panic!() };
            assert_eq!((row.action, row.origin), (Action::ResetCancelled, origin), "R-95");
        }
        for refused in [None, Some(other)] {
            assert_eq!(kind(&cancel(refused)), OutcomeKind::Forbidden);
        }
        let late = facts(Some(reset(ResetState::Cancelled)));
        let carried =
            decided(&SupportMessage::CarryOut(Uuid::from_u128(1)), late, NOW + time::Duration::DAY);
        assert!(carried.write.is_none());
    }
}
