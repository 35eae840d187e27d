//! What is known when something about a challenge is decided.

use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{AttemptState, Challenge, Channel};
use crate::domain::id::ChallengeId;
use crate::domain::member::Member;
use crate::rules::limits::NumberFacts;

/// What is known when a challenge is asked for.
#[derive(Clone, Debug)]
pub struct IssueFacts {
    /// The id the challenge would have: that of the request.
    pub id: ChallengeId,
    /// The account; it is the app's.
    pub account: Account,
    /// The member.
    pub member: Member,
    /// The last challenge for the same.
    pub current: Option<Challenge>,
    /// The member's wrong codes in the longest window.
    pub wrong: Vec<Timestamp>,
    /// What was sent to the number that the code would go to.
    pub number: NumberFacts,
    /// Whether that number belongs to a company.
    pub owned: bool,
}

/// What is known of a challenge.
#[derive(Clone, Debug)]
pub struct ChallengeFacts {
    /// The challenge.
    pub challenge: Challenge,
    /// Its account.
    pub account: Account,
    /// Its member, today.
    pub member: Member,
    /// Whether a newer challenge completes the same pending login.
    pub replaced: bool,
    /// Its deliveries so far.
    pub attempts: Vec<(Channel, AttemptState)>,
    /// What was sent to its number.
    pub number: NumberFacts,
}

/// What is known when a guess is judged.
#[derive(Clone, Debug)]
pub struct VerificationFacts {
    /// The challenge it names.
    pub challenge: Challenge,
    /// Its account.
    pub account: Account,
    /// Its member.
    pub member: Member,
    /// The member's other open challenges. Not looked for at a login, which changes nothing.
    pub open: Vec<Challenge>,
    /// Whether the number to bind belongs to a company by now. Not looked for where none is bound.
    pub owned: bool,
    /// Whether a newer challenge completes the same pending login.
    pub replaced: bool,
    /// The channels by which the code was claimed so far.
    pub claimed: Vec<Channel>,
    /// The member's wrong codes in the longest window.
    pub wrong: Vec<Timestamp>,
}
