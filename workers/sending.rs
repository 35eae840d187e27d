//! What the senders have in common.

use std::sync::{Mutex, PoisonError};

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::gateway::{self, Mail, MailGateway};
use stepup::message::{Command, Decoded};
use stepup::observe;
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
        gateway::Answer::Closed { code, .. } => Answer::Closed { code },
        gateway::Answer::Refused { scope, code } => {
            Answer::Refused { code: format!("{}_{code}", scope.label()) }
        }
        gateway::Answer::Unknown { code } => Answer::Unknown { code },
    }
}

/// A mail server that is watched: that it refuses us is told when it begins and when it ends, and not
/// for each mail.
pub(crate) struct Watched<G> {
    gateway: G,
    worker: &'static str,
    /// Why it refuses us, if it does.
    refused: Mutex<Option<String>>,
}

impl<G> Watched<G> {
    /// Watches on behalf of a worker.
    pub(crate) fn new(gateway: G, worker: &'static str) -> Self {
        observe::set_mail_refused(worker, false);
        Self { gateway, worker, refused: Mutex::default() }
    }

    fn note(&self, answer: &gateway::Answer) {
        use gateway::Answer;
        let now = match answer {
            Answer::Closed { refused: true, code } => Some(code),
            Answer::Accepted { .. } | Answer::Refused { .. } | Answer::Unknown { .. } => None,
            // It was not there, or not for now: that tells nothing of what it thinks of us.
            Answer::Closed { refused: false, .. }
            | Answer::Throttled { .. }
            | Answer::Transient { .. } => return,
        };
        let mut before = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if before.as_ref() != now {
            observe::mail_refused(self.worker, now.map(String::as_str));
            *before = now.cloned();
        }
    }
}

impl<G: MailGateway> MailGateway for Watched<G> {
    async fn send(&self, mail: Mail<'_>) -> gateway::Answer {
        let answer = self.gateway.send(mail).await;
        self.note(&answer);
        answer
    }
}
