//! Mail to primary admins about changed numbers: who gets one, and whether it still
//! goes when it is its turn.

use std::sync::Arc;

use super::delivery::{Answer, Letter, retry_rung};
use super::{Decided, Verdict, text};
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::AttemptState;
use crate::domain::id::{MemberId, derived};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::message::{Command, Effect, Event, EventKind, EventRecord, Rung};
use uuid::Uuid;

/// A notice as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its id: a function of the event and the admin, so that there is one for each pair.
    pub id: Uuid,
    /// Who is told.
    pub admin: MemberId,
    /// What about.
    pub event: EventRecordRef,
    /// Where it stands.
    pub state: AttemptState,
    /// Calls so far.
    pub tries: i16,
    /// Until when the one who claimed it may still settle it.
    pub lease_until: Option<Timestamp>,
}

/// The parts of an event that a notice tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecordRef {
    /// The account.
    pub account: crate::domain::id::AccountId,
    /// Whose number.
    pub member: MemberId,
    /// Who changed it.
    pub actor: MemberId,
    /// When.
    pub at: Timestamp,
    /// The number before, masked.
    pub old_number: Option<String>,
    /// The number after, masked.
    pub new_number: Option<String>,
}

/// The rule of the fan-out: one notice for each subscribed primary admin, their own changes
/// included (D-7).
pub fn fan_out(event: &EventRecord, subscribers: Vec<MemberId>) -> Decided<Vec<Notice>> {
    let (Some(account), Some(member)) = (&event.account, &event.member) else {
        return Decided::nothing("not_about_a_member");
    };
    if subscribers.is_empty() {
        return Decided::nothing("nobody_subscribed");
    }
    let about = EventRecordRef {
        account: account.clone(),
        member: member.clone(),
        actor: event.actor.clone().unwrap_or_else(|| member.clone()),
        at: event.at,
        old_number: event.old_number.clone(),
        new_number: event.new_number.clone(),
    };
    let notices: Vec<Notice> = subscribers
        .into_iter()
        .map(|admin| Notice {
            id: derived(event.id, &format!("notice/{admin}")),
            admin,
            event: about.clone(),
            state: AttemptState::Queued,
            tries: 0,
            lease_until: None,
        })
        .collect();
    let send = |notice: &Notice| Effect::from(Command::SendNotice { notice: notice.id, tries: 0 });
    let effects = notices.iter().map(send).collect();
    Decided { label: "told", write: Some(notices), effects, reply: None }
}

/// What is known when it is a notice's turn.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The notice.
    pub notice: Notice,
    /// The account.
    pub account: Account,
    /// The admin, today.
    pub admin: Member,
}

/// What is to be done with a notice.
pub enum Step {
    /// Claim it, then call the mail server.
    Call(Box<Letter>),
    /// The mail server has answered.
    Answered(Answer),
    /// Claimed by one who never came back: not sent again, since one mail per change is promised.
    Lost,
    /// Not to be sent: why.
    Drop(&'static str),
    /// Settled under another message.
    Done,
    /// Another process has claimed it.
    Leased,
}

/// The verdict on a notice.
pub struct Posting {
    /// Which.
    pub notice: Option<Notice>,
    /// The try the message asks for.
    pub tries: i16,
    /// What to do.
    pub step: Step,
    /// When it was decided.
    pub now: Timestamp,
}

/// The rule of the claim. Who has ceased to be a subscribed primary admin gets nothing.
pub fn decide(tries: i16, facts: Option<Facts>, keys: &Arc<Keyring>, now: Timestamp) -> Posting {
    let Some(Facts { notice, account, admin }) = facts else {
        return Posting { notice: None, tries, step: Step::Done, now };
    };
    let step = match notice.state {
        AttemptState::Queued if notice.tries != tries => Step::Done,
        AttemptState::Queued if !admin.hears_of_number_changes() => Step::Drop("not_subscribed"),
        AttemptState::Queued => match admin.email_in_clear(keys) {
            Some(to) => Step::Call(Box::new(letter(&notice, &account, to))),
            None => Step::Drop("key_lost"),
        },
        AttemptState::Calling if notice.lease_until.is_some_and(|until| now < until) => {
            Step::Leased
        }
        AttemptState::Calling => Step::Lost,
        _ => Step::Done,
    };
    Posting { notice: Some(notice), tries, step, now }
}

fn letter(notice: &Notice, account: &Account, to: zeroize::Zeroizing<String>) -> Letter {
    let event = &notice.event;
    let at = event.at.replace_nanosecond(0).unwrap_or(event.at);
    let change = text::NumberChange {
        member: event.member.as_str(),
        actor: event.actor.as_str(),
        at: &format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute()),
        old: event.old_number.as_deref().unwrap_or("none"),
        new: event.new_number.as_deref().unwrap_or("none"),
    };
    let mail = text::number_changed_mail(account, &change);
    Letter { attempt: notice.id, to, subject: mail.subject, text: mail.text }
}

