//! What an app says of accounts and members, what is known then, and the answers.

use std::collections::HashSet;

use crate::domain::account::Account;
use crate::domain::challenge::Challenge;
use crate::domain::id::{AccountId, AppName};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::PhoneNumber;
use crate::message::{
    Effect, Event, EventKind, Outcome, OutcomeKind, PutAccount, PutMember, PutOwnedNumbers, Sealed,
    requests_of_a_worker,
};
use crate::rules::challenge::events::Ending;
use crate::rules::factor::change::Change;
use crate::rules::verdict::Decided;

requests_of_a_worker! {
    /// What the worker `directory` takes.
    DirectoryMessage {
        /// An account.
        Account(PutAccount),
        /// An account's own numbers.
        OwnedNumbers(PutOwnedNumbers),
        /// A member.
        Member(PutMember),
    }
}

/// What is known when an upsert is decided.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The account as stored, whosesoever, and its version.
    pub account: Option<(Account, i64)>,
    /// The member as stored.
    pub member: Option<Member>,
    /// The member's open challenges.
    pub open: Vec<Challenge>,
    /// The actor, if it is another than the member, as a member of the same account.
    pub actor: Option<Member>,
    /// Of the numbers that the message names, by their blind indexes, those that belong to a
    /// company; for a list, to another account than the one whose list it is.
    pub owned: HashSet<Vec<u8>>,
    /// For a list, the members of any account whose numbers are in it or were.
    pub holders: Vec<Holder>,
}

/// A member of any account who has a number that a list names, or named before.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The app of the member's account.
    pub app: AppName,
    /// The member.
    pub member: Member,
    /// The member's open challenges.
    pub open: Vec<Challenge>,
}

/// The numbers that a message names, by their blind indexes. What is no number is left out here and
/// refused by [`decide`].
pub fn numbers(ask: &DirectoryMessage, account: &Account, keys: &Keyring) -> Vec<Vec<u8>> {
    let index = |text: &Sealed| {
        let number = PhoneNumber::parse(text.expose(), account.country).ok()?;
        Some(keys.blind("phone", number.e164()).to_vec())
    };
    match ask {
        DirectoryMessage::Account(_) => Vec::new(),
        DirectoryMessage::OwnedNumbers(request) => {
            request.body.numbers.iter().filter_map(index).collect()
        }
        DirectoryMessage::Member(request) => {
            request.body.phone.iter().flatten().filter_map(index).collect()
        }
    }
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// An account.
    Account {
        /// The row.
        account: Account,
        /// Its version.
        version: i64,
    },
    /// An account's own numbers, and what follows for members who have one of them.
    OwnedNumbers {
        /// Whose.
        account: AccountId,
        /// The version of the list.
        version: i64,
        /// Blind indexes, each once.
        numbers: Vec<Vec<u8>>,
        /// Members who are flagged, or no longer.
        changes: Vec<Change>,
        /// Open challenges that would bind one of them.
        endings: Vec<Ending>,
    },
    /// A member, with what follows for challenges and for the Activity report.
    Member(Change),
}

pub(super) fn stored(write: Write, effects: Vec<Effect>) -> Decided<Write> {
    let reply = Some(Outcome::new(OutcomeKind::Stored));
    Decided { label: "stored", write: Some(write), effects, reply }
}

/// A refusal is an event too, without an account: it may be another app's.
pub(super) fn refused(outcome: Outcome, app: &AppName) -> Decided<Write> {
    let event = Event {
        app: Some(app.clone()),
        reason: Some(outcome.outcome.label().to_owned()),
        ..Event::new(EventKind::DirectoryRefused, None)
    };
    Decided { effects: vec![event.into()], ..Decided::answer(outcome) }
}

pub(super) fn invalid(field: &'static str, why: &str, app: &AppName) -> Decided<Write> {
    let detail = Some(format!("{field} {why}"));
    refused(Outcome { field: Some(field), detail, ..Outcome::new(OutcomeKind::Invalid) }, app)
}
