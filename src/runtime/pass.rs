//! One pass: a few messages, one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, try_join};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::disposal::{DeadLetterSource, Output};
use super::faulty;
use super::worker::Worker;
use crate::broker::Delivery;
use crate::domain::Timestamp;
use crate::domain::id::AppName;
use crate::failpoint::{Bug, Point, reach, seeded};
use crate::fault::{Dependency, Fault};
use crate::message::{DeadReason, Decoded, Message, Outcome, Outgoing, Subject};
use crate::observe;
use crate::rules::{DecisionContext, Verdict};
use crate::store::{self, Entry, Known, Store, Tx};

/// After so many returns a message is handled alone: it may be the one that kills us.
const RETURNS_ALONE: u32 = 3;

/// A message that was read, with the delivery it came in.
pub(super) struct Item<M> {
    pub(super) delivery: Delivery,
    pub(super) decoded: Decoded<M>,
}

/// Why a pass came to nothing.
#[derive(Clone)]
pub(super) enum Failure {
    Fault(Fault),
    Panicked,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a pass works with.
pub(super) struct BatchContext<W> {
    pub(super) worker: Arc<W>,
    pub(super) store: Store,
    pub(super) origin: DeadLetterSource,
}

/// How long messages may wait for a lock.
#[derive(Clone, Copy)]
pub(super) enum LockWait {
    /// As long as any.
    Usual,
    /// Shortly: others wait behind what may be held up.
    Short,
}

impl LockWait {
    /// What has come back before may be held up again.
    pub(super) fn of<M>(sub_batch: &[Item<M>]) -> Self {
        let back = |item: &Item<M>| item.delivery.incoming.first_seen.is_some();
        if sub_batch.iter().any(back) { Self::Short } else { Self::Usual }
    }
}

/// Verdicts whose claim may have been committed or not, by their messages. None of them was called.
pub(super) type Unsure<V> = Mutex<Vec<(Uuid, V)>>;

/// What was claimed.
pub(super) struct Claims<V> {
    pub(super) output: Output,
    /// The verdicts to act on, by their place in the sub-batch.
    pub(super) to_act: BTreeMap<usize, V>,
    /// Since when, at the earliest.
    pub(super) at: Instant,
}

/// What a sub-batch may hold once: a subject, or a message id.
type Mark = (Option<Subject>, Uuid);

/// Splits a batch so that no two messages of one sub-batch are about the same, keeping their order.
pub(super) fn sub_batches<M: Message>(items: Vec<Item<M>>) -> Vec<Vec<Item<M>>> {
    let mut sub_batches: Vec<(HashSet<Mark>, Vec<Item<M>>)> = Vec::new();
    let mut floor = 0;
    for item in items {
        let subject = (Some(item.decoded.message.subject()), Uuid::nil());
        let same_id = (None, item.decoded.id);
        let alone = item.delivery.returns >= RETURNS_ALONE;
        let clashes = |seen: &HashSet<_>| seen.contains(&subject) || seen.contains(&same_id);
        // Behind the last sub-batch that holds something about the same.
        let last =
            sub_batches.iter().rposition(|(seen, _)| clashes(seen)).map_or(floor, |at| at + 1);
        let at = if alone { sub_batches.len() } else { last.max(floor) };
        if at >= sub_batches.len() {
            sub_batches.push((HashSet::new(), Vec::new()));
        }
        let at = at.min(sub_batches.len() - 1);
        sub_batches[at].0.extend([subject, same_id]);
        sub_batches[at].1.push(item);
        if alone {
            floor = sub_batches.len();
        }
    }
    sub_batches.into_iter().map(|(_, items)| items).collect()
}

impl<W: Worker> BatchContext<W> {
    /// Inward: decides and writes a sub-batch in one transaction. Nothing is published yet.
    pub(super) async fn settle_sub_batch(
        &self,
        sub_batch: &[Item<W::Message>],
        wait: LockWait,
    ) -> Result<Output, Failure> {
        guarded(&self.store, async {
            let mut output = Output::default();
            let mut client = self.store.client().await?;
            let tx = begin(&mut client, wait).await?;
            let (fresh, now) = self.sort(&tx, sub_batch, &mut output).await?;
            if fresh.is_empty() {
                return Ok(output);
            }
            let verdicts = self.judge(fresh, now);
            let judged: Vec<(&Item<W::Message>, &W::Verdict)> =
                verdicts.iter().map(|(item, verdict)| (*item, verdict)).collect();
            let new = self.write(&tx, &judged, now, &mut output).await?;
            if W::INBOX && new.len() < judged.len() && !seeded(Bug::NoInbox) {
                // Another process was faster with one of them; next time it is known.
                return Err(Fault::Transient("handled elsewhere meanwhile".into()).into());
            }
            reach(W::NAME, Point::InTransaction).await?;
            tx.commit().await?;
            reach(W::NAME, Point::Committed).await?;
            self.count(&judged);
            Ok(output)
        })
        .await
    }

