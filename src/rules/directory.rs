//! What the directory's upserts change: the highest version wins, and a changed number, a switched
//! off factor or a deactivated member ends what is open.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::change::{self, By, Change};
use super::code_generation::ending_event;
use super::role::{Operation, may};
use super::{Ctx, Decided, Ending};
use crate::domain::account::{Account, SENSITIVE_SETTINGS};
use crate::domain::activity::Client;
use crate::domain::challenge::{CancelReason, Challenge, State};
use crate::domain::email::EmailAddress;
use crate::domain::id::{AccountId, AppName, SettingName};
use crate::domain::keys::Keyring;
use crate::domain::member::{Member, Role};
use crate::domain::phone::PhoneNumber;
use crate::domain::{Chance, Timestamp};
use crate::message::{
    Effect, Event, EventKind, Message, Outcome, OutcomeKind, PutAccount, PutMember,
    PutOwnedNumbers, Rejected, Request, Secret, Subject,
};

/// Numbers an account may call its own: what fits into one message.
const OWNED_NUMBERS_MAX: usize = 500;

/// Sensitive settings an account may name.
const SETTINGS_MAX: usize = 100;

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An account.
    Account(Request<PutAccount>),
    /// An account's own numbers.
    OwnedNumbers(Request<PutOwnedNumbers>),
    /// A member.
    Member(Request<PutMember>),
}

