//! Calls to providers, each between a claim and its settlement.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{FutureExt, try_join};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::super::disposal::Output;
use super::super::pass::{Claims, Failure, Item, waves};
use super::super::worker::Worker;
use super::{Engine, rest};
use crate::broker::{Consumer, Delivery, Publisher};
use crate::fault::Fault;
use crate::observe;
use crate::sabotage::{Point, reach};

/// A call that is over.
enum Called<V> {
    Verdict(V),
    /// The process was stopped between claim and call.
    Stale,
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
                let called = [(item, verdict)];
                let _ = self.patiently(called.len(), || self.desk.settle_calls(&called)).await;
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
                    self.finish(publisher, consumer, called).instrument(span).await?;
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
                    rested_at = Instant::now() + rest(size, most, started.elapsed());
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
        for wave in waves(items) {
            let walk = match self.patiently(wave.len(), || self.desk.claim_wave(&wave)).await {
                Ok(claims) => {
                    outputs.push(self.call(calls, wave, claims, &mut tags));
                    continue;
                }
                Err(failure) if wave.len() == 1 => {
                    outputs.push(self.give_up(&wave[0], &failure));
                    continue;
                }
                Err(failure) => failure,
            };
            self.walked(wave.len(), &walk);
            for item in wave {
                let alone = vec![item];
                match self.patiently(1, || self.desk.claim_wave(&alone)).await {
                    Ok(claims) => outputs.push(self.call(calls, alone, claims, &mut tags)),
                    Err(failure) => outputs.push(self.give_up(&alone[0], &failure)),
                }
            }
        }
        self.publish(publisher, consumer, &outputs).await?;
        consumer.ack(&tags).await?;
        Ok(())
    }

    /// Starts the calls of a claimed wave; returns what else is to be published. Their tags are acked
    /// when they are settled.
    fn call(
        &self,
        calls: &mut Calls<W>,
        wave: Vec<Item<W::Message>>,
        claims: Claims<W::Verdict>,
        tags: &mut Vec<u64>,
    ) -> Output {
        let mut wave: Vec<Option<Item<W::Message>>> = wave.into_iter().map(Some).collect();
        let claimed = claims.at;
        for (at, verdict) in claims.to_act {
            let Some(item) = wave.get_mut(at).and_then(Option::take) else { continue };
            tags.retain(|tag| *tag != item.delivery.tag);
            let (worker, fresh) = (Arc::clone(&self.desk.worker), self.settings.claim_fresh);
            calls.spawn(async move {
                if claimed.elapsed() > fresh {
                    return (item, Called::Stale);
                }
                let acting = async {
                    let call = async { Ok(worker.act(verdict).await) };
                    let (verdict, ()) = try_join!(call, reach(W::NAME, Point::Calling))?;
                    reach(W::NAME, Point::Called).await.map(|()| verdict)
                };
                let called = match AssertUnwindSafe(acting).catch_unwind().await {
                    Ok(Ok(verdict)) => Called::Verdict(verdict),
                    Ok(Err(_)) => Called::Stale,
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
        called: Vec<OneCall<W>>,
    ) -> Result<(), Fault> {
        let tags: Vec<u64> = called.iter().map(|(item, _)| item.delivery.tag).collect();
        let mut outputs = vec![Output::default()];
        let mut settled = Vec::with_capacity(called.len());
        for (item, called) in called {
            match called {
                Called::Verdict(verdict) => settled.push((item, verdict)),
                // Once its lease is over the attempt is `unknown`.
                Called::Stale => {
                    outputs[0].postpone(&item.delivery.incoming, crate::message::Rung::Second5);
                }
                Called::Panicked => outputs.push(self.give_up(&item, &Failure::Panicked)),
            }
        }
        match self.patiently(settled.len(), || self.desk.settle_calls(&settled)).await {
            Ok(output) => outputs.push(output),
            Err(failure) if settled.len() == 1 => {
                outputs.push(self.give_up(&settled[0].0, &failure));
            }
            Err(failure) => {
                self.walked(settled.len(), &failure);
                for one in settled {
                    let alone = [one];
                    match self.patiently(1, || self.desk.settle_calls(&alone)).await {
                        Ok(output) => outputs.push(output),
                        Err(failure) => outputs.push(self.give_up(&alone[0].0, &failure)),
                    }
                }
            }
        }
        self.publish(publisher, consumer, &outputs).await?;
        reach(W::NAME, Point::Confirmed).await?;
        consumer.ack(&tags).await?;
        reach(W::NAME, Point::Acked).await
    }
}
