//! What an app tells of a member: a changed number, a switched off factor or a deactivated member ends
//! what is open.

use crate::domain::email::EmailAddress;
use crate::domain::keys::Keyring;
use crate::domain::member::{Member, Role};
use crate::domain::phone::PhoneNumber;
use crate::domain::{Chance, Timestamp};
use crate::message::{Effect, Event, EventKind, Outcome, OutcomeKind, PutMember, Request};
use crate::rules::directory::facts::{Facts, Write, invalid, refused, stored};
use crate::rules::factor::change::{self, ChangeAuthor};
use crate::rules::team::role::{Operation, may};
use crate::rules::verdict::{Decided, DecisionContext};

/// The rule of a member.
pub(super) fn put_member(
    request: &Request<PutMember>,
    facts: Facts,
    keys: &Keyring,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    let ask = &request.body;
    let Some((account, _)) =
        facts.account.as_ref().filter(|(account, _)| account.app == request.app)
    else {
        return refused(Outcome::new(OutcomeKind::NotFound), &request.app);
    };
    if facts.member.as_ref().is_some_and(|known| known.version >= ask.version) {
        return Decided::answer(Outcome::new(OutcomeKind::Outdated));
    }
    if !allowed(ask, &facts) {
        return refused(Outcome::new(OutcomeKind::Forbidden), &request.app);
    }
    let phone = match &ask.phone {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => match PhoneNumber::parse(text.expose(), account.country) {
            Err(why) => return invalid("phone", &why.to_string(), &request.app),
            Ok(number) => Some(Some(number)),
        },
    };
    // A number that was there before stays, flagged, so that the rest can still be put.
    let known = facts.member.as_ref().and_then(|known| known.phone.as_ref());
    let of_company = |number: &PhoneNumber| {
        let index = keys.blind("phone", number.e164());
        facts.owned.contains(index.as_slice()) && known.is_none_or(|known| known.index != index)
    };
    if phone.iter().flatten().any(of_company) {
        let outcome = Outcome::new(OutcomeKind::CompanyOwnedNumber);
        return refused(Outcome { field: Some("phone"), ..outcome }, &request.app);
    }
    let email = match &ask.email {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => match EmailAddress::parse(text.expose()) {
            Err(why) => return invalid("email", why, &request.app),
            Ok(address) => Some(Some(address)),
        },
    };
    if ask.locale.len() > 35 || !ask.locale.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return invalid("locale", "is no language tag such as en or pt-BR", &request.app);
    }
    let said = Said { phone: phone.as_ref(), email: email.as_ref() };
    let mut member = merged(ask, facts.member.as_ref(), &said, keys, ctx.rng);
    // A mail that nobody could get is not promised.
    if member.notify_number_changes && member.email.is_none() {
        let outcome = Outcome::new(OutcomeKind::NoEmail);
        let field = Some("notify_number_changes");
        return refused(Outcome { field, ..outcome }, &request.app);
    }
    if account.mandatory {
        inherit(&mut member, facts.member.as_ref());
    }
    put(request, &facts, member, keys, ctx.now)
}

/// Whether the actor may change a member who is there already. Without an actor, or for
/// a new member, it is the app's own word.
fn allowed(ask: &PutMember, facts: &Facts) -> bool {
    let Some(known) = &facts.member else { return true };
    if ask.actor.as_ref().is_none_or(|actor| *actor == ask.member) {
        return true;
    }
    let subscribes = ask.notify_number_changes != known.notify_number_changes;
    let actor = facts.actor.as_ref();
    may(Operation::ChangeMember, actor, Some(known))
        && (!subscribes || may(Operation::Subscribe, actor, Some(known)))
}

/// Under a mandate the switch is on, whatever the directory says.
fn inherit(member: &mut Member, known: Option<&Member>) {
    member.factor_by_mandate =
        known.is_none_or(|known| known.factor_by_mandate || !known.two_factor);
    member.two_factor = true;
}