    /// Outward: claims a sub-batch in one transaction. A claim that is older than `fresh` when it is
    /// committed is no claim: it is released, and made anew.
    pub(super) async fn claim_sub_batch(
        &self,
        sub_batch: &[Item<W::Message>],
        wait: LockWait,
        fresh: Duration,
        unsure: &Unsure<W::Verdict>,
    ) -> Result<Claims<W::Verdict>, Failure> {
        guarded(&self.store, async {
            let mut output = Output::default();
            // Of this attempt: how long others have waited for the database says nothing of a lease.
            let at = Instant::now();
            let mut client = self.store.client().await?;
            let tx = begin(&mut client, wait).await?;
            self.release(&tx, sub_batch, unsure).await?;
            let (unknown, now) = self.sort(&tx, sub_batch, &mut output).await?;
            if unknown.is_empty() {
                return Ok(Claims { output, to_act: BTreeMap::new(), at });
            }
            let verdicts = self.judge(unknown, now);
            let claimed: Vec<&W::Verdict> = verdicts
                .iter()
                .map(|(_, verdict)| verdict)
                .filter(|verdict| verdict.wait().is_none())
                .collect();
            self.worker.claim(&tx, &claimed).await?;
            let mut in_doubt = Vec::with_capacity(verdicts.len());
            for (item, verdict) in verdicts {
                if let Some(delay) = verdict.wait() {
                    output.postpone(&item.delivery.incoming, delay);
                    observe::handled(W::NAME, verdict.label(), None);
                } else {
                    in_doubt.push((item.decoded.id, verdict));
                }
            }
            // Until the commit is answered it may or may not hold, also for who drops this half-way.
            unsure.lock().await.extend(in_doubt);
            if !seeded(Bug::CallBeforeClaim) {
                tx.commit().await?;
            }
            reach(W::NAME, Point::Claimed).await?;
            if at.elapsed() > fresh {
                let why = "a claim took so long to commit that it is not carried out".to_owned();
                return Err(Fault::Down(Dependency::Database, why).into());
            }
            let to_act = take(&mut *unsure.lock().await, sub_batch);
            Ok(Claims { output, to_act, at })
        })
        .await
    }

    /// Takes back the claims of an earlier attempt that did hold: what was not called is free again.
    async fn release(
        &self,
        tx: &Tx<'_>,
        sub_batch: &[Item<W::Message>],
        unsure: &Unsure<W::Verdict>,
    ) -> Result<(), Fault> {
        let unsure = unsure.lock().await;
        let in_sub_batch = |id: &Uuid| sub_batch.iter().any(|item| item.decoded.id == *id);
        let claimed: Vec<&W::Verdict> =
            unsure.iter().filter(|(id, _)| in_sub_batch(id)).map(|(_, verdict)| verdict).collect();
        if claimed.is_empty() {
            return Ok(());
        }
        let messages: Vec<&Decoded<W::Message>> =
            sub_batch.iter().map(|item| &item.decoded).collect();
        // Locks what the claims rest on, in the order of all locks.
        self.worker.load(tx, &messages).await?;
        self.worker.release(tx, &claimed).await
    }

