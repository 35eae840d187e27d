//! Batches of calls to a provider: the claim before, and the settlement after.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::try_join;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::super::blame::Failure;
use super::super::output::Output;
use super::super::worker::{ProviderWorker, Worker};
use super::context::{BatchContext, Item, LockWait, begin, guarded};
use crate::failpoint::{Bug, Point, reach, seeded};
use crate::fault::{Dependency, Fault};
use crate::message::Decoded;
use crate::observe;
use crate::rules::DecisionContext;
use crate::rules::claimed::{Claimed, Decision};
use crate::store::{self, Tx};

/// Calls whose claim may or may not be committed, by their messages. None of them was made.
pub(in crate::runtime) type Unsure<C> = Mutex<Vec<(Uuid, C)>>;

/// What a message needs once its sub-batch is claimed.
pub(in crate::runtime) enum Next<C, S> {
    Call(Claimed<C>),
    Settle(S),
}

/// A message and what is to be settled.
pub(in crate::runtime) type Settled<W> =
    (Item<<W as Worker>::Message>, <W as ProviderWorker>::Settlement);
/// A message whose claim grew old before what was next.
pub(in crate::runtime) type TooOld<W> = (
    Item<<W as Worker>::Message>,
    Next<<W as ProviderWorker>::Call, <W as ProviderWorker>::Settlement>,
);
/// What was claimed.
pub(in crate::runtime) struct Claims<C, S> {
    pub(in crate::runtime) output: Output,
    /// What is next for each message.
    pub(in crate::runtime) next: Vec<(Uuid, Next<C, S>)>,
    /// Lower bound on the time of the claim.
    pub(in crate::runtime) at: Instant,
}

impl<W: ProviderWorker> BatchContext<W> {
    /// Claims a sub-batch in one transaction. A claim that is older than `fresh` when it is committed
    /// is no claim: it is released, and made anew.
    pub(in crate::runtime) async fn claim(
        &self,
        sub_batch: &[Item<W::Message>],
        wait: LockWait,
        fresh: Duration,
        unsure: &Unsure<W::Call>,
    ) -> Result<Claims<W::Call, W::Settlement>, Failure> {
        guarded(&self.store, async {
            let mut output = Output::default();
            // Restarted on each retry; waiting in earlier retries does not age the claim.
            let at = Instant::now();
            let mut client = self.store.client().await?;
            let tx = begin(&mut client, wait).await?;
            self.release_unsure(&tx, sub_batch, unsure).await?;
            let (unknown, now) = self.split_known(&tx, sub_batch, &mut output).await?;
            if unknown.is_empty() {
                return Ok(Claims { output, next: Vec::new(), at });
            }
            let mut rng = UnwrapErr(SysRng);
            let mut ctx = DecisionContext { now, rng: &mut rng };
            let (mut calls, mut next) = (Vec::new(), Vec::new());
            for (item, facts) in unknown {
                match self.worker.decide(&item.decoded, facts, &mut ctx) {
                    Decision::Call(call) => calls.push((item.decoded.id, call)),
                    Decision::Settle(settled) => {
                        next.push((item.decoded.id, Next::Settle(settled)));
                    }
                    Decision::Wait { delay, label } => {
                        output.postpone(&item.delivery.incoming, delay);
                        observe::handled(W::NAME, label, None);
                    }
                }
            }
            self.worker.claim(&tx, &calls.iter().map(|(_, call)| call).collect::<Vec<_>>()).await?;
            let claimed: Vec<Uuid> = calls.iter().map(|(id, _)| *id).collect();
            // Until the commit is answered it may or may not hold, also for who drops this half-way.
            unsure.lock().await.extend(calls);
            if !seeded(Bug::CallBeforeClaim) {
                tx.commit().await?;
            }
            reach(W::NAME, Point::Claimed).await?;
            if at.elapsed() > fresh {
                let why = "a claim took so long to commit that it is not carried out".to_owned();
                return Err(Fault::Down(Dependency::Database, why).into());
            }
            let calls = take(&mut *unsure.lock().await, sub_batch, claimed);
            let call = |(id, call)| (id, Next::Call(Claimed::after_commit(call)));
            next.extend(calls.into_iter().map(call));
            Ok(Claims { output, next, at })
        })
        .await
    }