/// The contacts that the directory has given, each left out, removed or set.
struct Said<'a> {
    phone: Option<&'a Option<PhoneNumber>>,
    email: Option<&'a Option<EmailAddress>>,
}

/// The row: what the directory says, and what only we know.
fn merged(
    ask: &PutMember,
    known: Option<&Member>,
    said: &Said<'_>,
    keys: &Keyring,
    rng: &mut dyn Chance,
) -> Member {
    let mut member = known.cloned().unwrap_or_else(|| Member::new(&ask.account, &ask.member));
    member.version = ask.version;
    member.active = ask.active;
    member.role = ask.role;
    member.locale.clone_from(&ask.locale);
    // Only a primary admin can hear of changed numbers.
    member.notify_number_changes = ask.notify_number_changes && ask.role == Role::PrimaryAdmin;
    if let Some(phone) = said.phone {
        member.set_phone(phone.as_ref(), keys, rng);
    }
    if let Some(email) = said.email {
        member.set_email(email.as_ref(), keys, rng);
    }
    let stays = |given: Option<bool>, stored| given.unwrap_or(stored);
    member.email_verified = stays(ask.email_verified, member.email_verified);
    member.two_factor = stays(ask.two_factor, member.two_factor);
    // What the app says itself goes with no mandate.
    member.factor_by_mandate &= ask.two_factor.is_none();
    member.email_backup = stays(ask.email_backup, member.email_backup);
    member
}