    /// Outward: takes claims back whose calls were not made.
    pub(super) async fn give_back(
        &self,
        stale: &[(Item<W::Message>, W::Verdict)],
    ) -> Result<(), Failure> {
        guarded(&self.store, async {
            let mut client = self.store.client().await?;
            let tx = begin(&mut client, LockWait::Short).await?;
            let messages: Vec<&Decoded<W::Message>> =
                stale.iter().map(|(item, _)| &item.decoded).collect();
            let claimed: Vec<&W::Verdict> = stale.iter().map(|(_, verdict)| verdict).collect();
            // Locks what the claims rest on, in the order of all locks.
            self.worker.load(&tx, &messages).await?;
            self.worker.release(&tx, &claimed).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Outward: writes what came of the calls. Where another process has settled a message
    /// meanwhile, its messages stand.
    pub(super) async fn settle_calls(
        &self,
        called: &[(Item<W::Message>, W::Verdict)],
    ) -> Result<Output, Failure> {
        guarded(&self.store, async {
            let mut output = Output::default();
            let mut client = self.store.client().await?;
            // What is held up is tried again soon, and the calls to come wait behind it.
            let tx = begin(&mut client, LockWait::Short).await?;
            let now = tx.now().await?;
            let judged: Vec<(&Item<W::Message>, &W::Verdict)> =
                called.iter().map(|(item, verdict)| (item, verdict)).collect();
            let mut fresh = Output::default();
            let new = self.write(&tx, &judged, now, &mut fresh).await?;
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
            reach(W::NAME, Point::InTransaction).await?;
            tx.commit().await?;
            reach(W::NAME, Point::Committed).await?;
            self.count(&judged);
            Ok(output)
        })
        .await
    }

    /// Asks for the facts and, in the same breath, which of a sub-batch are known. What was kept of those
    /// goes into `output`; the others come back with their facts, and with the time to judge them by.
    async fn sort<'a>(
        &self,
        tx: &Tx<'_>,
        sub_batch: &'a [Item<W::Message>],
        output: &mut Output,
    ) -> Result<(Vec<(&'a Item<W::Message>, W::Facts)>, Timestamp), Fault> {
        let ids: Vec<Uuid> = sub_batch.iter().map(|item| item.decoded.id).collect();
        let messages: Vec<&Decoded<W::Message>> =
            sub_batch.iter().map(|item| &item.decoded).collect();
        let read = async { try_join!(self.known(tx, &ids), self.worker.load(tx, &messages)) };
        let ((mut known, facts), now) = tx.then_now(read).await?;
        let mut fresh = Vec::with_capacity(sub_batch.len());
        for (item, facts) in sub_batch.iter().zip(facts) {
            match known.remove(&item.decoded.id) {
                Some(known) => self.replay(item, known, output),
                None => fresh.push((item, facts)),
            }
        }
        Ok((fresh, faulty::clock(W::NAME, now)))
    }

    async fn known(&self, tx: &Tx<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, Known>, Fault> {
        if W::INBOX && !seeded(Bug::NoInbox) {
            store::known_messages(tx, W::NAME, ids).await
        } else {
            Ok(HashMap::new())
        }
    }

    fn judge<'a>(
        &self,
        fresh: Vec<(&'a Item<W::Message>, W::Facts)>,
        now: Timestamp,
    ) -> Vec<(&'a Item<W::Message>, W::Verdict)> {
        let mut rng = UnwrapErr(SysRng);
        let mut ctx = DecisionContext { now, rng: &mut rng };
        let mut verdict = |(item, facts): (&'a Item<W::Message>, W::Facts)| {
            (item, self.worker.decide(&item.decoded, facts, &mut ctx))
        };
        fresh.into_iter().map(&mut verdict).collect()
    }

    /// Stores verdicts and their inbox rows, and puts what they cause into `output`.
    async fn write(
        &self,
        tx: &Tx<'_>,
        judged: &[(&Item<W::Message>, &W::Verdict)],
        now: Timestamp,
        output: &mut Output,
    ) -> Result<HashSet<Uuid>, Fault> {
        let verdicts = judged.iter().map(|(_, verdict)| *verdict);
        let verdicts: Vec<&W::Verdict> = verdicts.filter(|v| faulty::kept(v.label())).collect();
        let mut entries = Vec::with_capacity(judged.len());
        for (item, verdict) in judged {
            let caused = self.render(item, *verdict, now);
            let reply = verdict.reply().map(|outcome| outcome.body());
            output.messages.extend(caused.iter().cloned());
            if let Some(body) = &reply {
                output.reply(&item.delivery.incoming, body.clone());
            }
            let (message, digest, label) = (item.decoded.id, item.decoded.digest, verdict.label());
            let app = item.decoded.app.as_ref().map(AppName::as_str);
            entries.push(Entry { message, app, digest, label, caused, reply });
        }
        let keep = async {
            if W::INBOX {
                store::keep_handled(tx, W::NAME, &entries, now).await
            } else {
                Ok(entries.iter().map(|entry| entry.message).collect())
            }
        };
        let ((), new) = try_join!(self.worker.store(tx, &verdicts, now), keep)?;
        Ok(new)
    }

    fn render(
        &self,
        item: &Item<W::Message>,
        verdict: &W::Verdict,
        now: Timestamp,
    ) -> Vec<Outgoing> {
        let effects = verdict.effects().into_iter().enumerate();
        effects
            .map(|(place, effect)| Outgoing {
                traceparent: item.delivery.incoming.traceparent.clone(),
                ..effect.render(item.decoded.id, place, now)
            })
            .collect()
    }

    /// A repeat: the same messages and the same answer again, unless it asks something else.
    fn replay(&self, item: &Item<W::Message>, known: Known, output: &mut Output) {
        let asks_the_same = match (&item.decoded.digest, &known.digest) {
            (Some(asked), Some(known)) => asked.as_slice() == known.as_slice(),
            _ => true,
        };
        let incoming = &item.delivery.incoming;
        if !asks_the_same {
            let detail = Outcome::ID_REUSED.to_owned();
            output.aside(incoming, DeadReason::IdReused, detail, &self.origin);
            return;
        }
        output.messages.extend(faulty::repeated(known.caused));
        if let Some(body) = known.reply {
            output.reply(incoming, body);
        }
        observe::handled(W::NAME, "duplicate", None);
    }

    fn count(&self, judged: &[(&Item<W::Message>, &W::Verdict)]) {
        for (item, verdict) in judged {
            let age = item.delivery.incoming.published_at.map(super::age_of);
            observe::handled(W::NAME, verdict.label(), age);
        }
    }
}

async fn begin(client: &mut store::Client, wait: LockWait) -> Result<Tx<'_>, Fault> {
    match wait {
        LockWait::Usual => client.begin().await,
        LockWait::Short => client.begin_short().await,
    }
}

/// Takes the verdicts on a sub-batch out, by the places of their messages: the latest of each.
fn take<M, V>(unsure: &mut Vec<(Uuid, V)>, sub_batch: &[Item<M>]) -> BTreeMap<usize, V> {
    let mut taken = BTreeMap::new();
    for (id, verdict) in std::mem::take(unsure) {
        match sub_batch.iter().position(|item| item.decoded.id == id) {
            Some(at) => drop(taken.insert(at, verdict)),
            None => unsure.push((id, verdict)),
        }
    }
    taken
}

/// Bounds a pass in time, and turns a panic into a failure of these messages alone.
async fn guarded<T>(
    store: &Store,
    pass: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let caught = AssertUnwindSafe(pass).catch_unwind();
    store.bounded(caught.map(|done| done.unwrap_or(Err(Failure::Panicked)))).await
}
