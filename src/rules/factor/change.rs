//! The consequences of a change to a member by the directory, the member, an admin
//! or support. Open challenges that can no longer go on end, the Activity report gets its
//! rows, and the events are caused; all in the transaction of the change.

use crate::domain::Timestamp;
use crate::domain::activity::{Action, Client, Origin};
use crate::domain::challenge::{CancelReason, Challenge, Purpose, State};
use crate::domain::id::{AppName, ChallengeId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::mask;
use crate::message::{Effect, Event, EventKind};
use crate::rules::activity::Activity;
use crate::rules::challenge::events::{Ending, ending_event};
use crate::rules::challenge::void::voided;

/// A change to a member, ready to be written in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The row from now on.
    pub member: Box<Member>,
    /// Open challenges that end with the change.
    pub endings: Vec<Ending>,
    /// Rows for the Activity report.
    pub activity: Vec<Activity>,
}

/// Who makes a change, through which app, and by which proof.
#[derive(Clone, Debug)]
pub struct ChangeAuthor<'a> {
    /// The app that asked.
    pub app: &'a AppName,
    /// The person, if not the member.
    pub actor: Option<&'a MemberId>,
    /// On whose behalf, if it is neither the member's own nor an admin's.
    pub origin: Option<Origin>,
    /// The challenge that proved it.
    pub challenge: Option<ChallengeId>,
    /// From where, if the app has told.
    pub client: Client,
}

impl ChangeAuthor<'_> {
    /// `inherits` says that the member is under the account's mandate from now on.
    fn row(&self, after: &Member, action: Action, inherits: bool, now: Timestamp) -> Activity {
        let actor = self.actor.unwrap_or(&after.id);
        let mandated = inherits && action == Action::TwoFactorEnabled;
        let origin = self.origin.or(mandated.then_some(Origin::Mandate));
        Activity {
            account: after.account.clone(),
            member: Some(after.id.clone()),
            actor: actor.clone(),
            action,
            origin: origin.unwrap_or(if *actor == after.id { Origin::Own } else { Origin::Admin }),
            old_number: None,
            new_number: None,
            challenge: self.challenge,
            client: self.client.clone(),
            at: now,
        }
    }

    fn event(&self, after: &Member, kind: EventKind) -> Event {
        Event {
            app: Some(self.app.clone()),
            member: Some(after.id.clone()),
            actor: self.actor.cloned(),
            challenge: self.challenge,
            reason: self.origin.map(|origin| origin.label().to_owned()),
            ..Event::new(kind, Some(after.account.clone()))
        }
    }
}

/// The change from `before` to `after`, and its events. `open` are the member's
/// open challenges; the one that proved the change is not among them.
pub fn change(
    before: Option<&Member>,
    mut after: Member,
    open: &[Challenge],
    by: &ChangeAuthor<'_>,
    keys: &Keyring,
    now: Timestamp,
) -> (Change, Vec<Effect>) {
    let index = |member: &Member| member.phone.as_ref().map(|phone| phone.index.clone());
    // A first number is no change, unless 2FA is on already: then it is what codes go to from now on.
    let had = |known: &Member| known.phone.is_some() || known.two_factor;
    let moved = before.filter(|known| had(known) && index(known) != index(&after));
    // With 2FA off the old number protected nothing: no cooling-off.
    if moved.is_some_and(|known| known.two_factor) {
        after.factor_changed_at = Some(now);
    }
    remember_address(before, &mut after, now);
    after.factor_by_mandate &= after.two_factor;
    let after = after;
    let (endings, mut effects) = endings(before, &after, open, now);
    let inherits = after.factor_by_mandate && !before.is_some_and(|known| known.factor_by_mandate);
    let mut activity = Vec::new();
    let row = |action| by.row(&after, action, inherits, now);
    let event = |kind| by.event(&after, kind);
    if let Some(before) = moved {
        let masked = |member: &Member| member.phone_in_clear(keys).map(|e164| mask(&e164));
        let (old_number, new_number) = (masked(before), masked(&after));
        activity.push(Activity {
            old_number: old_number.clone(),
            new_number: new_number.clone(),
            ..row(Action::NumberChanged)
        });
        effects.push(Event { old_number, new_number, ..event(EventKind::PhoneChanged) }.into());
    }
    let turned = |what: fn(&Member) -> bool| match (before.is_some_and(what), what(&after)) {
        (was, is) if was == is => None,
        (_, is) => Some(is),
    };
    if let Some(owned) = turned(|member| member.phone_owned_at.is_some()) {
        let kind = if owned { EventKind::NumberOwned } else { EventKind::NumberReleased };
        effects.push(event(kind).into());
    }
    if let Some(on) = turned(|member| member.two_factor) {
        let (action, kind) = if on {
            (Action::TwoFactorEnabled, EventKind::FactorEnabled)
        } else {
            (Action::TwoFactorDisabled, EventKind::FactorDisabled)
        };
        activity.push(row(action));
        effects.push(event(kind).into());
    }
    if after.email_verified && before.is_some_and(|before| !before.email_verified) {
        effects.push(event(EventKind::EmailVerified).into());
    }
    if let Some(on) = turned(|member| member.email_backup) {
        let action = if on { Action::EmailBackupEnabled } else { Action::EmailBackupDisabled };
        activity.push(row(action));
    }
    (Change { member: Box::new(after), endings, activity }, effects)
}

