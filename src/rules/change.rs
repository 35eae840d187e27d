//! What a change to a member brings with it, whoever makes it: the directory, the member, an admin
//! or support. Open challenges that can no longer go on end, the Activity report gets its
//! rows, and everybody is told; all in the transaction of the change.

use super::Ending;
use super::told::ending_event;
use crate::domain::Timestamp;
use crate::domain::activity::Client;
use crate::domain::challenge::{CancelReason, Challenge, Purpose, State};
use crate::domain::id::{AccountId, AppName, ChallengeId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::mask;
use crate::message::{Effect, Event, EventKind};

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

/// A row of the Activity report. No codes, no full numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The account.
    pub account: AccountId,
    /// Whom it concerns; nobody in particular where it is the whole account.
    pub member: Option<MemberId>,
    /// Who did it.
    pub actor: MemberId,
    /// `number_changed`, `two_factor_enabled`, `two_factor_disabled`, `email_backup_enabled`,
    /// `email_backup_disabled`, `mandate_enabled`, `mandate_disabled`, `reset_requested`,
    /// `reset_approved`, `reset_cancelled`, `factor_reset`.
    pub action: &'static str,
    /// `self`, `admin`, `mandate` or `support`.
    pub origin: &'static str,
    /// The number before, masked.
    pub old_number: Option<String>,
    /// The number after, masked.
    pub new_number: Option<String>,
    /// The challenge that proved it, if one did.
    pub challenge: Option<ChallengeId>,
    /// From where, if the app has told.
    pub client: Client,
    /// When.
    pub at: Timestamp,
}

/// Who makes a change, through which app, and by which proof.
#[derive(Clone, Debug)]
pub struct ChangeAuthor<'a> {
    /// The app that asked.
    pub app: &'a AppName,
    /// The person, if not the member.
    pub actor: Option<&'a MemberId>,
    /// `mandate` or `support`, if it is neither the member's own doing nor an admin's.
    pub origin: Option<&'static str>,
    /// The challenge that proved it.
    pub challenge: Option<ChallengeId>,
    /// From where, if the app has told.
    pub client: Client,
}

