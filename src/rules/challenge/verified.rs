//! What a verification brings about, by purpose. Everything else about a challenge is the same for
//! all of them.

use crate::domain::approval::Approval;
use crate::domain::challenge::{CancelReason, Purpose};
use crate::domain::phone::PhoneNumber;
use crate::message::{Effect, Request, VerifyChallenge};
use crate::rules::challenge::facts::VerificationFacts;
use crate::rules::factor::change::{self, Change, ChangeAuthor};
use crate::rules::inputs::RuleInputs;
use crate::rules::verdict::DecisionContext;

/// What follows from the right code, besides the end of its challenge.
#[derive(Default)]
pub struct Applied {
    /// A change to the member.
    pub change: Option<Change>,
    /// The approval of a change of a setting.
    pub approval: Option<Approval>,
    /// What everybody is told.
    pub effects: Vec<Effect>,
}

/// The rule. An error is why the challenge ends without having brought anything about.
pub fn apply(
    request: &Request<VerifyChallenge>,
    facts: &VerificationFacts,
    amr: &[&'static str],
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Result<Applied, CancelReason> {
    let (app, challenge) = (&request.app, &facts.challenge);
    let mut after = facts.member.clone();
    match challenge.purpose {
        // What they prove is the app's to act on, or the next request's.
        Purpose::Login | Purpose::NumberChangeCurrent | Purpose::Team => {
            return Ok(Applied::default());
        }
        Purpose::Setting => {
            let approval = Approval::of(challenge, app, amr, &rules.policy, ctx.now);
            return Ok(Applied { approval, ..Applied::default() });
        }
        Purpose::Enrolment | Purpose::NumberChangeNew => {
            let clear = challenge.detail_in_clear(&rules.keys);
            let number = clear.and_then(|e164| PhoneNumber::stored(&e164).ok());
            let number = number.ok_or(CancelReason::TargetChanged)?;
            after.set_phone(Some(&number), &rules.keys, ctx.rng);
            after.phone_verified_at = Some(ctx.now);
            after.two_factor |= challenge.purpose == Purpose::Enrolment;
        }
        Purpose::Disable => after.two_factor = false,
    }
    let by = ChangeAuthor {
        app,
        actor: None,
        origin: None,
        challenge: Some(challenge.id),
        client: request.body.client.clone(),
    };
    let before = Some(&facts.member);
    let (change, effects) = change::change(before, after, &facts.open, &by, &rules.keys, ctx.now);
    Ok(Applied { change: Some(change), approval: None, effects })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Account;
    use crate::domain::activity::Action;
    use crate::domain::activity::Client;
    use crate::domain::activity::Origin;
    use crate::domain::approval::Operation;
    use crate::domain::challenge::{Challenge, Channel, State};
    use crate::domain::code::Code;
    use crate::domain::id::{ChallengeId, SettingName};
    use crate::domain::keys::Place;
    use crate::domain::member::Member;
    use crate::message::{EventKind, OutcomeKind, Sealed};
    use crate::rules::challenge::events::ending_event;
    use crate::rules::challenge::verify;
    use crate::rules::challenge::verify::Write;
    use crate::rules::challenge::void::number_operation;
    use crate::rules::tests_support::{CODE, NOW, account, challenge, ctx, member, rules};
    use crate::rules::verdict::{Decided, seconds_until};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const OTHER: &str = "+12025550177";

    /// An open challenge for this purpose, with [`CODE`]; to [`OTHER`] where a number is bound.
    fn of(purpose: Purpose) -> Challenge {
        let keys = &rules().keys;
        let mut it = Challenge { purpose, email_index: None, ..challenge() };
        if purpose.binds_number() {
            it.phone_index = keys.blind("phone", OTHER).to_vec();
            let current = member().phone.unwrap().index;
            it.operation = number_operation(Some(&current), &it.phone_index);
            let place = Place::Detail(it.id.0.as_bytes());
            let mut rng = StdRng::seed_from_u64(5);
            it.detail_sealed = Some(keys.seal(&place, OTHER.as_bytes(), &mut rng));
        }
        if purpose == Purpose::Setting {
            let setting = SettingName::parse("bank_account").unwrap();
            let values = ["DE1", "DE2", "payouts to DE2"];
            it.operation = Operation::of(&account().id, &setting, values, keys).bytes();
            it.setting = Some(setting);
        }
        it.digest = Code::of(CODE).digest(keys, &it.binding());
        it
    }

    fn facts(purpose: Purpose) -> VerificationFacts {
        let two_factor = purpose.factor_must_be().unwrap_or(true);
        VerificationFacts {
            challenge: of(purpose),
            account: account(),
            member: Member { two_factor, ..member() },
            open: Vec::new(),
            owned: false,
            replaced: false,
            claimed: vec![Channel::Sms],
            wrong: Vec::new(),
        }
    }

    /// From where the person types.
    fn here() -> Client {
        Client { ip: Some([192, 0, 2, 7].into()), user_agent: Some("Mozilla/5.0".into()) }
    }

    fn guess(text: &str, facts: VerificationFacts) -> Decided<Write> {
        let (account_id, challenge) = (account().id, facts.challenge.id);
        let ask = VerifyChallenge {
            account: account_id,
            challenge,
            guess: Sealed::new(text),
            client: here(),
        };
        let request = Request { app: account().app, body: ask };
        verify::decide(&request, Some(facts), &rules(), &mut ctx(NOW))
    }

    fn changed(decided: Decided<Write>) -> Change {
        decided.write.unwrap().change.unwrap()
    }

    fn tells(decided: &Decided<Write>, kind: EventKind) -> bool {
        let is = |effect: &Effect| matches!(effect, Effect::Event(event) if event.kind == kind);
        decided.effects.iter().any(is)
    }

    #[test]
    fn r9_the_right_code_turns_it_on_and_marks_the_phone_verified_with_a_time() {
        let decided = guess(CODE, facts(Purpose::Enrolment));
        assert!(tells(&decided, EventKind::FactorEnabled));
        let Change { member, activity, .. } = changed(decided);
        assert!(member.two_factor);
        assert_eq!(member.phone_verified_at, Some(NOW));
        assert_eq!(member.phone_in_clear(&rules().keys).unwrap().as_str(), OTHER);
        let actions: Vec<_> = activity.iter().map(|row| (row.action, row.origin)).collect();
        assert_eq!(
            actions,
            [(Action::NumberChanged, Origin::Own), (Action::TwoFactorEnabled, Origin::Own)]
        );
        assert!(activity.iter().all(|row| row.challenge == Some(challenge().id)));
        assert!(activity.iter().all(|row| row.client == here()), "R-92");
    }

    #[test]
    fn r10_a_wrong_code_changes_nothing() {
        for purpose in Purpose::ALL {
            let write = guess("999999", facts(*purpose)).write.unwrap();
            assert!(write.wrong && write.change.is_none() && write.approval.is_none());
        }
    }

    #[test]
    fn r10_r23_a_code_is_good_for_its_own_purpose_and_operation_only() {
        for purpose in Purpose::ALL.iter().filter(|purpose| !purpose.binds_number()) {
            let mut moved = facts(Purpose::Login);
            moved.challenge.purpose = *purpose;
            if *purpose == Purpose::Setting {
                moved.challenge.setting = SettingName::parse("bank_account").ok();
            }
            let right = guess(CODE, moved).reply.unwrap().outcome == OutcomeKind::Verified;
            assert_eq!(right, *purpose == Purpose::Login, "{purpose:?}");
        }
        let mut other = facts(Purpose::Setting);
        other.challenge.operation[40] ^= 1;
        assert_eq!(guess(CODE, other).reply.unwrap().outcome, OutcomeKind::WrongCode);
    }

    #[test]
    fn r48_r51_a_new_number_voids_what_is_open_to_the_old_one_but_not_what_is_not() {
        let with = |id: u128, purpose| Challenge {
            id: ChallengeId(uuid::Uuid::from_u128(id)),
            ..of(purpose)
        };
        let open = vec![with(7, Purpose::Login), with(8, Purpose::Disable)];
        let decided = guess(CODE, VerificationFacts { open, ..facts(Purpose::NumberChangeNew) });
        assert!(tells(&decided, EventKind::PhoneChanged));
        let Change { member, endings, .. } = changed(decided);
        assert!(member.two_factor, "a change of number turns nothing off");
        let reasons: Vec<_> = endings.iter().map(|ending| ending.reason).collect();
        assert_eq!(reasons, [Some(CancelReason::TargetChanged); 2]);
    }

    #[test]
    fn r51_a_change_of_number_that_was_overtaken_by_another_is_void() {
        let mut overtaken = facts(Purpose::NumberChangeNew);
        overtaken.member.phone.as_mut().unwrap().index = vec![4; 32];
        let decided = guess(CODE, overtaken);
        assert_eq!(decided.reply.as_ref().unwrap().outcome, OutcomeKind::TargetChanged);
        let write = decided.write.unwrap();
        assert_eq!(write.ending.unwrap().state, State::Cancelled);
        assert!(write.change.is_none() && !write.wrong);
    }

    #[test]
    fn r6_r15_r100_what_forbids_it_meanwhile_wins_over_the_right_code() {
        let owned = VerificationFacts { owned: true, ..facts(Purpose::Enrolment) };
        let mut enabled = facts(Purpose::Enrolment);
        enabled.member.two_factor = true;
        let mandatory = Account { mandatory: true, ..account() };
        let mandated = VerificationFacts { account: mandatory, ..facts(Purpose::Disable) };
        for (facts, kind) in [
            (owned, OutcomeKind::CompanyOwnedNumber),
            (enabled, OutcomeKind::AlreadyEnabled),
            (mandated, OutcomeKind::MandatoryByAccount),
        ] {
            let decided = guess(CODE, facts);
            assert_eq!(decided.reply.as_ref().unwrap().outcome, kind);
            assert!(tells(&decided, EventKind::ChallengeCancelled));
            assert!(decided.write.unwrap().change.is_none());
        }
    }

    #[test]
    fn r96_r99_the_right_code_turns_it_off_and_closes_what_is_open() {
        let open = vec![Challenge { id: ChallengeId(uuid::Uuid::from_u128(7)), ..challenge() }];
        let decided = guess(CODE, VerificationFacts { open, ..facts(Purpose::Disable) });
        assert!(tells(&decided, EventKind::FactorDisabled));
        let Change { member, endings, activity } = changed(decided);
        assert!(!member.two_factor);
        assert_eq!(endings[0].reason, Some(CancelReason::FactorDisabled));
        assert_eq!(activity[0].action, Action::TwoFactorDisabled);
    }

    #[test]
    fn r58_the_right_code_approves_exactly_the_change_for_two_minutes() {
        let decided = guess(CODE, facts(Purpose::Setting));
        let signed = decided.reply.as_ref().unwrap().approval.clone().unwrap();
        let write = decided.write.unwrap();
        assert!(write.change.is_none());
        let approval = write.approval.unwrap();
        assert_eq!(approval.operation.bytes(), of(Purpose::Setting).operation);
        assert_eq!(seconds_until(approval.expires_at, NOW), 120);
        // The event names what was approved, and never holds the approval itself.
        let event = ending_event(&of(Purpose::Setting), State::Verified, None);
        assert_eq!(event.operation, Some(approval.operation.label()));
        let told = serde_json::to_string(&event).unwrap();
        assert!(!told.contains(&signed), "{told}");
    }
}
