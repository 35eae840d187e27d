//! How one send or notice is settled.

use crate::domain::challenge::AttemptState;
use crate::rules::delivery::{Answer, Settled};

/// How one send is settled.
pub struct Settlement<'a> {
    pub(in crate::store) state: AttemptState,
    pub(in crate::store) answer: Option<&'a str>,
    pub(in crate::store) provider_ref: Option<&'a str>,
}

impl<'a> Settlement<'a> {
    /// `None` where there is nothing to settle.
    pub(in crate::store) fn of(settled: &'a Settled) -> Option<Self> {
        let as_state = |state, answer| Self { state, answer, provider_ref: None };
        match settled {
            Settled::Answered(answer) => Some(Self::answered(answer)),
            Settled::Lost => Some(as_state(AttemptState::Unknown, Some("process_died"))),
            Settled::Skipped(why) => Some(as_state(AttemptState::Skipped, Some(why))),
            Settled::Offered | Settled::Done => None,
        }
    }

    pub(in crate::store) fn answered(answer: &'a Answer) -> Self {
        let settled = |state, code: &'a String| Self {
            state,
            answer: Some(code.as_str()),
            provider_ref: None,
        };
        match answer {
            Answer::Accepted { provider_ref } => Self {
                state: AttemptState::Accepted,
                answer: None,
                provider_ref: Some(provider_ref.as_str()),
            },
            Answer::NotNow { code, .. } | Answer::Closed { code } => {
                settled(AttemptState::Queued, code)
            }
            Answer::Refused { code } => settled(AttemptState::Failed, code),
            Answer::Unknown { code } => settled(AttemptState::Unknown, code),
        }
    }
}
