//! Calls to providers, each between a claim and its settlement.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, try_join};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::super::blame::Blame;
use super::super::disposal::Output;
use super::super::pass::{Claims, Failure, Item, LockWait, Unsure, sub_batches};
use super::super::worker::Worker;
use super::{Engine, RENEW_AFTER, ids, pause_under_load};
use crate::broker::{Consumer, Delivery, Publisher};
use crate::failpoint::{Point, reach};
use crate::fault::Fault;
use crate::observe;

/// Pause before an answer that another session holds up is written again.
const SETTLED_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A call that is over.
enum Called<V> {
    Verdict(V),
    /// The claim grew old before the call, which was not made.
    Stale(V),
    /// It is not known whether the call was made.
    Unsure,
    Panicked,
}

/// A message and what came of its call.
type OneCall<W> = (Item<<W as Worker>::Message>, Called<<W as Worker>::Verdict>);
/// The calls under way.
type Calls<W> = JoinSet<OneCall<W>>;

/// One pass: the claims of a batch, or the settlement of calls that are over.
fn span<W: Worker>(what: &'static str, messages: usize) -> Span {
    tracing::debug_span!("pass", worker = W::NAME, what, messages)
}

impl<W: Worker> Engine<W> {
    /// Claims what comes, calls, and settles, until `stop` and until every call is over.
    pub(super) async fn outward(&self, stop: CancellationToken) -> Result<(), Fault> {
        let calls_max = self.settings.calls_max;
        let (mut publisher, mut consumer) = self.open(calls_max).await?;
        let mut calls = JoinSet::new();
        let end = self.calling(&mut publisher, &mut consumer, &mut calls, stop).await;
        // The session is over, but not the calls: what they bring is written all the same. Their
        // messages come again, and the inbox hands out what they cause.
        while let Some(called) = calls.join_next().await {
            if let Ok((item, Called::Verdict(verdict))) = called {
                // What another session holds up is left: its message comes again, and is `unknown`.
                let (mut left, mut outputs) = (JoinSet::new(), Vec::new());
                self.settle_called(vec![(item, verdict)], &mut left, &mut outputs).await;
            }
        }
        end?;
        consumer.close().await
    }