impl Posting {
    /// The same notice with the mail server's answer.
    pub fn answered(self, answer: Answer) -> Self {
        let answer = match answer {
            Answer::NotNow { retry_after_seconds, code }
                if retry_rung(self.tries, retry_after_seconds).is_none() =>
            {
                Answer::Refused { code: format!("gave_up_{code}") }
            }
            other => other,
        };
        Self { step: Step::Answered(answer), ..self }
    }

    fn event(&self, kind: EventKind, reason: Option<&str>) -> Option<Effect> {
        let notice = self.notice.as_ref()?;
        Some(Effect::from(Event {
            member: Some(notice.admin.clone()),
            notice: Some(notice.id),
            reason: reason.map(str::to_owned),
            ..Event::new(kind, Some(notice.event.account.clone()))
        }))
    }
}

impl Verdict for Posting {
    fn label(&self) -> &'static str {
        match &self.step {
            Step::Call(_) => "called",
            Step::Answered(Answer::Accepted { .. }) => "sent",
            Step::Answered(Answer::NotNow { .. }) => "retried",
            Step::Answered(Answer::Refused { .. }) => "failed",
            Step::Answered(Answer::Unknown { .. }) | Step::Lost => "unknown",
            Step::Drop(_) => "dropped",
            Step::Done => "done",
            Step::Leased => "leased",
        }
    }

    fn effects(&self) -> Vec<Effect> {
        match &self.step {
            Step::Answered(Answer::Accepted { .. }) => {
                self.event(EventKind::NoticeSent, None).into_iter().collect()
            }
            Step::Answered(Answer::NotNow { retry_after_seconds, .. }) => {
                let rung = retry_rung(self.tries, *retry_after_seconds);
                let again = |notice: &Notice| {
                    let tries = self.tries + 1;
                    Effect::Command(Command::SendNotice { notice: notice.id, tries }, rung)
                };
                self.notice.as_ref().map(again).into_iter().collect()
            }
            Step::Answered(Answer::Refused { code } | Answer::Unknown { code }) => {
                self.event(EventKind::NoticeDropped, Some(code)).into_iter().collect()
            }
            Step::Lost => {
                self.event(EventKind::NoticeDropped, Some("process_died")).into_iter().collect()
            }
            Step::Drop(why) => {
                self.event(EventKind::NoticeDropped, Some(why)).into_iter().collect()
            }
            Step::Call(_) | Step::Done | Step::Leased => Vec::new(),
        }
    }

    fn wait(&self) -> Option<Rung> {
        matches!(self.step, Step::Leased).then_some(Rung::Second5)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{NOW, account, member};
    use super::*;
    use crate::domain::member::Role;
    use serde_json::json;

    fn event() -> EventRecord {
        serde_json::from_value(json!({
            "id": Uuid::from_u128(5), "at": "2026-01-01T12:00:00.123456Z",
            "type": "member.phone_changed", "account": "acme", "member": "ada", "actor": "bob",
            "old_number": "•••23", "new_number": "•••77",
        }))
        .unwrap()
    }

    fn notice() -> Notice {
        let admin = MemberId::parse("boss").unwrap();
        fan_out(&event(), vec![admin]).write.unwrap().remove(0)
    }

    fn admin() -> Member {
        Member { role: Role::PrimaryAdmin, notify_number_changes: true, ..member() }
    }

    fn decided(notice: Notice, admin: Member) -> Posting {
        let facts = Facts { notice, account: account(), admin };
        decide(0, Some(facts), &Arc::new(Keyring::for_tests()), NOW)
    }

    #[test]
    fn r87_one_notice_per_change_and_admin_whenever_it_is_decided() {
        let admins = || ["boss", "owner"].map(|id| MemberId::parse(id).unwrap()).to_vec();
        let (first, again) = (fan_out(&event(), admins()), fan_out(&event(), admins()));
        assert_eq!(first.write, again.write);
        assert_eq!(first.effects.len(), 2);
    }

    #[test]
    fn r87_the_mail_says_who_when_and_masked_numbers() {
        let Step::Call(letter) = decided(notice(), admin()).step else { panic!() };
        for part in ["ada", "bob", "2026-01-01 12:00 UTC", "•••23", "•••77"] {
            assert!(letter.text.contains(part), "{part}");
        }
    }

    #[test]
    fn r86_who_is_no_longer_a_subscribed_primary_admin_gets_nothing() {
        for admin in [
            Member { role: Role::Admin, ..admin() },
            Member { notify_number_changes: false, ..admin() },
            Member { active: false, ..admin() },
            Member { email: None, ..admin() },
        ] {
            let posting = decided(notice(), admin);
            assert!(matches!(posting.step, Step::Drop("not_subscribed")));
        }
    }

    #[test]
    fn a_claimed_notice_whose_process_died_is_not_sent_again() {
        let lease_until = Some(NOW);
        let calling = Notice { state: AttemptState::Calling, lease_until, ..notice() };
        assert_eq!(decided(calling.clone(), admin()).label(), "unknown");
        let lease_until = Some(NOW + time::Duration::seconds(1));
        assert!(decided(Notice { lease_until, ..calling }, admin()).wait().is_some());
    }
}
