//! The life of a challenge, but for its verification: issue, resend, cancel, expire, abandon.

use serde_json::Value;

use super::limits::NumberFacts;
use super::told::{end, ended, outcome};
use super::{Decided, DecisionContext, Ending, RuleInputs, issue, resend};
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{AttemptState, CancelReason, Challenge, Channel, State};
use crate::domain::id::{AppName, ChallengeId};
use crate::domain::member::Member;
use crate::message::{
    CancelChallenge, Command, Event, IssueChallenge, Message, Outcome, OutcomeKind, Rejected,
    Request, ResendChallenge, Subject,
};

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new login.
    Issue(Request<IssueChallenge>),
    /// The code once more.
    Resend(Request<ResendChallenge>),
    /// The login was given up.
    Cancel(Request<CancelChallenge>),
    /// The timer says that the time is over.
    Expire(ChallengeId),
    /// A sender says that its last send failed.
    Abandon(ChallengeId),
}

impl Message for Ask {
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        match key {
            "challenge.issue" => Request::read(key, app, body).map(Self::Issue),
            "challenge.resend" => Request::read(key, app, body).map(Self::Resend),
            "challenge.cancel" => Request::read(key, app, body).map(Self::Cancel),
            _ => match Command::read(key, app, body)? {
                Command::Expire { challenge } => Ok(Self::Expire(challenge)),
                Command::Abandon { challenge } => Ok(Self::Abandon(challenge)),
                _ => Err(Rejected::malformed("this queue does not take that command")),
            },
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Issue(request) => request.subject(),
            Self::Resend(request) => request.subject(),
            Self::Cancel(request) => request.subject(),
            Self::Expire(challenge) | Self::Abandon(challenge) => Subject::of(challenge.0),
        }
    }

    fn given_up(&self) -> Option<Event> {
        match self {
            Self::Issue(request) => {
                Some(issue::refused(&issue::ChallengeSpec::login(request), "given_up"))
            }
            _ => None,
        }
    }
}

/// What is known when an [`Ask`] is decided.
#[derive(Clone, Debug)]
pub enum Facts {
    /// For an issue.
    Issue(Box<issue::Facts>),
    /// For everything else.
    Challenge(Box<ChallengeFacts>),
    /// The account is not the app's, or nobody knows the member or the challenge.
    Unknown {
        /// Whether the account, at least, is the app's.
        own_account: bool,
    },
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

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A new challenge.
    Issue(issue::Issued),
    /// A further send.
    Grant(resend::Grant),
    /// An end.
    End(Ending),
}

/// The rule.
pub fn decide(
    ask: &Ask,
    facts: Facts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    match (ask, facts) {
        (Ask::Issue(request), Facts::Issue(facts)) => {
            issue::decide(request, &facts, rules, ctx).map(Write::Issue)
        }
        (Ask::Issue(request), Facts::Unknown { own_account }) => {
            let demand = issue::ChallengeSpec::login(request);
            issue::refuse(&demand, own_account, Outcome::new(OutcomeKind::NotFound))
        }
        (Ask::Resend(request), Facts::Challenge(facts)) => {
            resend::decide(&request.ask, &facts, &rules.policy, ctx.now)
        }
        (Ask::Cancel(_), Facts::Challenge(facts)) => cancel(&facts, ctx.now),
        (Ask::Expire(_), Facts::Challenge(facts)) => expire(&facts.challenge, ctx.now),
        (Ask::Abandon(_), Facts::Challenge(facts)) => abandon(&facts, ctx.now),
        _ => Decided::answer(Outcome::new(OutcomeKind::NotFound)),
    }
}

fn cancel(facts: &ChallengeFacts, now: Timestamp) -> Decided<Write> {
    let challenge = &facts.challenge;
    if !challenge.live(now) {
        return Decided::answer(ended(challenge, facts.replaced));
    }
    let reason = Some(CancelReason::Requested);
    let end = end(challenge, State::Cancelled, reason, now);
    Decided { reply: Some(outcome(challenge, OutcomeKind::Cancelled)), ..end }
}

fn expire(challenge: &Challenge, now: Timestamp) -> Decided<Write> {
    if challenge.state != State::Open {
        return Decided::nothing("ended_before");
    }
    if now < challenge.expires_at {
        // By a clock that was set back since. The timer looks a second time, under another id.
        return Decided::nothing("not_due");
    }
    end(challenge, State::Expired, None, now)
}

/// A challenge whose every message failed cannot be answered by anybody.
fn abandon(facts: &ChallengeFacts, now: Timestamp) -> Decided<Write> {
    let hope = facts
        .attempts
        .iter()
        .any(|(_, state)| !matches!(state, AttemptState::Failed | AttemptState::Skipped));
    if facts.challenge.state != State::Open {
        Decided::nothing("ended_before")
    } else if hope {
        Decided::nothing("not_abandoned")
    } else {
        end(&facts.challenge, State::Undeliverable, None, now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::issue_request;
    use super::*;
    use crate::message::EventKind;

    #[test]
    fn a_login_that_is_given_up_is_told_as_refused_and_a_command_is_not() {
        let event = Ask::Issue(issue_request()).given_up().unwrap();
        assert_eq!(event.kind, EventKind::ChallengeRefused);
        assert_eq!(event.reason.as_deref(), Some("given_up"));
        assert_eq!(event.login, Some(issue_request().ask.login));
        assert_eq!(Ask::Expire(ChallengeId(uuid::Uuid::nil())).given_up(), None);
    }
}
