//! What is known of a member who asks.

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{Challenge, Purpose};
use crate::domain::email_proof::EmailProof;
use crate::domain::id::{ChallengeId, LoginId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::PhoneNumber;
use crate::rules::challenge::facts::IssueFacts;
use crate::rules::challenge::void::number_operation;
use crate::rules::factor::email_proof;
use crate::rules::limits::NumberFacts;

/// What to look up before the decision, once account and member are known.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The pending thing whose last challenge counts.
    pub pending: Option<(Purpose, LoginId)>,
    /// The number whose limits count, by its blind index.
    pub to: Option<Vec<u8>>,
    /// The number to be bound.
    pub bind: Option<Vec<u8>>,
    /// The challenge that is shown as a proof.
    pub proof: Option<ChallengeId>,
    /// Whether the proof of the member's address counts.
    pub email_proof: bool,
}

/// What was found of a [`Wanted`].
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The last challenge for the same.
    pub current: Option<Challenge>,
    /// The member's wrong codes in the longest window.
    pub wrong: Vec<Timestamp>,
    /// What was sent to the number that the code would go to.
    pub number: NumberFacts,
    /// Whether the number to be bound belongs to a company.
    pub owned: bool,
    /// The proof, if it is a challenge of this member.
    pub proof: Option<Challenge>,
    /// The open proof of the member's address.
    pub email_proof: Option<EmailProof>,
}

/// What is known of a member who asks.
#[derive(Clone, Debug)]
pub struct MemberFacts {
    /// What every challenge is issued by.
    pub issue: IssueFacts,
    /// The proof, if it is a challenge of this member.
    pub proof: Option<Challenge>,
    /// The open proof of the member's address.
    pub email_proof: Option<EmailProof>,
}

impl MemberFacts {
    /// The facts of a member, put together.
    pub fn new(id: ChallengeId, account: Account, member: Member, found: Found) -> Self {
        let Found { current, wrong, number, owned, proof, email_proof } = found;
        let issue = IssueFacts { id, account, member, current, wrong, number, owned };
        Self { issue, proof, email_proof }
    }

    pub(in crate::rules) fn of_email(&self) -> email_proof::Facts<'_> {
        email_proof::Facts {
            id: self.issue.id.0,
            member: &self.issue.member,
            enrols: self.issue.member.must_enrol(self.issue.account.mandatory),
            proof: self.email_proof.as_ref(),
            wrong: &self.issue.wrong,
        }
    }
}

/// What the code for a change of number is bound to.
pub(in crate::rules) fn operation(
    member: &Member,
    number: Option<&PhoneNumber>,
    keys: &Keyring,
) -> Vec<u8> {
    let current = member.phone.as_ref().map(|phone| phone.index.as_slice());
    match number {
        Some(number) => number_operation(current, &keys.blind("phone", number.e164())),
        None => number_operation(current, current.unwrap_or_default()),
    }
}
