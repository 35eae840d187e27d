//! Mails that carry no challenge's code: to primary admins about changed numbers, to
//! members about their own, and the proof of an address. Who gets one, and whether it still goes
//! when it is its turn.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::AttemptState;
use crate::domain::email_proof::EmailProof;
use crate::domain::id::AppName;
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::notice::NoticeKind;
use crate::domain::provider::RenderedMessage;
use crate::message::{Command, Effect, Event, EventKind, Message, Rejected, RetryDelay, Subject};
use crate::rules::claimed::{Claimed, Decision};
use crate::rules::delivery::recipients::{BEFORE, Notice};
use crate::rules::delivery::{Answer, TEXT_FAULTY, delay_while_closed, mailable, retry_delay};
use crate::rules::text::{Change, Texts};
use crate::rules::verdict::Verdict;

/// One notice that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeRequest {
    /// Which.
    pub notice: Uuid,
    /// How many calls went before.
    pub tries: i16,
}

impl Message for NoticeRequest {
    fn read(key: &str, _: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        Command::read_as(key, body, |command| match *command {
            Command::SendNotice { notice, tries } => Some(Self { notice, tries }),
            _ => None,
        })
    }

    fn subject(&self) -> Subject {
        Subject::of(self.notice)
    }
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

/// A notice that is to be claimed and then handed to the mail server.
pub struct NoticeCall {
    /// Which.
    pub notice: Notice,
    /// When it was decided.
    pub now: Timestamp,
    /// Readable once it is claimed.
    message: RenderedMessage,
}

/// How a notice is settled.
pub enum NoticeSettled {
    /// The mail server has answered.
    Answered(Answer),
    /// Claimed by a process that never settled it: not sent again, since one mail per change is promised.
    Lost,
    /// Not to be sent: why.
    Dropped(&'static str),
    /// Settled under another message, or unknown.
    Done,
}

/// What became of a notice.
pub struct NoticeSettlement {
    /// Which; `None` where there is none of this id.
    pub notice: Option<Notice>,
    /// How it is settled.
    pub settled: NoticeSettled,
}

/// The rule of the claim. Who has ceased to be a subscribed primary admin gets nothing.
pub fn decide(
    tries: i16,
    facts: Option<Facts>,
    keys: &Keyring,
    texts: &Texts,
    now: Timestamp,
) -> Decision<NoticeCall, NoticeSettlement> {
    let Some(facts) = facts else {
        let settled = NoticeSettled::Done;
        return Decision::Settle(NoticeSettlement { notice: None, settled });
    };
    let settled = match facts.notice.state {
        AttemptState::Queued if facts.notice.tries != tries => NoticeSettled::Done,
        AttemptState::Queued => match mail(&facts, keys, texts, now) {
            Ok(message) => {
                return Decision::Call(NoticeCall { notice: facts.notice, now, message });
            }
            Err(why) => NoticeSettled::Dropped(why),
        },
        AttemptState::Calling if facts.notice.lease_until.is_some_and(|until| now < until) => {
            return Decision::Wait { delay: RetryDelay::Second5, label: "leased" };
        }
        AttemptState::Calling => NoticeSettled::Lost,
        _ => NoticeSettled::Done,
    };
    Decision::Settle(NoticeSettlement { notice: Some(facts.notice), settled })
}

/// The mail in the recipient's language, or why there is to be none.
fn mail(
    facts: &Facts,
    keys: &Keyring,
    texts: &Texts,
    now: Timestamp,
) -> Result<RenderedMessage, &'static str> {
    let Facts { notice, account, recipient, proof } = facts;
    let event = &notice.event;
    let at = event.at.replace_nanosecond(0).unwrap_or(event.at);
    let change = Change {
        member: event.member.as_str(),
        actor: event.actor.as_str(),
        at: &format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute()),
        old: event.old_number.as_deref().unwrap_or_default(),
        new: event.new_number.as_deref().unwrap_or_default(),
    };
    let mail = match notice.kind {
        NoticeKind::NumberChanged if !recipient.hears_of_number_changes() => {
            return Err("not_subscribed");
        }
        NoticeKind::ResetApproved | NoticeKind::ResetDone
            if !recipient.hears_of_number_changes() =>
        {
            return Err("not_subscribed");
        }
        _ if !recipient.active => return Err("no_address"),
        _ if recipient.email.is_none() && !notice.to_before => return Err("no_address"),
        NoticeKind::EmailProof => {
            let proof = proof.as_ref().filter(|proof| proof.notice() == notice.id);
            let proof = proof.filter(|proof| proof.to(recipient) && now < proof.expires_at);
            let code = proof.and_then(|proof| proof.code(keys)).ok_or("superseded")?;
            texts.email_proof(&recipient.locale, account, &code)
        }
        kind => texts.notice(&recipient.locale, account, kind, &change),
    };
    let mail = mail.ok_or(TEXT_FAULTY)?;
    let to = if notice.to_before {
        recipient.email_before_in_clear(BEFORE, keys, now).ok_or("no_address")?
    } else {
        recipient.email_in_clear(keys).ok_or("key_lost")?
    };
    let to = mailable(&to)?;
    Ok(RenderedMessage { attempt: notice.id, to, subject: mail.subject, text: mail.text })
}

