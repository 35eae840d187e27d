//! What the tasks of a process share besides its connections.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::{
    sync::{Mutex, MutexGuard, broadcast},
    time::Instant,
};

/// More than the queues of the table. A consumer that has missed some opens anew.
const DECLARED_MAX: usize = 64;

/// When the last repair began and ended.
type LastRepair = Option<(Instant, Instant)>;

/// The repairs of this process.
pub(super) struct Repairs {
    /// Held while one runs.
    last: Mutex<LastRepair>,
    /// The queues that were declared again, without the prefix.
    declared: broadcast::Sender<String>,
}

impl Default for Repairs {
    fn default() -> Self {
        Self { last: Mutex::default(), declared: broadcast::Sender::new(DECLARED_MAX) }
    }
}

impl Repairs {
    /// Waits until no repair runs, and keeps others from starting.
    pub(super) async fn last(&self) -> MutexGuard<'_, LastRepair> {
        self.last.lock().await
    }

    /// Tells the open consumers that a queue was declared again.
    pub(super) fn declare(&self, queue: &str) {
        // An error says that no consumer is open.
        let _ = self.declared.send(queue.to_owned());
    }

    /// The queues that are declared again from now on, without the prefix.
    pub(super) fn declared(&self) -> broadcast::Receiver<String> {
        self.declared.subscribe()
    }
}

/// Whether the broker refuses the replies of this process.
#[derive(Default)]
pub(super) struct Refusals(AtomicBool);

impl Refusals {
    /// What the broker answered to the first replies of the latest channel.
    pub(super) fn are_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Logs a change.
    pub(super) fn set(&self, user: &str, refused: bool) {
        if self.0.swap(refused, Ordering::Relaxed) == refused {
            return;
        }
        if refused {
            tracing::warn!(
                user,
                "the broker refuses our replies: no app gets an answer, and the ingress answers 202. \
                 This user lacks the right `write` on `amq.default`: give it by `rabbitmqctl \
                 set_permissions`, as docs/operations.md shows"
            );
        } else {
            tracing::info!(user, "the broker takes our replies again");
        }
    }
}
