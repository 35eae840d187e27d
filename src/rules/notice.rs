//! Mails that carry no challenge's code: to primary admins about changed numbers, to
//! members about their own, and the proof of an address. Who gets one, and whether it still goes
//! when it is its turn.

use std::sync::Arc;

use super::delivery::{Answer, Letter, retry_rung};
use super::{Decided, Verdict, text};
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{AttemptState, words};
use crate::domain::email_proof::EmailProof;
use crate::domain::id::{MemberId, derived};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::message::{Command, Effect, Event, EventKind, EventRecord, Rung};
use uuid::Uuid;

words! {
    /// What a notice is about.
    NoticeKind {
        /// To an admin: a member's number was changed.
        NumberChanged = "number_changed",
        /// To a member: your number was changed.
        OwnNumberChanged = "own_number_changed",
        /// To a member: your number belongs to a company, and gets no codes.
        OwnNumberOwned = "own_number_owned",
        /// To a member: the code that proves the address.
        EmailProof = "email_proof",
    }
}

/// A notice as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its id: a function of what it is about and of who gets it, so that there is one for each pair.
    pub id: Uuid,
    /// What it is about.
    pub kind: NoticeKind,
    /// Who gets it.
    pub recipient: MemberId,
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

/// Who may be told of an event.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    /// The primary admins who hear of changed numbers.
    pub subscribers: Vec<MemberId>,
    /// Whether the member has an address.
    pub member_has_address: bool,
}

/// The rule of the fan-out: of a changed number hear each subscribed primary admin, their own changes
/// included (D-7), and the member; of a number that is a company's, the member.
pub fn fan_out(event: &EventRecord, recipients: Recipients) -> Decided<Vec<Notice>> {
    let (Some(account), Some(member)) = (&event.account, &event.member) else {
        return Decided::nothing("not_about_a_member");
    };
    let Recipients { subscribers, member_has_address } = recipients;
    let changed = event.kind == EventKind::PhoneChanged;
    // Who is told as an admin already need not be told twice.
    let own = member_has_address && !(changed && subscribers.contains(member));
    let mut told: Vec<(NoticeKind, MemberId)> = Vec::new();
    if changed {
        told.extend(subscribers.into_iter().map(|admin| (NoticeKind::NumberChanged, admin)));
    }
    if own {
        let kind = if changed { NoticeKind::OwnNumberChanged } else { NoticeKind::OwnNumberOwned };
        told.push((kind, member.clone()));
    }
    if told.is_empty() {
        return Decided::nothing("nobody_to_tell");
    }
    let about = EventRecordRef {
        account: account.clone(),
        member: member.clone(),
        actor: event.actor.clone().unwrap_or_else(|| member.clone()),
        at: event.at,
        old_number: event.old_number.clone(),
        new_number: event.new_number.clone(),
    };
    let notices: Vec<Notice> = told
        .into_iter()
        .map(|(kind, recipient)| Notice {
            id: derived(event.id, &format!("notice/{recipient}")),
            kind,
            recipient,
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
    /// Who gets it, today.
    pub recipient: Member,
    /// The proof whose code it carries, if it carries one.
    pub proof: Option<EmailProof>,
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
    let Some(facts) = facts else {
        return Posting { notice: None, tries, step: Step::Done, now };
    };
    let notice = facts.notice.clone();
    let step = match notice.state {
        AttemptState::Queued if notice.tries != tries => Step::Done,
        AttemptState::Queued => match mail(&facts, keys, now) {
            Ok(letter) => Step::Call(Box::new(letter)),
            Err(why) => Step::Drop(why),
        },
        AttemptState::Calling if notice.lease_until.is_some_and(|until| now < until) => {
            Step::Leased
        }
        AttemptState::Calling => Step::Lost,
        _ => Step::Done,
    };
    Posting { notice: Some(notice), tries, step, now }
}

/// The mail, or why there is to be none.
fn mail(facts: &Facts, keys: &Keyring, now: Timestamp) -> Result<Letter, &'static str> {
    let Facts { notice, account, recipient, proof } = facts;
    let event = &notice.event;
    let at = event.at.replace_nanosecond(0).unwrap_or(event.at);
    let change = text::NumberChange {
        member: event.member.as_str(),
        actor: event.actor.as_str(),
        at: &format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute()),
        old: event.old_number.as_deref().unwrap_or("none"),
        new: event.new_number.as_deref().unwrap_or("none"),
    };
    let mail = match notice.kind {
        NoticeKind::NumberChanged if !recipient.hears_of_number_changes() => {
            return Err("not_subscribed");
        }
        _ if !recipient.active || recipient.email.is_none() => return Err("no_address"),
        NoticeKind::NumberChanged => text::number_changed_mail(account, &change),
        NoticeKind::OwnNumberChanged => text::own_number_changed_mail(account, &change),
        NoticeKind::OwnNumberOwned => text::own_number_owned_mail(account),
        NoticeKind::EmailProof => {
            let proof = proof.as_ref().filter(|proof| proof.notice() == notice.id);
            let proof = proof.filter(|proof| proof.to(recipient) && now < proof.expires_at);
            let code = proof.and_then(|proof| proof.code(keys)).ok_or("superseded")?;
            text::email_proof_mail(account, &code)
        }
    };
    let to = recipient.email_in_clear(keys).ok_or("key_lost")?;
    Ok(Letter { attempt: notice.id, to, subject: mail.subject, text: mail.text })
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
            member: Some(notice.recipient.clone()),
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

    fn admins(names: &[&str]) -> Recipients {
        let subscribers = names.iter().map(|id| MemberId::parse(id).unwrap()).collect();
        Recipients { subscribers, member_has_address: false }
    }

    fn notice() -> Notice {
        fan_out(&event(), admins(&["boss"])).write.unwrap().remove(0)
    }

    fn admin() -> Member {
        Member { role: Role::PrimaryAdmin, notify_number_changes: true, ..member() }
    }

    fn decided(notice: Notice, recipient: Member) -> Posting {
        let facts = Facts { notice, account: account(), recipient, proof: None };
        decide(0, Some(facts), &Arc::new(Keyring::for_tests()), NOW)
    }

    #[test]
    fn r87_one_notice_per_change_and_admin_whenever_it_is_decided() {
        let admins = || admins(&["boss", "owner"]);
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
    fn r8_r50_the_member_is_told_too_but_not_twice() {
        let kinds = |event: &EventRecord, admin: &str| -> Vec<NoticeKind> {
            let recipients = Recipients { member_has_address: true, ..admins(&[admin]) };
            fan_out(event, recipients).write.unwrap().iter().map(|notice| notice.kind).collect()
        };
        assert_eq!(
            kinds(&event(), "boss"),
            [NoticeKind::NumberChanged, NoticeKind::OwnNumberChanged]
        );
        assert_eq!(kinds(&event(), "ada"), [NoticeKind::NumberChanged]);
        let owned = EventRecord { kind: EventKind::NumberOwned, ..event() };
        assert_eq!(kinds(&owned, "boss"), [NoticeKind::OwnNumberOwned]);
        let notice = Notice { kind: NoticeKind::OwnNumberOwned, ..notice() };
        let Step::Call(letter) = decided(notice.clone(), member()).step else { panic!() };
        assert!(letter.text.contains("belongs to a company"));
        let nobody = Member { email: None, ..member() };
        assert!(matches!(decided(notice, nobody).step, Step::Drop("no_address")));
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
