//! The loop around passes: consume, settle, publish, ack; until drained.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, try_join};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::disposal::{Origin, Output};
use super::pass::{Desk, Failure, Item, waves};
use super::worker::Worker;
use crate::broker::{Broker, Consumer, Delivery, Publisher, pauses, supervise};
use crate::domain::keys::Keyring;
use crate::fault::{Dependency, Fault};
use crate::message::{DeadReason, Effect, Message, Senders, decode};
use crate::observe;
use crate::sabotage::{self, Bug, Point, planted, reach};
use crate::store::Store;

/// What all engines of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The database.
    pub store: Store,
    /// The broker.
    pub broker: Broker,
    /// The keys.
    pub keys: Arc<Keyring>,
    /// Who may ask.
    pub senders: Arc<Senders>,
}

/// The settings of one engine.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The queue, without the prefix.
    pub queue: &'static str,
    /// Messages in one pass at most.
    pub batch_max: usize,
    /// Outward: calls under way at most.
    pub calls_max: usize,
    /// Outward: a claim older than this is not carried out, since another process may soon take it
    /// for dead.
    pub claim_fresh: Duration,
}

/// Pauses between looks at a dependency that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Failures in a row, with the database there all the while, after which a wave is walked.
const WALKED_AFTER: u32 = 3;

struct Engine<W: Worker> {
    desk: Arc<Desk<W>>,
    shared: Shared,
    settings: Settings,
}

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

/// Runs a worker on one queue until `stop`, whatever happens to the broker or the database.
pub async fn run<W: Worker>(
    worker: Arc<W>,
    shared: Shared,
    settings: Settings,
    stop: CancellationToken,
) {
    let reasons: Vec<&'static str> = DeadReason::ALL.iter().map(|reason| reason.label()).collect();
    observe::worker_started(W::NAME, &reasons);
    sabotage::announce(W::NAME, if W::OUTWARD { sabotage::OUTWARD } else { sabotage::INWARD });
    let origin = Origin { worker: W::NAME, queue: settings.queue, seal_to: shared.keys.public() };
    let desk = Arc::new(Desk { worker, store: shared.store.clone(), origin });
    let engine = Engine { desk, shared, settings };
    supervise(settings.queue, stop, async |stop: CancellationToken| {
        let end = if W::OUTWARD { engine.outward(stop).await } else { engine.inward(stop).await };
        if let Err(fault) = &end {
            observe::session_ended(settings.queue, fault);
        }
        end
    })
    .await;
}

