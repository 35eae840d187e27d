//! A change of a sensitive setting: a code for exactly this change, and the one
//! go-ahead to carry it out.

use super::code_generation::{Rules, Write};
use super::factor::invalid;
use super::issue::{self, Demand};
use super::{Ctx, Decided, seconds_until};
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::approval::Operation;
use crate::domain::challenge::Purpose;
use crate::domain::id::{ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::keys::Keyring;
use crate::message::{
    Event, EventKind, Outcome, OutcomeKind, RedeemApproval, Request, RequestSettingChange,
};

/// The longest summary, in characters. An SMS shows what fits into one segment.
pub const SUMMARY_MAX: usize = 200;

/// The rule of the request.
pub fn request(
    request: &Request<RequestSettingChange>,
    facts: &issue::Facts,
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Decided<Write> {
    let ask = &request.ask;
    if !facts.account.sensitive_settings.contains(&ask.setting) {
        let why = "setting is not among the account's sensitive_settings";
        return Decided::answer(invalid("setting", why));
    }
    let summary = ask.summary.expose().trim();
    if !(1..=SUMMARY_MAX).contains(&summary.chars().count()) {
        return Decided::answer(invalid("summary", "summary is not of 1 to 200 characters"));
    }
    let values = [ask.before.expose(), ask.after.expose(), summary];
    let demand = Demand {
        app: &request.app,
        account: &ask.account,
        member: &ask.member,
        login: ask.change.clone(),
        purpose: Purpose::Setting,
        setting: Some(&ask.setting),
        operation: Operation::of(&ask.account, &ask.setting, values, &rules.keys).bytes(),
        summary: Some(summary),
        number: None,
    };
    let held = facts.member.factor_changed_at.map(|at| at + rules.policy.cooling_off);
    if let Some(then) = held.filter(|then| ctx.now < *then) {
        let retry_after = Some(seconds_until(then, ctx.now));
        let outcome = Outcome { retry_after, ..Outcome::new(OutcomeKind::CoolingOff) };
        return issue::refuse(&demand, true, outcome);
    }
    match (facts.member.two_factor, facts.account.require_for_sensitive_settings) {
        (true, _) => issue::open(&demand, facts, rules, ctx),
        (false, true) => issue::refuse(&demand, true, Outcome::new(OutcomeKind::FactorRequired)),
        (false, false) => Decided::answer(Outcome::new(OutcomeKind::NotRequired)),
    }
}

/// What is known of an approval that is to be redeemed.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The account; it is the app's.
    pub account: Account,
    /// The challenge that approved it.
    pub challenge: ChallengeId,
    /// Who approved it.
    pub member: MemberId,
    /// Which setting.
    pub setting: SettingName,
    /// The app's name of the change.
    pub change: LoginId,
    /// The digest of the change.
    pub operation: Operation,
    /// Until when it may be carried out.
    pub expires_at: Timestamp,
    /// Whether it was spent before, and if so whether as stale.
    pub spent: Option<bool>,
}

/// An approval that is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Which.
    pub challenge: ChallengeId,
    /// The setting had changed meanwhile: it is not carried out.
    pub stale: bool,
    /// When.
    pub at: Timestamp,
}

/// The rule of the go-ahead: once, in time, and only while the setting is what it was.
pub fn redeem(
    request: &Request<RedeemApproval>,
    facts: &Facts,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Spent> {
    let reply = |kind| Outcome {
        challenge: Some(facts.challenge),
        purpose: Some(Purpose::Setting),
        operation: Some(facts.operation.label()),
        ..Outcome::new(kind)
    };
    match facts.spent {
        Some(true) => return Decided::answer(reply(OutcomeKind::Stale)),
        Some(false) => return Decided::answer(reply(OutcomeKind::AlreadyUsed)),
        None if now >= facts.expires_at => return Decided::answer(reply(OutcomeKind::Expired)),
        None => {}
    }
    let before = request.ask.before.expose();
    let stale = !facts.operation.begins_at(&facts.account.id, &facts.setting, before, keys);
    let (kind, event) = if stale {
        (OutcomeKind::Stale, EventKind::SettingStale)
    } else {
        (OutcomeKind::Redeemed, EventKind::SettingRedeemed)
    };
    let event = Event {
        app: Some(request.app.clone()),
        member: Some(facts.member.clone()),
        challenge: Some(facts.challenge),
        login: Some(facts.change.clone()),
        purpose: Some(Purpose::Setting),
        setting: Some(facts.setting.clone()),
        ..Event::new(event, Some(facts.account.id.clone()))
    };
    Decided {
        label: kind.label(),
        write: Some(Spent { challenge: facts.challenge, stale, at: now }),
        effects: vec![event.into()],
        reply: Some(reply(kind)),
    }
}