impl Message for Ask {
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        match key {
            "directory.account" => Request::read(key, app, body).map(Self::Account),
            "directory.owned_numbers" => Request::read(key, app, body).map(Self::OwnedNumbers),
            _ => Request::read(key, app, body).map(Self::Member),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Account(request) => request.subject(),
            Self::OwnedNumbers(request) => request.subject(),
            Self::Member(request) => request.subject(),
        }
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
pub fn numbers(ask: &Ask, account: &Account, keys: &Keyring) -> Vec<Vec<u8>> {
    let index = |text: &Secret| {
        let number = PhoneNumber::parse(text.expose(), account.country)?;
        Some(keys.blind("phone", number.e164()).to_vec())
    };
    match ask {
        Ask::Account(_) => Vec::new(),
        Ask::OwnedNumbers(request) => request.ask.numbers.iter().filter_map(index).collect(),
        Ask::Member(request) => request.ask.phone.iter().flatten().filter_map(index).collect(),
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

/// The rule.
pub fn decide(ask: &Ask, facts: Facts, keys: &Arc<Keyring>, ctx: &mut Ctx<'_>) -> Decided<Write> {
    match ask {
        Ask::Account(request) => put_account(request, facts),
        Ask::OwnedNumbers(request) => put_owned_numbers(ask, request, facts, keys, ctx.now),
        Ask::Member(request) => put_member(request, facts, keys, ctx),
    }
}

fn put_account(request: &Request<PutAccount>, facts: Facts) -> Decided<Write> {
    let ask = &request.ask;
    if let Some((known, version)) = &facts.account {
        // Another app's account: the same answer as for one that nobody knows.
        if known.app != request.app {
            return refused(Outcome::new(OutcomeKind::NotFound), &request.app);
        }
        if *version >= ask.version {
            return Decided::answer(Outcome::new(OutcomeKind::Outdated));
        }
    }
    if ask.name.trim().is_empty() || ask.name.chars().count() > 100 {
        return invalid("name", "is empty or longer than 100 characters", &request.app);
    }
    if ask.origin.as_deref().is_some_and(|origin| !is_host(origin)) {
        let why = "is not a host name of at most 63 characters, such as app.example.com";
        return invalid("origin", why, &request.app);
    }
    let usual = || SENSITIVE_SETTINGS.iter().filter_map(|name| SettingName::parse(name).ok());
    let sensitive_settings = ask.sensitive_settings.clone().unwrap_or_else(|| usual().collect());
    if sensitive_settings.len() > SETTINGS_MAX {
        return invalid("sensitive_settings", "has more than 100 names", &request.app);
    }
    let account = Account {
        id: ask.account.clone(),
        app: request.app.clone(),
        name: ask.name.trim().to_owned(),
        origin: ask.origin.clone(),
        country: ask.country,
        countries: ask.countries.clone().unwrap_or_else(|| vec![ask.country]),
        email_fallback: ask.email_fallback,
        sensitive_settings,
        require_for_sensitive_settings: ask.require_for_sensitive_settings,
        mandatory: facts.account.as_ref().is_some_and(|(known, _)| known.mandatory),
        grace_until: facts.account.as_ref().and_then(|(known, _)| known.grace_until),
        owned_numbers_version: facts.account.map_or(0, |(known, _)| known.owned_numbers_version),
    };
    let event = Event {
        app: Some(request.app.clone()),
        version: Some(ask.version),
        ..Event::new(EventKind::AccountChanged, Some(ask.account.clone()))
    };
    stored(Write::Account { account, version: ask.version }, vec![event.into()])
}

/// The rule of R-8: who has a number of a company is flagged and told, and codes on their way there
/// are voided. Who has one no longer, is not.
fn put_owned_numbers(
    ask: &Ask,
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
    if account.owned_numbers_version >= request.ask.version {
        return Decided::answer(Outcome::new(OutcomeKind::Outdated));
    }
    let mut numbers = numbers(ask, account, keys);
    if numbers.len() != request.ask.numbers.len() {
        return invalid("numbers", "holds a text that is no phone number", app);
    }
    if numbers.len() > OWNED_NUMBERS_MAX {
        return invalid("numbers", "has more than 500 numbers", app);
    }
    numbers.sort_unstable();
    numbers.dedup();
    let event = Event {
        app: Some(app.clone()),
        version: Some(request.ask.version),
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
        let by = By { app, actor: None, origin: None, challenge: None, client: Client::default() };
        let others: Vec<Challenge> =
            open.iter().filter(|c| !c.purpose.binds_number()).cloned().collect();
        let (change, told) = change::change(Some(member), after, &others, &by, keys, now);
        changes.push(change);
        effects.extend(told);
    }
    let (account, version) = (account.id.clone(), request.ask.version);
    stored(Write::OwnedNumbers { account, version, numbers, changes, endings }, effects)
}

/// A host as the SMS's last line can carry it: it must leave room in the segment, and hold nothing
/// that means something there.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
    };
    text.len() <= 63 && text.split('.').all(label)
}

fn put_member(
    request: &Request<PutMember>,
    facts: Facts,
    keys: &Keyring,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let ask = &request.ask;
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
            None => return invalid("phone", "is no phone number", &request.app),
            Some(number) => Some(Some(number)),
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
            None => return invalid("email", "is no email address", &request.app),
            Some(address) => Some(Some(address)),
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
    let ask = &request.ask;
    let client = ask.client.clone();
    let by =
        By { app: &request.app, actor: ask.actor.as_ref(), origin: None, challenge: None, client };
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

fn stored(write: Write, effects: Vec<Effect>) -> Decided<Write> {
    let reply = Some(Outcome::new(OutcomeKind::Stored));
    Decided { label: "stored", write: Some(write), effects, reply }
}

/// A refusal is an event too, without an account: it may be another app's.
fn refused(outcome: Outcome, app: &AppName) -> Decided<Write> {
    let event = Event {
        app: Some(app.clone()),
        reason: Some(outcome.outcome.label().to_owned()),
        ..Event::new(EventKind::DirectoryRefused, None)
    };
    Decided { effects: vec![event.into()], ..Decided::answer(outcome) }
}

fn invalid(field: &'static str, why: &str, app: &AppName) -> Decided<Write> {
    let detail = Some(format!("{field} {why}"));
    refused(Outcome { field: Some(field), detail, ..Outcome::new(OutcomeKind::Invalid) }, app)
}

#[cfg(test)]
mod tests {
    use super::super::change::Activity;
    use super::super::tests_support::{NOW, account, challenge, ctx, member};
    use super::*;
    use crate::message::Secret;
    use serde_json::json;

    fn put(version: i64, phone: Option<&str>) -> PutMember {
        let mut ask: PutMember = serde_json::from_value(json!({
            "account": "acme", "member": "ada", "version": version, "two_factor": true,
            "email_verified": true, "email_backup": true, "actor": "bob",
        }))
        .unwrap();
        ask.phone = Some(phone.map(Secret::new));
        ask.email = Some(Some(Secret::new("Ada@acme.example")));
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
        assert_eq!(rows[0].origin, "mandate");
        let (kept, ..) = written(decided(off(), mandated()));
        assert!(kept.two_factor && !kept.factor_by_mandate, "R-68: it was the member's own before");
    }

    fn decided(ask: PutMember, facts: Facts) -> Decided<Write> {
        let request = Request { app: account().app, ask };
        decide(&Ask::Member(request), facts, &Arc::new(Keyring::for_tests()), &mut ctx(NOW))
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
        assert_eq!((activity[0].action, activity[0].origin), ("number_changed", "admin"));
        assert_eq!(activity[0].actor.as_str(), "bob");
    }

    #[test]
    fn r43_r44_switching_off_and_deactivating_void_what_is_open() {
        let number = Some("+12025550123");
        let off = PutMember { two_factor: Some(false), ..put(2, number) };
        let (_, endings, activity) = written(decided(off, facts()));
        assert_eq!(endings[0].reason, Some(CancelReason::FactorDisabled));
        assert_eq!(activity[0].action, "two_factor_disabled");
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
        bad_email.email = Some(Some(Secret::new("nobody")));
        for (ask, field) in [(put(2, Some("12")), "phone"), (bad_email, "email")] {
            let reply = decided(ask, facts()).reply.unwrap();
            assert_eq!((reply.outcome, reply.field), (OutcomeKind::Invalid, Some(field)));
            assert!(!reply.detail.unwrap().contains("nobody"));
        }
    }

    #[test]
    fn an_origin_fits_the_last_line_of_an_sms() {
        for good in ["app.example.com", "localhost", "a-b.c"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "https://x.y", "a b", "x.y/z", "x@y", "a..b", "x.y #1", &"x".repeat(64)] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