/// The change from `before` to `after`, and what everybody is told of it. `open` are the member's
/// open challenges; the one that proved the change is not among them.
pub fn change(
    before: Option<&Member>,
    mut after: Member,
    open: &[Challenge],
    by: &ChangeAuthor<'_>,
    keys: &Keyring,
    now: Timestamp,
) -> (Change, Vec<Effect>) {
    let mut effects: Vec<Effect> = Vec::new();
    let mut endings = Vec::new();
    let index = |member: &Member| member.phone.as_ref().map(|phone| phone.index.clone());
    // A first number is no change, unless 2FA is on already: then it is what codes go to from now on.
    let had = |known: &Member| known.phone.is_some() || known.two_factor;
    let moved = before.filter(|known| had(known) && index(known) != index(&after));
    // A number that was no factor yet can be no stolen one.
    if moved.is_some_and(|known| known.two_factor) {
        after.factor_changed_at = Some(now);
    }
    if let Some(known) = before.and_then(|known| known.email.as_ref())
        && after.email.as_ref().is_none_or(|email| email.index != known.index)
    {
        after.email_before = Some(known.sealed.clone());
        after.email_changed_at = Some(now);
        after.email_proved_at = None;
    }
    after.factor_by_mandate &= after.two_factor;
    let after = after;
    // One whose time is over has been called expired to whoever asked, and is the timers' to end.
    let turned_on = after.two_factor && before.is_some_and(|known| !known.two_factor);
    for challenge in open.iter().filter(|challenge| challenge.live(now)) {
        // While 2FA was off a new number needed no code at the old one; now it does.
        let unproved = turned_on && challenge.purpose == Purpose::NumberChangeNew;
        let unproved = unproved.then_some(CancelReason::FactorEnabled);
        let Some(reason) = unproved.or_else(|| voided(challenge, &after, false)) else { continue };
        endings.push(Ending::cancelled(challenge.id, reason, now));
        effects.push(ending_event(challenge, State::Cancelled, Some(reason)).into());
    }
    let actor = by.actor.unwrap_or(&after.id);
    let mut activity = Vec::new();
    let inherits = after.factor_by_mandate && !before.is_some_and(|known| known.factor_by_mandate);
    let mut row = |action, numbers: (Option<String>, Option<String>)| {
        let mandated = inherits && action == "two_factor_enabled";
        let origin = by.origin.or(mandated.then_some("mandate"));
        activity.push(Activity {
            account: after.account.clone(),
            member: Some(after.id.clone()),
            actor: actor.clone(),
            action,
            origin: origin.unwrap_or(if *actor == after.id { "self" } else { "admin" }),
            old_number: numbers.0,
            new_number: numbers.1,
            challenge: by.challenge,
            client: by.client.clone(),
            at: now,
        });
    };
    let event = |kind| Event {
        app: Some(by.app.clone()),
        member: Some(after.id.clone()),
        actor: by.actor.cloned(),
        challenge: by.challenge,
        reason: by.origin.map(str::to_owned),
        ..Event::new(kind, Some(after.account.clone()))
    };
    if let Some(before) = moved {
        let masked = |member: &Member| member.phone_in_clear(keys).map(|e164| mask(&e164));
        let (old_number, new_number) = (masked(before), masked(&after));
        row("number_changed", (old_number.clone(), new_number.clone()));
        effects.push(Event { old_number, new_number, ..event(EventKind::PhoneChanged) }.into());
    }
    match (before.is_some_and(|before| before.phone_owned_at.is_some()), after.phone_owned_at) {
        (false, Some(_)) => effects.push(event(EventKind::NumberOwned).into()),
        (true, None) => effects.push(event(EventKind::NumberReleased).into()),
        (true, Some(_)) | (false, None) => {}
    }
    match (before.is_some_and(|before| before.two_factor), after.two_factor) {
        (false, true) => {
            row("two_factor_enabled", (None, None));
            effects.push(event(EventKind::FactorEnabled).into());
        }
        (true, false) => {
            row("two_factor_disabled", (None, None));
            effects.push(event(EventKind::FactorDisabled).into());
        }
        (true, true) | (false, false) => {}
    }
    if after.email_verified && before.is_some_and(|before| !before.email_verified) {
        effects.push(event(EventKind::EmailVerified).into());
    }
    match (before.is_some_and(|before| before.email_backup), after.email_backup) {
        (false, true) => row("email_backup_enabled", (None, None)),
        (true, false) => row("email_backup_disabled", (None, None)),
        (true, true) | (false, false) => {}
    }
    (Change { member: Box::new(after), endings, activity }, effects)
}

/// Why an open challenge cannot go on with the member as they are now (R-8, R-15, R-43, R-44,
/// Where 2FA is mandatory it counts as on, before the mandate has come to the member.
pub fn voided(challenge: &Challenge, member: &Member, mandatory: bool) -> Option<CancelReason> {
    let purpose = challenge.purpose;
    let current = member.phone.as_ref().map(|phone| phone.index.as_slice());
    let same_target = if purpose.binds_number() {
        challenge.operation == number_operation(current, &challenge.phone_index)
    } else {
        current == Some(challenge.phone_index.as_slice())
    };
    if !member.active {
        Some(CancelReason::MemberDeactivated)
    } else if purpose.factor_must_be() == Some(true) && !member.two_factor && !mandatory {
        Some(CancelReason::FactorDisabled)
    } else if purpose.factor_must_be() == Some(false)
        && member.two_factor
        && !member.must_enrol(mandatory)
    {
        Some(CancelReason::FactorEnabled)
    } else if !same_target {
        Some(CancelReason::TargetChanged)
    } else if member.phone_owned_at.is_some() && !purpose.binds_number() {
        Some(CancelReason::CompanyOwnedNumber)
    } else {
        None
    }
}

/// What the code for a number is bound to: the number before, and the one after. Blind indexes say
/// nothing without their key.
pub fn number_operation(before: Option<&[u8]>, after: &[u8]) -> Vec<u8> {
    [before.unwrap_or_default(), after].concat()
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{NOW, account, challenge, member};
    use super::*;

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
