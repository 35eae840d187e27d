//! An account's own numbers, and what follows for members who have one of them.

use crate::domain::Timestamp;
use crate::domain::activity::Client;
use crate::domain::challenge::{CancelReason, Challenge, State};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::PhoneNumber;
use crate::message::{Effect, Event, EventKind, Outcome, OutcomeKind, PutOwnedNumbers, Request};
use crate::rules::challenge::events::{Ending, ending_event};
use crate::rules::directory::facts::{
    DirectoryMessage, Facts, Holder, Write, invalid, numbers, refused, stored,
};
use crate::rules::factor::change::{self, ChangeAuthor};
use crate::rules::verdict::Decided;

/// Numbers an account may call its own: what fits into one message.
const OWNED_NUMBERS_MAX: usize = 500;

/// The rule of R-8: who has a number of a company is flagged and told, and codes on their way there
/// are voided. Who has one no longer, is not.
pub(super) fn put_owned_numbers(
    ask: &DirectoryMessage,
    request: &Request<PutOwnedNumbers>,
    facts: Facts,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Write> {
    let app = &request.app;
    let Some((account, _)) = facts.account.as_ref().filter(|(account, _)| account.app == *app)
    else {
        return refused(Outcome::new(OutcomeKind::NotFound), app);
    };
    if account.owned_numbers_version >= request.body.version {
        return Decided::answer(Outcome::new(OutcomeKind::Outdated));
    }
    if request.body.numbers.len() > OWNED_NUMBERS_MAX {
        return invalid("numbers", "has more than 500 numbers", app);
    }
    for (text, entry) in request.body.numbers.iter().zip(1..) {
        if let Err(why) = PhoneNumber::parse(text.expose(), account.country) {
            return invalid("numbers", &format!("entry {entry} {why}"), app);
        }
    }
    let mut numbers = numbers(ask, account, keys);
    numbers.sort_unstable();
    numbers.dedup();
    let event = Event {
        app: Some(app.clone()),
        version: Some(request.body.version),
        ..Event::new(EventKind::OwnedNumbersChanged, Some(account.id.clone()))
    };
    let (mut changes, mut endings, mut effects) =
        (Vec::new(), Vec::new(), vec![Effect::from(event)]);
    for Holder { app, member, open } in &facts.holders {
        let index = member.phone.as_ref().map(|phone| &phone.index);
        let is_owned = |index: &Vec<u8>| numbers.contains(index) || facts.owned.contains(index);
        // A number that is only about to be bound is not bound any more.
        for challenge in
            open.iter().filter(|c| c.purpose.binds_number() && is_owned(&c.phone_index))
        {
            let reason = CancelReason::CompanyOwnedNumber;
            endings.push(Ending::cancelled(challenge.id, reason, now));
            effects.push(ending_event(challenge, State::Cancelled, Some(reason)).into());
        }
        let owned = index.is_some_and(is_owned);
        if owned == member.phone_owned_at.is_some() {
            continue;
        }
        let after = Member { phone_owned_at: owned.then_some(now), ..member.clone() };
        let by = ChangeAuthor {
            app,
            actor: None,
            origin: None,
            challenge: None,
            client: Client::default(),
        };
        let others: Vec<Challenge> =
            open.iter().filter(|c| !c.purpose.binds_number()).cloned().collect();
        let (change, told) = change::change(Some(member), after, &others, &by, keys, now);
        changes.push(change);
        effects.extend(told);
    }
    let (account, version) = (account.id.clone(), request.body.version);
    stored(Write::OwnedNumbers { account, version, numbers, changes, endings }, effects)
}