impl<W: Worker> Engine<W> {
    async fn open(&self, prefetch: usize) -> Result<(Publisher, Consumer), Fault> {
        let publisher = Publisher::open(&self.shared.broker).await?;
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX).min(2000);
        let consumer = Consumer::open(&self.shared.broker, self.settings.queue, prefetch).await?;
        Ok((publisher, consumer))
    }

    async fn inward(&self, stop: CancellationToken) -> Result<(), Fault> {
        let batch_max = self.settings.batch_max;
        let (mut publisher, mut consumer) = self.open(batch_max * 2).await?;
        let mut draining = false;
        loop {
            let batch = tokio::select! {
                batch = consumer.next_batch(batch_max) => batch?,
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    consumer.cancel().await?;
                    continue;
                }
            };
            let Some(mut batch) = batch else { break };
            if !W::GATHER.is_zero() && batch.len() < batch_max {
                tokio::time::sleep(W::GATHER).await;
                batch.extend(consumer.try_batch(batch_max - batch.len())?);
            }
            let mut tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
            let Some(last) = tags.last().copied() else { continue };
            reach(W::NAME, Point::Received).await?;
            if planted(Bug::AckBeforeCommit) {
                consumer.ack_through(last).await?;
            }
            let (started, size) = (Instant::now(), batch.len());
            let span = tracing::debug_span!("pass", worker = W::NAME, messages = size);
            async {
                let mut outputs = vec![Output::default()];
                let items = self.read(batch, &mut outputs[0]);
                // Usually one. Many guesses for one challenge are many: the first answers do not wait
                // for the last, and what is done is acked at once. Else a process that is killed
                // again and again before it comes to the end brings all of it nearer to the
                // delivery limit each time.
                let waves = waves(items);
                let one = waves.len() <= 1;
                for wave in waves {
                    let done: Vec<u64> = wave.iter().map(|item| item.delivery.tag).collect();
                    outputs.extend(self.settle(wave).await);
                    self.publish(&mut publisher, &consumer, &outputs).await?;
                    outputs.clear();
                    if !one && !planted(Bug::AckBeforeCommit) {
                        consumer.ack(&done).await?;
                        tags.retain(|tag| !done.contains(tag));
                    }
                }
                self.publish(&mut publisher, &consumer, &outputs).await?;
                reach(W::NAME, Point::Confirmed).await?;
                match (planted(Bug::AckBeforeCommit), one) {
                    (true, _) => {}
                    (false, true) => consumer.ack_through(last).await?,
                    (false, false) => consumer.ack(&tags).await?,
                }
                reach(W::NAME, Point::Acked).await
            }
            .instrument(span)
            .await?;
            observe::pass(W::NAME, size, started.elapsed());
        }
        consumer.close().await
    }

    /// Reads deliveries; those that cannot be read go aside.
    fn read(&self, batch: Vec<Delivery>, output: &mut Output) -> Vec<Item<W::Message>> {
        let mut items = Vec::with_capacity(batch.len());
        for delivery in batch {
            match decode(&delivery.incoming, &self.shared.senders, &self.shared.keys) {
                Ok(decoded) => items.push(Item { delivery, decoded }),
                Err(why) => output.rejected(&delivery.incoming, why, &self.desk.origin),
            }
        }
        items
    }

    /// Settles a wave; if that fails, its messages one by one, so that a bad one spoils only itself.
    async fn settle(&self, wave: Vec<Item<W::Message>>) -> Vec<Output> {
        match self.patiently(wave.len(), || self.desk.settle_wave(&wave)).await {
            Ok(output) => vec![output],
            Err(failure) if wave.len() > 1 => {
                self.walked(wave.len(), &failure);
                let mut outputs = Vec::with_capacity(wave.len());
                for item in wave {
                    let alone = [item];
                    match self.patiently(1, || self.desk.settle_wave(&alone)).await {
                        Ok(output) => outputs.push(output),
                        Err(failure) => outputs.push(self.give_up(&alone[0], &failure)),
                    }
                }
                outputs
            }
            Err(failure) => wave.iter().map(|item| self.give_up(item, &failure)).collect(),
        }
    }

    fn walked(&self, messages: usize, failure: &Failure) {
        let fault = match failure {
            Failure::Fault(fault) => fault.clone(),
            Failure::Panicked => Fault::Permanent("panicked".into()),
        };
        observe::walked(W::NAME, messages, &fault);
    }

    /// To the next rung, or aside; then whoever follows the events learns of it too.
    fn give_up(&self, item: &Item<W::Message>, failure: &Failure) -> Output {
        let mut output = Output::default();
        if planted(Bug::FailedDropped) {
            return output;
        }
        let (incoming, origin) = (&item.delivery.incoming, &self.desk.origin);
        match failure {
            Failure::Fault(fault) => output.failed(incoming, fault, origin),
            Failure::Panicked => {
                let detail = "the worker panicked over it: report it, then replay".to_owned();
                output.aside(incoming, DeadReason::Panicked, detail, origin);
            }
        }
        if output.set_aside() {
            let event = item.decoded.message.given_up().map(Effect::from);
            output.messages.extend(event.map(|e| e.render(item.decoded.id, 0, super::host_now())));
        }
        output
    }

    /// Does `work` again for as long as the database is away: that is no fault of the messages, so
    /// it counts no attempt and uses no rung. Whatever they hold stays unacked meanwhile.
    ///
    /// A wave of several `messages` that fails again and again although the database is there takes
    /// longer than a transaction may last, so it is given back, to be walked one by one.
    async fn patiently<T, F>(&self, messages: usize, work: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut failed_while_there = 0;
        loop {
            match work().await {
                Err(Failure::Fault(Fault::Down(dependency, why))) => {
                    observe::paused(W::NAME, dependency, &why);
                    // A cut connection is often back at once.
                    tokio::time::sleep(PAUSE / 10).await;
                    failed_while_there += 1;
                    while self.shared.store.ping().await.is_err() {
                        tokio::time::sleep(PAUSE).await;
                        failed_while_there = 0;
                    }
                    observe::resumed(W::NAME, dependency);
                    if messages > 1 && failed_while_there == WALKED_AFTER {
                        return Err(Fault::Transient(why).into());
                    }
                    if why.contains("stepup migrate") {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                result => return result,
            }
        }
    }

    /// Publishes what a batch causes.
    ///
    /// A broker that does not take it (an alarm, a full queue, a binding or a right that is missing) is
    /// no fault of the messages. They stay here, unacked, for as long as the consumer lives: at every
    /// end of a session they would return to the queue, and that counts against them.
    async fn publish(
        &self,
        publisher: &mut Publisher,
        consumer: &Consumer,
        outputs: &[Output],
    ) -> Result<(), Fault> {
        let publications: Vec<_> =
            outputs.iter().flat_map(|output| output.publications(self.settings.queue)).collect();
        if publications.is_empty() {
            return Ok(());
        }
        let (mut pauses, mut paused) = (pauses(), false);
        let end = loop {
            let publishing = publisher.publish(&publications);
            // Polled second: by then the frames are on their way.
            match try_join!(publishing, reach(W::NAME, Point::Published)).map(drop) {
                Err(Fault::Down(Dependency::Broker, why)) if consumer.is_alive() => {
                    observe::paused(W::NAME, Dependency::Broker, &why);
                    paused = true;
                    tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
                    while self.shared.broker.blocked() && consumer.is_alive() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                end => break end,
            }
        };
        if paused {
            observe::resumed(W::NAME, Dependency::Broker);
        }
        end
    }

    async fn outward(&self, stop: CancellationToken) -> Result<(), Fault> {
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
        while !ended || !calls.is_empty() {
            observe::in_flight(W::NAME, calls.len());
            let room = self.settings.calls_max.saturating_sub(calls.len());
            tokio::select! {
                Some(first) = calls.join_next(), if !calls.is_empty() => {
                    let mut called: Vec<_> = first.ok().into_iter().collect();
                    while let Some(Ok(next)) = calls.try_join_next() {
                        called.push(next);
                    }
                    self.finish(publisher, consumer, called).await?;
                }
                batch = consumer.next_batch(room.min(self.settings.batch_max)),
                    if room > 0 && !ended =>
                {
                    match batch? {
                        Some(batch) => self.start(publisher, consumer, calls, batch).await?,
                        None => ended = true,
                    }
                }
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
        let (started, size) = (Instant::now(), batch.len());
        let mut tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
        let mut outputs = vec![Output::default()];
        let items = self.read(batch, &mut outputs[0]);
        for wave in waves(items) {
            let claimed = Instant::now();
            let walk = match self.patiently(wave.len(), || self.desk.claim_wave(&wave)).await {
                Ok((output, verdicts)) => {
                    outputs.push(output);
                    self.call(calls, wave, verdicts, claimed, &mut tags);
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
                let (alone, claimed) = (vec![item], Instant::now());
                match self.patiently(1, || self.desk.claim_wave(&alone)).await {
                    Ok((output, verdicts)) => {
                        outputs.push(output);
                        self.call(calls, alone, verdicts, claimed, &mut tags);
                    }
                    Err(failure) => outputs.push(self.give_up(&alone[0], &failure)),
                }
            }
        }
        self.publish(publisher, consumer, &outputs).await?;
        consumer.ack(&tags).await?;
        observe::pass(W::NAME, size, started.elapsed());
        Ok(())
    }

    /// Starts the calls of a claimed wave. Their tags are acked when they are settled.
    fn call(
        &self,
        calls: &mut Calls<W>,
        wave: Vec<Item<W::Message>>,
        verdicts: Vec<(usize, W::Verdict)>,
        claimed: Instant,
        tags: &mut Vec<u64>,
    ) {
        let mut wave: Vec<Option<Item<W::Message>>> = wave.into_iter().map(Some).collect();
        for (at, verdict) in verdicts {
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
