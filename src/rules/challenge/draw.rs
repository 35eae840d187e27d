//! A new challenge: its code, drawn and sealed, and the facts of the day it was issued.

use zeroize::Zeroizing;

use crate::domain::account::EmailFallback;
use crate::domain::challenge::{Challenge, State};
use crate::domain::code::{Binding, Code};
use crate::domain::keys::{Keyring, Place};
use crate::domain::member::Member;
use crate::rules::challenge::facts::IssueFacts;
use crate::rules::challenge::spec::{ChallengeSpec, Target};
use crate::rules::inputs::RuleInputs;
use crate::rules::verdict::DecisionContext;

/// Draws the code and makes the challenge's row: digest, deliverable copy, and the facts of the day.
pub(super) fn draw(
    demand: &ChallengeSpec<'_>,
    target: Target,
    facts: &IssueFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Challenge {
    let (policy, keys, purpose) = (&rules.policy, &rules.keys, demand.purpose);
    let expires_at = ctx.now + policy.life(purpose);
    let code = Code::draw(policy.code_digits, ctx.rng);
    let binding = Binding {
        account: demand.account,
        member: demand.member,
        challenge: facts.id,
        purpose: purpose.label(),
        operation: &demand.operation,
    };
    let place = Place::Code(facts.id.0.as_bytes(), expires_at.unix_timestamp());
    let digest = code.digest(keys, &binding);
    let code_sealed = Some(keys.seal(&place, code.digits().as_bytes(), ctx.rng));
    let detail_place = Place::Detail(facts.id.0.as_bytes());
    let detail = if purpose.binds_number() {
        number_to_bind(demand, &facts.member, keys)
    } else {
        demand.summary.map(|summary| Zeroizing::new(summary.to_owned()))
    };
    let detail_sealed = detail.map(|detail| keys.seal(&detail_place, detail.as_bytes(), ctx.rng));
    let backed_up =
        purpose.email_may_back_up() && facts.account.email_fallback != EmailFallback::Forbidden;
    // Another browser does not get round the number's timer: its first SMS waits for it.
    // A due time must lie behind the commit that sets it, or the timer's sweep passes it unseen.
    let soonest = ctx.now + policy.transaction_max * 2;
    let waits = facts.number.next_send_at.filter(|next| *next > ctx.now);
    let send_at = waits.map_or(ctx.now, |next| next.max(soonest));
    Challenge {
        id: facts.id,
        account: demand.account.clone(),
        member: demand.member.clone(),
        login: demand.login.clone(),
        purpose,
        operation: demand.operation.clone(),
        setting: demand.setting.cloned(),
        detail_sealed,
        state: State::Open,
        reason: None,
        created_at: ctx.now,
        expires_at,
        digest,
        code_sealed,
        phone_index: target.index,
        email_index: facts
            .member
            .backup_email()
            .filter(|_| backed_up)
            .map(|contact| contact.index.clone()),
        email_fallback: facts.account.email_fallback,
        sends: 1,
        wrong: 0,
        resend_at: send_at + policy.resend_wait(1),
        fallback_at: None,
    }
}

fn number_to_bind(
    demand: &ChallengeSpec<'_>,
    member: &Member,
    keys: &Keyring,
) -> Option<Zeroizing<String>> {
    match demand.number {
        Some(number) => Some(Zeroizing::new(number.e164().to_owned())),
        None => member.phone_in_clear(keys),
    }
}
