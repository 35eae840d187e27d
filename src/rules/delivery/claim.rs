//! The rule of the claim: whether a send goes out now, and the message that does.

use zeroize::Zeroizing;

use super::{Answer, Ask, FALLBACK_SEND, Facts, RenderedMessage, Step, TEXT_FAULTY, mailable};
use crate::domain::Timestamp;
use crate::domain::account::EmailFallback;
use crate::domain::challenge::{AttemptState, CancelReason, Challenge, Channel};
use crate::domain::code::Code;
use crate::domain::keys::Place;
use crate::domain::phone::PhoneNumber;
use crate::domain::policy::Policy;
use crate::message::{EmailCause, RetryDelay};
use crate::rules::RuleInputs;
use crate::rules::change::voided;

/// Why nothing is sent: what was sealed does not open any more.
const KEY_LOST: &str = "key_lost";
/// Why nothing is sent: the stored number no longer reads as itself.
const NUMBER_UNREADABLE: &str = "number_unreadable";

/// What is to be done with a send, by today's facts.
pub(super) fn step(ask: &Ask, facts: &Facts, rules: &RuleInputs, now: Timestamp) -> Step {
    let fallback = ask.channel == Channel::Email && ask.send == FALLBACK_SEND;
    match facts.attempt(ask) {
        Some(attempt) => match attempt.state {
            AttemptState::Calling if attempt.lease_until.is_some_and(|until| now < until) => {
                return Step::Leased;
            }
            AttemptState::Calling => return Step::Lost,
            // A message of an earlier try of the same send.
            AttemptState::Queued if attempt.tries != ask.tries => return Step::Done,
            AttemptState::Queued => {}
            AttemptState::Accepted
            | AttemptState::Failed
            | AttemptState::Unknown
            | AttemptState::Skipped => return Step::Done,
        },
        // Only the automatic email has no row before it is claimed.
        None if fallback && ask.tries == 0 => {
            if facts.attempts.iter().any(|attempt| attempt.channel == Channel::Email) {
                return Step::Done;
            }
        }
        None => return Step::Skip("send_unknown"),
    }
    if let Some(why) = obstacle(ask, facts, &rules.policy, now) {
        // A fallback that never had a row leaves none: it was not a send.
        return Step::Skip(why);
    }
    // Delay queues have a few lengths only, so a wait is made of several.
    if let Some(left) = ask.not_before.map(|then| then - now).filter(|left| left.is_positive()) {
        return Step::Early(RetryDelay::within(left));
    }
    if fallback && facts.challenge.email_fallback == EmailFallback::OnRequest {
        return Step::Offer;
    }
    // The automatic email is a send of the challenge like the others, counted once it is claimed.
    let counted = facts.attempt(ask).is_some();
    if !counted && facts.challenge.sends >= rules.policy.sends_per_challenge {
        return Step::Skip("sends_used_up");
    }
    match letter(ask, facts, rules, now) {
        // An earlier reader stored it, perhaps a stranger's number. The send has failed for good, and
        // the email may follow.
        Ok(letter) if ask.channel == Channel::Sms && PhoneNumber::stored(&letter.to).is_err() => {
            Step::Answered(Answer::Refused { code: NUMBER_UNREADABLE.to_owned() })
        }
        Ok(letter) => Step::Call(Box::new(letter)),
        Err(why) => Step::Skip(why),
    }
}

/// Whether a send that is taken up then leaves too little of the challenge's life to type the code in
///
pub fn too_late(challenge: &Challenge, policy: &Policy, then: Timestamp) -> bool {
    challenge.expires_at - then < policy.life_left_min
}

/// What stands in the way of a send, by today's facts.
fn obstacle(ask: &Ask, facts: &Facts, policy: &Policy, now: Timestamp) -> Option<&'static str> {
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
    match ask.channel {
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
            let early = ask.cause == Some(EmailCause::Fallback)
                && challenge.fallback_at.is_none_or(|due| now < due);
            early.then_some("not_due")
        }
    }
}

/// The message in the member's language, or why there can be none.
fn letter(
    ask: &Ask,
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
    let (attempt, account, purpose) = (ask.attempt_id(), &facts.account, challenge.purpose);
    let to_bind = purpose.binds_number();
    let summary = if to_bind { "" } else { detail.as_str() };
    let (texts, locale) = (&rules.texts, facts.member.locale.as_str());
    Ok(match ask.channel {
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
