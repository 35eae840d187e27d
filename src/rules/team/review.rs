//! The review of contacts before 2FA becomes mandatory: what is found of each member,
//! in batches, and whether it still holds.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::id::{AccountId, MemberId};
use crate::domain::keys::Keyring;
pub use crate::domain::member::Contacts;
use crate::domain::member::Member;
use crate::domain::phone::PhoneNumber;
use crate::message::{Command, Event, EventKind};
use crate::rules::verdict::Decided;

/// Members looked at in one pass.
pub const BATCH: usize = 500;

/// What is found of a member; never empty.
pub fn verdicts(member: &Member, account: &Account, shared: bool, keys: &Keyring) -> Vec<Contacts> {
    let allowed = |country| account.countries.contains(&country);
    // The sender asks the same of the number, and texts no number that an earlier reader stored.
    let of_old =
        member.phone_in_clear(keys).is_some_and(|e164| PhoneNumber::stored(&e164).is_err());
    let found = [
        (member.phone.is_none(), Contacts::NoPhone),
        (
            member.phone.is_some()
                && (of_old
                    || !(member.phone_textable && member.phone_country.is_some_and(allowed))),
            Contacts::UnsupportedType,
        ),
        (member.phone_owned_at.is_some(), Contacts::CompanyOwned),
        (member.phone.is_some() && member.phone_verified_at.is_none(), Contacts::UnverifiedPhone),
        (shared, Contacts::Duplicate),
        (member.email.is_none(), Contacts::NoEmail),
        (member.email.is_some() && !member.email_verified, Contacts::UnverifiedEmail),
    ];
    let mut verdicts: Vec<Contacts> =
        found.iter().filter(|(holds, _)| *holds).map(|(_, verdict)| *verdict).collect();
    if verdicts.is_empty() {
        verdicts.push(Contacts::Ok);
    }
    verdicts
}

/// A review as stored, and whether it still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Its id.
    pub id: Uuid,
    /// Until when it may be named.
    pub expires_at: Timestamp,
    /// Whether every member was looked at.
    pub done: bool,
    /// Whether what it rests on has changed, or a member has come or gone.
    pub outdated: bool,
    /// Active members who cannot get a code.
    pub blocked: Vec<MemberId>,
}

/// A review that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReview {
    /// Its id: that of the request.
    pub id: Uuid,
    /// The account.
    pub account: AccountId,
    /// Who asks.
    pub actor: MemberId,
    /// When.
    pub created_at: Timestamp,
    /// Until when it may be named.
    pub expires_at: Timestamp,
}

/// What is known when the next batch is looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The account.
    pub account: Account,
    /// Batches so far.
    pub batch: i32,
    /// Members looked at so far.
    pub checked: i64,
    /// Whether it is done.
    pub done: bool,
    /// The next members, with whether another has the same number, and the digest of what their
    /// verdicts rest on; at most [`BATCH`].
    pub next: Vec<(Member, bool, String)>,
}

/// A batch that was looked at.
#[derive(Debug)]
pub struct Checked {
    /// The review.
    pub review: Uuid,
    /// Which batch: the guard of the write.
    pub batch: i32,
    /// What was found: member, verdicts, digest.
    pub found: Vec<(MemberId, Vec<Contacts>, String)>,
    /// Whether it was the last.
    pub last: bool,
    /// When.
    pub at: Timestamp,
}

/// The rule of a batch. A batch that was looked at before is done, whoever asks again.
pub fn check(
    review: Uuid,
    batch: i32,
    facts: Option<Facts>,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Checked> {
    let Some(facts) = facts.filter(|facts| !facts.done && facts.batch == batch) else {
        return Decided::nothing("done_before");
    };
    let last = facts.next.len() < BATCH;
    let found: Vec<_> = facts
        .next
        .iter()
        .map(|(member, shared, contacts)| {
            let verdicts = verdicts(member, &facts.account, *shared, keys);
            (member.id.clone(), verdicts, contacts.clone())
        })
        .collect();
    let effect = if last {
        let members = facts.checked + found.len() as i64;
        let done = Event {
            app: Some(facts.account.app.clone()),
            review: Some(review),
            members: Some(members),
            ..Event::new(EventKind::ReviewFinished, Some(facts.account.id))
        };
        done.into()
    } else {
        Command::CheckContacts { review, batch: batch + 1 }.into()
    };
    let write = Checked { review, batch, found, last, at: now };
    Decided { label: "checked", write: Some(write), effects: vec![effect], reply: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests_support::{NOW, account, contact, member};

    fn found(member: Member) -> Vec<Contacts> {
        verdicts(&member, &account(), false, &Keyring::for_tests())
    }

    #[test]
    fn r65_each_trouble_with_a_contact_is_told() {
        let good = Member { phone_verified_at: Some(NOW), ..member() };
        assert_eq!(found(good.clone()), [Contacts::Ok]);
        let shared = verdicts(&good, &account(), true, &Keyring::for_tests());
        assert_eq!(shared, [Contacts::Duplicate]);
        // What an earlier reader made of `392 123 4567` in Italy.
        let of_old = Some(contact("phone", "+3921234567"));
        for (bad, verdict) in [
            (Member { phone: None, ..good.clone() }, Contacts::NoPhone),
            (Member { phone_verified_at: None, ..good.clone() }, Contacts::UnverifiedPhone),
            (Member { phone_textable: false, ..good.clone() }, Contacts::UnsupportedType),
            (Member { phone_country: None, ..good.clone() }, Contacts::UnsupportedType),
            (Member { phone: of_old, ..good.clone() }, Contacts::UnsupportedType),
            (Member { phone_owned_at: Some(NOW), ..good.clone() }, Contacts::CompanyOwned),
            (Member { email: None, ..good.clone() }, Contacts::NoEmail),
            (Member { email_verified: false, ..good.clone() }, Contacts::UnverifiedEmail),
        ] {
            assert_eq!(found(bad), [verdict]);
        }
        let nothing = Member { phone: None, email: None, ..good };
        assert_eq!(found(nothing), [Contacts::NoPhone, Contacts::NoEmail]);
    }

    #[test]
    fn r66_a_batch_is_done_once_and_a_short_one_is_the_last() {
        let facts = |batch, many: usize| Facts {
            account: account(),
            batch,
            checked: 0,
            done: false,
            next: vec![(member(), false, String::new()); many],
        };
        let id = Uuid::from_u128(1);
        let check = |id, batch, facts| super::check(id, batch, facts, &Keyring::for_tests(), NOW);
        let full = check(id, 0, Some(facts(0, BATCH)));
        assert_eq!(full.effects, [Command::CheckContacts { review: id, batch: 1 }.into()]);
        assert!(check(id, 1, Some(facts(1, 0))).write.unwrap().last);
        assert!(check(id, 0, Some(facts(1, 3))).write.is_none());
        assert!(check(id, 0, None).write.is_none());
    }
}