/// Keeps the address before, which hears of what happens to the factor for a while.
fn remember_address(before: Option<&Member>, after: &mut Member, now: Timestamp) {
    if let Some(known) = before.and_then(|known| known.email.as_ref())
        && after.email.as_ref().is_none_or(|email| email.index != known.index)
    {
        after.email_before = Some(known.sealed.clone());
        after.email_changed_at = Some(now);
        after.email_proved_at = None;
    }
}

/// The open challenges that end with the change, and their events.
fn endings(
    before: Option<&Member>,
    after: &Member,
    open: &[Challenge],
    now: Timestamp,
) -> (Vec<Ending>, Vec<Effect>) {
    let (mut endings, mut effects) = (Vec::new(), Vec::new());
    let turned_on = after.two_factor && before.is_some_and(|known| !known.two_factor);
    // Expired challenges are left to the timer.
    for challenge in open.iter().filter(|challenge| challenge.live(now)) {
        // While 2FA was off a new number needed no code at the old one; now it does.
        let unproved = turned_on && challenge.purpose == Purpose::NumberChangeNew;
        let unproved = unproved.then_some(CancelReason::FactorEnabled);
        let Some(reason) = unproved.or_else(|| voided(challenge, after, false)) else { continue };
        endings.push(Ending::cancelled(challenge.id, reason, now));
        effects.push(ending_event(challenge, State::Cancelled, Some(reason)).into());
    }
    (endings, effects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::challenge::void::number_operation;
    use crate::rules::tests_support::{NOW, account, challenge, member};

    #[test]
    fn r49_a_new_number_that_took_no_code_at_the_old_one_ends_when_2fa_goes_on() {
        let (keys, member) = (Keyring::for_tests(), member());
        let new = keys.blind("phone", "+12025550177").to_vec();
        let current = member.phone.as_ref().map(|phone| phone.index.as_slice());
        let moving = Challenge {
            purpose: Purpose::NumberChangeNew,
            operation: number_operation(current, &new),
            phone_index: new,
            ..challenge()
        };
        let by = ChangeAuthor {
            app: &account().app,
            actor: None,
            origin: None,
            challenge: None,
            client: Client::default(),
        };
        let off = Member { two_factor: false, ..member.clone() };
        let endings = |before: &Member| {
            let open = [moving.clone()];
            change(Some(before), member.clone(), &open, &by, &keys, NOW).0.endings
        };
        assert_eq!(endings(&off)[0].reason, Some(CancelReason::FactorEnabled));
        assert_eq!(endings(&member), [], "it was on all the while, and the old number proved");
    }
}
