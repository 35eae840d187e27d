//! The proof of an email address: when a code is mailed, and whether a guess is right.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::activity::Client;
use crate::domain::challenge::{AttemptState, Channel};
use crate::domain::email_proof::EmailProof;
use crate::domain::member::Member;
use crate::domain::notice::NoticeKind;
use crate::message::{Command, ConfirmEmail, Outcome, OutcomeKind, ProveEmail, Request};
use crate::rules::challenge::events::invalid_guess;
use crate::rules::delivery::recipients::{EventRecordRef, Notice};
use crate::rules::factor::change::{self, Change, ChangeAuthor};
use crate::rules::inputs::RuleInputs;
use crate::rules::limits::full_until;
use crate::rules::verdict::{Decided, DecisionContext, seconds_until};

/// What is known of a member's address.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The id that a new proof would have: that of the request.
    pub id: Uuid,
    /// The member.
    pub member: &'a Member,
    /// Whether the member has to bind a number before logging in: then the address is proved afresh
    ///
    pub enrols: bool,
    /// The open proof.
    pub proof: Option<&'a EmailProof>,
    /// The member's wrong codes in the longest window, those for the address included.
    pub wrong: &'a [Timestamp],
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A new proof takes the place of the one before, and its mail.
    New {
        /// The proof.
        proof: Box<EmailProof>,
        /// The mail.
        notice: Box<Notice>,
    },
    /// A wrong code counts, for the proof as judged and for the member.
    Wrong {
        /// The proof as judged.
        proof: Box<EmailProof>,
        /// When.
        at: Timestamp,
    },
    /// The address is confirmed; the proof goes.
    Confirmed(Change),
}

/// The rule of the mail: not more often than a code is sent again.
pub fn prove(
    request: &Request<ProveEmail>,
    facts: &Facts<'_>,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    let (member, policy, now) = (facts.member, &rules.policy, ctx.now);
    let Some(email) = &member.email else {
        return Decided::answer(Outcome::new(OutcomeKind::NoEmail));
    };
    if member.email_verified && !facts.enrols {
        return Decided::answer(Outcome::new(OutcomeKind::Stored));
    }
    let later = |kind, then| {
        let retry_after = Some(seconds_until(then, now));
        Decided::answer(Outcome { retry_after, ..Outcome::new(kind) })
    };
    if let Some(then) = full_until(policy.wrong_per_day, facts.wrong, now) {
        return later(OutcomeKind::TooManyWrongCodes, then);
    }
    let again = facts.proof.map(|proof| proof.created_at + policy.resend_wait(1));
    if let Some(then) = again.filter(|then| *then > now) {
        return later(OutcomeKind::Cooldown, then);
    }
    let life = (policy.code_digits, now, now + policy.challenge_life);
    let proof = EmailProof::draw(facts.id, member, &email.index, life, &rules.keys, ctx.rng);
    let notice = Notice {
        id: proof.notice(),
        kind: NoticeKind::EmailProof,
        recipient: member.id.clone(),
        to_before: false,
        event: EventRecordRef {
            account: request.body.account.clone(),
            member: member.id.clone(),
            actor: member.id.clone(),
            at: now,
            old_number: None,
            new_number: None,
        },
        state: AttemptState::Queued,
        tries: 0,
        lease_until: None,
    };
    let reply = Outcome {
        channel: Some(Channel::Email),
        expires_at: Some(proof.expires_at),
        retry_after: Some(seconds_until(now + policy.resend_wait(1), now)),
        ..Outcome::new(OutcomeKind::CodeMailed)
    };
    Decided {
        label: "code_mailed",
        effects: vec![Command::SendNotice { notice: notice.id, tries: 0 }.into()],
        write: Some(Write::New { proof: Box::new(proof), notice: Box::new(notice) }),
        reply: Some(reply),
    }
}

