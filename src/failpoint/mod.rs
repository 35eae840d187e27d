//! Failpoints and seeded bugs: how the fault tests get at the places where a process may die.
//!
//! Only a build with the Cargo feature `faults` has failpoints, and only these variables arm them:
//! `STEPUP_FAULT` and `STEPUP_BUG`, which no other build knows. Without the feature every function
//! here is empty and the compiler removes its calls.

#[cfg(feature = "faults")]
mod armed;

#[cfg(feature = "faults")]
pub use armed::{announce, arm, reach, seed, seeded};

#[cfg(not(feature = "faults"))]
use crate::fault::Fault;

/// A place in the handling of a message. Which of them a worker passes follows from its kind:
/// [`TRANSACTION`], [`PROVIDER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Taken from the queue; nothing is done.
    Received,
    /// Provider: the claim is committed; the call is not begun.
    Claimed,
    /// Provider: the call is begun.
    Calling,
    /// Provider: the answer was read; it is not stored.
    Called,
    /// Everything is written; nothing is committed.
    InTransaction,
    /// Committed; nothing is published.
    Committed,
    /// What it causes is on its way to the broker; no confirm was read.
    Published,
    /// Confirmed; not acked.
    Confirmed,
    /// Acked.
    Acked,
    /// Ingress: the outcome has come; whoever asked is not answered.
    Answered,
}

/// The points of a worker that only reads and writes the database.
pub const TRANSACTION: &[Point] = &[
    Point::Received,
    Point::InTransaction,
    Point::Committed,
    Point::Published,
    Point::Confirmed,
    Point::Acked,
];
/// The points of a worker that calls a provider.
pub const PROVIDER: &[Point] = &[
    Point::Received,
    Point::Claimed,
    Point::Calling,
    Point::Called,
    Point::InTransaction,
    Point::Committed,
    Point::Published,
    Point::Confirmed,
    Point::Acked,
];
/// The points of the ingress.
pub const INGRESS: &[Point] =
    &[Point::Received, Point::Published, Point::Confirmed, Point::Answered];
/// The points of the timers. They publish before they commit.
pub const TIMERS: &[Point] =
    &[Point::Received, Point::Published, Point::Confirmed, Point::Committed];
/// The points of a loop that only writes rows: the janitor, the chain, its checkpoints.
pub const ROWS: &[Point] = &[Point::InTransaction, Point::Committed];

impl Point {
    /// The name in `STEPUP_FAULT` and in the log.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Claimed => "claimed",
            Self::Calling => "calling",
            Self::Called => "called",
            Self::InTransaction => "in_transaction",
            Self::Committed => "committed",
            Self::Published => "published",
            Self::Confirmed => "confirmed",
            Self::Acked => "acked",
            Self::Answered => "answered",
        }
    }
}

/// A mistake that the fault tests must be able to find, or they prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A batch is acked before it is handled.
    AckBeforeCommit,
    /// The inbox is not asked.
    NoInbox,
    /// A wrong guess is answered but not counted.
    GuessNotCounted,
    /// A repeat hands its messages out under fresh ids.
    FreshIds,
    /// A repeat hands out no messages.
    CausedForgotten,
    /// The provider is called on a claim that was not committed, so a second call follows a crash.
    CallBeforeClaim,
    /// A message that failed is acked and forgotten.
    FailedDropped,
    /// Guesses are judged by a clock that is late.
    LateClock,
    /// The timers make up an id each time, and forget how far they came.
    TimerIds,
    /// The timers move their watermark before they publish, and look at nothing a second time.
    WatermarkFirst,
    /// An answer that does not come is taken for a refusal.
    LostReplyRefused,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeCommit,
        Self::NoInbox,
        Self::GuessNotCounted,
        Self::FreshIds,
        Self::CausedForgotten,
        Self::CallBeforeClaim,
        Self::FailedDropped,
        Self::LateClock,
        Self::TimerIds,
        Self::WatermarkFirst,
        Self::LostReplyRefused,
    ];

    /// The name in `STEPUP_BUG`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack_before_commit",
            Self::NoInbox => "no_inbox",
            Self::GuessNotCounted => "guess_not_counted",
            Self::FreshIds => "fresh_ids",
            Self::CausedForgotten => "caused_forgotten",
            Self::CallBeforeClaim => "call_before_claim",
            Self::FailedDropped => "failed_dropped",
            Self::LateClock => "late_clock",
            Self::TimerIds => "timer_ids",
            Self::WatermarkFirst => "watermark_first",
            Self::LostReplyRefused => "lost_reply_refused",
        }
    }
}

/// Says that `worker` has come to `point`: what `STEPUP_FAULT` ordered for it happens now.
///
/// # Errors
/// When a fault was ordered.
#[cfg(not(feature = "faults"))]
#[inline]
pub async fn reach(_worker: &'static str, _point: Point) -> Result<(), Fault> {
    Ok(())
}

/// Says which points `worker` has, so that a test can tell which were never reached.
#[cfg(not(feature = "faults"))]
#[inline]
pub const fn announce(_worker: &'static str, _points: &[Point]) {}

/// Whether this bug was ordered.
#[cfg(not(feature = "faults"))]
#[inline]
pub const fn seeded(_bug: Bug) -> bool {
    false
}
