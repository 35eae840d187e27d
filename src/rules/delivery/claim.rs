//! The rule of the claim: whether a send goes out now, and the message that does.

use zeroize::Zeroizing;

use crate::domain::Timestamp;
use crate::domain::account::EmailFallback;
use crate::domain::challenge::{AttemptState, CancelReason, Challenge, Channel};
use crate::domain::code::Code;
use crate::domain::keys::Place;
use crate::domain::phone::PhoneNumber;
use crate::domain::policy::Policy;
use crate::domain::provider::RenderedMessage;
use crate::message::{EmailCause, RetryDelay};
use crate::rules::challenge::void::voided;
use crate::rules::claimed::Decision;
use crate::rules::delivery::send::{
    Answer, Attempt, DeliveryCall, DeliverySend, DeliverySettlement, Facts, SendRequest, Settled,
    TEXT_FAULTY, mailable,
};
use crate::rules::inputs::RuleInputs;

/// Why nothing is sent: what was sealed does not open any more.
const KEY_LOST: &str = "key_lost";
/// Why nothing is sent: the stored number no longer reads as itself.
const NUMBER_UNREADABLE: &str = "number_unreadable";

/// The rule of the claim.
pub fn decide(
    request: &SendRequest,
    facts: Option<Facts>,
    rules: &RuleInputs,
    now: Timestamp,
) -> Decision<DeliveryCall, DeliverySettlement> {
    let Some(facts) = facts else {
        let send = DeliverySend { request: *request, challenge: None, email_left: false, now };
        let settled = Settled::Skipped("challenge_unknown");
        return Decision::Settle(DeliverySettlement { send, settled });
    };
    let step = step(request, &facts, rules, now);
    let email_sent = facts.attempts.iter().any(|attempt| attempt.channel == Channel::Email);
    let sends_left = facts.challenge.sends < rules.policy.sends_per_challenge;
    let email_left = facts.challenge.email_index.is_some() && !email_sent && sends_left;
    let fallback_set = facts.challenge.fallback_at.is_some();
    let challenge = Some(Box::new(facts.challenge));
    let send = DeliverySend { request: *request, challenge, email_left, now };
    match step {
        Decision::Call(message) => Decision::Call(DeliveryCall { send, fallback_set, message }),
        Decision::Settle(settled) => Decision::Settle(DeliverySettlement { send, settled }),
        Decision::Wait { delay, label } => Decision::Wait { delay, label },
    }
}

/// What is to be done with a send, by today's facts.
fn step(
    request: &SendRequest,
    facts: &Facts,
    rules: &RuleInputs,
    now: Timestamp,
) -> Decision<RenderedMessage, Settled> {
    if let Some(step) = earlier_try(request, facts, now) {
        return step;
    }
    let skipped = |why| Decision::Settle(Settled::Skipped(why));
    if let Some(why) = obstacle(request, facts, &rules.policy, now) {
        // A fallback that never had a row leaves none: it was not a send.
        return skipped(why);
    }
    // Delay queues have a few lengths only, so a wait is made of several.
    if let Some(left) = request.not_before.map(|then| then - now).filter(|left| left.is_positive())
    {
        return Decision::Wait { delay: RetryDelay::within(left), label: "early" };
    }
    if request.is_fallback() && facts.challenge.email_fallback == EmailFallback::OnRequest {
        return Decision::Settle(Settled::Offered);
    }
    // The automatic email is a send of the challenge like the others, counted once it is claimed.
    let counted = facts.attempt(request).is_some();
    if !counted && facts.challenge.sends >= rules.policy.sends_per_challenge {
        return skipped("sends_used_up");
    }
    match render(request, facts, rules, now) {
        // An earlier reader stored it, perhaps a stranger's number. The send has failed for good, and
        // the email may follow.
        Ok(message)
            if request.channel == Channel::Sms && PhoneNumber::stored(&message.to).is_err() =>
        {
            let code = NUMBER_UNREADABLE.to_owned();
            Decision::Settle(Settled::Answered(Answer::Refused { code }))
        }
        Ok(message) => Decision::Call(message),
        Err(why) => skipped(why),
    }
}

