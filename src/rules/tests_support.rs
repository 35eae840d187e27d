//! Facts for the tests of the rules.

use std::sync::{Arc, LazyLock};

use rand::SeedableRng;
use rand::rngs::StdRng;
use time::macros::datetime;

use crate::domain::Timestamp;
use crate::domain::account::{Account, EmailFallback};
use crate::domain::challenge::{AttemptState, Challenge, Channel, Purpose, State};
use crate::domain::code::{Binding, Code};
use crate::domain::id::{AccountId, AppName, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::keys::{Keyring, Place};
use crate::domain::member::{Contact, Member, Role};
use crate::domain::phone::Country;
use crate::domain::policy::Policy;
use crate::message::{IssueChallenge, LoginPurpose, Request};
use crate::rules::challenge::facts::{ChallengeFacts, IssueFacts};
use crate::rules::inputs::RuleInputs;
use crate::rules::limits::NumberFacts;
use crate::rules::text::Texts;
use crate::rules::verdict::DecisionContext;

pub const NOW: Timestamp = datetime!(2026-01-01 12:00:00 UTC);
pub const CODE: &str = "012345";
/// Once for all tests: loading checks every text.
pub static TEXTS: LazyLock<Arc<Texts>> = LazyLock::new(|| Arc::new(Texts::embedded().unwrap()));

pub fn ctx(now: Timestamp) -> DecisionContext<'static> {
    DecisionContext { now, rng: Box::leak(Box::new(StdRng::seed_from_u64(7))) }
}

pub fn rules() -> RuleInputs {
    RuleInputs {
        keys: Arc::new(Keyring::for_tests()),
        policy: Arc::new(Policy::default()),
        texts: Arc::clone(&TEXTS),
    }
}

pub fn account() -> Account {
    let us = Country::parse("US").unwrap();
    Account {
        id: AccountId::parse("acme").unwrap(),
        app: AppName::parse("crm").unwrap(),
        name: "Acme".into(),
        origin: Some("app.acme.example".into()),
        country: us,
        countries: vec![us],
        email_fallback: EmailFallback::Automatic,
        sensitive_settings: vec![SettingName::parse("bank_account").unwrap()],
        require_for_sensitive_settings: false,
        mandatory: false,
        grace_until: None,
        owned_numbers_version: 0,
    }
}

pub fn contact(kind: &str, text: &str) -> Contact {
    let keys = Keyring::for_tests();
    let place = Place::Contact("acme", "ada", kind);
    let sealed = keys.seal(&place, text.as_bytes(), &mut StdRng::seed_from_u64(3));
    Contact { sealed, index: keys.blind(kind, text).to_vec() }
}

pub fn member() -> Member {
    Member {
        account: account().id,
        id: MemberId::parse("ada").unwrap(),
        version: 1,
        active: true,
        role: Role::Member,
        locale: "en".into(),
        phone: Some(contact("phone", "+12025550123")),
        phone_prefix_index: None,
        phone_country: Country::parse("US"),
        phone_textable: true,
        phone_verified_at: None,
        phone_owned_at: None,
        email: Some(contact("email", "ada@acme.example")),
        email_verified: true,
        two_factor: true,
        email_backup: true,
        notify_number_changes: false,
        factor_by_mandate: false,
        grace_until: None,
        factor_changed_at: None,
        reset_at: None,
        email_proved_at: None,
        email_before: None,
        email_changed_at: None,
        wrong_in_a_row: 0,
        guess_after: None,
        suspended_at: None,
    }
}

pub fn issue_request() -> Request<IssueChallenge> {
    let ask = IssueChallenge {
        account: account().id,
        member: member().id,
        login: LoginId::parse("login-1").unwrap(),
        purpose: LoginPurpose::Login,
    };
    Request { app: account().app, body: ask }
}

pub fn issue_facts(id: u128) -> IssueFacts {
    IssueFacts {
        id: ChallengeId(uuid::Uuid::from_u128(id)),
        account: account(),
        member: member(),
        current: None,
        wrong: Vec::new(),
        number: NumberFacts::default(),
        owned: false,
    }
}

/// An open challenge, issued at [`NOW`], whose code is [`CODE`].
pub fn challenge() -> Challenge {
    let (keys, id) = (Keyring::for_tests(), ChallengeId(uuid::Uuid::from_u128(1)));
    let (account, member) = (account().id, member());
    let expires_at = NOW + Policy::default().challenge_life;
    let binding = Binding {
        account: &account,
        member: &member.id,
        challenge: id,
        purpose: "login",
        operation: b"",
    };
    let place = Place::Code(id.0.as_bytes(), expires_at.unix_timestamp());
    Challenge {
        id,
        account: account.clone(),
        member: member.id.clone(),
        login: LoginId::parse("login-1").unwrap(),
        purpose: Purpose::Login,
        operation: Vec::new(),
        setting: None,
        detail_sealed: None,
        state: State::Open,
        reason: None,
        created_at: NOW,
        expires_at,
        digest: Code::of(CODE).digest(&keys, &binding),
        code_sealed: Some(keys.seal(&place, CODE.as_bytes(), &mut StdRng::seed_from_u64(4))),
        phone_index: member.phone.unwrap().index,
        email_index: Some(member.email.unwrap().index),
        email_fallback: EmailFallback::Automatic,
        sends: 1,
        wrong: 0,
        resend_at: NOW + Policy::default().resend_wait(1),
        fallback_at: None,
    }
}

pub fn challenge_facts() -> ChallengeFacts {
    ChallengeFacts {
        challenge: challenge(),
        account: account(),
        member: member(),
        replaced: false,
        attempts: vec![(Channel::Sms, AttemptState::Accepted)],
        number: NumberFacts::default(),
    }
}