fn put(
    request: &Request<PutMember>,
    facts: &Facts,
    member: Member,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Write> {
    let ask = &request.body;
    let client = ask.client.clone();
    let by = ChangeAuthor {
        app: &request.app,
        actor: ask.actor.as_ref(),
        origin: None,
        challenge: None,
        client,
    };
    let (change, followed) =
        change::change(facts.member.as_ref(), member, &facts.open, &by, keys, now);
    let mut effects = vec![Effect::from(Event {
        app: Some(request.app.clone()),
        member: Some(ask.member.clone()),
        version: Some(ask.version),
        actor: ask.actor.clone(),
        ..Event::new(EventKind::MemberChanged, Some(ask.account.clone()))
    })];
    effects.extend(followed);
    stored(Write::Member(change), effects)
}

#[cfg(test)]
mod tests {
    use crate::domain::activity::Action;
    use crate::domain::activity::Origin;
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::domain::account::Account;
    use crate::domain::challenge::CancelReason;
    use crate::domain::id::AppName;
    use crate::message::Sealed;
    use crate::rules::activity::Activity;
    use crate::rules::challenge::events::Ending;
    use crate::rules::directory::decide::decide;
    use crate::rules::directory::facts::DirectoryMessage;
    use crate::rules::tests_support::{NOW, account, challenge, ctx, member};
    use serde_json::json;

    fn put(version: i64, phone: Option<&str>) -> PutMember {
        let mut ask: PutMember = serde_json::from_value(json!({
            "account": "acme", "member": "ada", "version": version, "two_factor": true,
            "email_verified": true, "email_backup": true, "actor": "bob",
        }))
        .unwrap();
        ask.phone = Some(phone.map(Sealed::new));
        ask.email = Some(Some(Sealed::new("Ada@acme.example")));
        ask
    }

    fn facts() -> Facts {
        Facts {
            account: Some((account(), 1)),
            member: Some(member()),
            open: vec![challenge()],
            actor: Some(actor(Role::Admin)),
            owned: HashSet::new(),
            holders: Vec::new(),
        }
    }

    fn actor(role: Role) -> Member {
        let id = crate::domain::id::MemberId::parse("bob").unwrap();
        Member { id, role, ..member() }
    }

    #[test]
    fn r81_r85_who_is_no_admin_of_the_account_changes_nobody_else() {
        for actor in
            [None, Some(actor(Role::Member)), Some(Member { active: false, ..actor(Role::Admin) })]
        {
            let decided = decided(put(2, None), Facts { actor, ..facts() });
            assert_eq!(kind(&decided), OutcomeKind::Forbidden);
            assert!(decided.write.is_none());
        }
        let subscribed =
            PutMember { role: Role::PrimaryAdmin, notify_number_changes: true, ..put(2, None) };
        assert_eq!(kind(&decided(subscribed.clone(), facts())), OutcomeKind::Forbidden, "R-85");
        let by_primary = Facts { actor: Some(actor(Role::PrimaryAdmin)), ..facts() };
        let (stored, ..) = written(decided(subscribed.clone(), by_primary.clone()));
        assert!(stored.notify_number_changes);
        let demoted = PutMember { role: Role::Admin, ..subscribed };
        let (stored, ..) = written(decided(demoted, by_primary));
        assert!(!stored.notify_number_changes, "R-85");
    }

    #[test]
    fn r67_r68_under_a_mandate_the_switch_is_on_whatever_the_directory_says() {
        let mandated = || {
            let account = Account { mandatory: true, ..account() };
            Facts { account: Some((account, 1)), ..facts() }
        };
        let off = || PutMember { two_factor: Some(false), ..put(2, None) };
        let (later, _, rows) = written(decided(off(), Facts { member: None, ..mandated() }));
        assert!(later.two_factor && later.factor_by_mandate, "R-67");
        assert_eq!(rows[0].origin, Origin::Mandate);
        let (kept, ..) = written(decided(off(), mandated()));
        assert!(kept.two_factor && !kept.factor_by_mandate, "R-68: it was the member's own before");
    }

    fn decided(ask: PutMember, facts: Facts) -> Decided<Write> {
        let request = Request { app: account().app, body: ask };
        decide(
            &DirectoryMessage::Member(request),
            facts,
            &Arc::new(Keyring::for_tests()),
            &mut ctx(NOW),
        )
    }

    fn kind(decided: &Decided<Write>) -> OutcomeKind {
        decided.reply.as_ref().unwrap().outcome
    }

    fn written(decided: Decided<Write>) -> (Box<Member>, Vec<Ending>, Vec<Activity>) {
        match decided.write {
            Some(Write::Member(change)) => (change.member, change.endings, change.activity),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn r89_without_an_address_nobody_hears_of_changed_numbers_and_it_is_said() {
        let wants = PutMember {
            role: Role::PrimaryAdmin,
            notify_number_changes: true,
            actor: None,
            email: Some(None),
            ..put(2, None)
        };
        let mut own = facts();
        own.member.as_mut().unwrap().role = Role::PrimaryAdmin;
        let refused = decided(wants.clone(), own.clone()).reply.unwrap();
        assert_eq!(refused.outcome, OutcomeKind::NoEmail);
        assert_eq!(refused.field, Some("notify_number_changes"));
        let silent = PutMember { notify_number_changes: false, ..wants };
        assert_eq!(kind(&decided(silent, own)), OutcomeKind::Stored);
    }

    #[test]
    fn an_older_or_equal_version_changes_nothing() {
        let outdated = decided(put(1, None), facts());
        assert_eq!(kind(&outdated), OutcomeKind::Outdated);
        assert!(outdated.write.is_none() && outdated.effects.is_empty());
    }

    #[test]
    fn the_same_number_written_otherwise_is_no_change() {
        let known = member();
        let (stored, endings, activity) = written(decided(put(2, Some("(202) 555-0123")), facts()));
        assert_eq!(stored.phone, known.phone);
        assert_eq!(stored.email.unwrap().index, known.email.unwrap().index);
        assert!(endings.is_empty() && activity.is_empty());
    }

    #[test]
    fn a_challenge_whose_time_is_over_is_left_to_expire() {
        let mut facts = facts();
        facts.open[0].expires_at = NOW;
        let (_, endings, activity) = written(decided(put(2, Some("+1 202 555 0177")), facts));
        assert_eq!((endings.len(), activity.len()), (0, 1));
    }

    #[test]
    fn r51_r55_a_changed_number_is_unverified_voids_what_is_open_and_is_told() {
        let mut facts = facts();
        facts.member.as_mut().unwrap().phone_verified_at = Some(NOW);
        let decided = decided(put(2, Some("+1 202 555 0177")), facts);
        let told = decided.effects.iter().find_map(|effect| match effect {
            Effect::Event(event) if event.kind == EventKind::PhoneChanged => Some(event.clone()),
            _ => None,
        });
        let told = told.unwrap();
        assert_eq!(told.old_number.as_deref(), Some("•••23"));
        assert_eq!(told.new_number.as_deref(), Some("•••77"));
        let (stored, endings, activity) = written(decided);
        assert_eq!(stored.phone_verified_at, None);
        assert_eq!(endings[0].reason, Some(CancelReason::TargetChanged));
        assert_eq!(
            (activity[0].action, activity[0].origin),
            (Action::NumberChanged, Origin::Admin)
        );
        assert_eq!(activity[0].actor.as_str(), "bob");
    }

    #[test]
    fn r43_r44_switching_off_and_deactivating_void_what_is_open() {
        let number = Some("+12025550123");
        let off = PutMember { two_factor: Some(false), ..put(2, number) };
        let (_, endings, activity) = written(decided(off, facts()));
        assert_eq!(endings[0].reason, Some(CancelReason::FactorDisabled));
        assert_eq!(activity[0].action, Action::TwoFactorDisabled);
        let gone = PutMember { active: false, ..put(2, number) };
        let (_, endings, _) = written(decided(gone, facts()));
        assert_eq!(endings[0].reason, Some(CancelReason::MemberDeactivated));
    }

    #[test]
    fn what_only_we_know_survives_an_upsert() {
        let mut facts = facts();
        let known = facts.member.as_mut().unwrap();
        (known.wrong_in_a_row, known.suspended_at) = (4, Some(NOW));
        let (stored, ..) = written(decided(put(2, Some("+12025550123")), facts));
        assert_eq!((stored.wrong_in_a_row, stored.suspended_at), (4, Some(NOW)));
    }

    #[test]
    fn what_is_left_out_stays_and_null_removes() {
        let ask = |body| {
            let mut whole = json!({ "account": "acme", "member": "ada", "version": 2 });
            whole
                .as_object_mut()
                .unwrap()
                .extend(serde_json::from_value::<serde_json::Map<_, _>>(body).unwrap());
            serde_json::from_value::<PutMember>(whole).unwrap()
        };
        let (kept, endings, activity) = written(decided(ask(json!({})), facts()));
        assert_eq!((kept.phone, kept.two_factor), (member().phone, true));
        assert!(kept.email_backup && kept.email_verified);
        assert!(endings.is_empty() && activity.is_empty());
        let (gone, endings, _) = written(decided(ask(json!({ "phone": null })), facts()));
        assert_eq!((gone.phone, endings.len()), (None, 1));
    }

    #[test]
    fn another_app_s_account_is_as_unknown_as_none() {
        let mut foreign = facts();
        foreign.account.as_mut().unwrap().0.app = AppName::parse("other").unwrap();
        let unknown = Facts { account: None, member: None, open: vec![], ..facts() };
        for facts in [foreign, unknown] {
            let refused = decided(put(2, None), facts);
            assert_eq!(kind(&refused), OutcomeKind::NotFound);
            assert!(refused.write.is_none());
        }
    }

    #[test]
    fn a_field_that_cannot_be_used_is_named_and_not_repeated() {
        let mut bad_email = put(2, None);
        bad_email.email = Some(Some(Sealed::new("nobody")));
        for (ask, field) in [(put(2, Some("12")), "phone"), (bad_email, "email")] {
            let reply = decided(ask, facts()).reply.unwrap();
            assert_eq!((reply.outcome, reply.field), (OutcomeKind::Invalid, Some(field)));
            assert!(!reply.detail.unwrap().contains("nobody"));
        }
    }
}