/// What follows from an earlier try of the same send, where that decides.
fn earlier_try(
    request: &SendRequest,
    facts: &Facts,
    now: Timestamp,
) -> Option<Decision<RenderedMessage, Settled>> {
    let settled = match facts.attempt(request) {
        Some(attempt) => match attempt.state {
            AttemptState::Calling if attempt.lease_until.is_some_and(|until| now < until) => {
                return Some(Decision::Wait { delay: RetryDelay::Second5, label: "leased" });
            }
            AttemptState::Calling => Settled::Lost,
            // A message of an earlier try of the same send.
            AttemptState::Queued if attempt.tries != request.tries => Settled::Done,
            AttemptState::Queued => return None,
            AttemptState::Accepted
            | AttemptState::Failed
            | AttemptState::Unknown
            | AttemptState::Skipped => Settled::Done,
        },
        // Only the automatic email has no row before it is claimed.
        None if request.is_fallback() && request.tries == 0 => {
            let email = |attempt: &Attempt| attempt.channel == Channel::Email;
            facts.attempts.iter().any(email).then_some(Settled::Done)?
        }
        None => Settled::Skipped("send_unknown"),
    };
    Some(Decision::Settle(settled))
}

/// Whether a send that is taken up then leaves too little of the challenge's life to type the code in
///
pub fn too_late(challenge: &Challenge, policy: &Policy, then: Timestamp) -> bool {
    challenge.expires_at - then < policy.life_left_min
}

/// What stands in the way of a send, by today's facts.
fn obstacle(
    request: &SendRequest,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Option<&'static str> {
    let (challenge, member) = (&facts.challenge, &facts.member);
    if !challenge.live(now) {
        return Some("challenge_ended");
    }
    if too_late(challenge, policy, now) {
        return Some("delivery_too_late");
    }
    // Whatever voids a challenge ends it in the transaction of the change; this is for what was
    // claimed before that.
    match voided(challenge, member, facts.account.mandatory) {
        None => {}
        Some(CancelReason::TargetChanged) => return Some("target_changed"),
        Some(CancelReason::CompanyOwnedNumber) => return Some("company_owned_number"),
        Some(_) => return Some("member_changed"),
    }
    match request.channel {
        Channel::Sms => None,
        Channel::Email => {
            let Some(snapshot) = &challenge.email_index else { return Some("no_email_backup") };
            if facts.account.email_fallback == EmailFallback::Forbidden {
                return Some("email_forbidden");
            }
            let Some(today) = member.backup_email() else { return Some("no_email_backup") };
            if today.index != *snapshot {
                return Some("target_changed");
            }
            let early = request.cause == Some(EmailCause::Fallback)
                && challenge.fallback_at.is_none_or(|due| now < due);
            early.then_some("not_due")
        }
    }
}

/// The message in the member's language, or why there can be none.
fn render(
    request: &SendRequest,
    facts: &Facts,
    rules: &RuleInputs,
    now: Timestamp,
) -> Result<RenderedMessage, &'static str> {
    let (challenge, keys) = (&facts.challenge, &rules.keys);
    let place = Place::Code(challenge.id.0.as_bytes(), challenge.expires_at.unix_timestamp());
    let sealed = challenge.code_sealed.as_deref().ok_or(KEY_LOST)?;
    let clear = keys.open(&place, sealed).map_err(|_| KEY_LOST)?;
    let code = Code::of(std::str::from_utf8(&clear).map_err(|_| KEY_LOST)?);
    let detail = match challenge.detail_sealed {
        Some(_) => challenge.detail_in_clear(keys).ok_or(KEY_LOST)?,
        None => Zeroizing::default(),
    };
    let (attempt, account, purpose) = (request.attempt_id(), &facts.account, challenge.purpose);
    let to_bind = purpose.binds_number();
    let summary = if to_bind { "" } else { detail.as_str() };
    let (texts, locale) = (&rules.texts, facts.member.locale.as_str());
    Ok(match request.channel {
        Channel::Sms => RenderedMessage {
            attempt,
            subject: String::new(),
            text: texts.sms(locale, account, purpose, summary, &code).ok_or(TEXT_FAULTY)?,
            to: if to_bind { detail } else { facts.member.phone_in_clear(keys).ok_or(KEY_LOST)? },
        },
        Channel::Email => {
            let minutes = (challenge.expires_at - now).whole_minutes();
            let mail = texts.code_mail(locale, account, purpose, summary, &code, minutes);
            let mail = mail.ok_or(TEXT_FAULTY)?;
            let to = mailable(&facts.member.email_in_clear(keys).ok_or(KEY_LOST)?)?;
            RenderedMessage { attempt, to, subject: mail.subject, text: mail.text }
        }
    })
}