    async fn calling(
        &self,
        publisher: &mut Publisher,
        consumer: &mut Consumer,
        calls: &mut Calls<W>,
        stop: CancellationToken,
    ) -> Result<(), Fault> {
        let (mut draining, mut ended) = (false, false);
        let mut rested_at = Instant::now();
        while !ended || !calls.is_empty() {
            observe::in_flight(W::NAME, calls.len());
            let room = self.settings.calls_max.saturating_sub(calls.len());
            let most = room.min(self.settings.batch_max);
            let resting = rested_at > Instant::now();
            tokio::select! {
                Some(first) = calls.join_next(), if !calls.is_empty() => {
                    let mut called: Vec<_> = first.ok().into_iter().collect();
                    while let Some(Ok(next)) = calls.try_join_next() {
                        called.push(next);
                    }
                    let span = span::<W>("settle", called.len());
                    self.finish(publisher, consumer, calls, called).instrument(span).await?;
                }
                batch = consumer.next_batch(most), if most > 0 && !ended && !resting => {
                    let Some(batch) = batch? else {
                        ended = true;
                        continue;
                    };
                    let (started, size) = (Instant::now(), batch.len());
                    let span = span::<W>("claim", size);
                    self.start(publisher, consumer, calls, batch).instrument(span).await?;
                    observe::pass(W::NAME, size, started.elapsed());
                    rested_at = Instant::now() + pause_under_load(size, most, started.elapsed());
                }
                () = tokio::time::sleep(RENEW_AFTER), if calls.is_empty() && !draining && !ended => {
                    consumer.renew().await?;
                }
                // Meanwhile calls that are over are settled all the same.
                () = tokio::time::sleep_until(rested_at.into()), if resting => {}
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    consumer.cancel().await?;
                }
            }
        }
        Ok(())
    }

    /// Claims a batch and starts its calls; acks what needs none.
    async fn start(
        &self,
        publisher: &mut Publisher,
        consumer: &Consumer,
        calls: &mut Calls<W>,
        batch: Vec<Delivery>,
    ) -> Result<(), Fault> {
        reach(W::NAME, Point::Received).await?;
        let mut tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
        let mut outputs = vec![Output::default()];
        let items = self.read(batch, &mut outputs[0]);
        let fresh = self.settings.claim_fresh;
        for sub_batch in sub_batches(items) {
            let unsure = Unsure::default();
            let claim = || {
                self.context.claim_sub_batch(&sub_batch, LockWait::of(&sub_batch), fresh, &unsure)
            };
            let failure = match self.attempt(&self.claimed, &ids(&sub_batch), claim).await {
                Ok(claims) => {
                    outputs.push(self.call(calls, sub_batch, claims, &mut tags));
                    continue;
                }
                Err(left) if left.blame == Blame::OneOfSeveral => left.failure,
                Err(left) => {
                    outputs.extend(sub_batch.iter().map(|item| self.leave(item, &left)));
                    continue;
                }
            };
            self.walked(sub_batch.len(), &failure);
            for item in sub_batch {
                let alone = vec![item];
                let claim =
                    || self.context.claim_sub_batch(&alone, LockWait::Short, fresh, &unsure);
                match self.attempt(&self.claimed, &ids(&alone), claim).await {
                    Ok(claims) => outputs.push(self.call(calls, alone, claims, &mut tags)),
                    Err(left) => outputs.push(self.leave(&alone[0], &left)),
                }
            }
        }
        self.publish(publisher, consumer, &outputs).await?;
        consumer.ack(&tags).await?;
        Ok(())
    }

    /// Starts the calls of a claimed sub-batch; returns what else is to be published. Their tags are acked
    /// when they are settled.
    fn call(
        &self,
        calls: &mut Calls<W>,
        sub_batch: Vec<Item<W::Message>>,
        claims: Claims<W::Verdict>,
        tags: &mut Vec<u64>,
    ) -> Output {
        let mut sub_batch: Vec<Option<Item<W::Message>>> =
            sub_batch.into_iter().map(Some).collect();
        let claimed = claims.at;
        for (at, verdict) in claims.to_act {
            let Some(item) = sub_batch.get_mut(at).and_then(Option::take) else { continue };
            tags.retain(|tag| *tag != item.delivery.tag);
            let (worker, fresh) = (Arc::clone(&self.context.worker), self.settings.claim_fresh);
            calls.spawn(async move {
                if claimed.elapsed() > fresh {
                    return (item, Called::Stale(verdict));
                }
                let acting = async {
                    let call = async { Ok(worker.act(verdict).await) };
                    let (verdict, ()) = try_join!(call, reach(W::NAME, Point::Calling))?;
                    reach(W::NAME, Point::Called).await.map(|()| verdict)
                };
                let called = match AssertUnwindSafe(acting).catch_unwind().await {
                    Ok(Ok(verdict)) => Called::Verdict(verdict),
                    Ok(Err(_)) => Called::Unsure,
                    Err(_) => Called::Panicked,
                };
                (item, called)
            });
        }
        claims.output
    }

    /// Settles calls that are over, publishes what they cause, and acks their messages.
    async fn finish(
        &self,
        publisher: &mut Publisher,
        consumer: &Consumer,
        calls: &mut Calls<W>,
        called: Vec<OneCall<W>>,
    ) -> Result<(), Fault> {
        let mut tags: Vec<u64> = called.iter().map(|(item, _)| item.delivery.tag).collect();
        let mut outputs = vec![Output::default()];
        let (mut settled, mut stale) = (Vec::with_capacity(called.len()), Vec::new());
        for (item, called) in called {
            match called {
                Called::Verdict(verdict) => settled.push((item, verdict)),
                Called::Stale(verdict) => stale.push((item, verdict)),
                // Once its lease is over the attempt is `unknown`.
                Called::Unsure => {
                    outputs[0]
                        .postpone(&item.delivery.incoming, crate::message::RetryDelay::Second5);
                }
                Called::Panicked => outputs.push(self.give_up(&item, &Failure::Panicked)),
            }
        }
        if !stale.is_empty() {
            self.give_back(&stale, &mut outputs[0]).await;
        }
        let later = self.settle_called(settled, calls, &mut outputs).await;
        tags.retain(|tag| !later.contains(tag));
        self.publish(publisher, consumer, &outputs).await?;
        reach(W::NAME, Point::Confirmed).await?;
        consumer.ack(&tags).await?;
        reach(W::NAME, Point::Acked).await
    }

    /// Takes claims back whose calls were not made, and has their messages come again soon. Where that
    /// fails, the attempts are `unknown` once their lease is over.
    async fn give_back(&self, stale: &[(Item<W::Message>, W::Verdict)], output: &mut Output) {
        let ids: Vec<_> = stale.iter().map(|(item, _)| item.decoded.id).collect();
        let work = || self.context.give_back(stale);
        let delay = match self.attempt(&self.claimed, &ids, work).await {
            Ok(()) => crate::message::RetryDelay::Second1,
            Err(_) => crate::message::RetryDelay::Second5,
        };
        observe::claims_given_back(W::NAME, stale.len());
        for (item, _) in stale {
            output.postpone(&item.delivery.incoming, delay);
        }
    }

    /// Writes what came of calls. What another session holds up is kept here and tried again beside
    /// the calls to come, since no other process has the answer. Returns those tags.
    async fn settle_called(
        &self,
        settled: Vec<(Item<W::Message>, W::Verdict)>,
        calls: &mut Calls<W>,
        outputs: &mut Vec<Output>,
    ) -> Vec<u64> {
        let together = || self.context.settle_calls(&settled);
        let all: Vec<_> = settled.iter().map(|(item, _)| item.decoded.id).collect();
        let failed = match self.attempt(&self.settled, &all, together).await {
            Ok(output) => {
                outputs.push(output);
                return Vec::new();
            }
            Err(left) if left.blame == Blame::OneOfSeveral => {
                self.walked(settled.len(), &left.failure);
                let mut failed = Vec::new();
                for one in settled {
                    let alone = [one];
                    let id = [alone[0].0.decoded.id];
                    let apart = || self.context.settle_calls(&alone);
                    match self.attempt(&self.settled, &id, apart).await {
                        Ok(output) => outputs.push(output),
                        Err(left) => failed.extend(alone.map(|one| (one, left.clone()))),
                    }
                }
                failed
            }
            Err(left) => settled.into_iter().map(|one| (one, left.clone())).collect(),
        };
        let mut later = Vec::new();
        for ((item, verdict), left) in failed {
            if left.blame == Blame::Surroundings {
                later.push(item.delivery.tag);
                calls.spawn(async {
                    tokio::time::sleep(SETTLED_AGAIN_AFTER).await;
                    (item, Called::Verdict(verdict))
                });
            } else {
                outputs.push(self.give_up(&item, &left.failure));
            }
        }
        later
    }
}
