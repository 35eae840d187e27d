//! Events and outcomes about a challenge, and its end.

use crate::domain::Timestamp;
use crate::domain::approval::Operation;
use crate::domain::challenge::{CancelReason, Challenge, Purpose, State};
use crate::domain::id::ChallengeId;
use crate::message::{Event, EventKind, Outcome, OutcomeKind};

/// The end of a challenge. Written only where it is still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Which.
    pub challenge: ChallengeId,
    /// How.
    pub state: State,
    /// Why, if cancelled.
    pub reason: Option<CancelReason>,
    /// When.
    pub at: Timestamp,
}

impl Ending {
    /// The end of a challenge that cannot go on.
    pub const fn cancelled(challenge: ChallengeId, reason: CancelReason, at: Timestamp) -> Self {
        Self { challenge, state: State::Cancelled, reason: Some(reason), at }
    }
}

/// The terminal event of a challenge.
pub(in crate::rules) fn ending_event(
    challenge: &Challenge,
    state: State,
    reason: Option<CancelReason>,
) -> Event {
    let kind = match state {
        State::Open | State::Expired => EventKind::ChallengeExpired,
        State::Verified => EventKind::ChallengeVerified,
        State::Locked => EventKind::ChallengeLocked,
        State::Cancelled => EventKind::ChallengeCancelled,
        State::Superseded => EventKind::ChallengeSuperseded,
        State::Undeliverable => EventKind::ChallengeUndeliverable,
    };
    Event { reason: reason.map(|reason| reason.label().to_owned()), ..about(challenge, kind) }
}

/// An event about a challenge.
pub(in crate::rules) fn about(challenge: &Challenge, kind: EventKind) -> Event {
    Event {
        member: Some(challenge.member.clone()),
        challenge: Some(challenge.id),
        login: Some(challenge.login.clone()),
        purpose: Some(challenge.purpose),
        setting: challenge.setting.clone(),
        operation: Operation::of_challenge(challenge).map(|operation| operation.label()),
        ..Event::new(kind, Some(challenge.account.clone()))
    }
}

/// An outcome about a challenge.
pub(in crate::rules) fn outcome(challenge: &Challenge, kind: OutcomeKind) -> Outcome {
    let purpose = Some(challenge.purpose).filter(|purpose| *purpose != Purpose::Login);
    Outcome { challenge: Some(challenge.id), purpose, ..Outcome::new(kind) }
}

/// The answer to what cannot be the code: nothing was compared, and `left` guesses are still left.
pub(in crate::rules) fn invalid_guess(reply: Outcome, left: i16) -> Outcome {
    Outcome { field: Some("guess"), attempts_left: Some(left), ..reply }
}

/// The answer about a challenge that no longer takes anything.
pub(in crate::rules) fn ended(challenge: &Challenge, replaced: bool) -> Outcome {
    let kind = match challenge.state {
        State::Verified => OutcomeKind::AlreadyUsed,
        _ if replaced => OutcomeKind::Superseded,
        // Open, but past its time: the timer has not come round yet.
        State::Open | State::Expired => OutcomeKind::Expired,
        State::Locked => OutcomeKind::Locked,
        State::Cancelled => cancelled_as(challenge.reason),
        State::Superseded => OutcomeKind::Superseded,
        State::Undeliverable => OutcomeKind::Undeliverable,
    };
    outcome(challenge, kind)
}

/// What a challenge that was cancelled answers. Where the person can do something about the reason,
/// it is said.
pub(in crate::rules) const fn cancelled_as(reason: Option<CancelReason>) -> OutcomeKind {
    match reason {
        Some(CancelReason::TargetChanged) => OutcomeKind::TargetChanged,
        Some(CancelReason::CompanyOwnedNumber) => OutcomeKind::CompanyOwnedNumber,
        Some(CancelReason::FactorEnabled) => OutcomeKind::AlreadyEnabled,
        Some(CancelReason::MandatoryByAccount) => OutcomeKind::MandatoryByAccount,
        Some(
            CancelReason::Requested
            | CancelReason::FactorDisabled
            | CancelReason::MemberDeactivated,
        )
        | None => OutcomeKind::Cancelled,
    }
}
