//! What the two senders of codes have in common.

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::gateway;
use stepup::message::{Command, Decoded};
use stepup::rules::Rules;
use stepup::rules::delivery::{self, Answer, Ask, Dispatch, Facts};

/// The challenges whose codes are to be sent.
pub(crate) fn challenges(batch: &[&Decoded<Command>]) -> Result<Vec<uuid::Uuid>, Fault> {
    let ask = |decoded: &&Decoded<Command>| Ask::of(&decoded.message).map(|ask| ask.challenge.0);
    let found: Option<Vec<_>> = batch.iter().map(ask).collect();
    found.ok_or_else(|| Fault::Permanent("this queue does not take that command".into()))
}

/// The verdict on a command to send.
pub(crate) fn decided(
    command: &Decoded<Command>,
    facts: Option<Facts>,
    rules: &Rules,
    now: Timestamp,
) -> Dispatch {
    let Some(ask) = Ask::of(&command.message) else {
        unreachable!("`load` has refused what is no command to send")
    };
    delivery::decide(&ask, facts, rules, now)
}

/// A gateway's answer, as the rules know it.
pub(crate) fn told(answer: gateway::Answer) -> Answer {
    match answer {
        gateway::Answer::Accepted { provider_ref } => Answer::Accepted { provider_ref },
        gateway::Answer::Throttled { retry_after_seconds } => {
            Answer::NotNow { retry_after_seconds, code: "throttled".to_owned() }
        }
        gateway::Answer::Transient { retry_after_seconds, code } => {
            Answer::NotNow { retry_after_seconds, code }
        }
        gateway::Answer::Refused { scope, code } => {
            Answer::Refused { code: format!("{}_{code}", scope.label()) }
        }
        gateway::Answer::Unknown { code } => Answer::Unknown { code },
    }
}
