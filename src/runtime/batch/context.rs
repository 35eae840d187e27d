//! What all batches of a worker have in common.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt, try_join};
use uuid::Uuid;

use super::super::blame::Failure;
use super::super::faulty;
use super::super::output::{DeadLetterSource, Output};
use super::super::worker::Worker;
use crate::broker::Delivery;
use crate::domain::Timestamp;
use crate::domain::id::AppName;
use crate::failpoint::{Bug, Point, reach, seeded};
use crate::fault::Fault;
use crate::message::{DeadReason, Decoded, Outcome, Outgoing};
use crate::observe;
use crate::rules::Verdict;
use crate::store::{self, Entry, Known, Store, Tx};

/// A message that was read, with the delivery it came in.
pub(in crate::runtime) struct Item<M> {
    pub(in crate::runtime) delivery: Delivery,
    pub(in crate::runtime) decoded: Decoded<M>,
}

/// What a batch works with.
pub(in crate::runtime) struct BatchContext<W> {
    pub(in crate::runtime) worker: Arc<W>,
    pub(in crate::runtime) store: Store,
    pub(in crate::runtime) source: DeadLetterSource,
}

/// How long messages may wait for a lock.
#[derive(Clone, Copy)]
pub(in crate::runtime) enum LockWait {
    /// As long as any.
    Usual,
    /// Shortly: others wait behind what may be held up.
    Short,
}

impl LockWait {
    /// What has come back before may be held up again.
    pub(in crate::runtime) fn of<M>(sub_batch: &[Item<M>]) -> Self {
        let back = |item: &Item<M>| item.delivery.incoming.first_seen.is_some();
        if sub_batch.iter().any(back) { Self::Short } else { Self::Usual }
    }
}

impl<W: Worker> BatchContext<W> {
    /// Asks for the facts and, in one round trip, which messages are known. What was kept of those
    /// goes into `output`; the others come back with their facts, and with the time to judge them by.
    pub(super) async fn split_known<'a>(
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

    /// The inbox rows of verdicts. What the verdicts cause goes into `output`.
    pub(super) fn entries<'a, V: Verdict>(
        &self,
        judged: &[(&'a Item<W::Message>, &V)],
        now: Timestamp,
        output: &mut Output,
    ) -> Vec<Entry<'a>> {
        let mut entries = Vec::with_capacity(judged.len());
        for (item, verdict) in judged {
            let caused = render(item, *verdict, now);
            let reply = verdict.reply().map(|outcome| outcome.body());
            output.messages.extend(caused.iter().cloned());
            if let Some(body) = &reply {
                output.reply(&item.delivery.incoming, body.clone());
            }
            let (message, digest, label) = (item.decoded.id, item.decoded.digest, verdict.label());
            let app = item.decoded.app.as_ref().map(AppName::as_str);
            entries.push(Entry { message, app, digest, label, caused, reply });
        }
        entries
    }

    /// Writes inbox rows; returns the ids of those that are new.
    pub(super) async fn keep(
        &self,
        tx: &Tx<'_>,
        entries: &[Entry<'_>],
        now: Timestamp,
    ) -> Result<HashSet<Uuid>, Fault> {
        if W::INBOX {
            store::keep_handled(tx, W::NAME, entries, now).await
        } else {
            Ok(entries.iter().map(|entry| entry.message).collect())
        }
    }

    /// A repeat: the same messages and the same answer again, unless it asks something else.
    pub(super) fn replay(&self, item: &Item<W::Message>, known: Known, output: &mut Output) {
        let asks_the_same = match (&item.decoded.digest, &known.digest) {
            (Some(asked), Some(known)) => asked.as_slice() == known.as_slice(),
            _ => true,
        };
        let incoming = &item.delivery.incoming;
        if !asks_the_same {
            let detail = Outcome::ID_REUSED.to_owned();
            output.dead_letter(incoming, DeadReason::IdReused, detail, &self.source);
            return;
        }
        output.messages.extend(faulty::repeated(known.caused));
        if let Some(body) = known.reply {
            output.reply(incoming, body);
        }
        observe::handled(W::NAME, "duplicate", None);
    }

    /// Commits the verdicts, and counts them.
    pub(super) async fn commit<V: Verdict>(
        &self,
        tx: Tx<'_>,
        judged: &[(&Item<W::Message>, &V)],
    ) -> Result<(), Failure> {
        reach(W::NAME, Point::InTransaction).await?;
        tx.commit().await?;
        reach(W::NAME, Point::Committed).await?;
        for (item, verdict) in judged {
            let age = item.delivery.incoming.published_at.map(super::super::age_of);
            observe::handled(W::NAME, verdict.label(), age);
        }
        Ok(())
    }
}

fn render<M>(item: &Item<M>, verdict: &impl Verdict, now: Timestamp) -> Vec<Outgoing> {
    let effects = verdict.effects().into_iter().enumerate();
    effects
        .map(|(place, effect)| Outgoing {
            traceparent: item.delivery.incoming.traceparent.clone(),
            ..effect.render(item.decoded.id, place, now)
        })
        .collect()
}

pub(super) async fn begin(client: &mut store::Client, wait: LockWait) -> Result<Tx<'_>, Fault> {
    match wait {
        LockWait::Usual => client.begin().await,
        LockWait::Short => client.begin_short().await,
    }
}

/// Bounds a batch in time, and turns a panic into a failure of these messages alone.
pub(super) async fn guarded<T>(
    store: &Store,
    batch: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let caught = AssertUnwindSafe(batch).catch_unwind();
    store.bounded(caught.map(|done| done.unwrap_or(Err(Failure::Panicked)))).await
}
