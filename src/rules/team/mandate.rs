//! A mandate comes to the members of an account in batches, and its end likewise.
//! What holds is said by the account from the moment of the decision; this turns each member's
//! switch, and writes each one's row.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::activity::{Client, Origin};
use crate::domain::challenge::Challenge;
use crate::domain::id::MemberId;
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::message::{Command, Effect, Event, EventKind};
use crate::rules::factor::change::{self, Change, ChangeAuthor};
use crate::rules::verdict::Decided;

/// Members whose switch is turned in one pass.
pub const BATCH: usize = 200;

/// What is known when the next batch is carried out.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The account, locked.
    pub account: Account,
    /// Whether it begins or ends.
    pub mandatory: bool,
    /// Who decided it.
    pub actor: MemberId,
    /// Batches so far.
    pub batch: i32,
    /// Members changed so far.
    pub changed: i64,
    /// Whether it has come to everybody.
    pub done: bool,
    /// The next members with their open challenges, locked; at most [`BATCH`].
    pub next: Vec<(Member, Vec<Challenge>)>,
}

/// A batch that is carried out.
#[derive(Debug)]
pub struct Applied {
    /// The mandate.
    pub mandate: Uuid,
    /// Which batch: the guard of the write.
    pub batch: i32,
    /// The last member of it.
    pub reached: Option<MemberId>,
    /// What changes.
    pub changes: Vec<Change>,
    /// Whether it was the last.
    pub last: bool,
    /// When.
    pub at: Timestamp,
}

/// The member as the account's decision leaves them; `None` where nothing changes. Who had turned it
/// on before keeps it when the mandate ends, and so does one whose factor is suspended.
pub fn applied(member: &Member, mandatory: bool) -> Option<Member> {
    match (mandatory, member.two_factor, member.factor_by_mandate) {
        (true, false, _) => {
            Some(Member { two_factor: true, factor_by_mandate: true, ..member.clone() })
        }
        (false, _, true) => {
            let two_factor = member.suspended_at.is_some();
            Some(Member { two_factor, factor_by_mandate: false, ..member.clone() })
        }
        (true, true, _) | (false, _, false) => None,
    }
}

/// The rule of a batch. Nothing is sent to anybody. Without facts a later decision has taken
/// its place.
pub fn apply(
    mandate: Uuid,
    batch: i32,
    facts: Option<Facts>,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Applied> {
    let Some(facts) = facts.filter(|facts| !facts.done && facts.batch == batch) else {
        return Decided::nothing("done_before");
    };
    let last = facts.next.len() < BATCH;
    let (mut changes, mut effects) = (Vec::new(), Vec::<Effect>::new());
    for (member, open) in &facts.next {
        let Some(after) = applied(member, facts.mandatory) else { continue };
        let by = ChangeAuthor {
            app: &facts.account.app,
            actor: Some(&facts.actor),
            origin: Some(Origin::Mandate),
            challenge: None,
            client: Client::default(),
        };
        let (change, followed) = change::change(Some(member), after, open, &by, keys, now);
        changes.push(change);
        effects.extend(followed);
    }
    if last {
        let event = Event {
            app: Some(facts.account.app.clone()),
            actor: Some(facts.actor.clone()),
            members: Some(facts.changed + changes.len() as i64),
            ..Event::new(EventKind::MandateApplied, Some(facts.account.id.clone()))
        };
        effects.push(event.into());
    } else {
        effects.push(Command::ApplyMandate { mandate, batch: batch + 1 }.into());
    }
    let reached = facts.next.last().map(|(member, _)| member.id.clone());
    let write = Applied { mandate, batch, reached, changes, last, at: now };
    Decided { label: "applied", write: Some(write), effects, reply: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests_support::{NOW, account, challenge, member, rules};

    fn off() -> Member {
        Member { two_factor: false, ..member() }
    }

    fn facts(mandatory: bool, next: Vec<(Member, Vec<Challenge>)>) -> Facts {
        let actor = MemberId::parse("boss").unwrap();
        let (account, batch, changed, done) = (account(), 0, 0, false);
        Facts { account, mandatory, actor, batch, changed, done, next }
    }

    fn decided(facts: Facts) -> Decided<Applied> {
        apply(Uuid::from_u128(1), 0, Some(facts), &rules().keys, NOW)
    }

    #[test]
    fn r69_r70_each_member_gets_one_row_and_one_event_and_nobody_an_sms() {
        let batch = decided(facts(true, vec![(off(), vec![]), (member(), vec![])]));
        let write = batch.write.unwrap();
        let [change] = &write.changes[..] else { panic!("one was off") };
        assert_eq!(change.activity.len(), 1);
        assert_eq!(
            (change.activity[0].origin, change.activity[0].actor.as_str()),
            (Origin::Mandate, "boss")
        );
        let kinds: Vec<_> = batch
            .effects
            .iter()
            .map(|effect| match effect {
                Effect::Event(event) => event.kind,
                Effect::Command(..) | Effect::RetrySms { .. } => panic!("nothing is sent"),
            })
            .collect();
        assert_eq!(kinds, [EventKind::FactorEnabled, EventKind::MandateApplied]);
    }

    #[test]
    fn r71_who_had_turned_it_on_keeps_it_when_the_mandate_ends() {
        let by_mandate = applied(&off(), true).unwrap();
        assert!(by_mandate.two_factor && by_mandate.factor_by_mandate);
        assert_eq!(applied(&by_mandate, true), None, "R-69: a second time changes nothing");
        assert!(!applied(&by_mandate, false).unwrap().two_factor);
        assert_eq!(applied(&member(), false), None);
        // only a reset ends a suspension, and never the password alone.
        let suspended = Member { suspended_at: Some(NOW), ..by_mandate };
        let freed = applied(&suspended, false).unwrap();
        assert!(freed.two_factor && !freed.factor_by_mandate);
    }

    #[test]
    fn r43_the_end_of_a_mandate_ends_the_logins_of_those_it_bound() {
        let bound = applied(&off(), true).unwrap();
        let batch = decided(facts(false, vec![(bound, vec![challenge()])]));
        assert_eq!(batch.write.unwrap().changes[0].endings.len(), 1);
    }

    #[test]
    fn r69_a_batch_that_was_carried_out_before_changes_nothing() {
        let later = Facts { batch: 1, ..facts(true, vec![(off(), vec![])]) };
        assert!(decided(later).write.is_none());
        let full = facts(true, vec![(off(), vec![]); BATCH]);
        let next = Command::ApplyMandate { mandate: Uuid::from_u128(1), batch: 1 };
        assert_eq!(decided(full).effects.last(), Some(&next.into()));
    }
}
