//! What a signed-in member asks for: changes to their own factor, and approval for a change of a
//! sensitive setting. Each leads to a challenge, which from then on is like any other.

use crate::message::{Outcome, OutcomeKind};
use crate::rules::challenge::issue;
use crate::rules::challenge::spec::Issued;
use crate::rules::factor::change::Change;
use crate::rules::factor::facts::MemberFacts;
use crate::rules::factor::message::SettingsMessage;
use crate::rules::factor::{email_backup, email_proof, enrolment};
use crate::rules::inputs::RuleInputs;
use crate::rules::setting::approval;
use crate::rules::verdict::{Decided, DecisionContext};

/// What is known when a [`SettingsMessage`] is decided.
#[derive(Clone, Debug)]
pub enum Facts {
    /// The account is not the app's, or the member or the approval does not exist.
    Unknown {
        /// Whether the account, at least, is the app's.
        own_account: bool,
    },
    /// Of a member.
    Member(Box<MemberFacts>),
    /// Of an approval.
    Approval(Box<approval::Facts>),
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A new challenge.
    Challenge(Issued),
    /// A change that takes no code.
    Change(Change),
    /// The proof of an address.
    EmailProof(email_proof::Write),
    /// An approval that is spent.
    Spend(approval::Spent),
}

/// The rule.
pub fn decide(
    ask: &SettingsMessage,
    facts: Facts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    match (ask, facts) {
        (SettingsMessage::Redeem(request), Facts::Approval(facts)) => {
            approval::redeem(request, &facts, &rules.keys, ctx.now).map(Write::Spend)
        }
        (_, Facts::Member(facts)) if !facts.issue.member.active => unknown(ask, true),
        (SettingsMessage::SetEmailBackup(request), Facts::Member(facts)) => {
            email_backup::set_email_backup(request, &facts.issue.member, &rules.keys, ctx.now)
                .map(Write::Change)
        }
        (SettingsMessage::ProveEmail(request), Facts::Member(facts)) => {
            email_proof::prove(request, &facts.of_email(), rules, ctx).map(Write::EmailProof)
        }
        (SettingsMessage::ConfirmEmail(request), Facts::Member(facts)) => {
            email_proof::confirm(request, &facts.of_email(), rules, ctx.now).map(Write::EmailProof)
        }
        (SettingsMessage::RequestChange(request), Facts::Member(facts)) => {
            approval::request(request, &facts.issue, rules, ctx).map(Write::Challenge)
        }
        (_, Facts::Member(facts)) => {
            enrolment::challenge(ask, &facts, rules, ctx).map(Write::Challenge)
        }
        (_, Facts::Unknown { own_account }) => unknown(ask, own_account),
        (_, Facts::Approval(_)) => Decided::answer(Outcome::new(OutcomeKind::NotFound)),
    }
}

/// The account, the member or the approval is not known to the app. Where a challenge was wanted,
/// its refusal is an event.
fn unknown(ask: &SettingsMessage, own_account: bool) -> Decided<Write> {
    let outcome = Outcome::new(OutcomeKind::NotFound);
    match ask.blind_demand() {
        Some(demand) => issue::refuse(&demand, own_account, outcome),
        None => Decided::answer(outcome),
    }
}
