//! A change of a sensitive setting: a code for exactly this change, and the one
//! go-ahead to carry it out.

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::approval::Operation;
use crate::domain::challenge::Purpose;
use crate::domain::id::{ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::keys::Keyring;
use crate::domain::shown::not_plain;
use crate::message::{
    Event, EventKind, Outcome, OutcomeKind, RedeemApproval, Request, RequestSettingChange,
};
use crate::rules::challenge::facts::IssueFacts;
use crate::rules::challenge::issue;
use crate::rules::challenge::spec::{ChallengeSpec, Issued};
use crate::rules::inputs::RuleInputs;
use crate::rules::verdict::{Decided, DecisionContext, seconds_until};

/// The longest summary, in characters. An SMS shows what fits into one segment.
pub const SUMMARY_MAX: usize = 200;

/// The rule of the request.
pub fn request(
    request: &Request<RequestSettingChange>,
    facts: &IssueFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
    let ask = &request.body;
    if !facts.account.sensitive_settings.contains(&ask.setting) {
        let why = "setting is not among the account's sensitive_settings";
        return Decided::answer(Outcome::invalid("setting", why));
    }
    let summary = ask.summary.expose().trim();
    if !(1..=SUMMARY_MAX).contains(&summary.chars().count()) {
        return Decided::answer(Outcome::invalid(
            "summary",
            "summary is not of 1 to 200 characters",
        ));
    }
    if let Some(why) = not_plain(summary) {
        return Decided::answer(Outcome::invalid("summary", &format!("summary {why}")));
    }
    let values = [ask.before.expose(), ask.after.expose(), summary];
    let demand = ChallengeSpec {
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
    // A mandate that has not come to the member yet holds all the same.
    let on = facts.member.two_factor || facts.account.mandatory;
    match (on, facts.account.require_for_sensitive_settings) {
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
    let before = request.body.before.expose();
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
        operation: Some(facts.operation.label()),
        ..Event::new(event, Some(facts.account.id.clone()))
    };
    Decided {
        label: kind.label(),
        write: Some(Spent { challenge: facts.challenge, stale, at: now }),
        effects: vec![event.into()],
        reply: Some(reply(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::challenge::Challenge;
    use crate::domain::member::Member;
    use crate::message::Sealed;
    use crate::rules::tests_support::{NOW, account, ctx, issue_facts, member, rules};
    use time::Duration;

    fn facts() -> IssueFacts {
        issue_facts(3)
    }

    fn asked(after: &str, setting: &str, facts: &IssueFacts) -> Decided<Issued> {
        summed_up(&format!("payouts to {after}"), after, setting, facts)
    }

    fn summed_up(summary: &str, after: &str, setting: &str, facts: &IssueFacts) -> Decided<Issued> {
        let ask = RequestSettingChange {
            account: account().id,
            member: member().id,
            change: LoginId::parse("c1").unwrap(),
            setting: SettingName::parse(setting).unwrap(),
            before: Sealed::new("DE1"),
            after: Sealed::new(after),
            summary: Sealed::new(summary),
        };
        request(&Request { app: account().app, body: ask }, facts, &rules(), &mut ctx(NOW))
    }

    fn issued(decided: Decided<Issued>) -> Challenge {
        decided.write.unwrap().new.challenge
    }

    fn kind<W>(decided: &Decided<W>) -> OutcomeKind {
        decided.reply.as_ref().unwrap().outcome
    }

    #[test]
    fn r56_r61_the_challenge_holds_the_digest_and_the_summary_and_lives_five_minutes() {
        let challenge = issued(asked("DE2", "bank_account", &facts()));
        assert_eq!(challenge.expires_at - NOW, Duration::minutes(5));
        assert_eq!(challenge.detail_in_clear(&rules().keys).unwrap().as_str(), "payouts to DE2");
        assert_eq!(challenge.operation.len(), 64);
        assert!(challenge.email_index.is_some(), "D-2: email may back it up");
    }

    #[test]
    fn r61_a_summary_that_is_empty_too_long_or_not_plain_is_refused_by_its_field() {
        for summary in ["", " ", "payouts\nto me", "payouts to \u{202E}2ED", &"x".repeat(201)] {
            let reply = summed_up(summary, "DE2", "bank_account", &facts()).reply.unwrap();
            let said = (reply.outcome, reply.field);
            assert_eq!(said, (OutcomeKind::Invalid, Some("summary")), "{summary:?}");
            assert!(!reply.detail.unwrap().contains("payouts"), "the summary is not repeated");
        }
    }

    #[test]
    fn r57_which_settings_there_are_is_data() {
        let unknown = asked("DE2", "payout_schedule", &facts());
        assert_eq!(unknown.reply.unwrap().field, Some("setting"));
        let mut more = facts();
        more.account.sensitive_settings.push(SettingName::parse("payout_schedule").unwrap());
        assert_eq!(kind(&asked("DE2", "payout_schedule", &more)), OutcomeKind::Open);
    }

    #[test]
    fn r59_another_value_under_the_same_name_takes_a_code_of_its_own() {
        let first = issued(asked("DE2", "bank_account", &facts()));
        let again = IssueFacts { current: Some(first.clone()), ..facts() };
        let same = asked("DE2", "bank_account", &again);
        assert_eq!(same.reply.unwrap().challenge, Some(first.id));
        let other = asked("DE3", "bank_account", &again);
        assert!(other.write.unwrap().ended.is_some());
    }

    #[test]
    fn d8_with_2fa_off_no_code_is_needed_unless_the_account_says_so() {
        let mut off = IssueFacts { member: Member { two_factor: false, ..member() }, ..facts() };
        assert_eq!(kind(&asked("DE2", "bank_account", &off)), OutcomeKind::NotRequired);
        off.account.require_for_sensitive_settings = true;
        assert_eq!(kind(&asked("DE2", "bank_account", &off)), OutcomeKind::FactorRequired);
    }

    #[test]
    fn r64_a_mandate_on_its_way_to_the_member_takes_a_code_for_a_setting() {
        let mut facts = facts();
        facts.member.two_factor = false;
        facts.account.mandatory = true;
        assert_eq!(kind(&asked("DE2", "bank_account", &facts)), OutcomeKind::Open);
    }

    fn approved() -> Facts {
        let setting = SettingName::parse("bank_account").unwrap();
        let values = ["DE1", "DE2", "payouts to DE2"];
        Facts {
            operation: Operation::of(&account().id, &setting, values, &rules().keys),
            account: account(),
            challenge: ChallengeId(uuid::Uuid::from_u128(3)),
            member: member().id,
            setting,
            change: LoginId::parse("c1").unwrap(),
            expires_at: NOW + Duration::minutes(2),
            spent: None,
        }
    }

    fn redeemed(before: &str, facts: &Facts, seconds: i64) -> Decided<Spent> {
        let (account_id, challenge) = (account().id, facts.challenge);
        let ask = RedeemApproval { account: account_id, challenge, before: Sealed::new(before) };
        let request = Request { app: account().app, body: ask };
        redeem(&request, facts, &rules().keys, NOW + Duration::seconds(seconds))
    }

    #[test]
    fn r58_r60_it_is_carried_out_once_in_time_and_only_while_nothing_has_changed() {
        let right = redeemed("DE1", &approved(), 119);
        assert_eq!(kind(&right), OutcomeKind::Redeemed);
        assert!(!right.write.unwrap().stale);
        assert_eq!(kind(&redeemed("DE1", &approved(), 120)), OutcomeKind::Expired);
        let stale = redeemed("DE9", &approved(), 1);
        assert_eq!(kind(&stale), OutcomeKind::Stale);
        assert!(stale.write.unwrap().stale);
        for (stale, kind_of) in [(false, OutcomeKind::AlreadyUsed), (true, OutcomeKind::Stale)] {
            let again = redeemed("DE1", &Facts { spent: Some(stale), ..approved() }, 1);
            assert_eq!(kind(&again), kind_of);
            assert!(again.write.is_none());
        }
    }
}