/// The rule of the guess. Counted before compared, as every guess; what cannot be the code is neither.
pub fn confirm(
    request: &Request<ConfirmEmail>,
    facts: &Facts<'_>,
    rules: &RuleInputs,
    now: Timestamp,
) -> Decided<Write> {
    let (member, policy) = (facts.member, &rules.policy);
    let answer = |kind| Decided::answer(Outcome::new(kind));
    if member.email_verified && !facts.enrols {
        return answer(OutcomeKind::Stored);
    }
    let Some(proof) = facts.proof else { return answer(OutcomeKind::NotFound) };
    if !proof.to(member) {
        return answer(OutcomeKind::TargetChanged);
    }
    if now >= proof.expires_at {
        return answer(OutcomeKind::Expired);
    }
    let left = policy.wrong_per_challenge - proof.wrong;
    if left <= 0 {
        return answer(OutcomeKind::Locked);
    }
    if let Some(then) = full_until(policy.wrong_per_day, facts.wrong, now) {
        let retry_after = Some(seconds_until(then, now));
        let full = Outcome::new(OutcomeKind::TooManyWrongCodes);
        return Decided::answer(Outcome { retry_after, ..full });
    }
    let Some(guess) = proof.typed(request.body.guess.expose()) else {
        return Decided::answer(invalid_guess(Outcome::new(OutcomeKind::InvalidGuess), left));
    };
    if !proof.is(&guess, &rules.keys) {
        let kind = if left == 1 { OutcomeKind::Locked } else { OutcomeKind::WrongCode };
        let reply = Outcome { attempts_left: Some(left - 1), ..Outcome::new(kind) };
        let write = Write::Wrong { proof: Box::new(proof.clone()), at: now };
        return Decided { write: Some(write), ..Decided::answer(reply) };
    }
    let by = ChangeAuthor {
        app: &request.app,
        actor: None,
        origin: None,
        challenge: None,
        client: Client::default(),
    };
    let email_proved_at = if facts.enrols { Some(now) } else { member.email_proved_at };
    let after = Member { email_verified: true, email_proved_at, ..member.clone() };
    let (change, effects) = change::change(Some(member), after, &[], &by, &rules.keys, now);
    let write = Some(Write::Confirmed(change));
    Decided { write, effects, ..Decided::answer(Outcome::new(OutcomeKind::Stored)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Sealed;
    use crate::rules::tests_support::{NOW, account, ctx, member, rules};
    use time::Duration;

    fn unconfirmed() -> Member {
        Member { email_verified: false, ..member() }
    }

    fn facts<'a>(member: &'a Member, proof: Option<&'a EmailProof>) -> Facts<'a> {
        Facts { id: Uuid::from_u128(1), member, enrols: false, proof, wrong: &[] }
    }

    fn asked(facts: &Facts<'_>, seconds: i64) -> Decided<Write> {
        let ask = ProveEmail { account: account().id, member: member().id };
        let request = Request { app: account().app, body: ask };
        prove(&request, facts, &rules(), &mut ctx(NOW + Duration::seconds(seconds)))
    }

    fn drawn() -> EmailProof {
        match asked(&facts(&unconfirmed(), None), 0).write {
            Some(Write::New { proof, .. }) => *proof,
            other => panic!("{other:?}"),
        }
    }

    fn guess(text: &str, facts: &Facts<'_>, seconds: i64) -> Decided<Write> {
        let guess = Sealed::new(text);
        let ask = ConfirmEmail { account: account().id, member: member().id, guess };
        let request = Request { app: account().app, body: ask };
        confirm(&request, facts, &rules(), NOW + Duration::seconds(seconds))
    }

    fn kind(decided: &Decided<Write>) -> OutcomeKind {
        decided.reply.as_ref().unwrap().outcome
    }

    #[test]
    fn r13_the_code_confirms_the_address_it_went_to_and_nothing_else() {
        let (proof, who) = (drawn(), unconfirmed());
        let code = proof.code(&rules().keys).unwrap();
        let right = guess(code.digits(), &facts(&who, Some(&proof)), 1);
        let Some(Write::Confirmed(change)) = right.write else { panic!() };
        assert!(change.member.email_verified && change.activity.is_empty());
        let mut moved = who.clone();
        moved.email.as_mut().unwrap().index = vec![9];
        let elsewhere = guess(code.digits(), &facts(&moved, Some(&proof)), 1);
        assert_eq!(kind(&elsewhere), OutcomeKind::TargetChanged);
        assert_eq!(
            kind(&guess(code.digits(), &facts(&who, Some(&proof)), 600)),
            OutcomeKind::Expired
        );
    }

    /// A code that is not the proof's.
    fn wrong(proof: &EmailProof) -> &'static str {
        let code = proof.code(&rules().keys).unwrap();
        if code.digits() == "000000" { "111111" } else { "000000" }
    }

    #[test]
    fn r22_a_guess_that_cannot_be_the_code_of_a_proof_costs_nothing() {
        let (proof, who) = (drawn(), unconfirmed());
        for text in ["", "x", "12345", "1234567"] {
            let decided = guess(text, &facts(&who, Some(&proof)), 1);
            assert_eq!(kind(&decided), OutcomeKind::InvalidGuess, "{text}");
            assert_eq!(decided.reply.unwrap().attempts_left, Some(5));
            assert!(decided.write.is_none() && decided.effects.is_empty());
        }
    }

    #[test]
    fn r13_five_wrong_codes_end_it_and_the_member_s_budget_holds_over_all_proofs() {
        let (mut proof, who) = (drawn(), unconfirmed());
        let not_it = wrong(&proof);
        for wrong in 0..5 {
            proof.wrong = wrong;
            let decided = guess(not_it, &facts(&who, Some(&proof)), 1);
            assert_eq!(decided.reply.unwrap().attempts_left, Some(4 - wrong));
        }
        proof.wrong = 5;
        assert_eq!(kind(&guess(not_it, &facts(&who, Some(&proof)), 1)), OutcomeKind::Locked);
        assert_eq!(kind(&guess("x", &facts(&who, Some(&proof)), 1)), OutcomeKind::Locked);
        let wrong: Vec<_> = (0..15).map(|n| NOW - Duration::minutes(n)).collect();
        let spent = Facts { wrong: &wrong, ..facts(&who, None) };
        assert_eq!(kind(&asked(&spent, 0)), OutcomeKind::TooManyWrongCodes);
    }

    #[test]
    fn r13_mails_are_a_minute_apart_and_a_confirmed_address_gets_none() {
        let (proof, who) = (drawn(), unconfirmed());
        let early = asked(&facts(&who, Some(&proof)), 59);
        assert_eq!(
            (kind(&early), early.reply.unwrap().retry_after),
            (OutcomeKind::Cooldown, Some(1))
        );
        assert_eq!(kind(&asked(&facts(&who, Some(&proof)), 60)), OutcomeKind::CodeMailed);
        assert_eq!(kind(&asked(&facts(&member(), None), 0)), OutcomeKind::Stored);
        let nowhere = Member { email: None, ..who };
        assert_eq!(kind(&asked(&facts(&nowhere, None), 0)), OutcomeKind::NoEmail);
    }
}
