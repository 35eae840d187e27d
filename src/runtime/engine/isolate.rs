//! Several messages together, or each by itself.

use std::sync::Mutex;

use uuid::Uuid;

use super::super::batch::{Item, LockWait};
use super::super::blame::{Blame, Failure, Neighbours, Undone};
use super::super::worker::Worker;
use super::engine::Engine;
use crate::fault::Fault;
use crate::observe;

/// What has the id of a message.
pub(super) trait Identified {
    fn id(&self) -> Uuid;
}

impl<M> Identified for Item<M> {
    fn id(&self) -> Uuid {
        self.decoded.id
    }
}

impl<M, T> Identified for (Item<M>, T) {
    fn id(&self) -> Uuid {
        self.0.decoded.id
    }
}

/// What is done for messages. A trait and no closure: the compiler does not see that the future of an
/// async closure may be sent between threads.
pub(super) trait Work<I> {
    /// Its result.
    type Done;

    fn run(
        &self,
        items: &[I],
        how: How,
    ) -> impl Future<Output = Result<Self::Done, Failure>> + Send;
}

/// Whether items are handled together, or one is handled by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Together,
    Alone,
}

impl How {
    /// How long `items` may wait for a lock.
    pub(super) fn lock_wait<M>(self, items: &[Item<M>]) -> LockWait {
        match self {
            Self::Together => LockWait::of(items),
            Self::Alone => LockWait::Short,
        }
    }
}

impl<W: Worker> Engine<W> {
    /// Handles `items` together. If one of several is at fault, handles each by itself, so that it holds
    /// up no other. Returns the groups that were handled, each with its result.
    pub(super) async fn isolate<I: Identified, D>(
        &self,
        neighbours: &Mutex<Neighbours>,
        items: Vec<I>,
        work: impl Work<I, Done = D>,
    ) -> Vec<(Vec<I>, Result<D, Undone>)> {
        let ids: Vec<Uuid> = items.iter().map(I::id).collect();
        let together = || work.run(&items, How::Together);
        let failure = match self.attempt(neighbours, &ids, together).await {
            Err(Undone { blame: Blame::OneOfSeveral, failure }) => failure,
            done => return vec![(items, done)],
        };
        let fault = match failure {
            Failure::Fault(fault) => fault,
            Failure::Panicked => Fault::Permanent("panicked".into()),
        };
        observe::isolated(W::NAME, items.len(), &fault);
        let mut groups = Vec::with_capacity(items.len());
        for item in items {
            let (alone, id) = (vec![item], [ids[groups.len()]]);
            let done = self.attempt(neighbours, &id, || work.run(&alone, How::Alone)).await;
            groups.push((alone, done));
        }
        groups
    }
}