impl Claimed<NoticeCall> {
    /// What the mail server gets.
    pub fn message(&self) -> &RenderedMessage {
        &self.message
    }

    /// What the mail server's answer means.
    pub fn answered(self, answer: Answer) -> NoticeSettlement {
        let notice = self.into_call().notice;
        let answer = match answer {
            Answer::NotNow { code, .. } if retry_delay(notice.tries).is_none() => {
                Answer::Refused { code: format!("gave_up_{code}") }
            }
            other => other,
        };
        NoticeSettlement { notice: Some(notice), settled: NoticeSettled::Answered(answer) }
    }
}

impl Notice {
    /// The next try, after this delay.
    fn again(&self, delay: Option<RetryDelay>) -> Effect {
        let tries = self.tries.saturating_add(1);
        Effect::Command(Command::SendNotice { notice: self.id, tries }, delay)
    }

    fn event(&self, kind: EventKind, reason: Option<&str>) -> Effect {
        Effect::from(Event {
            member: Some(self.recipient.clone()),
            notice: Some(self.id),
            reason: reason.map(str::to_owned),
            ..Event::new(kind, Some(self.event.account.clone()))
        })
    }
}

impl Verdict for NoticeSettlement {
    fn label(&self) -> &'static str {
        match &self.settled {
            NoticeSettled::Answered(Answer::Accepted { .. }) => "sent",
            NoticeSettled::Answered(Answer::NotNow { .. } | Answer::Closed { .. }) => "retried",
            NoticeSettled::Answered(Answer::Refused { .. }) => "failed",
            NoticeSettled::Answered(Answer::Unknown { .. }) | NoticeSettled::Lost => "unknown",
            NoticeSettled::Dropped(_) => "dropped",
            NoticeSettled::Done => "done",
        }
    }

    fn effects(&self) -> Vec<Effect> {
        let Some(notice) = &self.notice else { return Vec::new() };
        let dropped = |why| notice.event(EventKind::NoticeDropped, Some(why));
        vec![match &self.settled {
            NoticeSettled::Answered(Answer::Accepted { .. }) => {
                notice.event(EventKind::NoticeSent, None)
            }
            NoticeSettled::Answered(Answer::NotNow { .. }) => {
                notice.again(retry_delay(notice.tries))
            }
            // It keeps: as long as the notice itself is kept.
            NoticeSettled::Answered(Answer::Closed { .. }) => {
                notice.again(Some(delay_while_closed(notice.tries, RetryDelay::Second120)))
            }
            NoticeSettled::Answered(Answer::Refused { code } | Answer::Unknown { code }) => {
                dropped(code)
            }
            NoticeSettled::Lost => dropped("process_died"),
            NoticeSettled::Dropped(why) => dropped(why),
            NoticeSettled::Done => return Vec::new(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::MemberId;
    use crate::domain::keys::Place;
    use crate::domain::member::Role;
    use crate::message::EventRecord;
    use crate::rules::delivery::recipients::Recipients;
    use crate::rules::delivery::recipients::fan_out;
    use crate::rules::tests_support::{NOW, TEXTS, account, member};
    use serde_json::json;
    use uuid::Uuid;

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
        Recipients { subscribers, member_has_address: false, member_had_address: false }
    }

    fn notice() -> Notice {
        fan_out(&event(), admins(&["boss"])).write.unwrap().remove(0)
    }

    fn admin() -> Member {
        Member { role: Role::PrimaryAdmin, notify_number_changes: true, ..member() }
    }

    fn decided(notice: Notice, recipient: Member) -> Decision<NoticeCall, NoticeSettlement> {
        let facts = Facts { notice, account: account(), recipient, proof: None };
        decide(0, Some(facts), &Keyring::for_tests(), &TEXTS, NOW)
    }

    fn message(notice: Notice, recipient: Member) -> RenderedMessage {
        let Decision::Call(call) = decided(notice, recipient) else { panic!("no call") };
        call.message
    }

    fn dropped(notice: Notice, recipient: Member) -> &'static str {
        let Decision::Settle(settlement) = decided(notice, recipient) else { panic!("a call") };
        let NoticeSettled::Dropped(why) = settlement.settled else { panic!("not dropped") };
        why
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
        let letter = message(notice(), admin());
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
            assert_eq!(dropped(notice(), admin), "not_subscribed");
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
        let letter = message(notice.clone(), member());
        assert!(letter.text.contains("belongs to a company"));
        let nobody = Member { email: None, ..member() };
        assert_eq!(dropped(notice, nobody), "no_address");
    }

    #[test]
    fn r83_r105_the_member_hears_of_the_factor_also_at_the_address_before() {
        let told = |kind, reason: Option<&str>| -> Vec<(NoticeKind, String, bool)> {
            let recipients = Recipients {
                member_has_address: true,
                member_had_address: true,
                ..admins(&["boss"])
            };
            let event = EventRecord { kind, reason: reason.map(str::to_owned), ..event() };
            let told = fan_out(&event, recipients).write.unwrap_or_default();
            told.into_iter().map(|n| (n.kind, n.recipient.to_string(), n.to_before)).collect()
        };
        let both = |kind| vec![(kind, "ada".to_owned(), false), (kind, "ada".to_owned(), true)];
        assert_eq!(told(EventKind::FactorDisabled, None), both(NoticeKind::OwnFactorDisabled));
        assert_eq!(told(EventKind::FactorEnabled, None), both(NoticeKind::OwnFactorEnabled));
        assert_eq!(told(EventKind::FactorEnabled, Some("mandate")), []);
        let mut reset = vec![(NoticeKind::ResetApproved, "boss".to_owned(), false)];
        reset.extend(both(NoticeKind::OwnResetApproved));
        assert_eq!(told(EventKind::ResetApproved, None), reset);
    }

    #[test]
    fn the_address_before_hears_for_thirty_days_and_nobody_else_reads_it() {
        let keys = Keyring::for_tests();
        let address = crate::domain::email::EmailAddress::parse("new@acme.example").unwrap();
        let mut moved = member();
        let old = moved.email.as_ref().unwrap().sealed.clone();
        moved.set_email(Some(&address), &keys, crate::rules::tests_support::ctx(NOW).rng);
        (moved.email_before, moved.email_changed_at) = (Some(old), Some(NOW - BEFORE / 2));
        let kind = NoticeKind::OwnFactorDisabled;
        let notice = Notice { kind, to_before: true, ..notice() };
        let letter = message(notice.clone(), moved.clone());
        assert_eq!(letter.to.as_str(), "ada@acme.example");
        moved.email_changed_at = Some(NOW - BEFORE);
        assert_eq!(dropped(notice, moved), "no_address");
    }

    #[test]
    fn a_notice_waits_for_a_mail_server_that_takes_nothing() {
        for (tries, seconds) in [(0, 1), (1, 5), (2, 30), (3, 120), (i16::MAX, 120)] {
            let queued = Notice { tries, ..notice() };
            let (account, recipient) = (account(), admin());
            let facts = Facts { notice: queued, account, recipient, proof: None };
            let keys = Keyring::for_tests();
            let Decision::Call(call) = decide(tries, Some(facts), &keys, &TEXTS, NOW) else {
                panic!("no call")
            };
            let closed = Answer::Closed { code: "account_smtp_504".into() };
            let settlement = Claimed::after_commit(call).answered(closed);
            assert_eq!(settlement.label(), "retried");
            let [Effect::Command(Command::SendNotice { tries: next, .. }, Some(delay))] =
                &settlement.effects()[..]
            else {
                panic!()
            };
            assert_eq!((*next, delay.seconds()), (tries.saturating_add(1), seconds));
        }
    }

    #[test]
    fn an_address_of_an_older_version_that_cannot_be_mailed_gets_no_notice() {
        let keys = Keyring::for_tests();
        let stored = |address: &str| {
            let mut member = admin();
            let place = Place::Contact(member.account.as_str(), member.id.as_str(), "email");
            let sealed =
                keys.seal(&place, address.as_bytes(), crate::rules::tests_support::ctx(NOW).rng);
            member.email.as_mut().unwrap().sealed = sealed;
            member
        };
        assert_eq!(dropped(notice(), stored("ada@-lab.example")), "invalid_address");
        let letter = message(notice(), stored("abc.@docomo.ne.jp"));
        assert_eq!(letter.to.as_str(), "\"abc.\"@docomo.ne.jp");
    }

    #[test]
    fn a_claimed_notice_whose_process_died_is_not_sent_again() {
        let lease_until = Some(NOW);
        let calling = Notice { state: AttemptState::Calling, lease_until, ..notice() };
        let Decision::Settle(lost) = decided(calling.clone(), admin()) else { panic!("a call") };
        assert_eq!(lost.label(), "unknown");
        let lease_until = Some(NOW + time::Duration::seconds(1));
        let leased = decided(Notice { lease_until, ..calling }, admin());
        assert!(matches!(leased, Decision::Wait { .. }));
    }
}
