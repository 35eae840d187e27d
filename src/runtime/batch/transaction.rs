//! Batches that only read and write the database.

use futures_util::try_join;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use super::super::blame::Failure;
use super::super::faulty;
use super::super::output::Output;
use super::super::worker::TransactionWorker;
use super::context::{BatchContext, Item, LockWait, begin, guarded};
use crate::failpoint::{Bug, seeded};
use crate::fault::Fault;
use crate::rules::{Decided, DecisionContext};

impl<W: TransactionWorker> BatchContext<W> {
    /// Decides and writes a sub-batch in one transaction. Nothing is published yet.
    pub(in crate::runtime) async fn decide_and_write(
        &self,
        sub_batch: &[Item<W::Message>],
        wait: LockWait,
    ) -> Result<Output, Failure> {
        guarded(&self.store, async {
            let mut output = Output::default();
            let mut client = self.store.client().await?;
            let tx = begin(&mut client, wait).await?;
            let (fresh, now) = self.split_known(&tx, sub_batch, &mut output).await?;
            if fresh.is_empty() {
                return Ok(output);
            }
            let mut rng = UnwrapErr(SysRng);
            let mut ctx = DecisionContext { now, rng: &mut rng };
            let mut decide = |(item, facts): (&'_ Item<W::Message>, W::Facts)| {
                self.worker.decide(&item.decoded, facts, &mut ctx)
            };
            let items: Vec<&Item<W::Message>> = fresh.iter().map(|(item, _)| *item).collect();
            let decided: Vec<Decided<W::Write>> = fresh.into_iter().map(&mut decide).collect();
            let judged: Vec<_> = items.into_iter().zip(&decided).collect();
            let writes: Vec<&W::Write> = decided
                .iter()
                .filter(|decided| faulty::kept(decided.label))
                .filter_map(|decided| decided.write.as_ref())
                .collect();
            let entries = self.entries(&judged, now, &mut output);
            let store = self.worker.store(&tx, &writes, now);
            let ((), new) = try_join!(store, self.keep(&tx, &entries, now))?;
            if W::INBOX && new.len() < judged.len() && !seeded(Bug::NoInbox) {
                // Another process was faster with one of them; next time it is known.
                return Err(Fault::Transient("handled elsewhere meanwhile".into()).into());
            }
            self.commit(tx, &judged).await?;
            Ok(output)
        })
        .await
    }
}
