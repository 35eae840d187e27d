//! The engine of workers that call a provider: each call is made between a claim and its settlement.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, try_join};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::super::batch::{BatchContext, Claims, Item, Next, Settled, TooOld, Unsure, sub_batches};
use super::super::blame::{Blame, Failure, Undone};
use super::super::output::Output;
use super::super::worker::{ProviderWorker, Worker};
use super::engine::{Engine, EngineSettings, RENEW_AFTER, Shared, pause_under_load};
use super::isolate::{How, Work};
use crate::broker::{Consumer, Delivery, Publisher, supervise};
use crate::failpoint::{self, Point, reach};
use crate::fault::Fault;
use crate::message::RetryDelay;
use crate::observe;
use crate::rules::claimed::Claimed;

/// Pause before an answer that another session holds up is written again.
const SETTLED_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The limits of calls.
#[derive(Clone, Copy)]
pub struct CallLimits {
    /// Calls under way at most.
    pub calls_max: usize,
    /// A claim older than this is not carried out, since another process may soon take it for dead.
    pub claim_fresh: Duration,
}

/// What came of a message after its claim.
enum Finished<C, S> {
    Settled(S),
    /// The claim grew old before the call, which was not made.
    TooOld(Next<C, S>),
    /// It is not known whether the call was made.
    Unknown,
    Panicked,
}

/// A message and what came of it.
type OneCall<W> = (
    Item<<W as Worker>::Message>,
    Finished<<W as ProviderWorker>::Call, <W as ProviderWorker>::Settlement>,
);
/// The calls under way.
type Calls<W> = JoinSet<OneCall<W>>;

/// The claims of a batch, or the settlement of calls that are over.
fn span<W: Worker>(what: &'static str, messages: usize) -> Span {
    tracing::debug_span!("batch", worker = W::NAME, what, messages)
}

/// Runs a worker on one queue until `stop`, whatever happens to the broker or the database.
pub async fn run_provider<W: ProviderWorker>(
    worker: Arc<W>,
    shared: Shared,
    settings: EngineSettings,
    limits: CallLimits,
    stop: CancellationToken,
) {
    let engine = Engine::start(worker, shared, settings, failpoint::PROVIDER);
    let calling = Calling { engine: &engine, limits };
    supervise(settings.queue, stop, async |stop: CancellationToken| {
        // On the heap: a debug build copies a future that it moves, and threads have 2 MiB of stack.
        let end = Box::pin(calling.session(stop)).await;
        end.inspect_err(|fault| observe::session_ended(settings.queue, fault))
    })
    .await;
}

/// An engine and the limits of its calls.
struct Calling<'a, W: ProviderWorker> {
    engine: &'a Engine<W>,
    limits: CallLimits,
}

