//! The life of a challenge, but for its verification: issue, resend, cancel, expire, abandon.

use serde_json::Value;

use crate::domain::Timestamp;
use crate::domain::challenge::{AttemptState, CancelReason, Challenge, State};
use crate::domain::id::{AppName, ChallengeId};
use crate::message::{
    CancelChallenge, Command, Event, IssueChallenge, Message, Outcome, OutcomeKind, Rejected,
    Request, RequestBody, ResendChallenge, Subject,
};
use crate::rules::challenge::events::{Ending, ended, ending_event, outcome};
use crate::rules::challenge::facts::{ChallengeFacts, IssueFacts};
use crate::rules::challenge::issue;
use crate::rules::challenge::resend::{self, Grant};
use crate::rules::challenge::spec::{ChallengeSpec, Issued};
use crate::rules::inputs::RuleInputs;
use crate::rules::verdict::{Decided, DecisionContext};

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeGenerationMessage {
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

impl Message for CodeGenerationMessage {
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        match key {
            IssueChallenge::KEY => Request::read(key, app, body).map(Self::Issue),
            ResendChallenge::KEY => Request::read(key, app, body).map(Self::Resend),
            CancelChallenge::KEY => Request::read(key, app, body).map(Self::Cancel),
            _ => Command::read_as(key, body, |command| match *command {
                Command::Expire { challenge } => Some(Self::Expire(challenge)),
                Command::Abandon { challenge } => Some(Self::Abandon(challenge)),
                _ => None,
            }),
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
}

impl CodeGenerationMessage {
    /// The event that says that the request was given up.
    pub fn given_up(&self) -> Option<Event> {
        match self {
            Self::Issue(request) => {
                Some(issue::refused(&ChallengeSpec::login(request), "given_up"))
            }
            _ => None,
        }
    }
}

/// What is known when a [`CodeGenerationMessage`] is decided.
#[derive(Clone, Debug)]
pub enum Facts {
    /// For an issue.
    Issue(Box<IssueFacts>),
    /// For everything else.
    Challenge(Box<ChallengeFacts>),
    /// The account is not the app's, or the member or the challenge does not exist.
    Unknown {
        /// Whether the account, at least, is the app's.
        own_account: bool,
    },
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A new challenge.
    Issue(Issued),
    /// A further send.
    Grant(Grant),
    /// An end.
    End(Ending),
}

/// The rule.
pub fn decide(
    ask: &CodeGenerationMessage,
    facts: Facts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    match (ask, facts) {
        (CodeGenerationMessage::Issue(request), Facts::Issue(facts)) => {
            issue::decide(request, &facts, rules, ctx).map(Write::Issue)
        }
        (CodeGenerationMessage::Issue(request), Facts::Unknown { own_account }) => {
            let demand = ChallengeSpec::login(request);
            issue::refuse(&demand, own_account, Outcome::new(OutcomeKind::NotFound))
        }
        (CodeGenerationMessage::Resend(request), Facts::Challenge(facts)) => {
            resend::decide(&request.body, &facts, &rules.policy, ctx.now).map(Write::Grant)
        }
        (CodeGenerationMessage::Cancel(_), Facts::Challenge(facts)) => cancel(&facts, ctx.now),
        (CodeGenerationMessage::Expire(_), Facts::Challenge(facts)) => {
            expire(&facts.challenge, ctx.now)
        }
        (CodeGenerationMessage::Abandon(_), Facts::Challenge(facts)) => abandon(&facts, ctx.now),
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

/// Ends a challenge, with its event.
fn end(
    challenge: &Challenge,
    state: State,
    reason: Option<CancelReason>,
    now: Timestamp,
) -> Decided<Write> {
    let event = ending_event(challenge, state, reason);
    Decided {
        label: state.label(),
        write: Some(Write::End(Ending { challenge: challenge.id, state, reason, at: now })),
        effects: vec![event.into()],
        reply: None,
    }
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
    use super::*;
    use crate::message::EventKind;
    use crate::rules::tests_support::issue_request;

    #[test]
    fn a_login_that_is_given_up_is_told_as_refused_and_a_command_is_not() {
        let event = CodeGenerationMessage::Issue(issue_request()).given_up().unwrap();
        assert_eq!(event.kind, EventKind::ChallengeRefused);
        assert_eq!(event.reason.as_deref(), Some("given_up"));
        assert_eq!(event.login, Some(issue_request().body.login));
        assert_eq!(CodeGenerationMessage::Expire(ChallengeId(uuid::Uuid::nil())).given_up(), None);
    }
}
