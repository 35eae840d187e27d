//! What a verification brings about, by purpose. Everything else about a challenge is the same for
//! all of them.

use super::Ctx;
use super::change::{self, By, Change};
use super::code_generation::Rules;
use super::verification::Facts;
use crate::domain::approval::Approval;
use crate::domain::challenge::{CancelReason, Purpose};
use crate::domain::id::AppName;
use crate::domain::phone::PhoneNumber;
use crate::message::Effect;

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
    app: &AppName,
    facts: &Facts,
    amr: &[&'static str],
    rules: &Rules,
    ctx: &mut Ctx<'_>,
) -> Result<Applied, CancelReason> {
    let challenge = &facts.challenge;
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
            let number = clear.and_then(|e164| PhoneNumber::parse(&e164, facts.account.country));
            let number = number.ok_or(CancelReason::TargetChanged)?;
            after.set_phone(Some(&number), &rules.keys, ctx.rng);
            after.phone_verified_at = Some(ctx.now);
            after.two_factor |= challenge.purpose == Purpose::Enrolment;
        }
        Purpose::Disable => after.two_factor = false,
    }
    let by = By { app, actor: None, origin: None, challenge: Some(challenge.id) };
    let before = Some(&facts.member);
    let (change, effects) = change::change(before, after, &facts.open, &by, &rules.keys, ctx.now);
    Ok(Applied { change: Some(change), approval: None, effects })
}