impl<W: ProviderWorker> Calling<'_, W> {
    /// Claims arriving messages, calls and settles, until `stop` and until every call is over.
    async fn session(&self, stop: CancellationToken) -> Result<(), Fault> {
        let (mut publisher, mut consumer) = self.engine.open(self.limits.calls_max).await?;
        let mut calls = JoinSet::new();
        let end = self.calling(&mut publisher, &mut consumer, &mut calls, stop).await;
        // The session is over, but not the calls: what they bring is written all the same. Their
        // messages come again, and the inbox replays what they cause.
        while let Some(called) = calls.join_next().await {
            if let Ok((item, Finished::Settled(settled))) = called {
                // What another session holds up is left: its message comes again, and is `unknown`.
                let (mut left, mut outputs) = (JoinSet::new(), Vec::new());
                self.settle(vec![(item, settled)], &mut left, &mut outputs).await;
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
            let room = self.limits.calls_max.saturating_sub(calls.len());
            let most = room.min(self.engine.settings.batch_max);
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
                    observe::batch(W::NAME, size, started.elapsed());
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
        let (engine, fresh) = (self.engine, self.limits.claim_fresh);
        let mut tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
        let mut outputs = vec![Output::default()];
        let items = engine.read(batch, &mut outputs[0]);
        for sub_batch in sub_batches(items) {
            let unsure = Unsure::default();
            let claiming = Claiming { context: &engine.context, fresh, unsure: &unsure };
            for (items, done) in engine.isolate(&engine.claimed, sub_batch, claiming).await {
                match done {
                    Ok(claims) => outputs.push(self.call(calls, items, claims, &mut tags)),
                    Err(undone) => {
                        outputs.extend(items.iter().map(|item| engine.leave(item, &undone)));
                    }
                }
            }
        }
        engine.publish(publisher, consumer, &outputs).await?;
        consumer.ack(&tags).await?;
        Ok(())
    }

    /// Starts the calls of a claimed sub-batch; returns what else is to be published. Their tags are acked
    /// when they are settled.
    fn call(
        &self,
        calls: &mut Calls<W>,
        sub_batch: Vec<Item<W::Message>>,
        claims: Claims<W::Call, W::Settlement>,
        tags: &mut Vec<u64>,
    ) -> Output {
        let mut items: HashMap<Uuid, Item<W::Message>> =
            sub_batch.into_iter().map(|item| (item.decoded.id, item)).collect();
        let (claimed, fresh) = (claims.at, self.limits.claim_fresh);
        for (id, next) in claims.next {
            let Some(item) = items.remove(&id) else { continue };
            tags.retain(|tag| *tag != item.delivery.tag);
            let worker = Arc::clone(&self.engine.context.worker);
            calls.spawn(async move {
                let finished = match next {
                    next if claimed.elapsed() > fresh => Finished::TooOld(next),
                    Next::Settle(settled) => Finished::Settled(settled),
                    Next::Call(call) => called(&*worker, call).await,
                };
                (item, finished)
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
        let (mut settled, mut too_old) = (Vec::with_capacity(called.len()), Vec::new());
        for (item, finished) in called {
            match finished {
                Finished::Settled(settlement) => settled.push((item, settlement)),
                Finished::TooOld(next) => too_old.push((item, next)),
                // Once its lease is over the attempt is `unknown`.
                Finished::Unknown => {
                    outputs[0].postpone(&item.delivery.incoming, RetryDelay::Second5);
                }
                Finished::Panicked => outputs.push(self.engine.give_up(&item, &Failure::Panicked)),
            }
        }
        if !too_old.is_empty() {
            self.give_back(&too_old, &mut outputs[0]).await;
        }
        let later = self.settle(settled, calls, &mut outputs).await;
        tags.retain(|tag| !later.contains(tag));
        self.engine.publish(publisher, consumer, &outputs).await?;
        reach(W::NAME, Point::Confirmed).await?;
        consumer.ack(&tags).await?;
        reach(W::NAME, Point::Acked).await
    }

    /// Takes claims back whose calls were not made, and has their messages come again soon. Where that
    /// fails, the attempts are `unknown` once their lease is over.
    async fn give_back(&self, too_old: &[TooOld<W>], output: &mut Output) {
        let ids: Vec<_> = too_old.iter().map(|(item, _)| item.decoded.id).collect();
        let work = || self.engine.context.give_back(too_old);
        let delay = match self.engine.attempt(&self.engine.claimed, &ids, work).await {
            Ok(()) => RetryDelay::Second1,
            Err(_) => RetryDelay::Second5,
        };
        observe::claims_given_back(W::NAME, too_old.len());
        for (item, _) in too_old {
            output.postpone(&item.delivery.incoming, delay);
        }
    }

    /// Writes what came of calls. What another session holds up is kept here and tried again beside
    /// the calls to come, since no other process has the answer. Returns those tags.
    async fn settle(
        &self,
        settled: Vec<Settled<W>>,
        calls: &mut Calls<W>,
        outputs: &mut Vec<Output>,
    ) -> Vec<u64> {
        let engine = self.engine;
        let mut later = Vec::new();
        for (group, done) in
            engine.isolate(&engine.settled, settled, Settling(&engine.context)).await
        {
            match done {
                Ok(output) => outputs.push(output),
                Err(Undone { blame: Blame::Surroundings, .. }) => {
                    for (item, settlement) in group {
                        later.push(item.delivery.tag);
                        calls.spawn(async {
                            tokio::time::sleep(SETTLED_AGAIN_AFTER).await;
                            (item, Finished::Settled(settlement))
                        });
                    }
                }
                Err(undone) => {
                    let give_up = |(item, _): &Settled<W>| engine.give_up(item, &undone.failure);
                    outputs.extend(group.iter().map(give_up));
                }
            }
        }
        later
    }
}

/// Calls the provider.
async fn called<W: ProviderWorker>(
    worker: &W,
    call: Claimed<W::Call>,
) -> Finished<W::Call, W::Settlement> {
    let calling = async {
        let call = async { Ok(worker.call(call).await) };
        let (settled, ()) = try_join!(call, reach(W::NAME, Point::Calling))?;
        reach(W::NAME, Point::Called).await.map(|()| settled)
    };
    match AssertUnwindSafe(calling).catch_unwind().await {
        Ok(Ok(settled)) => Finished::Settled(settled),
        Ok(Err(_)) => Finished::Unknown,
        Err(_) => Finished::Panicked,
    }
}

/// The claim of a sub-batch.
struct Claiming<'a, W: ProviderWorker> {
    context: &'a BatchContext<W>,
    fresh: Duration,
    unsure: &'a Unsure<W::Call>,
}

impl<W: ProviderWorker> Work<Item<W::Message>> for Claiming<'_, W> {
    type Done = Claims<W::Call, W::Settlement>;

    async fn run(&self, items: &[Item<W::Message>], how: How) -> Result<Self::Done, Failure> {
        self.context.claim(items, how.lock_wait(items), self.fresh, self.unsure).await
    }
}

/// The settlement of calls.
struct Settling<'a, W>(&'a BatchContext<W>);

impl<W: ProviderWorker> Work<Settled<W>> for Settling<'_, W> {
    type Done = Output;

    async fn run(&self, items: &[Settled<W>], _: How) -> Result<Output, Failure> {
        self.0.settle(items).await
    }
}