    /// Takes back the claims of an earlier attempt that did hold: what was not called is free again.
    async fn release_unsure(
        &self,
        tx: &Tx<'_>,
        sub_batch: &[Item<W::Message>],
        unsure: &Unsure<W::Call>,
    ) -> Result<(), Fault> {
        let unsure = unsure.lock().await;
        let calls: Vec<&W::Call> =
            unsure.iter().filter(|(id, _)| has(sub_batch, id)).map(|(_, call)| call).collect();
        if calls.is_empty() {
            return Ok(());
        }
        self.release(tx, sub_batch.iter().map(|item| &item.decoded), &calls).await
    }

    async fn release<'a>(
        &self,
        tx: &Tx<'_>,
        messages: impl Iterator<Item = &'a Decoded<W::Message>>,
        calls: &[&W::Call],
    ) -> Result<(), Fault> {
        // Locks what the claims depend on, in the order of all locks.
        self.worker.load(tx, &messages.collect::<Vec<_>>()).await?;
        self.worker.release(tx, calls).await
    }

    /// Takes claims back whose calls were not made.
    pub(in crate::runtime) async fn give_back(&self, stale: &[TooOld<W>]) -> Result<(), Failure> {
        guarded(&self.store, async {
            let mut client = self.store.client().await?;
            let tx = begin(&mut client, LockWait::Short).await?;
            let calls = stale.iter().filter_map(|(_, next)| match next {
                Next::Call(claimed) => Some(&**claimed),
                Next::Settle(_) => None,
            });
            let messages = stale.iter().map(|(item, _)| &item.decoded);
            self.release(&tx, messages, &calls.collect::<Vec<_>>()).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Writes what became of messages. Where another process has settled one meanwhile, what it has
    /// caused stands.
    pub(in crate::runtime) async fn settle(
        &self,
        settled: &[Settled<W>],
    ) -> Result<Output, Failure> {
        guarded(&self.store, async {
            let mut output = Output::default();
            let mut client = self.store.client().await?;
            // What is held up is tried again soon, and the calls to come wait behind it.
            let tx = begin(&mut client, LockWait::Short).await?;
            let now = tx.now().await?;
            let judged: Vec<_> = settled.iter().map(|(item, settled)| (item, settled)).collect();
            let settlements: Vec<&W::Settlement> = judged.iter().map(|(_, s)| *s).collect();
            let mut fresh = Output::default();
            let entries = self.entries(&judged, now, &mut fresh);
            let settle = self.worker.settle(&tx, &settlements, now);
            let ((), new) = try_join!(settle, self.keep(&tx, &entries, now))?;
            if new.len() == judged.len() {
                output = fresh;
            } else {
                let ids: Vec<Uuid> = judged.iter().map(|(item, _)| item.decoded.id).collect();
                let mut known = store::known_messages(&tx, W::NAME, &ids).await?;
                for (item, _) in &judged {
                    if let Some(known) = known.remove(&item.decoded.id) {
                        self.replay(item, known, &mut output);
                    }
                }
            }
            self.commit(tx, &judged).await?;
            Ok(output)
        })
        .await
    }
}

fn has<M>(sub_batch: &[Item<M>], id: &Uuid) -> bool {
    sub_batch.iter().any(|item| item.decoded.id == *id)
}

/// Takes the calls of a sub-batch out of `unsure`; returns those of `claimed`, the latest of each, in
/// that order.
fn take<M, C>(
    unsure: &mut Vec<(Uuid, C)>,
    sub_batch: &[Item<M>],
    claimed: Vec<Uuid>,
) -> Vec<(Uuid, C)> {
    let (ours, others): (Vec<_>, Vec<_>) =
        std::mem::take(unsure).into_iter().partition(|(id, _)| has(sub_batch, id));
    *unsure = others;
    let mut latest: HashMap<Uuid, C> = ours.into_iter().collect();
    claimed.into_iter().filter_map(|id| latest.remove(&id).map(|call| (id, call))).collect()
}
