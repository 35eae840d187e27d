//! What an error of the client library means for us, and the deadlines of every call.

use std::{future::Future, time::Duration};

use lapin::ErrorKind;

use crate::fault::{Dependency, Fault};

/// To open a connection, TLS included. Longer than a call: a broker that is starting accepts
/// connections before it answers on them.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// For a call that the broker answers at once when it is well. Ours ends before the heartbeat
/// (10 s, noticed after two) does, so that a session is never longer in doubt than this.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// To declare or delete one thing. A quorum queue starts an election of its own, which has taken
/// seconds on a busy disk.
pub(super) const TOPOLOGY_DEADLINE: Duration = Duration::from_secs(30);

/// From publishing to the confirm, for a whole batch. Later the outcome is *unknown*: the messages
/// may be stored, and are to be published again with the same ids.
pub(super) const CONFIRM_DEADLINE: Duration = Duration::from_secs(5);

/// To hand replies to the broker. Short, since they are best effort and a batch waits for it.
pub(super) const REPLY_DEADLINE: Duration = Duration::from_secs(1);

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// A fault of the broker, or of the way to it.
pub fn away(why: impl Into<String>) -> Fault {
    Fault::Down(Dependency::Broker, why.into())
}

/// A fault, and whether it is that an exchange, a queue or a binding is not there.
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) missing: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, missing: false }
    }
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        failed.fault
    }
}

/// [`classify`], for those who can declare what is missing.
pub(super) fn failed(doing: &str, error: &lapin::Error) -> Failed {
    let not_found = |error: &lapin::protocol::AMQPError| error.get_id() == NOT_FOUND;
    let missing = matches!(error.kind(), ErrorKind::ProtocolError(error) if not_found(error));
    Failed { fault: classify(doing, error), missing }
}

/// Whether our user lacks a right.
pub(super) fn is_refused_access(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == ACCESS_REFUSED)
}

/// Classifies an error. Nothing the broker answers is a fault of a message: it is unreachable, has
/// crashed (541 while it does) or lacks what we need of it, and an operator can mend each while we
/// wait.
pub fn classify(doing: &str, error: &lapin::Error) -> Fault {
    let advice = match error.kind() {
        // Its text shows the bytes that could not be parsed, which belong to a message.
        ErrorKind::ParsingError(_) => {
            return away(format!("{doing}: it sent what is no AMQP"));
        }
        ErrorKind::ProtocolError(error) => match error.get_id() {
            ACCESS_REFUSED => ": check the password and the rights of the broker user",
            NOT_FOUND => ": run `stepup topology`",
            // The same number ends a channel that acks what it has not got.
            PRECONDITION_FAILED if error.get_message().as_str().contains("inequivalent") => {
                ": see `stepup topology --check`"
            }
            _ => "",
        },
        _ => "",
    };
    away(format!("{doing}: {error}{advice}"))
}

/// Awaits a call, but not longer than `deadline`.
///
/// # Errors
/// `Down` when the call fails or takes longer.
pub async fn within<T>(
    doing: &str,
    deadline: Duration,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Fault> {
    Ok(attempt(doing, deadline, call).await?)
}

/// [`within`], for those who can declare what is missing.
pub(super) async fn attempt<T>(
    doing: &str,
    deadline: Duration,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(doing, &error)),
        Err(_) => Err(away(format!("{doing}: no answer in {} s", deadline.as_secs())).into()),
    }
}
